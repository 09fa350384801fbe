//! Which calls of one answer may run at the same time, by what they touch. Pure.
//!
//! Calls that clash run in the order in which the model made them; all others need not wait for each other.

use std::path::Path;

use crate::tool::Resource;

/// The most calls that run at once.
const WIDTH: usize = 8;
/// The most sub-agents that run at once.
const AGENTS: usize = 4;

/// What a call needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Resources(Vec<Resource>),
    /// A sub-agent: its own calls do the touching.
    SubAgent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
}

/// The calls of one answer, in the model's order.
#[derive(Debug)]
pub(crate) struct Schedule {
    calls: Vec<(usize, Needs, State)>,
}

impl Schedule {
    pub(crate) fn new(calls: Vec<(usize, Needs)>) -> Self {
        Self { calls: calls.into_iter().map(|(number, needs)| (number, needs, State::Waiting)).collect() }
    }

    /// Marks the calls that may begin now as running and gives their numbers, in order.
    pub(crate) fn start(&mut self) -> Vec<usize> {
        let mut started = Vec::new();
        for place in 0..self.calls.len() {
            if self.may_start(place) {
                self.calls[place].2 = State::Running;
                started.push(self.calls[place].0);
            }
        }
        started
    }

    pub(crate) fn done(&mut self, number: usize) {
        for (call, _, state) in &mut self.calls {
            if *call == number {
                *state = State::Done;
            }
        }
    }

    fn may_start(&self, place: usize) -> bool {
        let (_, needs, state) = &self.calls[place];
        if *state != State::Waiting {
            return false;
        }
        let running = self.calls.iter().filter(|(_, _, state)| *state == State::Running);
        let (agents, others): (Vec<_>, Vec<_>) = running.partition(|(_, needs, _)| *needs == Needs::SubAgent);
        let has_room = match needs {
            Needs::SubAgent => agents.len() < AGENTS,
            Needs::Resources(_) => others.len() < WIDTH,
        };
        // An earlier call that waits has its turn before a later one that clashes with it.
        let is_free = |(other, (_, theirs, state)): (usize, &(usize, Needs, State))| match state {
            State::Done => true,
            State::Running => !clash_of_needs(needs, theirs),
            State::Waiting => other > place || !clash_of_needs(needs, theirs),
        };
        has_room && self.calls.iter().enumerate().filter(|(other, _)| *other != place).all(is_free)
    }
}

fn clash_of_needs(one: &Needs, other: &Needs) -> bool {
    match (one, other) {
        (Needs::SubAgent, _) | (_, Needs::SubAgent) => false,
        (Needs::Resources(one), Needs::Resources(other)) => {
            one.iter().any(|one| other.iter().any(|other| clash(one, other)))
        }
    }
}

fn clash(one: &Resource, other: &Resource) -> bool {
    let is_nothing = *one == Resource::None || *other == Resource::None;
    if is_nothing || !(writes(one) || writes(other)) {
        return false;
    }
    match (path(one), path(other)) {
        (Some(one), Some(other)) => overlap(one, other),
        // One of them touches everything.
        _ => true,
    }
}

fn writes(resource: &Resource) -> bool {
    matches!(resource, Resource::Write(_) | Resource::Exclusive)
}

/// The one place that is touched; none: many.
fn path(resource: &Resource) -> Option<&Path> {
    match resource {
        Resource::Read(path) | Resource::Write(path) => Some(path),
        Resource::ReadProject | Resource::Exclusive | Resource::None => None,
    }
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(needs: Vec<Needs>) -> Schedule {
        Schedule::new(needs.into_iter().enumerate().collect())
    }

    fn one(resource: Resource) -> Needs {
        Needs::Resources(vec![resource])
    }

    fn read(path: &str) -> Needs {
        one(Resource::Read(path.into()))
    }

    fn write(path: &str) -> Needs {
        one(Resource::Write(path.into()))
    }

    #[test]
    fn reads_run_side_by_side_and_a_write_waits_for_those_of_its_file() {
        let mut schedule = schedule(vec![read("/a"), read("/a"), write("/a"), write("/b")]);
        assert_eq!(schedule.start(), [0, 1, 3]);
        schedule.done(0);
        assert_eq!(schedule.start(), [0; 0]);
        schedule.done(1);
        assert_eq!(schedule.start(), [2]);
    }

    #[test]
    fn a_shell_command_runs_alone_but_for_sub_agents_and_nothing_overtakes_it() {
        let mut schedule = schedule(vec![read("/a"), one(Resource::Exclusive), read("/b"), Needs::SubAgent]);
        assert_eq!(schedule.start(), [0, 3]);
        schedule.done(0);
        assert_eq!(schedule.start(), [1]);
        schedule.done(1);
        assert_eq!(schedule.start(), [2]);
    }

    #[test]
    fn only_so_many_sub_agents_run_at_once() {
        let mut schedule = schedule(vec![Needs::SubAgent; 6]);
        assert_eq!(schedule.start(), [0, 1, 2, 3]);
        schedule.done(2);
        assert_eq!(schedule.start(), [4]);
    }

    fn needs() -> impl Strategy<Value = Needs> {
        let path = prop::sample::select(vec!["/a", "/a/b", "/c"]);
        prop_oneof![
            path.clone().prop_map(read),
            path.prop_map(write),
            Just(one(Resource::ReadProject)),
            Just(one(Resource::Exclusive)),
            Just(one(Resource::None)),
            Just(Needs::SubAgent),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn every_call_runs_once_and_no_two_that_clash_run_together(
            needs in prop::collection::vec(needs(), 1..14),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 14),
        ) {
            let mut schedule = schedule(needs.clone());
            let (mut running, mut ran) = (Vec::new(), Vec::new());
            for pick in picks {
                for number in schedule.start() {
                    for other in &running {
                        prop_assert!(!clash_of_needs(&needs[number], &needs[*other]));
                    }
                    for later in number + 1..needs.len() {
                        let has_run = ran.contains(&later) || running.contains(&later);
                        prop_assert!(!has_run || !clash_of_needs(&needs[number], &needs[later]));
                    }
                    running.push(number);
                }
                if running.is_empty() { break; }
                let done = running.remove(pick.index(running.len()));
                schedule.done(done);
                ran.push(done);
            }
            ran.extend(running);
            ran.sort_unstable();
            let started = ran.len();
            ran.dedup();
            prop_assert_eq!(ran.len(), started);
            prop_assert_eq!(ran.len(), needs.len());
        }
    }
}

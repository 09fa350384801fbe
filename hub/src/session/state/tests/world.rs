//! Plays everything around a session: tabs that remember what they have seen, a drone with an outbox that dies and
//! comes back, a store that fails, and a wire that delivers answers late or never.

mod drone;
mod store;

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use protocol::ide::IdeRequest;
use protocol::ids::DroneId;
use protocol::value::{ChatTurnStatus, RecoveryAction};
use serde_json::json;
use tokio::sync::oneshot;

use self::drone::{Run, SimDrone};
use self::store::{SimStore, chat_turn, loaded};
use super::super::effect::{Command, Dispatch, DroneChoice, NewTurn, Note};
use super::super::input::{AttachAs, ClaimedDrone, Peer};
use super::super::*;
use crate::session::ConnId;

pub(super) const DRONE: &str = "d";
const SESSION: &str = "s";
const USER: &str = "u";

pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Duration,
    /// Work that the state has asked for and that has not answered yet.
    jobs: VecDeque<Job>,
    pub(super) tabs: BTreeMap<&'static str, Tab>,
    pub(super) drone: SimDrone,
    pub(super) store: SimStore,
    last_conn: u64,
    last_asked: u64,
    /// Every ack that was asked for: what, and where its answer comes.
    asked: Vec<(String, oneshot::Receiver<Vec<Value>>)>,
    pub(super) suspended: u32,
    /// A person has stopped the drone.
    held: bool,
    /// Other drones that can be had.
    pub(super) free: Vec<&'static str>,
    pub(super) dismissed: Vec<DroneId>,
}

#[derive(Default)]
pub(super) struct Tab {
    pub(super) conn: Option<ConnId>,
    /// The number of the last event it was sent. `None`: it has never followed.
    pub(super) seen: Option<u64>,
    pub(super) holds: bool,
    /// It is sent the events after this number again.
    begins_anew: Option<u64>,
    /// The number of its last request, until the session is done with it.
    pub(super) asked: Option<u64>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
enum Job {
    Append { events: Vec<Arc<EventRecord>>, end: Option<TurnEnd> },
    StoreTurn(NewTurn),
    Dispatch(Dispatch),
    Command { ticket: ask::Ticket, conn: ConnId, command: Command },
    Claim { ticket: ask::Ticket, choice: DroneChoice },
    LoadPage { conn: ConnId, after: u64, limit: u32 },
    LoadTurn { conn: ConnId },
    Drained { conn: ConnId },
    KillIde { conn: ConnId },
    KillDrone { conn: ConnId },
}

impl World {
    pub(super) fn new(limits: SessionLimits) -> Self {
        let mut world = Self {
            state: State::new(loaded(0, None), limits, now(Duration::ZERO)),
            now: Duration::ZERO,
            jobs: VecDeque::new(),
            tabs: BTreeMap::from([("a", Tab::default()), ("b", Tab::default()), ("c", Tab::default())]),
            drone: SimDrone::default(),
            store: SimStore::default(),
            last_conn: 0,
            last_asked: 0,
            asked: Vec::new(),
            suspended: 0,
            held: false,
            free: Vec::new(),
            dismissed: Vec::new(),
        };
        world.carry_out();
        world
    }

    /// The hub is killed and another one starts on the same store.
    pub(super) fn restart_hub(&mut self, limits: SessionLimits) {
        let last = self.store.events.last().map_or(0, |event| event.seq);
        let turn = self.store.turns.iter().find(|(_, status)| !status.is_over());
        let turn = turn.map(|(record, _)| {
            let mut tally = TurnTally::default();
            let of_turn = self.store.events.iter().filter(|event| event.turn == record.id);
            of_turn.for_each(|event| tally.count(std::slice::from_ref(event)));
            LoadedTurn { record: record.clone(), tally }
        });
        let mut loaded = loaded(last, turn);
        if self.held {
            loaded.drone = Some((DRONE.into(), true));
        }
        loaded.newest_from = self.store.turns.last().map_or(0, |(record, _)| record.seq_before);
        self.state = State::new(loaded, limits, now(self.now));
        self.jobs.clear();
        self.asked.clear();
        self.drone.disconnect();
        for tab in self.tabs.values_mut() {
            *tab = Tab { seen: tab.seen, ..Tab::default() };
        }
        self.carry_out();
    }

    pub(super) fn apply(&mut self, input: Input) {
        self.state.apply(now(self.now), input);
        self.carry_out();
    }

    pub(super) fn pass_time(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.state.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.apply(Input::Tick);
            let next = self.state.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "a deadline that has passed stays: {next:?}");
        }
        self.now = end;
    }

    // Tabs

    pub(super) fn connect(&mut self, tab: &'static str) {
        let conn = self.new_conn();
        let this = self.tabs.get_mut(tab).unwrap();
        assert!(this.conn.is_none());
        this.conn = Some(conn);
    }

    pub(super) fn attach(&mut self, tab: &'static str, want: AttachAs) {
        let last_seq = self.tabs[tab].seen;
        let Some(peer) = self.peer(tab) else { return };
        self.may_begin_anew(tab);
        let answer = self.ask(format!("attach {tab}"));
        self.apply(Input::Attach { peer, last_seq, want, answer });
    }

    pub(super) fn withdraw(&mut self, tab: &'static str) {
        let Some(conn) = self.tabs[tab].conn else { return };
        self.apply(Input::Withdrawn { conn });
    }

    pub(super) fn request(&mut self, tab: &'static str, request: IdeRequest) {
        let last_seq = self.tabs[tab].seen;
        let Some(peer) = self.peer(tab) else { return };
        if matches!(request, IdeRequest::RequestSessionLock { .. }) {
            self.may_begin_anew(tab);
        }
        let answer = self.ask(format!("{tab}: {request:?}"));
        self.apply(Input::Ide { peer, request, last_seq, answer });
    }

    pub(super) fn lock(&mut self, tab: &'static str, take_over: bool) {
        self.lock_with(tab, None, take_over);
    }

    /// The same with a drone that is named.
    pub(super) fn lock_with(&mut self, tab: &'static str, drone: Option<&str>, take_over: bool) {
        let (registration, project) = (drone.map(DroneId::from), None);
        let chat_session = SESSION.into();
        self.request(tab, IdeRequest::RequestSessionLock { registration, project, chat_session, take_over });
    }

    pub(super) fn submit(&mut self, tab: &'static str) {
        self.request(tab, IdeRequest::SubmitPrompt { content: "do it".into() });
    }

    pub(super) fn disconnect(&mut self, tab: &'static str) {
        let this = self.tabs.get_mut(tab).unwrap();
        this.holds = false;
        this.asked = None;
        if let Some(conn) = this.conn.take() {
            self.apply(Input::Gone { conn });
        }
    }

    fn peer(&mut self, tab: &'static str) -> Option<Peer> {
        let conn = self.tabs[tab].conn?;
        // Tab c is of a client that has never heard of tab ids.
        let name = (tab != "c").then(|| tab.into());
        self.last_asked += 1;
        let asked = self.last_asked;
        self.tabs.get_mut(tab).unwrap().asked = Some(asked);
        Some(Peer { conn, user: USER.into(), tab: name, asked })
    }

    /// A tab that has seen what was never stored is sent the whole turn, and begins it anew.
    fn may_begin_anew(&mut self, tab: &'static str) {
        let shown = self.state.log.shown();
        let begin = self.state.newest_from.min(shown);
        let this = self.tabs.get_mut(tab).unwrap();
        if this.seen.is_some_and(|seen| self.state.is_of_a_lost_life(seen)) {
            this.begins_anew = Some(begin);
        }
    }

    fn tab_of(&mut self, conn: ConnId) -> Option<&mut Tab> {
        self.tabs.values_mut().find(|tab| tab.conn == Some(conn))
    }

    // What the state wants done

    fn carry_out(&mut self) {
        for effect in self.state.take_effects() {
            match effect {
                Effect::Answer(answer, args) => answer.answer(args),
                Effect::Show { to, event } => {
                    to.iter().for_each(|conn| self.see(*conn, &event));
                }
                Effect::Replay { conn, events, tell_when_drained } => {
                    for event in &events {
                        self.see(conn, event);
                    }
                    if tell_when_drained {
                        self.jobs.push_back(Job::Drained { conn });
                    }
                }
                Effect::Tell { to, note } => {
                    for conn in to.iter() {
                        if let (Some(tab), Note::Built { name, args }) = (self.tab_of(*conn), &note) {
                            tab.notes.push(format!("{name} {}", Value::from(args.clone())));
                        }
                    }
                }
                Effect::TabTaken { conn, by_itself: _ } => {
                    for tab in self.tabs.values_mut() {
                        assert!(!tab.holds || tab.conn == Some(conn), "two tabs hold the session");
                        tab.holds |= tab.conn == Some(conn);
                    }
                }
                Effect::TabLost { conn } => {
                    if let Some(tab) = self.tab_of(conn) {
                        tab.holds = false;
                    }
                }
                Effect::Forget { conn, upto } => {
                    if let Some(tab) = self.tab_of(conn).filter(|tab| tab.asked <= Some(upto)) {
                        tab.asked = None;
                        tab.holds = false;
                    }
                }
                Effect::Dismiss { drone } => {
                    self.drone.locked &= drone != DRONE.into();
                    self.dismissed.push(drone);
                }
                Effect::Append { events, end } => self.jobs.push_back(Job::Append { events, end }),
                Effect::StoreTurn(new) => self.jobs.push_back(Job::StoreTurn(new)),
                Effect::PatchTurn { turn, patch } => {
                    for (record, _) in self.store.turns.iter_mut().filter(|(record, _)| record.id == turn) {
                        record.abort_requested |= patch.abort_requested == Some(true);
                    }
                }
                Effect::Dispatch(dispatch) => self.jobs.push_back(Job::Dispatch(dispatch)),
                Effect::Command { ticket, conn, command } => {
                    self.jobs.push_back(Job::Command { ticket, conn, command });
                }
                Effect::Claim { ticket, choice } => self.jobs.push_back(Job::Claim { ticket, choice }),
                Effect::LoadPage { conn, after, limit } => {
                    self.jobs.push_back(Job::LoadPage { conn, after, limit });
                }
                Effect::LoadTurn { conn, turn: _ } => self.jobs.push_back(Job::LoadTurn { conn }),
                Effect::KillIde { conn } => {
                    self.jobs.push_back(Job::KillIde { conn });
                    // Nothing that is sent to it from now on arrives.
                    if let Some(tab) = self.tab_of(conn) {
                        tab.conn = None;
                        tab.holds = false;
                        tab.asked = None;
                    }
                }
                Effect::KillDrone { conn } => self.jobs.push_back(Job::KillDrone { conn }),
                Effect::Welcome { answer, drone: _, generation: _, locked: _, stored_seq } => {
                    answer.answer(vec![]);
                    self.welcome(stored_seq);
                }
                Effect::PauseDrone { conn, paused } => {
                    if self.drone.conn == Some(conn) {
                        self.drone.paused = paused;
                    }
                }
                Effect::Suspend { drone: _ } => self.suspended += 1,
                Effect::Probe { .. } | Effect::NameSession { .. } | Effect::NoteWorkspace { .. } => {}
            }
        }
        self.send_outbox();
        self.read_acks();
    }

    fn welcome(&mut self, stored_seq: Option<u64>) {
        if let Some(stored) = stored_seq {
            self.drone.outbox.retain(|unacked| unacked.meta.seq > stored);
            self.drone.outbox.iter_mut().for_each(|unacked| unacked.ack = None);
        } else {
            self.drone.run = None;
            self.drone.outbox.clear();
        }
    }

    fn see(&mut self, conn: ConnId, event: &EventRecord) {
        let Some(tab) = self.tab_of(conn) else { return };
        if tab.begins_anew.take_if(|begin| event.seq == *begin + 1).is_none()
            && let Some(seen) = tab.seen
        {
            assert_eq!(event.seq, seen + 1, "a tab lacks an event or sees one twice");
        }
        tab.seen = Some(event.seq);
        if event.event.name == protocol::event::EventName::WorkOrderComplete {
            let stored = self.store.turns.iter().find(|(record, _)| record.id == event.turn);
            assert!(
                stored.is_some_and(|(_, status)| status.is_over()),
                "shown to be done before it is stored"
            );
        }
    }

    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Lets one piece of work end: the first, or another one that is of no order with those before it.
    pub(super) fn work(&mut self, pick: usize) {
        if self.jobs.is_empty() {
            return;
        }
        let index = pick % self.jobs.len();
        // What goes to the drone goes in order.
        let to_drone = |job: &Job| matches!(job, Job::Command { .. } | Job::Dispatch(_));
        let index = if to_drone(&self.jobs[index]) {
            self.jobs.iter().position(to_drone).unwrap_or(index)
        } else {
            index
        };
        let Some(job) = self.jobs.remove(index) else { return };
        match job {
            Job::Append { events, end } => {
                let stored = !self.store.fails;
                if stored {
                    self.store.append(events, end);
                }
                self.apply(Input::Appended { stored });
            }
            Job::StoreTurn(new) => {
                let turn = new.turn.clone();
                let stored = self.store.insert(new);
                self.apply(Input::TurnStored { turn, stored });
            }
            Job::Dispatch(dispatch) => self.dispatch(dispatch),
            Job::Command { ticket, conn, command } => self.command(ticket, conn, command),
            Job::Claim { ticket, choice } => {
                let drone = match choice {
                    DroneChoice::This(drone) if self.free.iter().any(|free| drone == (*free).into()) => {
                        Ok(drone)
                    }
                    DroneChoice::This(drone) if drone != DRONE.into() => {
                        Err(Refusal::new(Code::NotFound, "there is no such drone"))
                    }
                    DroneChoice::This(_) | DroneChoice::Own => Ok(DRONE.into()),
                };
                let drone = drone.map(|drone| ClaimedDrone { drone });
                self.apply(Input::Claimed { ticket, drone });
            }
            Job::LoadPage { conn, after, limit } => {
                let events = self.store.events.iter().filter(|event| event.seq > after);
                let events = events.take(limit as usize).cloned().collect();
                self.apply(Input::PageLoaded { conn, events: (!self.store.fails).then_some(events) });
            }
            Job::LoadTurn { conn } => {
                let turn = self.store.turns.last().map(|(record, status)| {
                    let last = self.store.events.iter().rfind(|event| event.turn == record.id);
                    Box::new(chat_turn(record, *status, last.map_or(record.seq_before, |event| event.seq)))
                });
                if let Some(tab) = self.tab_of(conn) {
                    tab.seen = turn.as_ref().map(|turn| turn.last_seq);
                }
                self.apply(Input::TurnLoaded { conn, turn: Ok(turn) });
            }
            Job::Drained { conn } => self.apply(Input::Drained { conn }),
            Job::KillIde { conn } => self.apply(Input::Gone { conn }),
            Job::KillDrone { conn } => {
                if self.drone.conn == Some(conn) {
                    self.drone_disconnects();
                }
            }
        }
    }

    pub(super) fn work_all(&mut self) {
        while self.has_jobs() {
            self.work(0);
        }
    }

    fn dispatch(&mut self, dispatch: Dispatch) {
        let Dispatch {
            ticket,
            conn,
            drone: _,
            generation: _,
            turn,
            attempt,
            barren_attempts,
            first_seq,
            is_stored,
        } = dispatch;
        if self.store.fails {
            return self.apply(Input::Answered { ticket, answer: Err(Unanswered::NotSent) });
        }
        let stored = self.store.events.last().map_or(0, |event| event.seq);
        if self.state.turn.as_ref().is_some_and(|now| now.id == turn && now.attempt == attempt) {
            assert_eq!(first_seq, stored + 1, "an attempt must count on from what is stored");
        }
        for (record, _) in self.store.turns.iter_mut().filter(|(record, _)| record.id == turn) {
            if is_stored {
                let stored = (record.attempts, record.barren_attempts, record.attempt_seq_before + 1);
                assert_eq!(stored, (attempt, barren_attempts, first_seq), "the attempt's head is stored");
            }
            record.attempts = attempt;
            record.barren_attempts = barren_attempts;
        }
        if self.drone.conn != Some(conn) {
            return self.apply(Input::Answered { ticket, answer: Err(Unanswered::Disconnected) });
        }
        let busy = self.drone.run.as_ref().is_some_and(|run| !run.over);
        assert!(!busy, "a second turn is sent to a drone that works");
        if self.drone.busy {
            let answer = Ok(vec![false.into(), json!({ "code": "busy", "message": "not done yet" })]);
            return self.apply(Input::Answered { ticket, answer });
        }
        if self.drone.refuses_work {
            let answer = Ok(vec![false.into(), "too tired".into()]);
            return self.apply(Input::Answered { ticket, answer });
        }
        self.drone.crashed = None;
        self.drone.run = Some(Run { turn, attempt, next_seq: first_seq, progress: 0, over: false });
        self.drone.outbox.clear();
        self.apply(Input::Answered { ticket, answer: Ok(vec![true.into()]) });
    }

    fn command(&mut self, ticket: ask::Ticket, conn: ConnId, command: Command) {
        if self.drone.conn != Some(conn) {
            return self.apply(Input::Answered { ticket, answer: Err(Unanswered::Disconnected) });
        }
        let ok = vec![true.into()];
        let args = match command {
            Command::Lock if self.store.fails => {
                return self.apply(Input::Answered { ticket, answer: Err(Unanswered::NotSent) });
            }
            Command::Lock if self.drone.refuses_lock => {
                vec![false.into(), SESSION.into(), json!({ "code": "drone_locked", "message": "mine" })]
            }
            Command::Lock => {
                self.drone.locked = true;
                vec![true.into(), SESSION.into()]
            }
            Command::Release => {
                self.drone.locked = false;
                ok
            }
            Command::Mode(mode) => vec![true.into(), mode.as_str().into()],
            Command::Abort => {
                self.drone_completes(ChatTurnStatus::Aborted);
                ok
            }
            Command::Recovery(response) => {
                if response.action == RecoveryAction::Discard {
                    self.drone.crashed = None;
                }
                return;
            }
            Command::Heartbeat | Command::File { .. } => ok,
        };
        self.apply(Input::Answered { ticket, answer: Ok(args) });
    }

    // Answers

    fn ask(&mut self, what: String) -> Responder {
        let (answer, receiver) = Responder::channel();
        self.asked.push((what, receiver));
        answer
    }

    /// The answers that have come since the last look, by what was asked.
    pub(super) fn answers(&mut self) -> Vec<(String, Vec<Value>)> {
        let mut came = Vec::new();
        self.asked.retain_mut(|(what, receiver)| match receiver.try_recv() {
            Ok(args) => {
                came.push((what.clone(), args));
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => panic!("{what}: dropped without an answer"),
        });
        for (what, args) in &came {
            assert!(!format!("{args:?}").contains("draining"), "{what}: was dropped unanswered");
        }
        came
    }

    pub(super) fn answer(&mut self) -> Vec<Value> {
        let mut came = self.answers();
        assert_eq!(came.len(), 1, "one answer is expected: {came:?}");
        came.remove(0).1
    }

    pub(super) fn unanswered(&self) -> Vec<String> {
        self.asked.iter().map(|(what, _)| what.clone()).collect()
    }

    fn new_conn(&mut self) -> ConnId {
        self.last_conn += 1;
        ConnId(self.last_conn)
    }
}

pub(super) fn now(elapsed: Duration) -> Now {
    let wall = Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(elapsed).unwrap();
    Now { elapsed, wall }
}

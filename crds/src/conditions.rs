//! Conditions: their types, and how one is set so that its time of change stays true.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Sums the others up; what `kubectl wait` and kstatus look at.
pub const READY: &str = "Ready";
pub const WORKSPACE_BOUND: &str = "WorkspaceBound";
pub const DRONE_READY: &str = "DroneReady";
pub const SUSPENDED: &str = "Suspended";
pub const POD_SCHEDULED: &str = "PodScheduled";
/// The class has a newer revision than the one that the pod runs with.
pub const CLASS_OUTDATED: &str = "ClassOutdated";
/// kstatus: on its way.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: a person has to act.
pub const STALLED: &str = "Stalled";

/// Longest message of a condition or failure; the rest is cut, so that an object stays small.
pub const LONGEST_MESSAGE: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    True,
    False,
    Unknown,
}

impl Is {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Is {
    fn from(is: bool) -> Self {
        if is { Self::True } else { Self::False }
    }
}

pub fn new(
    kind: &str,
    is: Is,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: &Time,
) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: is.as_str().to_owned(),
        reason: reason.to_owned(),
        message: bounded(message),
        observed_generation: generation,
        last_transition_time: now.clone(),
    }
}

/// The new conditions, with the time of change of each that has not changed.
pub fn carried_over(old: &[Condition], mut new: Vec<Condition>) -> Vec<Condition> {
    for condition in &mut new {
        if let Some(before) = find(old, &condition.type_)
            && before.status == condition.status
        {
            condition.last_transition_time = before.last_transition_time.clone();
        }
    }
    new
}

pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// At most [`LONGEST_MESSAGE`] bytes, cut between characters.
pub fn bounded(text: &str) -> String {
    if text.len() <= LONGEST_MESSAGE {
        return text.to_owned();
    }
    let end = (0..=LONGEST_MESSAGE - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_time_of_change_stays_until_something_changes() {
        let old = vec![
            new(READY, Is::False, "Starting", "", None, &at(1)),
            new(SUSPENDED, Is::False, "Running", "", None, &at(1)),
        ];
        let fresh = vec![
            new(READY, Is::True, "Ready", "", None, &at(2)),
            new(SUSPENDED, Is::False, "Running", "more words", None, &at(2)),
        ];
        let times: Vec<Time> =
            carried_over(&old, fresh).into_iter().map(|condition| condition.last_transition_time).collect();
        assert_eq!(times, [at(2), at(1)]);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        let cut = bounded(&"ü".repeat(400));
        assert!(cut.len() <= LONGEST_MESSAGE && cut.ends_with("ü…"), "{}", cut.len());
    }
}

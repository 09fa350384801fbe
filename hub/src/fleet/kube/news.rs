//! What the resources say of a drone, as the hub's sessions and clients understand it. Pure.

use crds::chat_session::SessionPhase;
use crds::drone_registration::DronePhase as ResourcePhase;
use protocol::value::DronePhase;

use super::seen::{Drone, Session, Wish, Words};

/// The state of one drone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) phase: DronePhase,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) restarts: u32,
    /// A person wants it to be stopped.
    pub(crate) held: bool,
}

/// The session, where there is one, and its drone, where there is one.
pub(crate) fn news(session: Option<&Session>, drone: Option<&Drone>) -> News {
    let wishes = [session.map(|session| session.wish), drone.map(|drone| drone.wish)];
    let held = wishes.contains(&Some(Wish::Stop));
    match (session, drone) {
        (_, Some(drone)) => of_drone(drone, held),
        (Some(session), None) => of_session(session, held),
        (None, None) => {
            let words =
                "the drone was deleted in the cluster; its workspace is kept or removed as its session says";
            told(
                DronePhase::Failed,
                Some(&Words { reason: "Deleted".into(), message: words.into() }),
                0,
                false,
            )
        }
    }
}

/// What clients are told of a session whose resource was deleted in the cluster.
pub(crate) fn session_deleted() -> News {
    let words = "the chat session's resource was deleted in the cluster: it is archived here, nothing that was said is \
                 lost, and its next prompt makes the resource again";
    let words = Words { reason: "SessionDeleted".into(), message: words.into() };
    told(DronePhase::Failed, Some(&words), 0, false)
}

fn of_drone(drone: &Drone, held: bool) -> News {
    let ready = drone.ready.as_ref();
    let failure = drone.failure.as_ref();
    let (phase, words) = match drone.phase {
        _ if drone.deleting => (DronePhase::Recovering, None),
        None | Some(ResourcePhase::Starting) => (DronePhase::Starting, with_advice(ready, failure)),
        Some(ResourcePhase::Available) => (DronePhase::Available, ready),
        Some(ResourcePhase::Busy) => (DronePhase::Busy, ready),
        // What happened says more than that something is being done about it.
        Some(ResourcePhase::Recovering) => (DronePhase::Recovering, failure.or(ready)),
        Some(ResourcePhase::Failed) => (DronePhase::Failed, failure.or(ready)),
        Some(ResourcePhase::Suspended) => (DronePhase::Suspended, ready),
        Some(ResourcePhase::Offline) => (DronePhase::Offline, ready.or(failure)),
    };
    let replaced = Words {
        reason: "Replaced".into(),
        message: "the drone was deleted; a new one takes its place on the same workspace".into(),
    };
    let words = if drone.deleting { Some(&replaced) } else { words };
    told(phase, words, drone.restarts, held)
}

/// What keeps a drone from starting is told with what can be done about it. An old failure does not.
fn with_advice<'a>(ready: Option<&'a Words>, failure: Option<&'a Words>) -> Option<&'a Words> {
    let same = |failure: &&Words| ready.is_some_and(|ready| ready.reason == failure.reason);
    failure.filter(same).or(ready)
}

/// Its drone is not there: not yet, or not any more.
fn of_session(session: &Session, held: bool) -> News {
    let ready = session.ready.as_ref();
    let phase = match (session.wish, session.phase) {
        _ if session.deleting => DronePhase::Offline,
        (Wish::Sleep | Wish::Stop, _) | (Wish::Run, Some(SessionPhase::Terminating)) => DronePhase::Offline,
        (Wish::Run, Some(SessionPhase::Failed)) => DronePhase::Failed,
        // It was there a moment ago.
        (Wish::Run, Some(SessionPhase::Ready | SessionPhase::Recovering)) => DronePhase::Recovering,
        (
            Wish::Run,
            None
            | Some(
                SessionPhase::Pending
                | SessionPhase::Starting
                | SessionPhase::Suspending
                | SessionPhase::Suspended,
            ),
        ) => DronePhase::Starting,
    };
    let stopped = Words {
        reason: "Suspended".into(),
        message: "the chat session is suspended and has no pod; its workspace is kept".into(),
    };
    let words = if phase == DronePhase::Offline { Some(&stopped) } else { ready };
    told(phase, words, session.restarts, held)
}

fn told(phase: DronePhase, words: Option<&Words>, restarts: u32, held: bool) -> News {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    News {
        phase,
        reason: words.and_then(|words| some(&words.reason)),
        message: words.and_then(|words| some(&words.message)),
        restarts,
        held,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drone, session};
    use super::*;

    fn words(reason: &str, message: &str) -> Words {
        Words { reason: reason.to_owned(), message: message.to_owned() }
    }

    fn phase_of(session: &Session) -> DronePhase {
        news(Some(session), None).phase
    }

    #[test]
    fn a_failure_is_told_in_the_words_of_whoever_saw_it_with_what_to_do() {
        let failed = Drone {
            phase: Some(ResourcePhase::Failed),
            restarts: 5,
            ready: Some(words("Failed", "the drone is given up")),
            failure: Some(words("OOMKilled", "out of memory; give its class more memory")),
            ..drone("a")
        };
        let told = News {
            phase: DronePhase::Failed,
            reason: Some("OOMKilled".into()),
            message: Some("out of memory; give its class more memory".into()),
            restarts: 5,
            held: false,
        };
        assert_eq!(news(Some(&session("a", "u")), Some(&failed)), told);
    }

    #[test]
    fn what_keeps_a_drone_from_starting_is_told_with_what_to_do() {
        let waits = |reason: &str| Drone {
            phase: Some(ResourcePhase::Starting),
            ready: Some(words(reason, "no room")),
            failure: Some(words("Unschedulable", "no room; add nodes")),
            ..drone("a")
        };
        let told = |reason| news(None, Some(&waits(reason))).message;
        assert_eq!(told("Unschedulable").as_deref(), Some("no room; add nodes"));
        assert_eq!(told("Starting").as_deref(), Some("no room"));
    }

    #[test]
    fn an_old_failure_is_not_told_of_a_drone_that_works() {
        let works = Drone {
            phase: Some(ResourcePhase::Busy),
            ready: Some(words("Ready", "")),
            failure: Some(words("OOMKilled", "out of memory")),
            ..drone("a")
        };
        let told = news(None, Some(&works));
        assert_eq!(
            (told.phase, told.reason.as_deref(), told.message),
            (DronePhase::Busy, Some("Ready"), None)
        );
    }

    #[test]
    fn either_resource_is_held_by_a_person_and_neither_by_the_hub_s_own_sleep() {
        let running = session("a", "u");
        let with = |wish| Session { wish, ..running.clone() };
        let stopped = Drone { wish: Wish::Stop, ..drone("a") };
        assert!(!news(Some(&running), Some(&drone("a"))).held);
        assert!(!news(Some(&with(Wish::Sleep)), Some(&drone("a"))).held);
        assert!(news(Some(&with(Wish::Stop)), Some(&drone("a"))).held);
        assert!(news(Some(&with(Wish::Stop)), None).held);
        assert!(news(Some(&running), Some(&stopped)).held);
    }

    #[test]
    fn a_session_without_a_drone_is_on_its_way_coming_back_or_off() {
        let at = |phase| Session { phase: Some(phase), ..session("a", "u") };
        assert_eq!(phase_of(&session("a", "u")), DronePhase::Starting);
        assert_eq!(phase_of(&at(SessionPhase::Ready)), DronePhase::Recovering);
        assert_eq!(phase_of(&at(SessionPhase::Failed)), DronePhase::Failed);
        assert_eq!(phase_of(&Session { wish: Wish::Stop, ..at(SessionPhase::Ready) }), DronePhase::Offline);
        assert_eq!(phase_of(&Session { deleting: true, ..at(SessionPhase::Ready) }), DronePhase::Offline);
    }

    #[test]
    fn a_drone_that_is_deleted_comes_back_and_one_without_a_session_does_not() {
        let going = Drone { deleting: true, phase: Some(ResourcePhase::Busy), ..drone("a") };
        assert_eq!(news(Some(&session("a", "u")), Some(&going)).phase, DronePhase::Recovering);
        assert_eq!(news(None, None).phase, DronePhase::Failed);
        assert_eq!(session_deleted().phase, DronePhase::Failed);
    }
}

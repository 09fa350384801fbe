//! What each drone does, written where the operator and `kubectl get drones -o wide` see it: seldom, and only what is new.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crds::drone_registration::{Activity, ActivityState};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::ids::{ChatSessionId, DroneId};
use tokio::time::{Instant, MissedTickBehavior};

use crate::app::SharedApp;
use crate::fleet::kube::KubeFleet;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two writes about one drone.
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// What is true of a drone now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    /// When the turn began that runs.
    working_since: Option<Timestamp>,
    process_restarts: u32,
    workspace: String,
}

pub(super) async fn run(app: SharedApp, fleet: Arc<KubeFleet>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written: HashMap<DroneId, Instant> = HashMap::new();
    loop {
        ticks.tick().await;
        // A store that fails is said by those who need it more.
        let Ok(turns) = app.store.processing_turns(None).await else { continue };
        let working: HashMap<ChatSessionId, Timestamp> =
            turns.into_iter().map(|turn| (turn.session, turn.created_at)).collect();
        written.retain(|_, at| at.elapsed() < WRITE_EVERY);
        for drone in fleet.admitted() {
            if written.contains_key(&drone) {
                continue;
            }
            let Some(facts) = facts(&app, &drone, &working) else { continue };
            let Some(seen) = fleet.drone(drone.as_str()) else { continue };
            let Some(next) = next(seen.activity.as_ref(), &facts, Timestamp::now()) else { continue };
            written.insert(drone.clone(), Instant::now());
            if let Err(error) = fleet.write_activity(drone.as_str(), &next).await {
                tracing::debug!(%drone, error = &error as &dyn std::error::Error, "failed to write what a drone does");
                // It is the same for the others; the next round tries again.
                break;
            }
        }
    }
}

/// `None`: it is not connected, so nothing new is known.
fn facts(app: &SharedApp, drone: &DroneId, working: &HashMap<ChatSessionId, Timestamp>) -> Option<Facts> {
    let hello = app.drones.connection(drone)?.hello_said()?;
    let session = app.drones.session_of(drone);
    Some(Facts {
        working_since: session.and_then(|session| working.get(&session).copied()),
        process_restarts: hello.process_restarts,
        workspace: hello.workspace_id.to_string(),
    })
}

/// What is to be written, if anything is.
fn next(known: Option<&Activity>, facts: &Facts, now: Timestamp) -> Option<Activity> {
    let Facts { working_since, process_restarts, workspace } = facts;
    let state = if working_since.is_some() { ActivityState::Working } else { ActivityState::Idle };
    let same = known.filter(|known| known.state == state);
    let began = working_since.unwrap_or(now);
    let next = Activity {
        state,
        since: same.map_or_else(|| whole(began), |known| known.since.clone()),
        // The end of a turn is activity, too; in the middle of one nothing is written.
        last_activity_at: match same {
            Some(known) => known.last_activity_at.clone(),
            None => Some(whole(began)),
        },
        process_restarts: i32::try_from(*process_restarts).unwrap_or(i32::MAX),
        workspace_id: Some(workspace.clone()),
    };
    (known != Some(&next)).then_some(next)
}

/// The API server keeps whole seconds; what it keeps must be what was written.
fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn facts(working_since: Option<i64>) -> Facts {
        Facts { working_since: working_since.map(at), process_restarts: 0, workspace: "w".into() }
    }

    #[test]
    fn only_what_is_new_is_written() {
        let idle = next(None, &facts(None), at(10)).unwrap();
        assert_eq!((idle.state, idle.since.0), (ActivityState::Idle, at(10)));
        assert_eq!(next(Some(&idle), &facts(None), at(99)), None);
        let working = next(Some(&idle), &facts(Some(20)), at(21)).unwrap();
        assert_eq!((working.state, working.since.0), (ActivityState::Working, at(20)));
        assert_eq!(next(Some(&working), &facts(Some(20)), at(99)), None);
        // A second turn right after the first is the same state.
        assert_eq!(next(Some(&working), &facts(Some(50)), at(99)), None);
        let done = next(Some(&working), &facts(None), at(60)).unwrap();
        assert_eq!(done.last_activity_at, Some(Time(at(60))));
    }

    #[test]
    fn a_process_that_was_restarted_is_told_without_touching_the_rest() {
        let idle = next(None, &facts(None), at(10)).unwrap();
        let restarted = next(Some(&idle), &Facts { process_restarts: 2, ..facts(None) }, at(50)).unwrap();
        assert_eq!(restarted, Activity { process_restarts: 2, ..idle });
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let now: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let written = next(None, &facts(None), now).unwrap();
        let kept: Activity = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
        assert_eq!(next(Some(&kept), &facts(None), now), None);
    }
}

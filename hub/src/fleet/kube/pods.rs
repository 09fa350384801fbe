//! Which pod of a drone may speak for it. Pure.
//!
//! The API server vouches for a token that is bound to a live pod, but keeps what it has found out for ten seconds: a pod
//! that was replaced, and still runs on a node that is cut off, would be let in once more. So what the watch has shown to
//! be past is refused, whatever the API server says. A pod that the watch has not shown yet is none of the past.

use std::collections::{HashMap, VecDeque};

use protocol::ids::DroneId;

use super::review::PodUid;

/// Of each drone. What is longer ago than so many pods, the API server has forgotten as well.
const PAST: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Pods {
    drones: HashMap<DroneId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of the newest connection that was let in.
    admitted: Option<PodUid>,
    /// What the resource says.
    shown: Option<String>,
    /// What the resource said before.
    past: VecDeque<String>,
}

impl Known {
    fn is_past(&self, pod: &PodUid) -> bool {
        self.past.contains(&pod.0)
    }
}

impl Pods {
    /// The resource says that this is the drone's pod.
    pub(super) fn show(&mut self, drone: &DroneId, uid: Option<&str>) {
        let known = self.drones.entry(drone.clone()).or_default();
        if known.shown.as_deref() == uid {
            return;
        }
        if let Some(before) = known.shown.take() {
            known.past.push_back(before);
            if known.past.len() > PAST {
                known.past.pop_front();
            }
        }
        known.shown = uid.map(ToOwned::to_owned);
        // What was said by mistake is taken back.
        known.past.retain(|past| Some(past.as_str()) != uid);
    }

    /// Lets a pod in that has proved itself. `false`: it was replaced.
    pub(super) fn admit(&mut self, drone: &DroneId, pod: PodUid) -> bool {
        let known = self.drones.entry(drone.clone()).or_default();
        if known.is_past(&pod) {
            return false;
        }
        known.admitted = Some(pod);
        true
    }

    /// Whether the drone's newest connection is of another pod than this one.
    pub(super) fn is_of_another(&self, drone: &DroneId, uid: &str) -> bool {
        self.admitted_of(drone).is_some_and(|pod| pod.0 != uid)
    }

    /// Drones whose newest connection is of a pod that was replaced: it was let in while that came to be known. Each is
    /// told once.
    pub(super) fn take_stale(&mut self) -> Vec<DroneId> {
        let mut stale = Vec::new();
        for (drone, known) in &mut self.drones {
            if known.admitted.as_ref().is_some_and(|pod| known.is_past(pod)) {
                known.admitted = None;
                stale.push(drone.clone());
            }
        }
        stale
    }

    /// Drones whose pods were let in.
    pub(super) fn admitted(&self) -> Vec<DroneId> {
        let admitted = self.drones.iter().filter(|(_, known)| known.admitted.is_some());
        admitted.map(|(drone, _)| drone.clone()).collect()
    }

    pub(super) fn forget(&mut self, drone: &DroneId) {
        self.drones.remove(drone);
    }

    fn admitted_of(&self, drone: &DroneId) -> Option<&PodUid> {
        self.drones.get(drone)?.admitted.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodUid {
        PodUid(uid.to_owned())
    }

    #[test]
    fn a_pod_that_was_replaced_is_not_let_in_and_one_that_is_not_shown_yet_is() {
        let (mut pods, drone) = (Pods::default(), DroneId::from("a"));
        assert!(pods.admit(&drone, pod("1")));
        pods.show(&drone, Some("1"));
        assert!(pods.admit(&drone, pod("2")), "the resource is late");
        pods.show(&drone, Some("2"));
        assert!(!pods.admit(&drone, pod("1")));
        assert!(pods.admit(&drone, pod("2")));
        assert_eq!(pods.take_stale(), []);
    }

    #[test]
    fn a_pod_that_was_let_in_while_it_was_replaced_is_found() {
        let (mut pods, drone) = (Pods::default(), DroneId::from("a"));
        pods.show(&drone, Some("1"));
        assert!(pods.admit(&drone, pod("1")));
        pods.show(&drone, None);
        assert_eq!(pods.take_stale(), [drone]);
        assert_eq!((pods.take_stale(), pods.admitted()), (vec![], vec![]));
    }

    #[test]
    fn what_a_resource_said_by_mistake_shuts_nobody_out() {
        let (mut pods, drone) = (Pods::default(), DroneId::from("a"));
        for uid in ["1", "nonsense", "1"] {
            pods.show(&drone, Some(uid));
        }
        assert!(pods.admit(&drone, pod("1")));
        for number in 0..20 {
            pods.show(&drone, Some(&format!("later-{number}")));
        }
        assert!(pods.drones[&drone].past.len() <= PAST);
    }
}

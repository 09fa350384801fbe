//! The status that a kubelet would write. Pure.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::control_plane::node::behaviour::{Eviction, Obstacle};

/// Of all containers of a pod: they share their fate.
#[derive(Clone, Debug)]
pub(super) struct PodState {
    pub container: State,
    pub ready: bool,
    pub restarts: i32,
    /// How the container ended before it was started again.
    pub last: Option<Ended>,
    /// When the pod came to the node.
    pub arrived: Time,
    pub evicted: Option<Eviction>,
    pub ip: String,
    pub host_ip: String,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// `ContainerCreating` and its like; the second is the message.
    Waiting(&'static str, Option<String>),
    Running(Time),
    Ended(Ended),
}

#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub code: i32,
    pub reason: &'static str,
    pub started: Option<Time>,
    pub finished: Time,
    /// What the process said last.
    pub message: Option<String>,
}

impl State {
    pub(super) fn creating() -> Self {
        Self::Waiting("ContainerCreating", None)
    }

    /// The first of the states that an obstacle is seen by; `None` where events alone tell.
    pub(super) fn obstructed(obstacle: &Obstacle, again: bool) -> Self {
        match obstacle {
            Obstacle::Image(message) if again => {
                Self::Waiting("ImagePullBackOff", Some(format!("Back-off pulling image: {message}")))
            }
            Obstacle::Image(message) => Self::Waiting("ErrImagePull", Some(message.clone())),
            Obstacle::ImageName(message) => Self::Waiting("InvalidImageName", Some(message.clone())),
            Obstacle::Configuration(message) => {
                Self::Waiting("CreateContainerConfigError", Some(message.clone()))
            }
            Obstacle::Mount(_) => Self::creating(),
        }
    }
}

impl PodState {
    pub(super) fn phase(&self) -> &'static str {
        match &self.container {
            _ if self.evicted.is_some() => "Failed",
            State::Waiting(..) if self.last.is_none() => "Pending",
            State::Waiting(..) | State::Running(_) => "Running",
            State::Ended(Ended { code: 0, .. }) => "Succeeded",
            State::Ended(_) => "Failed",
        }
    }

    /// For a strategic merge: conditions of others stay.
    pub(super) fn status(&self, pod: &Pod, now: &Time) -> PodStatus {
        let Self { container, ready, restarts, last, arrived, evicted, ip, host_ip } = self;
        let before = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let condition = |kind: &str, is: bool, reason: Option<&str>, message: Option<&str>| {
            let status = if is { "True" } else { "False" };
            let same = before.iter().find(|old| old.type_ == kind && old.status == status);
            let since = same.and_then(|old| old.last_transition_time.clone());
            PodCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.map(str::to_owned),
                message: message.map(str::to_owned),
                last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
                ..PodCondition::default()
            }
        };
        let over = matches!(container, State::Ended(_)) || evicted.is_some();
        let reason = match (over, *ready, self.phase()) {
            (_, true, _) => None,
            (true, false, "Succeeded") => Some("PodCompleted"),
            (true, false, _) => Some("PodFailed"),
            (false, false, _) => Some("ContainersNotReady"),
        };
        let started = !matches!(container, State::Waiting(..)) || last.is_some();
        let mut conditions = vec![
            condition("PodReadyToStartContainers", started && !over, None, None),
            condition("Initialized", true, None, None),
            condition("Ready", *ready, reason, None),
            condition("ContainersReady", *ready, reason, None),
        ];
        if let Some(eviction) = evicted {
            conditions.push(condition(
                "DisruptionTarget",
                true,
                Some("TerminationByKubelet"),
                Some(eviction.message()),
            ));
        }
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let statuses = containers.map(|spec| ContainerStatus {
            name: spec.name.clone(),
            image: spec.image.clone().unwrap_or_default(),
            image_id: String::new(),
            ready: *ready,
            started: Some(matches!(container, State::Running(_))),
            restart_count: *restarts,
            state: Some(of_container(container)),
            last_state: last.clone().map(|ended| of_container(&State::Ended(ended))),
            ..ContainerStatus::default()
        });
        let ips = started.then(|| vec![PodIP { ip: ip.clone() }]);
        PodStatus {
            phase: Some(self.phase().to_owned()),
            reason: evicted.map(|eviction| eviction.reason().to_owned()),
            message: evicted.map(|eviction| eviction.message().to_owned()),
            conditions: Some(conditions),
            container_statuses: Some(statuses.collect()),
            host_ip: Some(host_ip.clone()),
            host_ips: Some(vec![HostIP { ip: host_ip.clone() }]),
            pod_ip: ips.as_ref().map(|_| ip.clone()),
            pod_ips: ips,
            start_time: Some(arrived.clone()),
            ..PodStatus::default()
        }
    }
}

fn of_container(state: &State) -> ContainerState {
    match state {
        State::Waiting(reason, message) => {
            let waiting =
                ContainerStateWaiting { reason: Some((*reason).to_owned()), message: message.clone() };
            ContainerState { waiting: Some(waiting), ..ContainerState::default() }
        }
        State::Running(since) => {
            let running = ContainerStateRunning { started_at: Some(since.clone()) };
            ContainerState { running: Some(running), ..ContainerState::default() }
        }
        State::Ended(Ended { code, reason, started, finished, message }) => {
            let terminated = ContainerStateTerminated {
                exit_code: *code,
                reason: Some((*reason).to_owned()),
                message: message.clone(),
                started_at: started.clone(),
                finished_at: Some(finished.clone()),
                ..ContainerStateTerminated::default()
            };
            ContainerState { terminated: Some(terminated), ..ContainerState::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(container: State) -> PodState {
        PodState {
            container,
            ready: false,
            restarts: 0,
            last: None,
            arrived: Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH),
            evicted: None,
            ip: "10.0.0.1".into(),
            host_ip: "127.0.0.1".into(),
        }
    }

    fn ended(code: i32) -> Ended {
        let now = Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        Ended { code, reason: "Error", started: None, finished: now, message: None }
    }

    #[test]
    fn the_phase_follows_from_the_container() {
        assert_eq!(state(State::creating()).phase(), "Pending");
        assert_eq!(state(State::Ended(ended(0))).phase(), "Succeeded");
        assert_eq!(state(State::Ended(ended(1))).phase(), "Failed");
        let waiting_again = PodState { last: Some(ended(1)), ..state(State::creating()) };
        assert_eq!(waiting_again.phase(), "Running");
        let evicted = PodState { evicted: Some(Eviction::Memory), ..state(State::creating()) };
        assert_eq!(evicted.phase(), "Failed");
    }
}

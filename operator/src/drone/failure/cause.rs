//! Causes in words: whose matter it is, what happened, and what a person can do.

use crds::conditions::bounded;
use crds::drone_registration::LastFailure;
use crds::value::FailureClass;
use kube::core::Status;

use super::super::validate::Problem;
use crate::index::{Pod, PodPhase, Warning};

/// The kubelet's reasons for a container that has run nothing at all.
const NEVER_STARTED: [&str; 2] = [START_ERROR, "ContainerCannotRun"];
const START_ERROR: &str = "StartError";
const EVICTED: &str = "Evicted";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub class: FailureClass,
    pub reason: String,
    pub message: String,
    pub exit_code: Option<i32>,
    pub retryable: bool,
    pub advice: String,
}

/// The API server does not let us make something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
    pub advice: String,
}

impl Cause {
    fn new(class: FailureClass, reason: &str, message: impl AsRef<str>, advice: impl Into<String>) -> Self {
        Self {
            class,
            reason: reason.to_owned(),
            message: bounded(message.as_ref()),
            exit_code: None,
            retryable: true,
            advice: advice.into(),
        }
    }

    /// The container ended and is started again in its pod, or its pod ended with it.
    pub(super) fn of_exit(pod: &Pod) -> Self {
        let end = pod.container.last_end();
        let code = end.map_or(0, |end| end.exit_code);
        if let Some(end) = end.filter(|end| NEVER_STARTED.contains(&&*end.reason)) {
            return Self {
                exit_code: Some(code),
                ..Self::new(
                    FailureClass::Process,
                    START_ERROR,
                    format!("the node cannot start the drone: {}", plain(&end.message)),
                    "name an image in the DroneClass that holds the program gadget-drone, then delete the drone to \
                     start from it",
                )
            };
        }
        let line = end.map(|end| end.message.as_str()).filter(|line| !line.is_empty());
        let last = line.map(|line| format!("; its last line: {line}")).unwrap_or_default();
        let limit = pod.container.memory_limit.as_deref();
        if end.is_some_and(|end| &*end.reason == "OOMKilled") {
            let of = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
            let message = format!("the drone used more memory than its limit{of} and was ended{last}");
            let advice = format!(
                "raise resources.limits.memory{of} in the DroneClass, or let the agent run smaller jobs, then delete \
                 the drone to start with the new limit"
            );
            return Self {
                exit_code: Some(code),
                ..Self::new(FailureClass::Memory, "OOMKilled", message, advice)
            };
        }
        let killed = match (code, limit) {
            (137, Some(limit)) => format!(" (killed; perhaps it reached its limit of memory, {limit})"),
            (137, None) => " (killed)".to_owned(),
            _ => String::new(),
        };
        Self {
            exit_code: Some(code),
            ..Self::new(
                FailureClass::Process,
                "ContainerEnded",
                format!("the drone ended with exit code {code}{killed}{last}"),
                "nothing to do if it happens once; else look at `kubectl logs --previous` of its pod",
            )
        }
    }

    /// The pod has come to its end. A drone that was asked to end does so well, and then only an event says who asked.
    pub(super) fn of_end(pod: &Pod, warning: Option<&Warning>) -> Self {
        if let Some(warning) = warning.filter(|warning| &*warning.reason == EVICTED) {
            return Self::evicted(&warning.message);
        }
        if let Some(cause) = Self::of_disruption(pod) {
            return cause;
        }
        let words = pod.message.as_deref().unwrap_or_default();
        let reason = pod.reason.as_deref().unwrap_or_default();
        match (pod.phase, reason) {
            (PodPhase::Succeeded, _) => Self {
                exit_code: Some(0),
                ..Self::new(
                    FailureClass::Process,
                    "Completed",
                    "the drone ended by itself with exit code 0, and should run",
                    "nothing to do if it happens once; to stop a drone, set its operatingMode to Suspended",
                )
            },
            (_, EVICTED) => Self::evicted(words),
            (_, "Preempting" | "Preempted") => Self::preempted(words),
            (_, "Terminated" | "NodeShutdown" | "Shutdown") => Self::new(
                FailureClass::Node,
                "NodeShutdown",
                format!("the node was shut down: {words}"),
                "nothing to do: the drone starts on another node",
            ),
            (_, "NodeLost") => Self::node_lost(words),
            (_, other) if pod.container.last_end().is_none() => Self::new(
                FailureClass::Node,
                if other.is_empty() { "PodFailed" } else { other },
                format!("the node did not take the pod: {words}"),
                "nothing to do: it is tried again. If it goes on, look at the node with `kubectl describe node`",
            ),
            _ => Self::of_exit(pod),
        }
    }

    /// The pod is being deleted, or was, and not by us.
    pub(super) fn of_deletion(pod: &Pod) -> Self {
        Self::of_disruption(pod).unwrap_or_else(Self::deleted)
    }

    pub(super) fn deleted() -> Self {
        Self::new(
            FailureClass::Moved,
            "PodDeleted",
            "the pod was deleted",
            "nothing to do: it is replaced. To stop a drone, set its operatingMode to Suspended",
        )
    }

    fn of_disruption(pod: &Pod) -> Option<Self> {
        let (reason, words) = pod.disruption.as_ref()?;
        Some(match &**reason {
            "EvictionByEvictionAPI" => Self::new(
                FailureClass::Moved,
                "Drained",
                format!("the pod was asked to leave its node: {words}"),
                "nothing to do: the drone starts on another node",
            ),
            "PreemptionByScheduler" => Self::preempted(words),
            "DeletionByTaintManager" => Self::node_lost(words),
            "DeletionByPodGC" => Self::new(
                FailureClass::Node,
                "NodeGone",
                format!("the pod's node is gone: {words}"),
                "nothing to do: the drone starts on another node",
            ),
            "TerminationByKubelet" => Self::new(
                FailureClass::Node,
                if pod.reason.as_deref() == Some(EVICTED) { EVICTED } else { "NodeShutdown" },
                format!("the node ended the pod: {}", pod.message.as_deref().unwrap_or(words)),
                "nothing to do: it is replaced. If it was evicted and it happens again, raise the requests of that \
                 resource in the DroneClass",
            ),
            other => Self::new(
                FailureClass::Moved,
                other,
                format!("the pod had to go: {words}"),
                "nothing to do: it is replaced",
            ),
        })
    }

    fn evicted(words: &str) -> Self {
        let advice = if words.contains("EmptyDir") {
            "nothing to do: it is replaced. What fills up /tmp belongs into the workspace"
        } else {
            "nothing to do: it is replaced. If it happens again, raise the requests of that resource in the \
             DroneClass, or give the nodes more of it"
        };
        Self::new(FailureClass::Node, EVICTED, format!("the node evicted the pod: {words}"), advice)
    }

    fn preempted(words: &str) -> Self {
        Self::new(
            FailureClass::Node,
            "Preempted",
            format!("the pod made room for a more important one: {words}"),
            "nothing to do: it starts again where there is room. For more weight set priorityClassName in the \
             DroneClass",
        )
    }

    fn node_lost(words: &str) -> Self {
        Self::new(
            FailureClass::Node,
            "NodeLost",
            format!("the pod's node does not answer or does not want it any more: {words}"),
            "nothing to do: the drone starts on another node as soon as the API server lets the pod go. If the node is \
             off for good, delete it or taint it with node.kubernetes.io/out-of-service",
        )
    }

    /// The kubelet waits with the container.
    pub(super) fn of_waiting(reason: &str, message: &str, before: Option<&LastFailure>) -> Option<Self> {
        match reason {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ErrImageInspect"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => Some(Self::of_image(reason, message, before)),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(Self::new(
                FailureClass::Policy,
                reason,
                format!("the node cannot make the container: {message}"),
                "make what is missing, or mend the DroneClass; the node tries again by itself",
            )),
            _ => None,
        }
    }

    /// Pulling and waiting to pull take turns, and only one of them has the registry's words: both are told as one, or
    /// the status would change every few seconds.
    fn of_image(reason: &str, message: &str, before: Option<&LastFailure>) -> Self {
        const PULL: &str = "ImagePullFailed";
        let (reason, message) = match reason {
            "ErrImagePull" | "ImagePullBackOff" => {
                let words = message.split_once("ErrImagePull: ").map_or(message, |(_, words)| words);
                let said = before.filter(|before| {
                    before.class == FailureClass::Image
                        && before.reason == PULL
                        && reason == "ImagePullBackOff"
                });
                (
                    PULL,
                    said.map_or_else(
                        || format!("cannot pull the image: {words}"),
                        |said| said.message.clone(),
                    ),
                )
            }
            other => (other, format!("cannot use the image: {message}")),
        };
        Self::new(
            FailureClass::Image,
            reason,
            message,
            "check image and imagePullSecrets in the DroneClass, and the registry; the node tries again by itself",
        )
    }

    pub(super) fn unschedulable(words: &str) -> Self {
        // What the scheduler says of preemption is of no use to a person.
        let end =
            [" no new claims to deallocate", " preemption: ", " not found"].map(|mark| words.find(mark));
        let words = words[..end.into_iter().flatten().min().unwrap_or(words.len())].trim_end_matches('.');
        let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        if says(&[
            "persistentvolumeclaim",
            "PersistentVolumeClaim",
            "volume node affinity",
            "persistent volumes",
        ]) {
            return Self::new(
                FailureClass::Storage,
                "Unschedulable",
                words,
                "look at the claim with `kubectl describe pvc`; the drone starts as soon as its volume can be used",
            );
        }
        let advice = if says(&["Insufficient", "Too many pods"]) {
            "add nodes, free resources, or ask for less in the DroneClass; the drone starts as soon as there is room"
        } else if says(&["untolerated taint"]) {
            "take the taint off a node with `kubectl taint`, or put up with it by tolerations in the DroneClass and \
             delete the drone"
        } else if says(&["were unschedulable"]) {
            "let pods onto a node again with `kubectl uncordon`, or add nodes"
        } else if says(&["node affinity/selector"]) {
            "give a node the labels that nodeSelector in the DroneClass wants; or mend that, and delete the drone"
        } else if says(&["topology spread"]) {
            "give the nodes the labels that topologySpread in the DroneClass wants; or mend that, and delete the drone"
        } else {
            "mend the nodes, or what the DroneClass wants of them; the drone starts as soon as one suits it"
        };
        Self::new(FailureClass::Capacity, "Unschedulable", words, advice)
    }

    pub(super) fn of_pod_warning(warning: &Warning) -> Self {
        let words = plain(&warning.message);
        let (class, advice) = match &*warning.reason {
            EVICTED => return Self::evicted(words),
            "FailedCreatePodSandBox" if words.contains("OOM-killed") => (
                FailureClass::Policy,
                "raise resources.limits.memory in the DroneClass, then delete the drone to start with the new limit",
            ),
            "FailedCreatePodSandBox" if words.contains("user namespaces") => (
                FailureClass::Policy,
                "leave hostUsers out of the DroneClass and delete the drone, or give the nodes a container runtime \
                 that has user namespaces",
            ),
            "FailedCreatePodSandBox" => (
                FailureClass::Node,
                "look at the node with `kubectl describe node`; it tries again by itself",
            ),
            _ => (FailureClass::Storage, "look at the volume and its node; the node tries again by itself"),
        };
        Self::new(class, &warning.reason, words, advice)
    }

    pub(super) fn of_claim_warning(claim: &str, warning: &Warning) -> Self {
        let words = &warning.message;
        let mode = if words.contains("ccess mode") || words.contains("ReadWriteOncePod") {
            ". If the storage class cannot give ReadWriteOncePod, set workspace.accessMode to ReadWriteOnce in the \
             DroneClass, delete the claim and make the session anew."
        } else {
            ""
        };
        Self::new(
            FailureClass::Storage,
            &warning.reason,
            format!("the claim '{claim}' gets no volume: {words}"),
            format!("check the storage class; it is tried again by itself{mode}"),
        )
    }

    /// Too often in too short a time.
    pub(super) fn given_up(self, failures: usize) -> Self {
        let message = bounded(&format!("{}; given up after {failures} failures", self.message));
        let advice = match (self.class, &*self.reason) {
            (FailureClass::Memory, _) | (_, START_ERROR) => self.advice,
            _ => "look at the last line of its log above; then delete the drone to try again, or suspend and resume \
                  its session"
                .to_owned(),
        };
        Self { message, advice, retryable: false, ..self }
    }
}

impl From<&Problem> for Cause {
    fn from(problem: &Problem) -> Self {
        let Problem { class, reason, message, advice, retryable } = problem;
        Self { retryable: *retryable, ..Self::new(*class, reason, message, advice.clone()) }
    }
}

impl From<&Refusal> for Cause {
    fn from(refusal: &Refusal) -> Self {
        let Refusal { reason, message, advice } = refusal;
        Self::new(FailureClass::Policy, reason, message, advice.clone())
    }
}

/// What a container runtime says, without the layers that it came through.
fn plain(words: &str) -> &str {
    let words = words.strip_prefix("(combined from similar events): ").unwrap_or(words);
    let words = words.strip_suffix(": unknown").unwrap_or(words);
    match words.rsplit_once("unable to start container process: ") {
        Some((_, inner)) => inner,
        None => words,
    }
}

/// A refusal in words. `what` is what we wanted to make.
pub fn refusal(what: &str, status: &Status) -> Refusal {
    let words = &status.message;
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let terminating = causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        || words.contains("being terminated");
    let (reason, advice) = if terminating {
        (
            "NamespaceTerminating",
            "nothing to do: the namespace is being deleted, and everything in it".to_owned(),
        )
    } else if words.contains("exceeded quota") || words.contains("failed quota") {
        ("QuotaExceeded", "raise the ResourceQuota of the namespace, or suspend other sessions".to_owned())
    } else if words.contains("usage per ") {
        (
            "LimitRange",
            "ask for what the LimitRange of the namespace allows in the DroneClass, or change it".to_owned(),
        )
    } else if words.contains("RuntimeClass ") && words.contains("not found") {
        (
            "RuntimeClassMissing",
            "make that RuntimeClass, or mend runtimeClassName in the DroneClass".to_owned(),
        )
    } else if words.contains("no PriorityClass with name") {
        (
            "PriorityClassMissing",
            "make that PriorityClass, or mend priorityClassName in the DroneClass".to_owned(),
        )
    } else if words.contains("error looking up service account") {
        (
            "ServiceAccountMissing",
            "install the chart again: it makes the service account of the drones".to_owned(),
        )
    } else if words.contains("violates PodSecurity") {
        ("PodSecurity", "mend the DroneClass, or the pod-security labels of the namespace".to_owned())
    } else if status.code == 403 && words.contains(" cannot ") {
        ("Forbidden", format!("give the operator's role the right to make a {what}: install the chart again"))
    } else if words.contains("admission webhook") || words.contains("ValidatingAdmissionPolicy") {
        ("AdmissionRefused", "ask whoever set up that admission rule, or mend the DroneClass".to_owned())
    } else if status.code == 422 || status.code == 400 {
        ("Invalid", "mend the DroneClass: the API server does not take what it makes".to_owned())
    } else {
        ("Refused", "see what the API server says; it is tried again".to_owned())
    };
    Refusal { reason, message: bounded(&format!("the API server refuses the {what}: {words}")), advice }
}

//! Whose pod a drone's token is of: what the API server's answer proves, and how long the answer is kept. Pure.
//!
//! The token is bound to a pod. The API server vouches for it while that very pod exists, under the one name that the
//! drone's pod can have; so an answer is the proof that the caller is the drone's live pod.

use std::collections::HashMap;
use std::time::Duration;

use crds::names;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use protocol::ids::DroneId;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::config::ServiceAccount;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// How long an answer is believed.
const KEPT: Duration = Duration::from_secs(30);
/// How many are kept.
const MOST: usize = 8192;

/// Whom the token must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected<'a> {
    pub(super) namespace: &'a str,
    pub(super) service_account: &'a str,
    pub(super) drone: &'a DroneId,
}

/// The pod that has proved itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodUid(pub(super) String);

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the API server does not know the token, or its pod is gone")]
    Unauthenticated,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is of another service account")]
    ServiceAccount,
    #[error("the token is bound to no pod")]
    Unbound,
    #[error("the token is of another pod")]
    OtherPod,
}

/// Reads the API server's answer.
pub(super) fn judge(answer: TokenReviewStatus, expected: Expected<'_>) -> Result<PodUid, Refused> {
    let Expected { namespace, service_account, drone } = expected;
    let (pod, uid) = bearer(answer, namespace, service_account)?;
    if pod == names::pod(drone.as_str()) { Ok(uid) } else { Err(Refused::OtherPod) }
}

/// The same for the pod that tries the installation. Its account alone counts: pods of it have any name.
pub(super) fn judge_tester(answer: TokenReviewStatus, expected: &ServiceAccount) -> Result<(), Refused> {
    let ServiceAccount { namespace, name } = expected;
    bearer(answer, namespace, name).map(drop)
}

/// The pod of a service account for which the API server vouches.
fn bearer(
    answer: TokenReviewStatus,
    namespace: &str,
    service_account: &str,
) -> Result<(String, PodUid), Refused> {
    let TokenReviewStatus { audiences, authenticated, error: _, user } = answer;
    let user = user.filter(|_| authenticated == Some(true)).ok_or(Refused::Unauthenticated)?;
    // An empty list is the answer of a server that knows no audiences: the token is good for anything then.
    if !audiences.unwrap_or_default().iter().any(|audience| audience == names::HUB_AUDIENCE) {
        return Err(Refused::Audience);
    }
    let UserInfo { extra, groups: _, uid: _, username } = user;
    if username.as_deref() != Some(&*format!("system:serviceaccount:{namespace}:{service_account}")) {
        return Err(Refused::ServiceAccount);
    }
    let mut extra = extra.unwrap_or_default();
    let mut one = |key: &str| extra.remove(key).unwrap_or_default().into_iter().next();
    match (one(POD_NAME), one(POD_UID)) {
        (Some(pod), Some(uid)) => Ok((pod, PodUid(uid))),
        _ => Err(Refused::Unbound),
    }
}

/// Good answers, for a short time. Never the tokens themselves.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: HashMap<Key, Answer>,
}

type Key = (DroneId, [u8; 32]);

#[derive(Debug)]
struct Answer {
    pod: PodUid,
    at: Instant,
}

impl Answers {
    pub(super) fn get(&self, drone: &DroneId, token: &str, now: Instant) -> Option<PodUid> {
        let answer = self.kept.get(&key(drone, token))?;
        (now.duration_since(answer.at) < KEPT).then(|| answer.pod.clone())
    }

    /// A drone has one pod at a time: answers for another one of it are not true any more.
    pub(super) fn put(&mut self, drone: &DroneId, token: &str, pod: &PodUid, now: Instant) {
        self.kept.retain(|(of, _), answer| {
            now.duration_since(answer.at) < KEPT && (of != drone || answer.pod == *pod)
        });
        if self.kept.len() >= MOST {
            self.kept.clear();
        }
        self.kept.insert(key(drone, token), Answer { pod: pod.clone(), at: now });
    }

    /// Something about the drone has changed.
    pub(super) fn forget(&mut self, drone: &DroneId) {
        self.kept.retain(|(of, _), _| of != drone);
    }
}

fn key(drone: &DroneId, token: &str) -> Key {
    (drone.clone(), Sha256::digest(token.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(change: impl FnOnce(&mut Value)) -> Result<PodUid, Refused> {
        let drone = DroneId::from("fix-login");
        let expected = Expected { namespace: "gadget", service_account: "gadget-drone", drone: &drone };
        judge(status(change), expected)
    }

    /// As the API server answers for a drone's token.
    fn status(change: impl FnOnce(&mut Value)) -> TokenReviewStatus {
        let mut status = json!({
            "authenticated": true,
            "audiences": ["gadget-hub"],
            "user": {
                "username": "system:serviceaccount:gadget:gadget-drone",
                "extra": { POD_NAME: ["fix-login"], POD_UID: ["p-1"] },
            },
        });
        change(&mut status);
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_pod_of_the_test_s_account_is_the_test_and_no_drone_is() {
        let tester = ServiceAccount { namespace: "gadget".into(), name: "gadget-test".into() };
        let of = |account: &str| json!(format!("system:serviceaccount:gadget:{account}"));
        let judged = |change: &dyn Fn(&mut Value)| {
            let with_account = |status: &mut Value| {
                status["user"]["username"] = of("gadget-test");
                change(status);
            };
            judge_tester(status(with_account), &tester)
        };
        assert_eq!(judged(&|_| ()), Ok(()));
        assert_eq!(
            judged(&|status| status["user"]["username"] = of("gadget-drone")),
            Err(Refused::ServiceAccount)
        );
        assert_eq!(judged(&|status| status["audiences"] = json!(["api"])), Err(Refused::Audience));
        assert_eq!(judged(&|status| status["authenticated"] = json!(false)), Err(Refused::Unauthenticated));
        assert_eq!(judged(&|status| status["user"]["extra"] = json!({})), Err(Refused::Unbound));
    }

    #[test]
    fn the_live_pod_of_the_drone_is_let_in() {
        assert_eq!(answer(|_| ()), Ok(PodUid("p-1".into())));
    }

    #[test]
    fn anybody_else_is_not() {
        let account = "system:serviceaccount:other:gadget-drone";
        assert_eq!(answer(|status| status["authenticated"] = json!(false)), Err(Refused::Unauthenticated));
        assert_eq!(answer(|status| status["user"] = Value::Null), Err(Refused::Unauthenticated));
        assert_eq!(answer(|status| status["audiences"] = json!([])), Err(Refused::Audience));
        assert_eq!(answer(|status| status["audiences"] = json!(["api"])), Err(Refused::Audience));
        assert_eq!(
            answer(|status| status["user"]["username"] = json!(account)),
            Err(Refused::ServiceAccount)
        );
        assert_eq!(answer(|status| status["user"]["extra"] = json!({})), Err(Refused::Unbound));
        assert_eq!(
            answer(|status| status["user"]["extra"][POD_NAME] = json!(["another"])),
            Err(Refused::OtherPod)
        );
    }

    #[test]
    fn an_answer_is_kept_for_half_a_minute_for_its_own_drone_and_token() {
        let mut answers = Answers::default();
        let (drone, other) = (DroneId::from("a"), DroneId::from("b"));
        let pod = PodUid("p-1".into());
        let now = Instant::now();
        answers.put(&drone, "token", &pod, now);
        assert_eq!(answers.get(&drone, "token", now + KEPT / 2), Some(pod));
        assert_eq!(answers.get(&drone, "another", now), None);
        assert_eq!(answers.get(&other, "token", now), None);
        assert_eq!(answers.get(&drone, "token", now + KEPT), None);
    }

    #[test]
    fn a_newer_pod_or_any_change_of_the_drone_ends_what_was_believed() {
        let mut answers = Answers::default();
        let (drone, now) = (DroneId::from("a"), Instant::now());
        answers.put(&drone, "old", &PodUid("p-1".into()), now);
        answers.put(&drone, "new", &PodUid("p-2".into()), now);
        assert_eq!(answers.get(&drone, "old", now), None);
        assert_eq!(answers.get(&drone, "new", now), Some(PodUid("p-2".into())));
        answers.forget(&drone);
        assert_eq!(answers.get(&drone, "new", now), None);
    }

    #[test]
    fn a_flood_of_tokens_does_not_grow_without_bound() {
        let mut answers = Answers::default();
        for number in 0..=MOST {
            let name = DroneId::from(number.to_string());
            answers.put(&name, "token", &PodUid(number.to_string()), Instant::now());
        }
        assert!(answers.kept.len() <= MOST);
    }
}

//! What we wrote ourselves and the watches have not shown yet. Without it an index that lags would make us write twice.
//!
//! An entry lives until the watch has caught up, or for a short time: then the watch is right.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crds::{ChatSessionStatus, DroneRegistrationStatus};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::index::{Name, Uid};

/// How long a watch may lag before we believe it again.
const BELIEVED: Duration = Duration::from_secs(10);

/// How long a state that passes by itself is kept to ourselves. Longer than a second, because the scheduler looks at
/// each full second whether a new volume is bound: no first start is faster, and none is worth two more writes for it.
pub const PASSING: Duration = Duration::from_millis(1500);

#[derive(Debug, Default)]
pub struct Ledger {
    /// Short; never held over an await.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<Name, Written<ChatSessionStatus>>,
    drones: HashMap<Name, Written<DroneRegistrationStatus>>,
    made: HashMap<(Made, Name), (Uid, Instant)>,
    /// Claims that are asked for right now.
    making: HashSet<Name>,
    /// The last change of a claim.
    patched: HashMap<Name, (Value, Instant)>,
    /// Pods that we deleted because somebody wished so, by drone: such an end is no failure.
    wished_away: HashMap<Name, Uid>,
    /// Since when a drone is wished to run, until it does.
    wished: HashMap<Name, Timestamp>,
    /// Since when an object is in a state that is not written because it may pass.
    passing: HashMap<(Made, Name), Instant>,
    /// What was said last about an object that does not fit our schema.
    reported: HashMap<(Made, Name), (Uid, String)>,
}

#[derive(Clone, Debug)]
struct Written<S> {
    uid: Uid,
    version: u64,
    status: S,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Made {
    Class,
    Session,
    Drone,
    Claim,
    Pod,
}

impl Ledger {
    /// The status that is in the store as far as we know: what we wrote last, or what the watch says if it is newer.
    pub fn session_status(
        &self,
        name: &str,
        uid: &Uid,
        version: u64,
        watched: &ChatSessionStatus,
    ) -> ChatSessionStatus {
        newest(&mut self.inner.lock().sessions, name, uid, version).unwrap_or_else(|| watched.clone())
    }

    pub fn drone_status(
        &self,
        name: &str,
        uid: &Uid,
        version: u64,
        watched: &DroneRegistrationStatus,
    ) -> DroneRegistrationStatus {
        newest(&mut self.inner.lock().drones, name, uid, version).unwrap_or_else(|| watched.clone())
    }

    pub fn wrote_session(&self, name: &Name, uid: &Uid, version: u64, status: ChatSessionStatus) {
        let written = Written { uid: Arc::clone(uid), version, status };
        self.inner.lock().sessions.insert(Arc::clone(name), written);
    }

    pub fn wrote_drone(&self, name: &Name, uid: &Uid, version: u64, status: DroneRegistrationStatus) {
        let written = Written { uid: Arc::clone(uid), version, status };
        self.inner.lock().drones.insert(Arc::clone(name), written);
    }

    pub fn made(&self, what: Made, name: &str, uid: Uid) {
        self.inner.lock().made.insert((what, name.into()), (uid, Instant::now()));
    }

    /// The uid of an object that we made and that the watch has not shown yet.
    pub fn just_made(&self, what: Made, name: &str) -> Option<Uid> {
        let mut inner = self.inner.lock();
        let key = (what, Name::from(name));
        let (uid, at) = inner.made.get(&key)?;
        if at.elapsed() < BELIEVED {
            return Some(Arc::clone(uid));
        }
        inner.made.remove(&key);
        None
    }

    /// From now on until the answer is dropped, the claim is being made.
    pub fn making_claim(&self, claim: &str) -> Making<'_> {
        let claim = Name::from(claim);
        self.inner.lock().making.insert(Arc::clone(&claim));
        Making { ledger: self, claim }
    }

    /// Whether somebody asks for the claim right now: asking again would be refused.
    pub fn is_making_claim(&self, claim: &str) -> bool {
        self.inner.lock().making.contains(claim)
    }

    /// The watch has shown it, or that it is gone.
    pub fn seen(&self, what: Made, name: &str) {
        self.inner.lock().made.remove(&(what, name.into()));
    }

    /// Once more the same change of a claim would be made because the watch lags.
    pub fn just_patched(&self, claim: &str, body: &Value) -> bool {
        let inner = self.inner.lock();
        inner.patched.get(claim).is_some_and(|(last, at)| last == body && at.elapsed() < BELIEVED)
    }

    pub fn patched(&self, claim: &str, body: Value) {
        let patched = &mut self.inner.lock().patched;
        patched.retain(|_, (_, at)| at.elapsed() < BELIEVED);
        patched.insert(claim.into(), (body, Instant::now()));
    }

    pub fn wish_away(&self, drone: &Name, uid: &Uid) {
        self.inner.lock().wished_away.insert(Arc::clone(drone), Arc::clone(uid));
    }

    pub fn wished_away(&self, drone: &str) -> Option<Uid> {
        self.inner.lock().wished_away.get(drone).cloned()
    }

    /// The first wish counts, until the drone runs.
    pub fn wish(&self, drone: &str, at: Timestamp) {
        self.inner.lock().wished.entry(drone.into()).or_insert(at);
    }

    pub fn wished_at(&self, drone: &str) -> Option<Timestamp> {
        self.inner.lock().wished.get(drone).copied()
    }

    pub fn fulfilled(&self, drone: &str) {
        self.inner.lock().wished.remove(drone);
    }

    /// Whether a state that may pass has lasted; else how long it has to.
    pub fn has_lasted(&self, what: Made, name: &Name, for_: Duration) -> Result<(), Duration> {
        let mut inner = self.inner.lock();
        let since = inner.passing.entry((what, Arc::clone(name))).or_insert_with(Instant::now);
        match for_.checked_sub(since.elapsed()) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(left) => Err(left),
        }
    }

    /// What is written says what is.
    pub fn settled(&self, what: Made, name: &Name) {
        self.inner.lock().passing.remove(&(what, Arc::clone(name)));
    }

    /// Whether this has not been said yet of an object that does not fit our schema.
    pub fn is_news(&self, what: Made, name: &Name, uid: &Uid, error: &str) -> bool {
        let reported = &self.inner.lock().reported;
        reported.get(&(what, Arc::clone(name))).is_none_or(|(of, said)| of != uid || said != error)
    }

    pub fn reported(&self, what: Made, name: &Name, uid: &Uid, error: &str) {
        let entry = (Arc::clone(uid), error.to_owned());
        self.inner.lock().reported.insert((what, Arc::clone(name)), entry);
    }

    pub fn forget(&self, what: Made, name: &str) {
        let mut inner = self.inner.lock();
        let key = (what, Name::from(name));
        inner.passing.remove(&key);
        inner.reported.remove(&key);
        match what {
            Made::Session => {
                inner.sessions.remove(name);
            }
            Made::Drone => {
                inner.drones.remove(name);
                inner.wished_away.remove(name);
                inner.wished.remove(name);
            }
            Made::Class | Made::Claim | Made::Pod => {}
        }
    }

    /// Another has led since: nothing that we remember holds.
    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
    }
}

/// A claim that is being made.
#[derive(Debug)]
pub struct Making<'a> {
    ledger: &'a Ledger,
    claim: Name,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.ledger.inner.lock().making.remove(&self.claim);
    }
}

fn newest<S: Clone>(
    written: &mut HashMap<Name, Written<S>>,
    name: &str,
    uid: &Uid,
    watched: u64,
) -> Option<S> {
    let entry = written.get(name)?;
    if entry.uid == *uid && watched < entry.version {
        return Some(entry.status.clone());
    }
    written.remove(name);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str) -> ChatSessionStatus {
        ChatSessionStatus { drone_name: Some(name.to_owned()), ..ChatSessionStatus::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_leads_until_the_watch_has_caught_up() {
        let ledger = Ledger::default();
        let (name, uid): (Name, Uid) = ("x".into(), "1".into());
        ledger.wrote_session(&name, &uid, 7, status("written"));
        assert_eq!(ledger.session_status("x", &uid, 5, &status("old")), status("written"));
        assert_eq!(ledger.session_status("x", &uid, 8, &status("new")), status("new"));
        assert_eq!(ledger.session_status("x", &uid, 5, &status("old")), status("old"));
        ledger.wrote_session(&name, &uid, 7, status("written"));
        assert_eq!(ledger.session_status("x", &"2".into(), 5, &status("another")), status("another"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_never_shows_what_we_made_is_believed_after_a_while() {
        let ledger = Ledger::default();
        ledger.made(Made::Pod, "x", "1".into());
        assert_eq!(ledger.just_made(Made::Pod, "x"), Some("1".into()));
        assert_eq!(ledger.just_made(Made::Claim, "x"), None);
        tokio::time::advance(BELIEVED).await;
        assert_eq!(ledger.just_made(Made::Pod, "x"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_is_not_changed_twice_in_the_same_way_while_the_watch_lags() {
        let ledger = Ledger::default();
        let (grow, own) = (serde_json::json!({ "size": "2Gi" }), serde_json::json!({ "owner": "x" }));
        ledger.patched("ws-x", grow.clone());
        assert!(ledger.just_patched("ws-x", &grow) && !ledger.just_patched("ws-x", &own));
        ledger.patched("ws-x", own);
        assert!(!ledger.just_patched("ws-x", &grow), "it may have been taken back since");
        ledger.patched("ws-x", grow.clone());
        tokio::time::advance(BELIEVED).await;
        assert!(!ledger.just_patched("ws-x", &grow));
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_has_lasted_after_its_time_and_begins_anew_when_it_is_settled() {
        let ledger = Ledger::default();
        let name: Name = "x".into();
        assert_eq!(ledger.has_lasted(Made::Drone, &name, PASSING), Err(PASSING));
        tokio::time::advance(PASSING).await;
        assert_eq!(ledger.has_lasted(Made::Drone, &name, PASSING), Ok(()));
        ledger.settled(Made::Drone, &name);
        assert_eq!(ledger.has_lasted(Made::Drone, &name, PASSING), Err(PASSING));
    }
}

//! All sessions and drones of the namespace as they were last seen, and which of them have changed since somebody looked.
//! Pure: who fills it and who looks is elsewhere.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use protocol::ids::ChatSessionId;

use super::seen::{Drone, Session};

/// An object that was seen, changed or gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// Sessions come first: a drone is known by its session.
    Session(String),
    Drone(String),
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    sessions: HashMap<String, Arc<Session>>,
    /// Names of sessions.
    by_uid: HashMap<String, String>,
    /// Names of sessions by their drones.
    by_drone: HashMap<String, String>,
    drones: HashMap<String, Arc<Drone>>,
    /// Seen, changed or gone since they were last taken. One entry for each object, however often it changes.
    changed: BTreeSet<Key>,
}

impl Index {
    /// Takes what an answer or a watch says, unless something newer is known.
    pub(crate) fn put_session(&mut self, session: Session) {
        if let Some(known) = self.sessions.get(&session.name) {
            let older = known.uid == session.uid && known.version > session.version;
            if older || **known == session {
                return;
            }
        }
        let (name, uid, drone) = (session.name.clone(), session.uid.clone(), session.drone.clone());
        self.remove_session(&name);
        self.by_uid.insert(uid, name.clone());
        self.by_drone.insert(drone.clone(), name.clone());
        self.sessions.insert(name.clone(), Arc::new(session));
        self.changed.extend([Key::Session(name), Key::Drone(drone)]);
    }

    pub(crate) fn remove_session(&mut self, name: &str) {
        let Some(session) = self.sessions.remove(name) else { return };
        self.by_uid.remove(&session.uid);
        if self.by_drone.get(&session.drone).is_some_and(|one| one == name) {
            self.by_drone.remove(&session.drone);
        }
        self.changed.extend([Key::Session(name.to_owned()), Key::Drone(session.drone.clone())]);
    }

    pub(crate) fn put_drone(&mut self, drone: Drone) {
        if let Some(known) = self.drones.get(&drone.name)
            && (known.version > drone.version || **known == drone)
        {
            return;
        }
        self.changed.insert(Key::Drone(drone.name.clone()));
        self.drones.insert(drone.name.clone(), Arc::new(drone));
    }

    pub(crate) fn remove_drone(&mut self, name: &str) {
        if self.drones.remove(name).is_some() {
            self.changed.insert(Key::Drone(name.to_owned()));
        }
    }

    /// Drops what is not among those that are there.
    pub(crate) fn keep_sessions(&mut self, there: &dyn Fn(&str) -> bool) {
        for name in self.sessions.keys().filter(|name| !there(name)).cloned().collect::<Vec<_>>() {
            self.remove_session(&name);
        }
    }

    pub(crate) fn keep_drones(&mut self, there: &dyn Fn(&str) -> bool) {
        for name in self.drones.keys().filter(|name| !there(name)).cloned().collect::<Vec<_>>() {
            self.remove_drone(&name);
        }
    }

    pub(crate) fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn session(&self, name: &str) -> Option<Arc<Session>> {
        self.sessions.get(name).cloned()
    }

    /// The resource of a chat session: adopted ones are known by their uid, the hub's own by their name.
    pub(crate) fn session_of(&self, id: &ChatSessionId) -> Option<Arc<Session>> {
        let name = self.by_uid.get(id.as_str()).map_or(id.as_str(), String::as_str);
        self.session(name)
    }

    pub(crate) fn drone(&self, name: &str) -> Option<Arc<Drone>> {
        self.drones.get(name).cloned()
    }

    pub(crate) fn session_of_drone(&self, drone: &str) -> Option<Arc<Session>> {
        let bound = self.drones.get(drone).and_then(|drone| drone.session.as_ref());
        self.session(bound.or_else(|| self.by_drone.get(drone))?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen::Wish;
    use super::super::tests::{drone, session};
    use super::*;

    fn changed(index: &mut Index) -> Vec<Key> {
        index.take_changed().into_iter().collect()
    }

    #[test]
    fn an_object_that_changes_often_waits_once_and_one_that_does_not_never() {
        let mut index = Index::default();
        index.put_session(session("a", "u1"));
        index.put_session(Session { wish: Wish::Stop, version: 2, ..session("a", "u1") });
        assert_eq!(changed(&mut index), [Key::Session("a".into()), Key::Drone("a".into())]);
        index.put_session(Session { wish: Wish::Stop, version: 2, ..session("a", "u1") });
        assert_eq!(changed(&mut index), []);
    }

    #[test]
    fn what_is_older_than_an_answer_is_passed_over_but_not_a_new_object_of_the_same_name() {
        let mut index = Index::default();
        index.put_session(Session { version: 5, wish: Wish::Stop, ..session("a", "u1") });
        index.put_session(Session { version: 4, ..session("a", "u1") });
        assert_eq!(index.session("a").unwrap().wish, Wish::Stop);
        index.put_session(Session { version: 4, ..session("a", "u2") });
        assert_eq!(index.session("a").unwrap().uid, "u2");
        assert!(index.session_of(&"u1".into()).is_none());
        assert_eq!(index.session_of(&"u2".into()).unwrap().name, "a");
        assert_eq!(index.session_of(&"a".into()).unwrap().name, "a");
    }

    #[test]
    fn a_drone_s_session_is_found_by_either_side() {
        let mut index = Index::default();
        index.put_session(Session { drone: "free".into(), ..session("a", "u1") });
        assert_eq!(index.session_of_drone("free").unwrap().name, "a");
        index.put_drone(Drone { session: Some("b".into()), ..drone("free") });
        assert!(index.session_of_drone("free").is_none(), "it is bound to another");
        index.put_session(session("b", "u2"));
        assert_eq!(index.session_of_drone("free").unwrap().name, "b");
    }

    #[test]
    fn what_a_new_list_does_not_show_is_gone() {
        let mut index = Index::default();
        for name in ["a", "b"] {
            index.put_session(session(name, name));
            index.put_drone(drone(name));
        }
        changed(&mut index);
        index.keep_sessions(&|name| name == "a");
        index.keep_drones(&|name| name == "a");
        assert_eq!(changed(&mut index), [Key::Session("b".into()), Key::Drone("b".into())]);
        assert!(index.session("b").is_none() && index.drone("b").is_none());
    }
}

//! Taking objects in. One way for all kinds: what came, what went, and which names are left after a new list.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crds::{ChatSession, DroneClass, DroneRegistration};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod as ApiPod};
use kube::Resource;
use kube::core::DeserializeGuard;

use super::{Claim, Index, Inner, Link, Name, Pod, Seen, Subject, Warning};
use crate::queue::Key;

/// A kind that is watched.
pub trait Stored: Resource + Sized {
    /// The object is there, and as it is now.
    fn take_in(self, index: &Index) -> Vec<Key>;
    /// The object is gone. It is handed over as it was at last.
    fn take_out(self, index: &Index) -> Vec<Key>;
    /// A new list is complete: whatever is not in it is gone.
    fn retain(index: &Index, listed: &HashSet<String>) -> Vec<Key>;
}

/// Warnings may come before their objects, and for objects that never come: so many are kept.
const MOST_WARNINGS: usize = 4096;

impl Stored for DeserializeGuard<ChatSession> {
    fn take_in(self, index: &Index) -> Vec<Key> {
        let name: Name = self.meta().name.as_deref().unwrap_or_default().into();
        let session = Seen::from(self);
        let mut inner = index.inner.lock();
        inner.link_session(&name, &session, Link::Add);
        if let Some(before) = inner.sessions.insert(Arc::clone(&name), session.clone()) {
            inner.unlink_changed_session(&name, &before, &session);
        }
        inner.around_session(&name, &session)
    }

    fn take_out(self, index: &Index) -> Vec<Key> {
        let name = self.meta().name.clone().unwrap_or_default();
        index.inner.lock().remove_session(&name)
    }

    fn retain(index: &Index, listed: &HashSet<String>) -> Vec<Key> {
        let mut inner = index.inner.lock();
        missing(&inner.sessions, listed).iter().flat_map(|name| inner.remove_session(name)).collect()
    }
}

impl Stored for DeserializeGuard<DroneRegistration> {
    fn take_in(self, index: &Index) -> Vec<Key> {
        let name: Name = self.meta().name.as_deref().unwrap_or_default().into();
        let drone = Seen::from(self);
        let mut inner = index.inner.lock();
        let before = inner.drones.insert(Arc::clone(&name), drone.clone());
        if let Some(before) = before {
            inner.link_drone(&name, &before, Link::Remove);
        }
        inner.link_drone(&name, &drone, Link::Add);
        let mut work = Vec::new();
        inner.around_drone(&name, &mut work);
        work
    }

    fn take_out(self, index: &Index) -> Vec<Key> {
        let name = self.meta().name.clone().unwrap_or_default();
        index.inner.lock().remove_drone(&name)
    }

    fn retain(index: &Index, listed: &HashSet<String>) -> Vec<Key> {
        let mut inner = index.inner.lock();
        missing(&inner.drones, listed).iter().flat_map(|name| inner.remove_drone(name)).collect()
    }
}

impl Stored for DeserializeGuard<DroneClass> {
    fn take_in(self, index: &Index) -> Vec<Key> {
        let name: Name = self.meta().name.as_deref().unwrap_or_default().into();
        let mut inner = index.inner.lock();
        inner.classes.insert(Arc::clone(&name), Seen::from(self));
        inner.around_class(&name)
    }

    fn take_out(self, index: &Index) -> Vec<Key> {
        let name = self.meta().name.clone().unwrap_or_default();
        let mut inner = index.inner.lock();
        inner.classes.remove(name.as_str());
        inner.around_class(&name.into())
    }

    fn retain(index: &Index, listed: &HashSet<String>) -> Vec<Key> {
        let mut inner = index.inner.lock();
        let mut work = Vec::new();
        for name in missing(&inner.classes, listed) {
            inner.classes.remove(&name);
            work.extend(inner.around_class(&name));
        }
        work
    }
}

impl Stored for ApiPod {
    fn take_in(self, index: &Index) -> Vec<Key> {
        let pod = Pod::from(self);
        let name = Arc::clone(&pod.name);
        let mut inner = index.inner.lock();
        inner.pods.insert(Arc::clone(&name), pod.into());
        inner.around_pod(&name)
    }

    fn take_out(self, index: &Index) -> Vec<Key> {
        let pod = Pod::from(self);
        let mut inner = index.inner.lock();
        inner.remove_pod(&pod.name.clone(), Some(pod))
    }

    fn retain(index: &Index, listed: &HashSet<String>) -> Vec<Key> {
        let mut inner = index.inner.lock();
        missing(&inner.pods, listed).iter().flat_map(|name| inner.remove_pod(name, None)).collect()
    }
}

impl Stored for PersistentVolumeClaim {
    fn take_in(self, index: &Index) -> Vec<Key> {
        let claim = Claim::from(self);
        let name = Arc::clone(&claim.name);
        let mut inner = index.inner.lock();
        // Claims of others change too, and are nobody's work.
        inner.claims.insert(Arc::clone(&name), claim.into());
        let mut work = Vec::new();
        inner.around_claim(&name, &mut work);
        work
    }

    fn take_out(self, index: &Index) -> Vec<Key> {
        let name = self.metadata.name.clone().unwrap_or_default();
        index.inner.lock().remove_claim(&name)
    }

    fn retain(index: &Index, listed: &HashSet<String>) -> Vec<Key> {
        let mut inner = index.inner.lock();
        missing(&inner.claims, listed).iter().flat_map(|name| inner.remove_claim(name)).collect()
    }
}

impl Stored for Event {
    fn take_in(self, index: &Index) -> Vec<Key> {
        let Some(warning) = Warning::read(&self) else { return Vec::new() };
        let mut inner = index.inner.lock();
        if inner.warnings.len() >= MOST_WARNINGS && !inner.warnings.contains_key(&warning.uid) {
            return Vec::new();
        }
        let mut work = Vec::new();
        match warning.subject {
            Subject::Pod if inner.drones.contains_key(&warning.name) => {
                work.push(Key::Drone(Arc::clone(&warning.name)));
            }
            Subject::Pod => {}
            Subject::Claim => inner.around_claim(&warning.name, &mut work),
        }
        inner.warnings.insert(Arc::clone(&warning.uid), warning.into());
        work
    }

    /// Events are gone after an hour; what they said is dropped with the object that they were about.
    fn take_out(self, _: &Index) -> Vec<Key> {
        Vec::new()
    }

    fn retain(_: &Index, _: &HashSet<String>) -> Vec<Key> {
        Vec::new()
    }
}

fn missing<T>(stored: &HashMap<Name, T>, listed: &HashSet<String>) -> Vec<Name> {
    stored.keys().filter(|name| !listed.contains(&***name)).cloned().collect()
}

impl Inner {
    fn around_session(&self, name: &Name, session: &Seen<super::Session>) -> Vec<Key> {
        let mut work = vec![Key::Session(Arc::clone(name))];
        if let Seen::Good(session) = session {
            let drone = session.drone_name();
            if self.drones.contains_key(drone.as_str()) {
                work.push(Key::Drone(drone.into()));
            }
        }
        work
    }

    fn unlink_changed_session(
        &mut self,
        name: &Name,
        before: &Seen<super::Session>,
        now: &Seen<super::Session>,
    ) {
        let drone = |session: &Seen<super::Session>| match session {
            Seen::Good(session) => session.wishes.drone.clone(),
            Seen::Broken(_) => None,
        };
        if drone(before) != drone(now) {
            self.link_session(name, before, Link::Remove);
        }
    }

    fn remove_session(&mut self, name: &str) -> Vec<Key> {
        let Some((name, session)) = self.sessions.remove_entry(name) else { return Vec::new() };
        self.link_session(&name, &session, Link::Remove);
        self.around_session(&name, &session)
    }

    fn remove_drone(&mut self, name: &str) -> Vec<Key> {
        let mut work = Vec::new();
        self.around_drone(&name.into(), &mut work);
        let Some((name, drone)) = self.drones.remove_entry(name) else { return Vec::new() };
        self.link_drone(&name, &drone, Link::Remove);
        self.gone.remove(&name);
        work
    }

    fn around_class(&self, name: &Name) -> Vec<Key> {
        let drones: BTreeSet<Name> = self.drones_of_class.get(name).cloned().unwrap_or_default();
        let drones = drones.into_iter().map(Key::Drone);
        std::iter::once(Key::Class(Arc::clone(name))).chain(drones).collect()
    }

    /// A pod is named as its drone; a pod of somebody else may be in the way of one.
    fn around_pod(&self, name: &Name) -> Vec<Key> {
        if self.drones.contains_key(name) { vec![Key::Drone(Arc::clone(name))] } else { Vec::new() }
    }

    fn remove_pod(&mut self, name: &str, at_last: Option<Pod>) -> Vec<Key> {
        let Some((name, seen)) = self.pods.remove_entry(name) else { return Vec::new() };
        self.warnings.remove(&seen.uid);
        let drone = Arc::clone(&name);
        if self.drones.contains_key(&drone) {
            let last = at_last.filter(|last| last.uid == seen.uid).map_or(seen, Arc::new);
            self.gone.insert(Arc::clone(&drone), last);
            return vec![Key::Drone(drone)];
        }
        Vec::new()
    }

    fn remove_claim(&mut self, name: &str) -> Vec<Key> {
        let Some((name, claim)) = self.claims.remove_entry(name) else { return Vec::new() };
        self.warnings.remove(&claim.uid);
        let mut work = Vec::new();
        self.around_claim(&name, &mut work);
        work
    }
}

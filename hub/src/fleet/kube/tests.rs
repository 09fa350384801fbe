//! Values that the tests of several modules begin with.

use super::seen::{Drone, Session, Wish};

pub(crate) fn session(name: &str, uid: &str) -> Session {
    Session {
        name: name.to_owned(),
        uid: uid.to_owned(),
        version: 1,
        created_at: None,
        of_hub: false,
        user: "ada".to_owned(),
        slug: "shop".to_owned(),
        git_url: None,
        title: None,
        mode: None,
        model: None,
        wish: Wish::Run,
        stale_mark: false,
        idle_timeout: None,
        drone: name.to_owned(),
        phase: None,
        ready: None,
        restarts: 0,
        adoption: None,
        deleting: false,
    }
}

pub(crate) fn drone(name: &str) -> Drone {
    Drone {
        name: name.to_owned(),
        version: 1,
        user: "ada".to_owned(),
        session: None,
        wish: Wish::Run,
        phase: None,
        pod: None,
        pod_uid: None,
        node: None,
        restarts: 0,
        ready: None,
        failure: None,
        activity: None,
        deleting: false,
    }
}

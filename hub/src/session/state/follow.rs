//! Who watches the session, and up to which number each has been sent.
//!
//! A viewer is live, or it is being brought up to date from the store page by page. While that lasts nothing else is
//! sent to it: unnumbered events wait behind the page that they came after, so each viewer sees one order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::effect::Note;

/// Unnumbered events that may wait for one viewer.
const MOST_NOTES: usize = 256;

#[derive(Debug)]
pub(super) struct Viewer {
    /// The number of the last event that was sent to it.
    pub(super) cursor: u64,
    pub(super) pace: Pace,
}

#[derive(Debug)]
pub(super) enum Pace {
    /// Has everything.
    Live,
    /// Pages are on their way.
    CatchingUp { notes: VecDeque<Note> },
    /// Waits for the stored turn, which its answer will carry.
    AwaitingTurn { answer: Responder, notes: VecDeque<Note> },
}

#[derive(Debug, Default)]
pub(super) struct Viewers {
    all: BTreeMap<ConnId, Viewer>,
    /// Those that are live, made anew when they change: each live event goes to all of them.
    live: Option<Arc<[ConnId]>>,
    /// No viewer was ever sent more than this.
    furthest: u64,
}

impl Viewers {
    /// Puts the viewer in place of what it was before, and hands back an answer that was still owed to it.
    pub(super) fn put(&mut self, conn: ConnId, viewer: Viewer) -> Option<Responder> {
        self.live = None;
        self.furthest = self.furthest.max(viewer.cursor);
        self.all.insert(conn, viewer).and_then(|before| match before.pace {
            Pace::AwaitingTurn { answer, notes: _ } => Some(answer),
            Pace::Live | Pace::CatchingUp { .. } => None,
        })
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Viewer> {
        self.live = None;
        self.all.remove(&conn)
    }

    /// For changes that leave the pace as it is.
    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Viewer> {
        self.all.get_mut(&conn)
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Viewer> {
        self.all.get(&conn)
    }

    pub(super) fn contains(&self, conn: ConnId) -> bool {
        self.all.contains_key(&conn)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = ConnId> {
        self.all.keys().copied()
    }

    pub(super) fn live(&mut self) -> Arc<[ConnId]> {
        let all = &self.all;
        Arc::clone(self.live.get_or_insert_with(|| {
            all.iter()
                .filter(|(_, viewer)| matches!(viewer.pace, Pace::Live))
                .map(|(conn, _)| *conn)
                .collect()
        }))
    }

    /// Those that are live and have not been sent the event by another way, such as inside a whole turn.
    pub(super) fn live_before(&mut self, seq: u64) -> Arc<[ConnId]> {
        if self.furthest < seq {
            return self.live();
        }
        let lacks = |viewer: &Viewer| matches!(viewer.pace, Pace::Live) && viewer.cursor < seq;
        self.all.iter().filter(|(_, viewer)| lacks(viewer)).map(|(conn, _)| *conn).collect()
    }

    /// All live viewers have been sent the event.
    pub(super) fn advance_live(&mut self, seq: u64) {
        self.furthest = self.furthest.max(seq);
        for viewer in self.all.values_mut() {
            if matches!(viewer.pace, Pace::Live) {
                viewer.cursor = viewer.cursor.max(seq);
            }
        }
    }

    /// Keeps an unnumbered event for those that are not live; hands back who has too many waiting.
    pub(super) fn keep_note(&mut self, only: Option<ConnId>, note: &Note) -> Vec<ConnId> {
        let mut overrun = Vec::new();
        for (conn, viewer) in &mut self.all {
            if only.is_some_and(|only| only != *conn) {
                continue;
            }
            match &mut viewer.pace {
                Pace::Live => {}
                Pace::CatchingUp { notes } | Pace::AwaitingTurn { answer: _, notes } => {
                    if notes.len() >= MOST_NOTES {
                        overrun.push(*conn);
                    } else {
                        notes.push_back(note.clone());
                    }
                }
            }
        }
        overrun
    }
}

//! Bringing viewers up to date, and sending them what happens.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::document::ChatTurn;
use protocol::error::Refusal;
use protocol::ide::{FollowAnswer, name};

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::effect::{Effect, Note};
use crate::session::state::follow::{Pace, Viewer};
use crate::session::state::{State, answer};
use crate::store::EventRecord;

impl State {
    /// The connection watches from now on. `last_seq`: what it has seen; absent: it wants what comes.
    pub(super) fn follow(&mut self, conn: ConnId, last_seq: Option<u64>, answer: Option<Responder>) {
        let shown = self.log.shown();
        if answer.is_none() && self.viewers.contains(conn) {
            // It knows more by now than it said at its connect.
            return;
        }
        let Some(seen) = last_seq else {
            if !self.viewers.contains(conn) {
                self.put_viewer(conn, Viewer { cursor: shown, pace: Pace::Live });
            }
            return self.answer_follow(answer, shown + 1, shown, None);
        };
        let ahead = self.is_of_a_lost_life(seen);
        let far_behind = shown.saturating_sub(seen) > self.limits.replay_events;
        match answer {
            Some(answer) if ahead || far_behind => {
                let pace = Pace::AwaitingTurn { answer, notes: VecDeque::new() };
                self.put_viewer(conn, Viewer { cursor: shown, pace });
                let turn = self.turn.as_ref().map(|turn| turn.id.clone());
                self.push(Effect::LoadTurn { conn, turn });
            }
            None if ahead => {
                self.catch_up(conn, self.newest_from.min(shown));
            }
            answer => {
                self.answer_follow(answer, seen + 1, shown, None);
                self.catch_up(conn, seen);
            }
        }
    }

    /// Whether a client has seen numbers that were given out, but not stored, by a hub before this one. Only the whole
    /// turn is true for it.
    pub(super) fn is_of_a_lost_life(&self, seen: u64) -> bool {
        seen > self.log.shown() || self.doubtful_above.is_some_and(|sure| seen > sure)
    }

    fn catch_up(&mut self, conn: ConnId, cursor: u64) {
        self.put_viewer(conn, Viewer { cursor, pace: Pace::CatchingUp { notes: VecDeque::new() } });
        self.next_page(conn);
    }

    fn put_viewer(&mut self, conn: ConnId, viewer: Viewer) {
        if let Some(owed) = self.viewers.put(conn, viewer) {
            let refusal =
                Refusal::new(protocol::error::Code::Conflict, "asked again before this was answered");
            self.refuse(name::RESUME, owed, &refusal);
        }
    }

    /// Sends the rest from memory where it is there, else asks the store.
    fn next_page(&mut self, conn: ConnId) {
        let shown = self.log.shown();
        let Some(viewer) = self.viewers.get(conn) else { return };
        let cursor = viewer.cursor;
        if self.ring.reaches(cursor, shown) {
            self.go_live(conn);
        } else {
            self.push(Effect::LoadPage { conn, after: cursor, limit: self.limits.page });
        }
    }

    fn go_live(&mut self, conn: ConnId) {
        let shown = self.log.shown();
        let Some(Viewer { cursor, pace }) = self.viewers.remove(conn) else { return };
        let events = self.ring.range(cursor, shown);
        self.put_viewer(conn, Viewer { cursor: shown.max(cursor), pace: Pace::Live });
        if !events.is_empty() {
            self.push(Effect::Replay { conn, events, tell_when_drained: false });
        }
        if let Pace::CatchingUp { notes } | Pace::AwaitingTurn { answer: _, notes } = pace {
            for note in notes {
                self.tell_one(conn, note);
            }
        }
    }

    pub(super) fn page_loaded(&mut self, conn: ConnId, events: Option<Vec<Arc<EventRecord>>>) {
        let shown = self.log.shown();
        let Some(viewer) = self.viewers.get_mut(conn) else { return };
        if !matches!(viewer.pace, Pace::CatchingUp { .. }) {
            return;
        }
        let Some(events) = events else {
            // The store does not answer; the client comes back and names what it has seen.
            self.push(Effect::KillIde { conn });
            return self.gone(conn);
        };
        let events: Vec<_> = events.into_iter().take_while(|event| event.seq <= shown).collect();
        match events.first().zip(events.last()) {
            Some((first, last)) if first.seq == viewer.cursor + 1 => {
                viewer.cursor = last.seq;
                self.push(Effect::Replay { conn, events, tell_when_drained: true });
            }
            // A page for a place where the viewer is no more: it has asked anew since.
            Some(_) => {}
            // Nothing there, although numbers were given out: they are gone from the store, and cannot be replayed.
            None => self.go_live(conn),
        }
    }

    pub(super) fn drained(&mut self, conn: ConnId) {
        if self.viewers.get(conn).is_some_and(|viewer| matches!(viewer.pace, Pace::CatchingUp { .. })) {
            self.next_page(conn);
        }
    }

    pub(super) fn turn_loaded(&mut self, conn: ConnId, turn: Result<Option<Box<ChatTurn>>, Refusal>) {
        let shown = self.log.shown();
        let awaiting =
            self.viewers.get(conn).is_some_and(|viewer| matches!(viewer.pace, Pace::AwaitingTurn { .. }));
        let Some(Viewer { cursor: _, pace: Pace::AwaitingTurn { answer, notes } }) =
            awaiting.then(|| self.viewers.remove(conn)).flatten()
        else {
            return;
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(refusal) => return self.refuse(name::RESUME, answer, &refusal),
        };
        let cursor = turn.as_ref().map_or(shown, |turn| turn.last_seq);
        self.answer_follow(Some(answer), cursor + 1, shown.max(cursor), turn.map(|turn| *turn));
        self.put_viewer(conn, Viewer { cursor, pace: Pace::CatchingUp { notes } });
        self.next_page(conn);
    }

    fn answer_follow(
        &mut self,
        answer: Option<Responder>,
        from_seq: u64,
        to_seq: u64,
        turn: Option<ChatTurn>,
    ) {
        if let Some(answer) = answer {
            let answered = FollowAnswer { from_seq, to_seq, turn, ..FollowAnswer::default() };
            self.answer(answer, answer::following(&answered));
        }
    }

    /// Sends a new event to all that are up to date.
    pub(super) fn show(&mut self, event: Arc<EventRecord>) {
        let seq = event.seq;
        let to = self.viewers.live_before(seq);
        if !to.is_empty() {
            self.push(Effect::Show { to, event });
        }
        self.viewers.advance_live(seq);
    }

    /// Sends an event without a number to all.
    pub(super) fn tell(&mut self, note: Note) {
        for conn in self.viewers.keep_note(None, &note) {
            self.overrun(conn);
        }
        let to = self.viewers.live();
        if !to.is_empty() {
            self.push(Effect::Tell { to, note });
        }
    }

    pub(super) fn tell_one(&mut self, conn: ConnId, note: Note) {
        let live = self.viewers.get(conn).is_none_or(|viewer| matches!(viewer.pace, Pace::Live));
        if live {
            self.push(Effect::Tell { to: Arc::new([conn]), note });
        } else {
            for conn in self.viewers.keep_note(Some(conn), &note) {
                self.overrun(conn);
            }
        }
    }

    /// It takes too little to be brought up to date; it comes back and goes on from its last number.
    fn overrun(&mut self, conn: ConnId) {
        self.push(Effect::KillIde { conn });
        self.gone(conn);
    }
}

//! What an IDE has on its screen of one session: turn events in the order of their numbers.
//!
//! A client knows an event by its number. One that comes again as it was is dropped. One that comes again with another
//! content tells that hub and drone both died before it was stored: what was shown from there on is taken back.

use jiff::Timestamp;
use protocol::assemble::{Assembled, TurnAssembler};
use protocol::event::{EventName, Meta, RawEvent, TurnEvent};
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;

#[derive(Clone, Debug)]
struct Shown {
    meta: Meta,
    event: RawEvent,
}

/// How orderly the events came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Numbers that came again with the same content.
    pub repeated: Vec<u64>,
    /// Numbers that came again with another content.
    pub rewound: Vec<u64>,
    /// Numbers that came too early: `(expected, came)`.
    pub gaps: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
pub struct Screen {
    shown: Vec<Shown>,
    order: Order,
}

impl Screen {
    pub fn last_seq(&self) -> u64 {
        self.shown.last().map_or(0, |shown| shown.meta.seq)
    }

    pub fn order(&self) -> &Order {
        &self.order
    }

    pub fn apply(&mut self, meta: Meta, event: RawEvent) {
        let seq = meta.seq;
        let expected = self.last_seq() + 1;
        if seq > expected && !self.shown.is_empty() {
            self.order.gaps.push((expected, seq));
        }
        if let Some(place) = self.shown.iter().position(|shown| shown.meta.seq == seq) {
            let known = &self.shown[place];
            if known.event == event && known.meta.turn_id == meta.turn_id {
                self.order.repeated.push(seq);
                return;
            }
            self.order.rewound.push(seq);
            self.shown.truncate(place);
        }
        self.shown.push(Shown { meta, event });
    }

    /// How the turn ended, once its last event is here.
    pub fn status(&self, turn: &TurnId) -> Option<ChatTurnStatus> {
        self.events(turn).find_map(|(_, event)| match event {
            TurnEvent::WorkOrderComplete { status, .. } => Some(status),
            _ => None,
        })
    }

    pub fn names(&self, turn: &TurnId) -> Vec<EventName> {
        self.shown.iter().filter(|shown| shown.meta.turn_id == *turn).map(|shown| shown.event.name).collect()
    }

    pub fn times(&self, turn: &TurnId) -> Vec<Timestamp> {
        self.shown.iter().filter(|shown| shown.meta.turn_id == *turn).map(|shown| shown.meta.at).collect()
    }

    /// The turn as its reader sees it.
    pub fn turn(&self, turn: &TurnId) -> Assembled {
        let mut assembler = TurnAssembler::default();
        for (meta, event) in self.events(turn) {
            assembler.apply(meta.seq, meta.at, event);
        }
        assembler.finish()
    }

    fn events(&self, turn: &TurnId) -> impl Iterator<Item = (&Meta, TurnEvent)> {
        let of_turn = self.shown.iter().filter(move |shown| shown.meta.turn_id == *turn);
        of_turn.filter_map(|shown| shown.event.parse().ok().map(|event| (&shown.meta, event)))
    }
}

#[cfg(test)]
mod tests {
    use protocol::document::Block;
    use protocol::event::Notes;

    use super::*;

    fn say(screen: &mut Screen, seq: u64, content: &str) {
        let meta = Meta {
            turn_id: "t".into(),
            seq,
            at: Timestamp::UNIX_EPOCH,
            replay: false,
            notes: Notes::default(),
        };
        screen.apply(meta, TurnEvent::Response { content: content.to_owned() }.to_raw().unwrap());
    }

    fn text(screen: &Screen) -> String {
        match &screen.turn(&"t".into()).blocks[..] {
            [Block::Responding { content, .. }] => content.clone(),
            other => panic!("one block is expected, there are {other:?}"),
        }
    }

    #[test]
    fn what_comes_again_is_shown_once() {
        let mut screen = Screen::default();
        for (seq, content) in [(4, "a"), (5, "b"), (5, "b"), (6, "c")] {
            say(&mut screen, seq, content);
        }
        assert_eq!(text(&screen), "abc");
        assert_eq!(screen.order(), &Order { repeated: vec![5], ..Order::default() });
    }

    #[test]
    fn what_was_never_stored_is_taken_back_when_its_number_says_something_else() {
        let mut screen = Screen::default();
        for (seq, content) in [(1, "a"), (2, "lost"), (3, "lost too"), (2, "b")] {
            say(&mut screen, seq, content);
        }
        assert_eq!(text(&screen), "ab");
        assert_eq!(screen.order(), &Order { rewound: vec![2], ..Order::default() });
    }

    #[test]
    fn a_gap_is_noticed() {
        let mut screen = Screen::default();
        say(&mut screen, 1, "a");
        say(&mut screen, 3, "c");
        assert_eq!(screen.order().gaps, [(2, 3)]);
    }
}

//! How fast an answer is typed: the same script always at the same rhythm.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The rhythm of an answer's pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Milliseconds between two pieces, on the average.
    pub piece: u64,
    /// Chooses among the rhythms of the same speed.
    pub seed: u64,
}

/// The pauses of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    mean: u64,
    state: u64,
}

impl Pace {
    /// As fast as a person reads along.
    pub const TYPING: Self = Self { piece: 16, seed: 1 };

    pub(crate) fn clock(self) -> Clock {
        Clock { mean: self.piece, state: self.seed }
    }
}

impl Clock {
    /// The pause before the next piece: half to one and a half times the mean.
    pub(crate) fn tick(&mut self) -> Duration {
        // The generator is SplitMix64: small, and the same everywhere.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let micros = self.mean * 1000;
        Duration::from_micros(micros / 2 + if micros == 0 { 0 } else { mixed % micros })
    }
}

//! Random moments that can be had again: a test prints its seed, and takes one from `GADGET_TEST_SEED`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `SplitMix64`: one number after the other from a seed.
#[derive(Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// From `GADGET_TEST_SEED`, else from the clock. The caller prints [`Random::seed`].
    pub fn from_environment() -> Self {
        let given = std::env::var("GADGET_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        };
        Self::new(given.unwrap_or_else(clock))
    }

    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// What [`Random::new`] needs to go on from here.
    pub fn seed(&self) -> u64 {
        self.state
    }

    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    pub fn moment(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(most.max(1)))
    }
}

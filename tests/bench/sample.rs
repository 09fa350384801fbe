//! Times, collected for their quantiles.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// From a nanosecond to ten minutes, to three digits.
pub(crate) struct Sample {
    times: Histogram<u64>,
}

impl Sample {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { times: histogram()? })
    }

    pub(crate) fn record(&mut self, time: Duration) -> Result<()> {
        Ok(self.times.record(nanos(time))?)
    }

    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        Duration::from_nanos(self.times.value_at_quantile(quantile)).as_secs_f64() * 1e3
    }

    pub(crate) fn len(&self) -> u64 {
        self.times.len()
    }
}

pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000_000, 3)?)
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "counts in a bench are far below 2^52")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

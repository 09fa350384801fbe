//! Reads one answer from its connection, chunk by chunk, as the consumer asks for events.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Clocks, broken};
use crate::model::decoder::Decoder;
use crate::model::fault::{Clock, Fault};
use crate::model::{Completion, ModelEvent};

/// How long counts may lag behind a finished answer.
const TAIL_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait for the end of a body that has said its last word, so that its connection can be used again.
const DRAIN_LIMIT: Duration = Duration::from_millis(10);

pub(super) struct Reader {
    /// Gone once the answer is over: the connection is then back in the pool, or closed.
    source: Option<(Response, Decoder)>,
    /// Events of the last chunk that nobody has taken yet. No further chunk is read before it is empty.
    ready: VecDeque<ModelEvent>,
    /// Told after what is ready.
    ending: Option<Result<Completion, Fault>>,
    clocks: Clocks,
    /// What runs against the limit now.
    clock: Clock,
    /// Time spent waiting since that clock began.
    waited: Duration,
    cancel: CancellationToken,
    /// The last event has been told.
    is_over: bool,
}

impl Reader {
    pub(super) fn new(
        response: Response,
        decoder: Decoder,
        clocks: Clocks,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            source: Some((response, decoder)),
            ready: VecDeque::new(),
            ending: None,
            clocks,
            clock: Clock::FirstDelta,
            waited: Duration::ZERO,
            cancel,
            is_over: false,
        }
    }

    /// The next event; none after [`ModelEvent::Done`].
    pub(super) async fn next(&mut self) -> Result<Option<ModelEvent>, Fault> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            if self.cancel.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(ending) = self.ending.take() {
                self.is_over = true;
                return ending.map(|completion| Some(ModelEvent::Done(completion)));
            }
            if let Some((response, decoder)) = self.source.take() {
                self.read(response, decoder).await;
            }
        }
    }

    /// Reads one chunk: afterwards there are events, an ending, the source is back for more, or all is cancelled.
    async fn read(&mut self, mut response: Response, mut decoder: Decoder) {
        let limit = match self.clock {
            Clock::Headers | Clock::FirstDelta => self.clocks.first_delta,
            Clock::NextDelta => self.clocks.next_delta,
        };
        let is_finished = decoder.is_finished();
        let patience = if is_finished { limit.min(TAIL_LIMIT) } else { limit };
        let began = Instant::now();
        let chunk = timeout(patience.saturating_sub(self.waited), response.chunk());
        let Some(chunk) = self.cancel.run_until_cancelled(chunk).await else { return };
        self.waited += began.elapsed();
        match chunk {
            Ok(Ok(Some(bytes))) => {
                let mut events = Vec::new();
                let pushed = decoder.push(&bytes, &mut events);
                if !events.is_empty() {
                    self.clock = Clock::NextDelta;
                }
                if !events.is_empty() || decoder.is_finished() != is_finished {
                    self.waited = Duration::ZERO;
                }
                self.ready.extend(events);
                match pushed {
                    // Whatever comes after the stop reason cannot make a whole answer worse.
                    Err(_) if decoder.is_finished() => self.finish(decoder),
                    Err(fault) => self.ending = Some(Err(fault)),
                    Ok(()) if decoder.is_closed() => {
                        let _ = timeout(DRAIN_LIMIT, response.chunk()).await;
                        self.finish(decoder);
                    }
                    Ok(()) => self.source = Some((response, decoder)),
                }
            }
            Ok(Ok(None)) => self.finish(decoder),
            // The answer is whole; only its counts may be missing.
            Ok(Err(_)) | Err(_) if is_finished => self.finish(decoder),
            Ok(Err(error)) => {
                let url = response.url().clone();
                let fault = self.cancel.run_until_cancelled(broken(&url, error)).await;
                self.ending = fault.map(Err);
            }
            Err(_) => self.ending = Some(Err(Fault::Stalled { clock: self.clock, limit })),
        }
    }

    fn finish(&mut self, decoder: Decoder) {
        let mut events = Vec::new();
        let ending = decoder.finish(&mut events);
        self.ready.extend(events);
        self.ending = Some(ending);
    }
}

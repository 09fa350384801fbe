//! One step of an agent that asks the model: streamed, shown as it comes, made again when it breaks off.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::TurnError;
use super::agent::{Agent, Batch};
use super::stop::Wish;
use super::voice::Text;
use crate::journal::record::{Body, TextSpan};
use crate::model::fault::Fault;
use crate::model::retry::{Decision, Reason, Retries};
use crate::model::{Completion, ModelEvent, ModelRequest};
use crate::outbox::coalesce::Coalescer;

/// How long to wait at least before a hub that was away is asked again, so that one that lets us in and fails is not
/// asked without end.
const HUB_PAUSE: Duration = Duration::from_millis(200);

/// How much later than a broken stream the news may come that the hub went away.
const HUB_NEWS: Duration = Duration::from_millis(100);

/// What became of the question.
pub(super) enum Asked {
    Answered,
    /// The turn is being stopped.
    Stopped,
    /// With words for the user.
    Failed(String),
}

/// The text of one step that was shown, over all its tries.
#[derive(Default)]
struct Shown {
    /// The first text event of the step, and the last event about its text.
    span: Option<TextSpan>,
    /// The first and last text event of the try that goes on.
    current: Option<TextSpan>,
    /// What the try that goes on has said so far.
    partial: Completion,
}

impl Shown {
    fn text(&mut self, seq: u64) {
        grow(&mut self.span, seq);
        grow(&mut self.current, seq);
    }
}

fn grow(span: &mut Option<TextSpan>, seq: u64) {
    span.get_or_insert(TextSpan { from: seq, to: seq }).to = seq;
}

impl Agent {
    pub(super) async fn ask(&mut self) -> Result<Asked, TurnError> {
        let mut retries = Retries::new(self.shared.setup.retries);
        let mut shown = Shown::default();
        loop {
            let request = self.request();
            let mut online = self.shared.setup.online.clone();
            online.mark_unchanged();
            let fault = match self.stream(&request, &mut shown).await? {
                Ok(completion) => {
                    self.keep(completion, shown.span).await?;
                    return Ok(Asked::Answered);
                }
                Err(fault) => fault,
            };
            match self.shared.setup.stop.wish() {
                Some(Wish::Abort) => {
                    self.keep_partial(shown).await?;
                    return Ok(Asked::Stopped);
                }
                Some(Wish::Leave | Wish::Drop) => return Ok(Asked::Stopped),
                None => {}
            }
            self.withdraw(&mut shown).await?;
            self.shared.setup.metrics.model_faults.inc();
            let fault = if broke_with_the_hub(&fault, &mut online).await {
                Fault::HubAway { reason: fault.to_string() }
            } else {
                fault
            };
            match retries.decide(&fault, random()) {
                Decision::Retry { after, attempt, budget } => {
                    self.shared.status(format!(
                        "{fault}; trying again in {:.1} s ({attempt} of {budget})",
                        after.as_secs_f32()
                    ));
                    tracing::warn!(error = &fault as &dyn std::error::Error, attempt, "a model call failed");
                    self.cancel().run_until_cancelled(tokio::time::sleep(after)).await;
                }
                Decision::AwaitHub => {
                    tracing::info!("a model call broke off because the hub is away");
                    self.await_hub().await;
                }
                Decision::Shorten => {
                    if !self.shorten().await? {
                        return Ok(Asked::Failed(format!(
                            "{fault}; start a new session, or choose a model with a larger context window"
                        )));
                    }
                }
                Decision::Stop(reason) => return Ok(Asked::Failed(words(&fault, reason))),
            }
        }
    }

    /// Makes the call and shows its text as it comes.
    async fn stream(
        &self,
        request: &ModelRequest,
        shown: &mut Shown,
    ) -> Result<Result<Completion, Fault>, TurnError> {
        shown.current = None;
        shown.partial = Completion::default();
        self.shared.setup.metrics.model_calls.inc();
        let asked = Instant::now();
        let mut is_first = true;
        let mut stream = match self.shared.setup.model.stream(request, self.cancel().clone()).await {
            Ok(stream) => stream,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut coalescer = Coalescer::default();
        loop {
            let due = coalescer.due();
            let item = tokio::select! {
                biased;
                item = stream.next() => item,
                () = sleep_until(due) => {
                    let pieces = coalescer.take(Instant::now());
                    self.show(pieces, shown).await?;
                    continue;
                }
            };
            let (kind, delta) = match item {
                Some(Ok(ModelEvent::Thinking(delta))) => (Text::Thinking, delta),
                Some(Ok(ModelEvent::Text(delta))) => (Text::Response, delta),
                // A call is shown when it begins to run; until then the answer may still break off.
                Some(Ok(ModelEvent::CallStarted { .. } | ModelEvent::CallArguments { .. })) => continue,
                Some(Ok(ModelEvent::Done(completion))) => {
                    self.show(coalescer.take(Instant::now()), shown).await?;
                    return Ok(Ok(completion));
                }
                Some(Err(fault)) => {
                    // What an aborted turn has said stays; what has broken off is withdrawn, so why show it.
                    if self.shared.setup.stop.wish() == Some(Wish::Abort) {
                        self.show(coalescer.take(Instant::now()), shown).await?;
                    }
                    return Ok(Err(fault));
                }
                None => return Ok(Err(Fault::Truncated)),
            };
            if is_first {
                is_first = false;
                self.shared.setup.metrics.first_token.observe(asked.elapsed().as_secs_f64());
            }
            match kind {
                Text::Thinking => {
                    shown.partial.thinking.get_or_insert_default().push_str(&delta);
                }
                Text::Response => shown.partial.text.push_str(&delta),
            }
            let pieces = coalescer.push(kind, &delta, Instant::now());
            self.show(pieces, shown).await?;
        }
    }

    async fn show(&self, pieces: Vec<(Text, String)>, shown: &mut Shown) -> Result<(), TurnError> {
        for (kind, piece) in pieces {
            let seq = self.push(&self.voice.text(kind, piece)).await?;
            shown.text(seq);
        }
        Ok(())
    }

    async fn keep(&mut self, completion: Completion, text: Option<TextSpan>) -> Result<(), TurnError> {
        let mut batch = Batch::default();
        let usage = completion.usage.as_ref().map(|usage| batch.say(self.voice.usage(usage)));
        batch.note(move |seqs| Body::Assistant { completion, text, usage: usage.map(|place| seqs[place]) });
        self.commit(batch).await
    }

    /// The user has stopped the turn while the model spoke: what it had said is its answer.
    async fn keep_partial(&mut self, shown: Shown) -> Result<(), TurnError> {
        let Shown { span, current, partial } = shown;
        let mut bodies = vec![Body::Cancel];
        if current.is_some() {
            bodies.push(Body::Assistant { completion: partial, text: span, usage: None });
        }
        self.append(bodies).await
    }

    /// Takes back the text of a try that broke off.
    async fn withdraw(&self, shown: &mut Shown) -> Result<(), TurnError> {
        if let Some(TextSpan { from, to }) = shown.current.take() {
            let seq = self.push(&self.voice.superseded(from, to)).await?;
            grow(&mut shown.span, seq);
        }
        Ok(())
    }

    async fn await_hub(&self) {
        let mut online = self.shared.setup.online.clone();
        let back = async {
            tokio::time::sleep(HUB_PAUSE).await;
            // An error means that the connection is gone for good; then the process is ending.
            let _gone = online.wait_for(|is_online| *is_online).await;
        };
        self.cancel().run_until_cancelled(back).await;
    }

    /// Leaves out half of the earlier turns that are still in. False: there is nothing left to leave out.
    async fn shorten(&mut self) -> Result<bool, TurnError> {
        let earlier = self.conversation.earlier.len() as u64;
        let left = earlier.saturating_sub(self.state.omitted);
        if left == 0 {
            return Ok(false);
        }
        let omitted = self.state.omitted + left.div_ceil(2);
        self.shared.status(format!(
            "The conversation is too long for the model; the oldest {omitted} turns are left out from here on."
        ));
        self.append(vec![Body::Trim { omitted }]).await?;
        Ok(true)
    }

    async fn push(&self, event: &protocol::event::TurnEvent) -> Result<u64, TurnError> {
        self.gate.pass().await?;
        self.shared.setup.outbox.push(event).await.map_err(TurnError::Event)
    }
}

/// Whether a stream broke because the hub, through which it runs, went away. The hub may be back already, and the news
/// that it was away may come after the broken stream.
async fn broke_with_the_hub(fault: &Fault, online: &mut watch::Receiver<bool>) -> bool {
    if !matches!(fault, Fault::Connect { .. } | Fault::Truncated) {
        return false;
    }
    let is_away = !*online.borrow();
    is_away || tokio::time::timeout(HUB_NEWS, online.changed()).await.is_ok()
}

fn words(fault: &Fault, reason: Reason) -> String {
    match reason {
        Reason::Final | Reason::Cancelled => fault.to_string(),
        Reason::BudgetSpent { retries } => format!("{fault}; given up after {retries} more tries"),
        Reason::WaitTooLong { wait } => {
            format!("{fault}; the endpoint asks to wait {} min, which is too long", wait.as_secs() / 60)
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Evenly from 0 to 1.
fn random() -> f64 {
    let number = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(number) / f64::from(u32::MAX)
}

//! One turn in the terminal: the prompt goes in, the agent's work streams out, the exit code says how it ended.

pub(crate) mod interrupt;
pub(crate) mod output;
pub(crate) mod render;

use std::process::ExitCode;
use std::time::Duration;

use protocol::document::ChatTurn;
use protocol::event::TurnEvent;
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;

use self::interrupt::Interrupts;
use self::output::Output;
use crate::access::HubAccess;
use crate::console::Console;
use crate::live::{Live, Request, Target, Update};

/// How long an abort may take before the terminal is given back.
pub(crate) const ABORT_PATIENCE: Duration = Duration::from_millis(1250);

/// How a turn in the terminal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    Finished,
    Error,
    Aborted,
}

impl TurnEnd {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Finished => ExitCode::SUCCESS,
            Self::Error => ExitCode::FAILURE,
            Self::Aborted => ExitCode::from(130),
        }
    }
}

pub(crate) struct TurnRequest<'a> {
    pub access: &'a HubAccess,
    pub target: Target,
    pub prompt: &'a str,
    pub json: bool,
}

/// Runs the turn to its end. The first interrupt aborts it, the second one leaves at once.
pub(crate) async fn run(
    request: TurnRequest<'_>,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> anyhow::Result<TurnEnd> {
    let TurnRequest { access, target, prompt, json } = request;
    // What the session said before is not of this turn.
    let mut live = Live::open(access, target, None)?;
    let mut output = Output::new(console, json);
    let ended = follow(&mut live, prompt, &mut output, interrupts).await;
    live.close().await;
    output.end()?;
    ended
}

async fn follow(
    live: &mut Live,
    prompt: &str,
    output: &mut Output<'_>,
    interrupts: &mut Interrupts,
) -> anyhow::Result<TurnEnd> {
    let mut turn: Option<TurnId> = None;
    let mut submitted = false;
    loop {
        let update = tokio::select! {
            update = live.next() => update,
            () = interrupts.recv() => {
                if turn.is_none() {
                    return Ok(TurnEnd::Aborted);
                }
                output.note("stopping the turn");
                live.abort();
                return abort(live, turn.as_ref(), output, interrupts).await;
            }
        };
        match update {
            Update::Locked if !submitted => {
                submitted = true;
                live.submit(prompt);
            }
            Update::Submitted(id) => turn = Some(id),
            other => {
                if let Some(end) = shown(other, turn.as_ref(), output)? {
                    return Ok(end);
                }
            }
        }
    }
}

/// Waits for the end of a turn that is being stopped, but not for long.
async fn abort(
    live: &mut Live,
    turn: Option<&TurnId>,
    output: &mut Output<'_>,
    interrupts: &mut Interrupts,
) -> anyhow::Result<TurnEnd> {
    let deadline = tokio::time::sleep(ABORT_PATIENCE);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            update = live.next() => if let Some(end) = shown(update, turn, output)? {
                return Ok(end);
            },
            () = interrupts.recv() => return Ok(TurnEnd::Aborted),
            () = &mut deadline => {
                output.note("the turn has not said that it stopped; look at it with `gadget attach`");
                return Ok(TurnEnd::Aborted);
            }
        }
    }
}

/// Shows what came. Answers how the turn ended when that was its end.
fn shown(update: Update, turn: Option<&TurnId>, output: &mut Output<'_>) -> anyhow::Result<Option<TurnEnd>> {
    match update {
        Update::Event(event) => {
            let of_this_turn = event.turn.as_ref().is_some_and(|(_, meta)| Some(&meta.turn_id) == turn);
            output.event(&event, of_this_turn)?;
            Ok(event.turn.filter(|_| of_this_turn).and_then(|(event, _)| end_of(&event)))
        }
        Update::CaughtUp(stored) => {
            let ChatTurn { id, status, .. } = &*stored;
            let over = Some(id) == turn && status.is_over();
            if over {
                output.stored(&stored)?;
            }
            Ok(over.then(|| status_end(*status)))
        }
        Update::Refused(request @ (Request::Lock | Request::Submit), why) => {
            anyhow::bail!("{request}: {why}")
        }
        Update::Refused(request @ (Request::Abort | Request::Resume), why) => {
            output.note(&format!("{request}: {why}"));
            Ok(None)
        }
        Update::Away(why) => {
            output.note(&why);
            Ok(None)
        }
        Update::Gone(why) => anyhow::bail!("{why}"),
        Update::Locked | Update::Submitted(_) | Update::Aborting => Ok(None),
    }
}

fn end_of(event: &TurnEvent) -> Option<TurnEnd> {
    match event {
        TurnEvent::WorkOrderComplete { status, .. } => Some(status_end(*status)),
        _ => None,
    }
}

fn status_end(status: ChatTurnStatus) -> TurnEnd {
    match status {
        ChatTurnStatus::Finished => TurnEnd::Finished,
        ChatTurnStatus::Aborted => TurnEnd::Aborted,
        ChatTurnStatus::Error | ChatTurnStatus::Processing => TurnEnd::Error,
    }
}

//! The turn that this process has taken on, as the drone's owner of state sees it.

use protocol::drone::{HelloTurn, WorkOrderTurn};
use protocol::ids::TurnId;
use tokio_util::task::AbortOnDropHandle;

use crate::outbox::Outbox;
use crate::turn::{Stop, Wish};
use crate::workspace::document::WorkOrderDocument;

pub(super) struct RunningTurn {
    pub order: WorkOrderDocument,
    pub outbox: Outbox,
    pub stop: Stop,
    pub state: State,
}

/// One sending of a turn to this drone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub turn: TurnId,
    pub number: u32,
}

pub(super) enum State {
    /// Accepted while the project is being synchronised, or the last calls of the turn before it are being stopped;
    /// begins when that is done.
    Waiting(Box<WorkOrderTurn>),
    Running(AbortOnDropHandle<()>),
    /// It is over, and the hub has still to store the rest of its events; the task waits for that.
    Ended {
        _task: AbortOnDropHandle<()>,
    },
}

impl RunningTurn {
    pub(super) fn id(&self) -> &TurnId {
        &self.order.turn_id
    }

    pub(super) fn attempt(&self) -> Attempt {
        Attempt { turn: self.order.turn_id.clone(), number: self.order.attempt }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// It has told its end, and the hub has stored all of it: what is left of it are calls that are being stopped.
    pub(super) fn is_told(&self, next_seq: u64) -> bool {
        self.outbox.is_sealed() && self.outbox.last_seq() < next_seq
    }

    pub(super) fn hello(&self) -> HelloTurn {
        HelloTurn {
            turn_id: self.id().clone(),
            attempt: self.order.attempt,
            last_seq: self.outbox.last_seq(),
        }
    }

    pub(super) fn ask(&self, wish: Wish) {
        self.stop.ask(wish);
    }

    /// Waits until nothing of it runs.
    pub(super) async fn gone(self) {
        if let State::Running(task) = self.state
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the turn's task crashed");
        }
    }
}

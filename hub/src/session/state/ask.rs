//! Commands that are on their way to the drone. Each ends exactly once: by its answer, its deadline, or the loss of the
//! drone's connection; what comes later is ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::value::WorkspaceMode;

use crate::session::ConnId;
use crate::session::responder::Responder;

/// Names a command, so that its answer finds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What was asked, and who waits for it.
#[derive(Debug)]
pub(super) enum Ask {
    Lock,
    Release { answer: Option<Responder> },
    Heartbeat { answer: Responder },
    Mode { wanted: WorkspaceMode, answer: Responder },
    Abort { answer: Option<Responder> },
    File { event: &'static str, path: String, conn: ConnId, answer: Responder },
    Dispatch { attempt: u32 },
}

#[derive(Debug, Default)]
pub(super) struct Asks {
    last: u64,
    open: BTreeMap<Ticket, (Duration, Ask)>,
}

impl Asks {
    /// A name for something that answers later.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.last += 1;
        Ticket(self.last)
    }

    pub(super) fn open(&mut self, deadline: Duration, ask: Ask) -> Ticket {
        let ticket = self.ticket();
        self.open.insert(ticket, (deadline, ask));
        ticket
    }

    pub(super) fn close(&mut self, ticket: Ticket) -> Option<Ask> {
        self.open.remove(&ticket).map(|(_, ask)| ask)
    }

    /// What nobody will answer any more, in the order in which it was asked.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Ask> {
        self.open.extract_if(.., |_, (deadline, _)| *deadline <= now).map(|(_, (_, ask))| ask).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.open).into_values().map(|(_, ask)| ask).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.open.values().map(|(deadline, _)| *deadline).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

//! What a session wants done. Carried out in order; what takes time answers by an input.

use std::sync::Arc;
use std::time::Duration;

use protocol::drone::CrashRecoveryResponse;
use protocol::ids::{DroneId, TurnId, WorkspaceId};
use protocol::value::WorkspaceMode;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::ask::Ticket;
use crate::store::{EventRecord, TurnEnd, TurnPatch};

#[derive(Debug)]
pub enum Effect {
    /// Answers an ack.
    Answer(Responder, Vec<Value>),
    /// Sends a live event to connections.
    Show { to: Arc<[ConnId]>, event: Arc<EventRecord> },
    /// Sends events that were sent before. Where `tell_when_drained`, answered by `Drained`.
    Replay { conn: ConnId, events: Vec<Arc<EventRecord>>, tell_when_drained: bool },
    /// Sends an event without a number.
    Tell { to: Arc<[ConnId]>, note: Note },
    /// The connection now holds this session's tab: what names no session is meant for it.
    /// `by_itself`: it came back, and has not asked for it.
    TabTaken { conn: ConnId, by_itself: bool },
    /// The connection does not hold this session's tab, or no longer.
    TabLost { conn: ConnId },
    /// The connection has nothing to do with this session: it neither watches nor holds its tab. Not to be told to one
    /// that has asked for something after its request number `upto`.
    Forget { conn: ConnId, upto: u64 },
    /// Ends an IDE's connection so that it comes back by itself.
    KillIde { conn: ConnId },
    /// Finds out whether the connection's peer is still there, for `within`.
    Probe { conn: ConnId, within: Duration },
    /// Reads stored events for a replay.
    LoadPage { conn: ConnId, after: u64, limit: u32 },
    /// Reads a turn as clients see it; the newest one where `turn` is absent.
    LoadTurn { conn: ConnId, turn: Option<TurnId> },

    /// Finds the session's drone, or makes one, and lets the fleet run it.
    Claim { ticket: Ticket, choice: DroneChoice },
    /// Another drone works for the session now: this one is free, and stops.
    Dismiss { drone: DroneId },
    /// Lets the fleet stop the drone for lack of work.
    Suspend { drone: DroneId },
    /// Asks the drone something.
    Command { ticket: Ticket, conn: ConnId, command: Command },
    /// Answers a drone's `hello`.
    Welcome { answer: Responder, drone: DroneId, generation: u64, locked: bool, stored_seq: Option<u64> },
    /// Stops or resumes reading from the drone.
    PauseDrone { conn: ConnId, paused: bool },
    /// Ends a drone's connection; it comes back and says what is true.
    KillDrone { conn: ConnId },

    /// Stores a prompt as a processing turn.
    StoreTurn(NewTurn),
    /// Changes a turn's head, and nobody waits for it.
    PatchTurn { turn: TurnId, patch: TurnPatch },
    /// Makes the attempt's head durable, unless it is, then sends the work order.
    Dispatch(Dispatch),
    /// Makes events durable.
    Append { events: Vec<Arc<EventRecord>>, end: Option<TurnEnd> },
    /// Names the session after its first prompt, if it still has the name that all begin with.
    NameSession { prompt: String },
    /// Keeps with the session on which workspace its drone works.
    NoteWorkspace { workspace: WorkspaceId },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTurn {
    pub turn: TurnId,
    pub prompt: String,
    pub seq_before: u64,
    /// The drone that it will be sent to at once: the head of the first attempt is stored with it.
    pub drone: Option<DroneId>,
}

/// One sending of a turn to the drone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    pub ticket: Ticket,
    pub conn: ConnId,
    pub drone: DroneId,
    pub generation: u64,
    pub turn: TurnId,
    pub attempt: u32,
    pub barren_attempts: u32,
    /// The number of the attempt's first event.
    pub first_seq: u64,
    /// The attempt's head was stored with the turn.
    pub is_stored: bool,
}

/// Which drone a session wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DroneChoice {
    /// The session's own, else a new one.
    Own,
    /// This one, if it is free.
    This(DroneId),
}

/// What the hub asks a drone for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Lock,
    Release,
    Heartbeat,
    Mode(WorkspaceMode),
    Abort,
    /// `fileTreeRequest` and its like: the event's name and its one argument.
    File {
        event: &'static str,
        argument: Value,
    },
    Recovery(CrashRecoveryResponse),
}

/// An event without a number.
#[derive(Clone, Debug)]
pub enum Note {
    Built {
        name: &'static str,
        args: Vec<Value>,
    },
    /// As the drone sent it.
    Raw {
        name: &'static str,
        args: Arc<[Box<RawValue>]>,
    },
}

//! What can happen to a session.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use protocol::document::ChatTurn;
use protocol::drone::{CrashRecoveryRequest, Hello};
use protocol::error::Refusal;
use protocol::event::{DroneMeta, RawEvent};
use protocol::ide::IdeRequest;
use protocol::ids::{DroneId, TurnId, UserId};
use protocol::value::WorkspaceMode;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::fleet::FleetEvent;
use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::ask::Ticket;
use crate::store::{EventRecord, TurnRecord};

/// When something happens. The state has no clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed point; never goes back.
    pub elapsed: Duration,
    /// For people and documents; may jump.
    pub wall: Timestamp,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub conn: ConnId,
    pub user: UserId,
    /// What makes a tab that comes back the same tab.
    pub tab: Option<Arc<str>>,
    /// Numbers what the connection asks of any session.
    pub asked: u64,
}

#[derive(Debug)]
pub enum Input {
    /// An IDE asks for something; `last_seq` is what it said at its connect to have seen of this session.
    Ide {
        peer: Peer,
        request: IdeRequest,
        last_seq: Option<u64>,
        answer: Responder,
    },
    /// A connection that is new comes back to this session by itself. Answered with whether it got the tab lock.
    Attach {
        peer: Peer,
        last_seq: Option<u64>,
        want: AttachAs,
        answer: Responder,
    },
    /// The connection is lost.
    Gone {
        conn: ConnId,
    },
    /// The connection's tab has gone over to another session. `asked`: the number of the last thing that it asked of
    /// this one.
    TabMoved {
        conn: ConnId,
        asked: u64,
    },
    /// The connection, which was coming back to this session by itself, has asked for another one.
    Withdrawn {
        conn: ConnId,
    },
    /// Everything that was sent to the connection has left the hub.
    Drained {
        conn: ConnId,
    },
    /// A page of the replay that was asked for; `None`: the store failed.
    PageLoaded {
        conn: ConnId,
        events: Option<Vec<Arc<EventRecord>>>,
    },
    /// The whole turn that was asked for; `None`: there is none.
    TurnLoaded {
        conn: ConnId,
        turn: Result<Option<Box<ChatTurn>>, Refusal>,
    },

    /// From the drone's connection `conn`.
    Drone {
        conn: ConnId,
        said: DroneInput,
    },
    /// An answer to a command, or what kept it from coming.
    Answered {
        ticket: Ticket,
        answer: Result<Vec<Value>, Unanswered>,
    },
    /// A drone was found for this session and is running or on its way, or why not.
    Claimed {
        ticket: Ticket,
        drone: Result<ClaimedDrone, Refusal>,
    },
    Fleet(FleetEvent),
    /// A person stopped the drone, or lets it run again.
    Held(bool),
    /// After how long without work the drone is suspended from now on.
    IdleAfter(Duration),

    /// The prompt is stored as a turn.
    TurnStored {
        turn: TurnId,
        stored: Result<Box<TurnRecord>, Refusal>,
    },
    /// The events that were handed to the store are durable, or the store failed.
    Appended {
        stored: bool,
    },

    /// The session's document has changed: what clients are told of it.
    SessionUpdated(Value),
    /// The session is deleted.
    Deleted,
    /// Time has passed.
    Tick,
}

/// What a connection that comes back wants of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachAs {
    /// The tab lock, of a session with a processing turn.
    TabOfProcessing,
    /// The tab lock if a turn is processing and nobody has it, else to follow.
    TabOrFollower,
    Follower,
}

#[derive(Debug)]
pub enum DroneInput {
    /// `first`: right after CONNECT.
    Hello {
        drone: DroneId,
        hello: Hello,
        generation: u64,
        first: bool,
        answer: Responder,
    },
    Event {
        event: RawEvent,
        meta: DroneMeta,
        answer: Responder,
    },
    Status(String),
    Mode(WorkspaceMode),
    /// The arguments of a `log` event as they came.
    Log(Vec<Box<RawValue>>),
    Recovery(CrashRecoveryRequest),
    Gone,
}

/// Why a command has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    TimedOut,
    Disconnected,
    /// Something that had to be stored first could not be.
    NotSent,
}

/// The drone that works for this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDrone {
    pub drone: DroneId,
}

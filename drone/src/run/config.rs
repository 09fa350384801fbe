//! What a drone process is told when it starts, and how it can end.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use protocol::drone::ProcessExit;
use protocol::error::Refusal;
use protocol::ids::DroneId;

use crate::connection::ConnectionError;
use crate::model::endpoint::Clocks;
use crate::project::credential::CredentialError;
use crate::workspace::WorkspaceError;

/// How long a drone without a hub and without work waits before it stops by itself.
pub const DEFAULT_ORPHAN_TIMEOUT: Duration = Duration::from_mins(10);

/// How long a session's lock lasts without a heartbeat, and without a turn.
pub const DEFAULT_HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(2);

/// Settings of one drone process.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The workspace directory: a workspace already, or empty.
    pub workspace: PathBuf,
    /// The root of the hub, such as `http://127.0.0.1:8420`.
    pub hub: String,
    pub registration: DroneId,
    /// Read anew at each connect, so that a rotated token is always the newest.
    pub token_file: PathBuf,
    /// With the hub away and nothing running for so long, the process ends by itself.
    pub orphan_timeout: Duration,
    /// Without a heartbeat for so long, and without a turn, the session's lock is let go.
    pub heartbeat_timeout: Duration,
    /// How long the model's endpoint may be silent.
    pub clocks: Clocks,
    /// Clone only so many commits; none: all.
    pub clone_depth: Option<u32>,
    /// How many processes and threads a shell command may add to those that its user has.
    pub job_tasks: u64,
    /// Where to answer `/healthz`, `/readyz` and `/metrics`; none: nowhere.
    pub health_listen: Option<SocketAddr>,
    /// The program that is its own runner of shell jobs, and what comes before `job DIR` in its arguments: `gadget` and
    /// `drone`, or `gadget-drone` and nothing.
    pub job_program: PathBuf,
    pub job_prefix: Vec<OsString>,
    /// How often the supervisor has started this drone again.
    pub process_restarts: u32,
    /// How the process before this one ended.
    pub last_exit: Option<ProcessExit>,
}

/// How a drone process ended when all went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Told to by a signal or by the hub.
    Terminated,
    /// The hub stayed away and there was nothing to do.
    Orphaned,
}

/// Why a drone cannot work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("failed to open the workspace")]
    Workspace(#[source] WorkspaceError),
    #[error("failed to set up the connection to the hub")]
    Connection(#[source] ConnectionError),
    #[error("the hub refuses this drone for good ({code}): {message}", code = .0.code.as_str(), message = .0.message)]
    Refused(Refusal),
    #[error("failed to listen on {address} for health checks")]
    HealthListen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("failed to set up the HTTP client")]
    Http(#[source] Box<dyn Error + Send + Sync>),
    #[error("failed to read the hub's address {address:?}")]
    HubAddress {
        address: String,
        #[source]
        source: url::ParseError,
    },
    #[error("failed to listen to signals")]
    Signals(#[source] io::Error),
    #[error("failed to set up git's credentials")]
    Credentials(#[source] CredentialError),
    /// The next process tells the hub from the journal what is missing.
    #[error("the turn's events cannot be sent on by this process")]
    EventsStuck,
}

impl RunError {
    /// Another start would end the same way: a supervisor should not try.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Connection(_) | Self::HealthListen { .. } | Self::HubAddress { .. } => {
                true
            }
            Self::Workspace(error) => error.is_final(),
            Self::Http(_) | Self::Credentials(_) | Self::Signals(_) | Self::EventsStuck => false,
        }
    }
}

//! The connection to the hub: the only place that knows the Socket.IO client.
//!
//! It decides nothing. It says what happened, in order, sends what it is given, and never makes its owner wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use client::{Args, AuthError, Client, Config, ConfigError, Connection, Fatal, Incoming, Responder};
use futures_util::future::BoxFuture;
use protocol::drone::{DroneAuth, Hello, HelloAck, name};
use protocol::error::{Code, Refusal};
use protocol::ids::{DroneId, WorkspaceId};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

pub use self::request::{LockSession, Request};
use self::sender::{SendEnd, Sender};
use crate::metrics::Metrics;
use crate::outbox::Outbox;

mod request;
mod sender;

/// How long the hub may take to answer a hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers and announcements that wait to be written.
const OUTGOING: usize = 256;

/// Where the hub is, and who this is.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    pub hub: String,
    pub registration: DroneId,
    pub workspace: WorkspaceId,
    pub token_file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("failed to use the hub's address")]
    Config(#[source] ConfigError),
}

/// What happened.
#[derive(Debug)]
pub enum FromHub {
    /// A new connection: say hello.
    Connected,
    Welcome(HelloAck),
    /// The hub did not take the hello.
    HelloFailed(String),
    Disconnected,
    Command(Command),
    /// The hub does not take the turn's events: say hello to learn why.
    EventsRefused(Refusal),
    /// The turn's events cannot be sent on by this process.
    EventsStuck,
    /// No later attempt to connect can succeed.
    Refused(Refusal),
}

/// Something that the hub asks.
#[derive(Debug)]
pub struct Command {
    pub event: String,
    pub request: Result<Request, Refusal>,
    pub answer: Answer,
}

/// Where the answer to a command goes. Whoever drops it lets the hub run into its time-out.
#[derive(Debug)]
#[must_use = "the hub waits for an answer"]
pub struct Answer {
    /// None: the hub does not want one.
    responder: Option<Responder>,
    out: mpsc::Sender<Out>,
}

impl Answer {
    /// `args` must serialise to a list.
    pub fn send<T: Serialize + ?Sized>(self, args: &T) {
        let Self { responder, out } = self;
        let Some(responder) = responder else { return };
        match serde_json::value::to_raw_value(args) {
            Ok(args) => put(&out, Out::Answer(responder, args)),
            Err(error) => tracing::error!(%error, "failed to write an answer to the hub as JSON"),
        }
    }
}

#[derive(Debug)]
enum Out {
    Answer(Responder, Box<RawValue>),
    Announce(Connection, &'static str, Box<RawValue>),
}

pub struct Link {
    client: Client,
    incoming: mpsc::Receiver<Incoming>,
    /// The living connection.
    connection: Option<Connection>,
    /// The hello that is not answered yet.
    hello: Option<BoxFuture<'static, Result<Args, String>>>,
    /// Sends a turn's events on the living connection.
    sending: Option<AbortOnDropHandle<SendEnd>>,
    out: mpsc::Sender<Out>,
    writer: JoinHandle<()>,
}

impl Link {
    /// Begins to connect.
    pub fn start(config: LinkConfig) -> Result<Self, ConnectionError> {
        let LinkConfig { hub, registration, workspace, token_file } = config;
        let auth = move |_| {
            let (registration_id, workspace_id) = (registration.clone(), workspace.clone());
            let token_file = token_file.clone();
            async move {
                let retry = |error: std::io::Error| AuthError::Retry(Box::new(error));
                let token = tokio::fs::read_to_string(&token_file).await.map_err(retry)?;
                let token = token.trim().to_owned();
                let auth = DroneAuth { registration_id, token, workspace_id: Some(workspace_id) };
                serde_json::to_value(auth).map_err(|error| AuthError::Stop(Box::new(error)))
            }
        };
        let config = Config::new(&hub).map_err(ConnectionError::Config)?;
        let (client, incoming) = client::connect(config, auth).map_err(ConnectionError::Config)?;
        let (out, queue) = mpsc::channel(OUTGOING);
        let writer = tokio::spawn(write(queue));
        Ok(Self { client, incoming, connection: None, hello: None, sending: None, out, writer })
    }

    /// The next thing that happened. Waiting for it may be given up without loss.
    pub async fn next(&mut self) -> FromHub {
        loop {
            // Answers and acks before events: what the hub sent after them may rest on them.
            let what = tokio::select! {
                biased;
                answer = ready(&mut self.hello) => {
                    self.hello = None;
                    return welcome(answer);
                }
                end = joined(&mut self.sending) => {
                    self.sending = None;
                    match end {
                        SendEnd::ConnectionLost => continue,
                        SendEnd::Refused(refusal) => return FromHub::EventsRefused(refusal),
                        SendEnd::Stuck => return FromHub::EventsStuck,
                    }
                }
                what = self.incoming.recv() => what,
            };
            match what {
                Some(Incoming::Connected(connection)) => {
                    self.forget();
                    self.connection = Some(connection);
                    return FromHub::Connected;
                }
                Some(Incoming::Disconnected { epoch: _, reason }) => {
                    tracing::info!(%reason, "the connection to the hub is lost");
                    self.forget();
                    return FromHub::Disconnected;
                }
                Some(Incoming::ConnectFailed { error, retry_in }) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, ?retry_in, "failed to connect");
                }
                Some(Incoming::Event(event)) => {
                    let client::Event { name, args, responder } = event;
                    let answer = Answer { responder, out: self.out.clone() };
                    let request = Request::parse(&name, &args);
                    return FromHub::Command(Command { event: name, request, answer });
                }
                Some(Incoming::Fatal(fatal)) => return FromHub::Refused(refusal(&fatal)),
                // Nothing comes after the fatal refusal, which was reported.
                None => std::future::pending().await,
            }
        }
    }

    /// Says what is true here. Answered by [`FromHub::Welcome`] or [`FromHub::HelloFailed`].
    pub fn hello(&mut self, hello: Hello) {
        let Some(connection) = self.connection.clone() else { return };
        self.hello = Some(Box::pin(async move {
            connection.request(name::HELLO, &(hello,), HELLO_TIMEOUT).await.map_err(|error| error.to_string())
        }));
    }

    /// Sends the outbox's events on the living connection, from where it stands.
    pub fn send_from(&mut self, outbox: Outbox, generation: Arc<AtomicU64>, metrics: Arc<Metrics>) {
        let Some(connection) = self.connection.clone() else { return };
        let sender = Sender { connection, outbox, generation, metrics };
        self.sending = Some(AbortOnDropHandle::new(tokio::spawn(sender.run())));
    }

    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    pub fn stop_sending(&mut self) {
        self.sending = None;
    }

    /// Sends an event without a number; lost when there is no connection.
    pub fn announce<T: Serialize + ?Sized>(&self, event: &'static str, args: &T) {
        let Some(connection) = self.connection.clone() else { return };
        match serde_json::value::to_raw_value(args) {
            Ok(args) => put(&self.out, Out::Announce(connection, event, args)),
            Err(error) => tracing::error!(%error, event, "failed to write an event as JSON"),
        }
    }

    /// Says goodbye, and writes what is queued first.
    pub async fn close(self) {
        let Self { client, incoming: _, connection: _, hello: _, sending, out, writer } = self;
        drop(sending);
        drop(out);
        if tokio::time::timeout(Duration::from_secs(1), writer).await.is_err() {
            tracing::debug!("the hub does not take the last answers");
        }
        client.close().await;
    }

    /// Everything that belonged to a connection that is no more.
    fn forget(&mut self) {
        self.connection = None;
        self.hello = None;
        self.sending = None;
    }
}

fn put(out: &mpsc::Sender<Out>, what: Out) {
    // A hub that takes nothing for so long loses the connection in a moment anyway.
    if out.try_send(what).is_err() {
        tracing::warn!("an answer to the hub was dropped: it takes nothing");
    }
}

async fn write(mut queue: mpsc::Receiver<Out>) {
    while let Some(out) = queue.recv().await {
        let sent = match out {
            Out::Answer(responder, args) => responder.respond(&args).await,
            Out::Announce(connection, event, args) => connection.emit(event, &args).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "something for the hub was not sent");
        }
    }
}

fn welcome(answer: Result<Args, String>) -> FromHub {
    match answer {
        Ok(args) => match args.parse::<(HelloAck,)>() {
            Ok((ack,)) => FromHub::Welcome(ack),
            Err(error) => match args.parse::<(bool, Refusal)>() {
                Ok((_, refusal)) => FromHub::HelloFailed(refusal.message),
                Err(_) => FromHub::HelloFailed(error.to_string()),
            },
        },
        Err(why) => FromHub::HelloFailed(why),
    }
}

fn refusal(fatal: &Fatal) -> Refusal {
    match fatal {
        Fatal::Refused(refusal) => {
            let code = serde_json::from_value(refusal.code.clone().into()).unwrap_or(Code::Protocol);
            Refusal::new(code, refusal.message.clone())
        }
        Fatal::Auth(error) => Refusal::new(Code::Unauthorized, error.to_string()),
        Fatal::ServerDisconnect => Refusal::new(Code::Forbidden, fatal.to_string()),
    }
}

async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn joined(task: &mut Option<AbortOnDropHandle<SendEnd>>) -> SendEnd {
    match task {
        Some(task) => task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the task that sends events crashed");
            SendEnd::Stuck
        }),
        None => std::future::pending().await,
    }
}

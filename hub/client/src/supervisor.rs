//! The task behind a client: connects, runs the connection, waits, connects again, until told to stop.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::Connector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{Config, ConfigError, OnServerDisconnect};
use crate::connection::Connection;
use crate::event::{AuthError, AuthRequest, ConnectError, Fatal, Incoming, Loss};
use crate::packet::Namespace;
use crate::policy::{Backoff, Verdict};
use crate::transport::{self, Ended};
use crate::{policy, tls};

/// A connection that ends sooner than this does not reset the back-off: a server that accepts and drops at once is
/// not asked again in a tight loop.
const SETTLED: Duration = Duration::from_secs(1);

/// Stops the client when it is closed or dropped.
#[derive(Debug)]
pub struct Client {
    current: watch::Receiver<Option<Connection>>,
    closing: DropGuard,
    task: JoinHandle<()>,
}

/// Starts a client on the current runtime. What happens arrives on the receiver, in order; it ends after
/// [`Incoming::Fatal`] or [`Client::close`].
///
/// `auth` makes the CONNECT payload and is asked at every attempt, so that a renewed token is always the newest.
pub fn connect<A, F>(config: Config, auth: A) -> Result<(Client, mpsc::Receiver<Incoming>), ConfigError>
where
    A: FnMut(AuthRequest) -> F + Send + 'static,
    F: Future<Output = Result<serde_json::Value, AuthError>> + Send + 'static,
{
    let connector = match (config.url.scheme(), &config.tls) {
        ("wss", Some(tls)) => Connector::Rustls(tls.clone()),
        ("wss", None) => Connector::Rustls(tls::system_roots().map_err(ConfigError::Tls)?),
        _ => Connector::Plain,
    };
    let (incoming, receiver) = mpsc::channel(config.incoming_capacity.max(1));
    let (current, watch_current) = watch::channel(None);
    let closing = CancellationToken::new();
    let supervisor = Supervisor {
        backoff: Backoff::new(config.first_retry, config.longest_retry),
        namespace: Namespace::new(&config.namespace),
        config,
        auth,
        connector,
        incoming,
        current,
        closing: closing.clone(),
        epoch: 0,
    };
    let task = tokio::spawn(supervisor.run());
    Ok((Client { current: watch_current, closing: closing.drop_guard(), task }, receiver))
}

impl Client {
    /// The connection of this moment. Consumers that care for order use the one in [`Incoming::Connected`].
    pub fn connection(&self) -> Option<Connection> {
        self.current.borrow().clone()
    }

    /// Says goodbye: writes what is queued, disconnects, and waits until that is done, for two seconds at most.
    pub async fn close(self) {
        let Self { current: _, closing, task } = self;
        drop(closing);
        if let Err(error) = task.await {
            tracing::error!(%error, "the client's task failed");
        }
    }
}

struct Supervisor<A> {
    config: Config,
    namespace: Namespace,
    connector: Connector,
    auth: A,
    incoming: mpsc::Sender<Incoming>,
    /// What [`Client::connection`] reads.
    current: watch::Sender<Option<Connection>>,
    closing: CancellationToken,
    backoff: Backoff,
    /// Of the last accepted connection.
    epoch: u64,
}

/// What one round, an attempt and the life of its connection, ends in.
enum Round {
    /// Connect again after a wait.
    Again(AuthRequest),
    Stop,
    Fatal(Fatal),
}

impl<A, F> Supervisor<A>
where
    A: FnMut(AuthRequest) -> F + Send + 'static,
    F: Future<Output = Result<serde_json::Value, AuthError>> + Send + 'static,
{
    async fn run(mut self) {
        let mut request = AuthRequest::default();
        loop {
            let closing = self.closing.clone();
            let attempt = closing.run_until_cancelled(self.attempt(request)).await;
            let round = match attempt {
                None => return,
                Some(Ok(granted)) => self.live(granted).await,
                Some(Err(failure)) => self.failed(failure).await,
            };
            request = match round {
                Round::Again(request) => request,
                Round::Stop => return,
                Round::Fatal(fatal) => {
                    self.tell(Incoming::Fatal(fatal)).await;
                    return;
                }
            };
        }
    }

    async fn attempt(&mut self, request: AuthRequest) -> Result<transport::Granted, Failure> {
        let limit = self.config.connect_timeout;
        let asked = tokio::time::timeout(limit, (self.auth)(request)).await;
        let auth = match asked {
            Err(_) => return Err(ConnectError::Auth("the token was not there in time".into()).into()),
            Ok(Err(AuthError::Retry(source))) => return Err(ConnectError::Auth(source).into()),
            Ok(Err(AuthError::Stop(source))) => return Err(Failure::Fatal(Fatal::Auth(source))),
            Ok(Ok(auth)) => auth,
        };
        let open = transport::open(&self.config, &self.namespace, self.connector.clone(), &auth);
        match tokio::time::timeout(limit, open).await {
            Err(_) => Err(ConnectError::TimedOut(limit).into()),
            Ok(Err(ConnectError::Refused(refusal))) if refusal.verdict() == Verdict::Stop => {
                Err(Failure::Fatal(Fatal::Refused(refusal)))
            }
            Ok(opened) => opened.map_err(Failure::from),
        }
    }

    async fn failed(&mut self, failure: Failure) -> Round {
        let error = match failure {
            Failure::Fatal(fatal) => return Round::Fatal(fatal),
            Failure::Attempt(error) => error,
        };
        let refused = match &error {
            ConnectError::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        };
        let retry_in = self.next_wait();
        tracing::debug!(%error, ?retry_in, "failed to connect");
        if !self.tell(Incoming::ConnectFailed { error, retry_in }).await {
            return Round::Stop;
        }
        self.pause(retry_in, AuthRequest { refused }).await
    }

    async fn live(&mut self, granted: transport::Granted) -> Round {
        let began = Instant::now();
        self.epoch += 1;
        let epoch = self.epoch;
        let (outgoing, queue) = mpsc::channel(self.config.outgoing_capacity.max(1));
        let connection = Connection::new(
            epoch,
            granted.sid.clone(),
            self.namespace.clone(),
            self.config.max_outgoing_bytes,
            outgoing,
        );
        self.current.send_replace(Some(connection.clone()));
        let ended =
            transport::run(granted, &connection, &self.namespace, queue, &self.incoming, &self.closing).await;
        self.current.send_replace(None);
        connection.fail_pending();
        let reason = match ended {
            Ended::Closed => return Round::Stop,
            Ended::Lost(reason) => reason,
        };
        tracing::debug!(epoch, %reason, "lost the connection");
        let told_to_go = matches!(reason, Loss::ServerDisconnect);
        if !self.tell(Incoming::Disconnected { epoch, reason }).await {
            return Round::Stop;
        }
        if told_to_go && self.config.on_server_disconnect == OnServerDisconnect::Stop {
            return Round::Fatal(Fatal::ServerDisconnect);
        }
        if began.elapsed() >= SETTLED {
            self.backoff.reset();
        }
        let wait = self.next_wait();
        self.pause(wait, AuthRequest::default()).await
    }

    async fn pause(&mut self, wait: Duration, request: AuthRequest) -> Round {
        match self.closing.run_until_cancelled(tokio::time::sleep(wait)).await {
            Some(()) => Round::Again(request),
            None => Round::Stop,
        }
    }

    /// False when nobody listens any more, or we are closing.
    async fn tell(&mut self, incoming: Incoming) -> bool {
        matches!(self.closing.run_until_cancelled(self.incoming.send(incoming)).await, Some(Ok(())))
    }

    fn next_wait(&mut self) -> Duration {
        self.backoff.wait(policy::random())
    }
}

/// Why an attempt gave no connection.
enum Failure {
    Attempt(ConnectError),
    Fatal(Fatal),
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Attempt(error)
    }
}

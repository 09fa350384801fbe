//! A proxy before the API server: it counts requests, breaks them by rule, ends watches, and calls back at the moment of
//! a write, so that a test can kill the client just then.
//!
//! It speaks plain HTTP to its client, which signs in by token: see `ControlPlane::service_account_kubeconfig`.

mod forward;
mod request;
mod rule;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::control_plane::ControlPlane;
pub use crate::control_plane::proxy::request::Request;
pub use crate::control_plane::proxy::rule::{Fault, Rule};
use crate::log::Log;

/// Watches that are slower than this many commands miss one; a test gives a handful.
const COMMANDS: usize = 16;

/// Ends with all its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

/// A request as it came, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub request: Request,
    /// What the client was answered. `None`: it was not.
    pub code: Option<u16>,
    pub fault: Option<Fault>,
}

/// The moment of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The API server has not seen it.
    Before,
    /// The API server has done it, and the client does not know.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WatchCommand {
    Close,
    Expire,
}

struct CrashPoint {
    nth: usize,
    when: When,
    act: Box<dyn FnOnce(&Request) + Send>,
}

struct State {
    upstream: reqwest::Client,
    server: String,
    log: Log<Seen>,
    /// Locks because connections read while a test writes; held for one look.
    rules: Mutex<Vec<Rule>>,
    crash_point: Mutex<Option<CrashPoint>>,
    /// How many writes have come; see `Request::is_write`.
    writes: Mutex<usize>,
    watches: broadcast::Sender<WatchCommand>,
    down: watch::Sender<bool>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Proxy {
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let _chosen_already = rustls::crypto::ring::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(&std::fs::read(control_plane.authority())?)?;
        // One connection for each request of the client, as without a proxy.
        let upstream =
            reqwest::Client::builder().tls_certs_only([authority]).no_proxy().http1_only().build()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to listen")?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State {
            upstream,
            server: control_plane.url(),
            log: Log::default(),
            rules: Mutex::default(),
            crash_point: Mutex::default(),
            writes: Mutex::default(),
            watches: broadcast::Sender::new(COMMANDS),
            down: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, state.clone()));
        Ok(Self { url, state, _tasks: tasks })
    }

    /// For the kubeconfig of the client.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All requests in the order of their answers, with a way to wait for one.
    pub fn log(&self) -> &Log<Seen> {
        &self.state.log
    }

    pub fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.log().read(|seen| seen.iter().filter(|seen| matches(&seen.request)).count())
    }

    /// The first rule that meets a request counts.
    pub fn inject(&self, rule: Rule) {
        self.state.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    pub fn clear(&self) {
        self.state.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ends all watches, as the API server does every few minutes.
    pub fn close_watches(&self) {
        let _none_is_open = self.state.watches.send(WatchCommand::Close);
    }

    /// Tells all watches that they are too old to go on (410), as after a compaction.
    pub fn expire_watches(&self) {
        let _none_is_open = self.state.watches.send(WatchCommand::Expire);
    }

    /// While it is down nobody can connect, and all connections end.
    pub fn set_down(&self, down: bool) {
        self.state.down.send_replace(down);
    }

    /// Writes that have come until now.
    pub fn writes(&self) -> usize {
        *self.state.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `act` once, at the `nth` write from now on, counted from 1. The write is never answered: `act` should kill
    /// the client. It is called on a connection's task and must not block.
    pub fn on_write(&self, nth: usize, when: When, act: impl FnOnce(&Request) + Send + 'static) {
        let point = CrashPoint { nth: self.writes() + nth, when, act: Box::new(act) };
        *self.state.crash_point.lock().unwrap_or_else(PoisonError::into_inner) = Some(point);
    }

    /// Whether the write of [`Proxy::on_write`] has not come yet.
    pub fn is_armed(&self) -> bool {
        self.state.crash_point.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl State {
    /// The crash point, where this write is it.
    fn crash_point(&self, request: &Request) -> Option<CrashPoint> {
        if !request.is_write() {
            return None;
        }
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes += 1;
        let mut point = self.crash_point.lock().unwrap_or_else(PoisonError::into_inner);
        point.take_if(|point| point.nth == *writes)
    }

    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter_mut().find_map(|rule| rule.meets(request))
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    let mut down = state.down.subscribe();
    loop {
        if *down.borrow_and_update() {
            connections.shutdown().await;
            // Whoever connects meanwhile is dropped.
            tokio::select! {
                _ = down.changed() => {}
                accepted = listener.accept() => drop(accepted),
            }
            continue;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = down.changed() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _unimportant = stream.set_nodelay(true);
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(|request| forward::answer(state.clone(), request));
            // It ends with an error where a rule wants it to.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

//! A real server in this process: socketioxide on a port of its own that can be stopped as if it were killed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use client::{AuthError, AuthRequest, Client, Config, Connection, Incoming};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler;
use socketioxide::layer::SocketIoLayer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Generous: it ends a test that would hang, and decides nothing else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Stops the server, its connections with it, when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Binds `address` (port 0 for a new one) and lets `set_up` add namespaces and handlers.
    pub(crate) async fn start(address: SocketAddr, set_up: impl FnOnce(&SocketIo)) -> Self {
        let (layer, io): (SocketIoLayer, SocketIo) =
            // Room for 256 acks and more: the server drops what does not fit.
            SocketIo::builder().max_buffer_size(512).build_layer();
        set_up(&io);
        // A runtime of its own, so that dropping it drops every connection where it stands, like a kill.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, Router::new().layer(layer)).await });
        Self { address, runtime: Some(runtime) }
    }

    pub(crate) async fn any_port(set_up: impl FnOnce(&SocketIo)) -> Self {
        Self::start(([127, 0, 0, 1], 0).into(), set_up).await
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(&format!("http://{}", self.address)).unwrap()
    }

    /// Ends everything at once, without a word to the clients.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.stop();
        self.address
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Registers handlers in the middleware, which runs before CONNECT is answered: later, first events could vanish.
pub(crate) fn on_connect(
    io: &SocketIo,
    namespace: &'static str,
    set_up: impl FnOnce(SocketRef) + Send + Sync + Clone + 'static,
) {
    on_connect_then(io, namespace, set_up, |_| ());
}

/// As [`on_connect`]; `greet` runs when CONNECT has been answered, and may emit.
pub(crate) fn on_connect_then(
    io: &SocketIo,
    namespace: &'static str,
    set_up: impl FnOnce(SocketRef) + Send + Sync + Clone + 'static,
    greet: impl FnOnce(SocketRef) + Send + Sync + Clone + 'static,
) {
    let greet = move |socket: SocketRef| {
        greet(socket);
        std::future::ready(())
    };
    let set_up = move |socket: SocketRef| {
        set_up(socket);
        std::future::ready(Ok::<(), Infallible>(()))
    };
    io.ns(namespace, greet.with(set_up));
}

pub(crate) async fn no_auth(_: AuthRequest) -> Result<Value, AuthError> {
    Ok(json!({}))
}

pub(crate) async fn next(incoming: &mut mpsc::Receiver<Incoming>) -> Incoming {
    let next = tokio::time::timeout(DEADLINE, incoming.recv()).await;
    next.expect("nothing happened in time").expect("the client stopped")
}

/// Skips failed attempts up to the next accepted connection.
pub(crate) async fn connected(incoming: &mut mpsc::Receiver<Incoming>) -> Connection {
    loop {
        match next(incoming).await {
            Incoming::Connected(connection) => return connection,
            Incoming::ConnectFailed { .. } | Incoming::Disconnected { .. } => {}
            other => panic!("expected a connection, got {other:?}"),
        }
    }
}

pub(crate) async fn connect(config: Config) -> (Client, mpsc::Receiver<Incoming>, Connection) {
    let (client, mut incoming) = client::connect(config, no_auth).unwrap();
    let connection = connected(&mut incoming).await;
    (client, incoming, connection)
}

/// A peer of our own making that speaks raw WebSocket text, for what a well-behaved server never does.
pub(crate) struct RawServer {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl RawServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(&format!("http://{}", self.address)).unwrap()
    }

    pub(crate) async fn accept(&self) -> tokio_tungstenite::WebSocketStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        tokio_tungstenite::accept_async(stream).await.unwrap()
    }
}

/// Runs all and waits for all.
pub(crate) async fn join_all<F>(tasks: impl IntoIterator<Item = F>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut set: JoinSet<()> = tasks.into_iter().collect();
    while let Some(done) = set.join_next().await {
        done.unwrap();
    }
}

//! The scripted model on a port.
//!
//! On hyper itself, because a script can break a connection before it has answered, which a router cannot.

use std::net::SocketAddr;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::body::Cut;
use crate::engine::ScriptedModel;

/// Bigger requests are cut off.
const MAX_REQUEST: usize = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("failed to listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// A running server. It ends when this is dropped, with all its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ScriptedModel {
    /// Listens on the address; port 0 takes a free one.
    pub async fn serve(&self, address: SocketAddr) -> Result<Server, ServeError> {
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, self.clone(), stop.clone()));
        Ok(Server { address, stop, task })
    }

    /// Listens on a free port of this machine.
    pub async fn serve_here(&self) -> Result<Server, ServeError> {
        self.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }
}

impl Server {
    /// The base URL, without a slash at its end. Every path that ends as a dialect's endpoint does is answered.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and waits until that is done.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // The task ends at the token; a panic in it has been reported already.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, model: ScriptedModel, stop: CancellationToken) {
    // Dropped at the end, which ends the connections in it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // Connections that are over are forgotten.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, model.clone()));
                }
                // The client has gone again, or there are too many open files: the next one may fare better.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
}

async fn connection(stream: TcpStream, model: ScriptedModel) {
    // A paced stream is many small writes; none of them may wait for the one before.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let model = model.clone();
        async move { serve_one(&model, request).await }
    });
    // An error is a connection that broke, by the script or by the client.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn serve_one(model: &ScriptedModel, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else { return Err(Cut) };
    model.answer(head.uri.path(), &head.headers, body.to_bytes()).await
}

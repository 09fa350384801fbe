//! Model calls over HTTP, through the hub's model proxy.
//!
//! The hub swaps the session token for the provider's key, so no key is ever here. What the hub answers by itself it
//! marks with the header `x-gadget-hub`; everything else is the provider's own word.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use protocol::value::Dialect;
use reqwest::Response;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;
use url::Url;

use self::reader::Reader;
use super::decoder::Decoder;
use super::fault::{Clock, Fault};
use super::wire::Wire;
use super::{Model, ModelRequest, ModelStream, error_body, retry};
use crate::session_token::{SessionToken, SessionTokens};

mod reader;

/// The header by which the hub says that an answer is its own and not the provider's.
pub const HUB_HEADER: &str = "x-gadget-hub";

/// How long to wait for a connection, and to see whether the hub is there at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An error's explanation is cut here, in size and time.
const MAX_ERROR_BODY: usize = 64 * 1024;
const ERROR_BODY_LIMIT: Duration = Duration::from_secs(5);

/// How long an endpoint may be silent. Only time spent waiting for it counts, not the consumer's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Until the status line. Servers that load a model first are silent for minutes.
    pub headers: Duration,
    /// From there to the first piece of thinking, text or a call. Comments and empty frames do not count.
    pub first_delta: Duration,
    /// From one piece to the next.
    pub next_delta: Duration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            headers: Duration::from_mins(5),
            first_delta: Duration::from_mins(5),
            next_delta: Duration::from_mins(3),
        }
    }
}

/// A provider behind the hub, in the dialect that it speaks.
#[derive(Debug)]
pub struct Endpoint {
    client: reqwest::Client,
    url: Url,
    wire: Wire,
    tokens: SessionTokens,
    clocks: Clocks,
    /// An answer has come before, so a connection may be a reused one that the other side has just closed.
    has_answered: AtomicBool,
}

/// The HTTP client for model calls to this hub: one per process, for the connections that it keeps.
pub fn http_client(hub: &Url) -> Result<reqwest::Client, reqwest::Error> {
    // Reqwest takes the process-wide provider. An error means that there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        // The hub is near; a proxy for the outside world must not get the session's token.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_LIMIT);
    // The system's certificate roots take longer to load than all the rest of a drone's start.
    let needs_roots = hub.scheme() == "https";
    if needs_roots { builder.build() } else { builder.tls_certs_only([]).build() }
}

impl Endpoint {
    /// `hub` is the hub's base URL, `provider` the provider's name there.
    pub fn new(
        client: reqwest::Client,
        hub: &Url,
        provider: &str,
        dialect: Dialect,
        tokens: SessionTokens,
        clocks: Clocks,
    ) -> Result<Self, Fault> {
        let wire = Wire::of(dialect)?;
        let mut url = hub.clone();
        url.path_segments_mut()
            .map_err(|()| Fault::Connect { source: format!("{hub} is no base URL of a hub").into() })?
            .pop_if_empty()
            .extend(["internal", "model", provider])
            .extend(wire.path());
        Ok(Self { client, url, wire, tokens, clocks, has_answered: AtomicBool::new(false) })
    }

    /// Sends the request until there are success headers to read from or a fault to report.
    async fn open(&self, body: Bytes) -> Result<Response, Fault> {
        let mut has_replayed = false;
        let mut has_renewed = false;
        loop {
            let token = self.token()?;
            let request = self
                .client
                .post(self.url.clone())
                .bearer_auth(token.bearer())
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
            let limit = self.clocks.headers;
            let response = match timeout(limit, request.send()).await {
                Err(_) => return Err(Fault::Stalled { clock: Clock::Headers, limit }),
                // Nothing has come back, and the connection may have been a stale one: once more, at once.
                Ok(Err(error))
                    if !error.is_connect() && !has_replayed && self.has_answered.load(Ordering::Relaxed) =>
                {
                    has_replayed = true;
                    continue;
                }
                Ok(Err(error)) => return Err(broken(&self.url, error).await),
                Ok(Ok(response)) => response,
            };
            self.has_answered.store(true, Ordering::Relaxed);
            if response.status().is_success() {
                return Ok(response);
            }
            let is_from_hub = response.headers().contains_key(HUB_HEADER);
            if response.status() == StatusCode::UNAUTHORIZED
                && !has_renewed
                && self.has_another_token(&token, is_from_hub).await
            {
                has_renewed = true;
                continue;
            }
            return Err(refused(response).await);
        }
    }

    fn token(&self) -> Result<SessionToken, Fault> {
        self.tokens
            .newest()
            .ok_or_else(|| Fault::HubAway { reason: "it has given no session token yet".to_owned() })
    }

    /// Whether there is another token than the refused one. Where the hub itself has refused, it is asked for one.
    async fn has_another_token(&self, refused: &SessionToken, is_from_hub: bool) -> bool {
        if is_from_hub {
            return self.tokens.instead_of(refused).await.is_some();
        }
        self.tokens.newest().is_some_and(|newest| newest != *refused)
    }
}

#[async_trait]
impl Model for Endpoint {
    async fn stream(&self, request: &ModelRequest, cancel: CancellationToken) -> Result<ModelStream, Fault> {
        let body = self
            .wire
            .body(request)
            .map_err(|error| Fault::Frame { message: format!("failed to write the request: {error}") })?;
        let response = cancel.run_until_cancelled(self.open(body.into())).await.ok_or(Fault::Cancelled)??;
        if is_html(response.headers()) {
            let message = "an HTML page instead of an answer; check the provider's base URL".to_owned();
            return Err(Fault::Frame { message });
        }
        let prefix = Ulid::generate().to_string().to_ascii_lowercase();
        let decoder = Decoder::new(self.wire, self.wire.framing(), prefix);
        let reader = Reader::new(response, decoder, self.clocks, cancel);
        Ok(stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next().await?.map(|event| (event, reader)))
        })
        .boxed())
    }
}

/// A broken connection: the hub's end of it, or something behind a hub that is well.
async fn broken(url: &Url, error: reqwest::Error) -> Fault {
    let is_away = error.is_connect() || !is_reachable(url).await;
    // The URL adds nothing but the session's internals to the message.
    let error = error.without_url();
    if is_away {
        Fault::HubAway { reason: error.to_string() }
    } else {
        Fault::Connect { source: error.into() }
    }
}

async fn is_reachable(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    // An IPv6 host stands in brackets in a URL.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    matches!(timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await, Ok(Ok(_)))
}

/// An answer with an error status.
async fn refused(mut response: Response) -> Fault {
    let code = response.status();
    let headers = response.headers();
    let is_draining = headers.get(HUB_HEADER).is_some_and(|value| value == "draining");
    if is_draining && code == StatusCode::SERVICE_UNAVAILABLE {
        return Fault::HubAway { reason: "it is draining".to_owned() };
    }
    let retry_after = wait(headers);
    let mut body = BytesMut::new();
    let read = async {
        while body.len() < MAX_ERROR_BODY
            && let Ok(Some(bytes)) = response.chunk().await
        {
            body.extend_from_slice(&bytes);
        }
    };
    // What has come by then is enough: it only explains a fault that is certain.
    let _ = timeout(ERROR_BODY_LIMIT, read).await;
    error_body::of_status(code.as_u16(), &body, retry_after)
}

/// How long an answer asks to wait before the next request.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if let Some(milliseconds) = text("retry-after-ms").and_then(|value| value.parse().ok()) {
        return Some(Duration::from_millis(milliseconds));
    }
    let now = text(DATE.as_str()).and_then(retry::http_date).unwrap_or_else(Timestamp::now);
    retry::retry_after(text(RETRY_AFTER.as_str())?, now)
}

fn is_html(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/html"))
}

#[cfg(test)]
mod tests;

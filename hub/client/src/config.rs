//! Where to connect to, and the bounds that hold.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

/// Settings of a client. The defaults are right for the hub.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) url: Url,
    /// The Socket.IO namespace.
    pub namespace: String,
    /// How many things may wait to be taken from [`crate::connect`]'s receiver before the socket is read no more.
    pub incoming_capacity: usize,
    /// How many packets may wait to be written before sending waits for room.
    pub outgoing_capacity: usize,
    /// The largest event or ack that may be sent, in bytes of JSON; the hub ends the connection at a larger one.
    pub max_outgoing_bytes: usize,
    /// The largest message that is taken from the server, in bytes.
    pub max_incoming_bytes: usize,
    /// From the first packet to the namespace's answer; the auth function has the same time again.
    pub connect_timeout: Duration,
    /// The wait after the first failed attempt; it doubles with each one more, up to half a second for the first
    /// fifty or so, and then up to the longest.
    pub first_retry: Duration,
    pub longest_retry: Duration,
    pub on_server_disconnect: OnServerDisconnect,
    /// Certificates to trust; absent: those of the system.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// What a disconnect by the server's own wish means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnServerDisconnect {
    Reconnect,
    /// Reported as [`crate::Fatal::ServerDisconnect`].
    Stop,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read the hub's address {address:?}")]
    Url {
        address: String,
        #[source]
        source: url::ParseError,
    },
    #[error("the hub's address must begin with http, https, ws or wss and name a host: {0:?}")]
    Scheme(String),
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
}

impl Config {
    /// `address` is the root of the hub, such as `https://gadget.example.com` or `http://127.0.0.1:8420/`.
    pub fn new(address: &str) -> Result<Self, ConfigError> {
        let mut url =
            Url::parse(address).map_err(|source| ConfigError::Url { address: address.to_owned(), source })?;
        let scheme = match url.scheme() {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            _ => return Err(ConfigError::Scheme(address.to_owned())),
        };
        let path = format!("{}/socket.io/", url.path().trim_end_matches('/'));
        if url.set_scheme(scheme).is_err() || url.host_str().is_none() {
            return Err(ConfigError::Scheme(address.to_owned()));
        }
        url.set_path(&path);
        url.set_query(Some("EIO=4&transport=websocket"));
        url.set_fragment(None);
        Ok(Self {
            url,
            namespace: "/".to_owned(),
            incoming_capacity: 256,
            outgoing_capacity: 256,
            max_outgoing_bytes: 1024 * 1024,
            max_incoming_bytes: 64 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            first_retry: Duration::from_millis(100),
            longest_retry: Duration::from_secs(10),
            on_server_disconnect: OnServerDisconnect::Reconnect,
            tls: None,
        })
    }

    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = name.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_hub_becomes_the_websocket_address() {
        let url = |address: &str| Config::new(address).unwrap().url.to_string();
        assert_eq!(url("http://127.0.0.1:8420"), "ws://127.0.0.1:8420/socket.io/?EIO=4&transport=websocket");
        assert_eq!(url("https://h/x/#token=y"), "wss://h/x/socket.io/?EIO=4&transport=websocket");
        assert_eq!(url("wss://h"), "wss://h/socket.io/?EIO=4&transport=websocket");
    }

    #[test]
    fn an_address_that_cannot_be_a_hub_is_refused() {
        for address in ["", "127.0.0.1:8420", "ftp://h", "file:///tmp"] {
            assert!(Config::new(address).is_err(), "{address}");
        }
    }
}

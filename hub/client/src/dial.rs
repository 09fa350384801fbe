//! A TCP connection to the server, by whichever of its addresses takes it.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// How long an address is waited for, before the next one and before the next attempt.
///
/// Where a pod has just gone, the cluster still sends packets to its address for a moment, and nothing answers; that
/// attempt stays lost also after the next pod is there. So the first wait is short. It doubles for those who are far away.
#[derive(Debug)]
pub(crate) struct Patience {
    most: Duration,
    now: Duration,
}

const FIRST: Duration = Duration::from_secs(1);

impl Patience {
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, now: FIRST.min(most) }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Nothing has answered in that time.
    pub(crate) fn grow(&mut self) {
        self.now = (self.now * 2).min(self.most);
    }

    pub(crate) fn reset(&mut self) {
        self.now = FIRST.min(self.most);
    }
}

/// Asks one address after the other.
pub(crate) async fn dial(url: &Url, patience: Duration) -> io::Result<TcpStream> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    // As in a URL: in brackets when it is an address of IPv6.
    let host = url.host_str().ok_or_else(missing)?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().ok_or_else(missing)?;
    let mut last = missing();
    for address in tokio::net::lookup_host((host, port)).await? {
        last = match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let words = format!("nothing at {address} has answered within {patience:?}");
                io::Error::new(io::ErrorKind::TimedOut, words)
            }
        };
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_up_to_what_a_handshake_may_take_and_is_short_again_after_it() {
        let mut patience = Patience::new(Duration::from_secs(3));
        let mut waits = Vec::new();
        for _ in 0..4 {
            waits.push(patience.now().as_secs());
            patience.grow();
        }
        assert_eq!(waits, [1, 2, 3, 3]);
        patience.reset();
        assert_eq!(patience.now(), FIRST);
        assert_eq!(Patience::new(Duration::from_millis(10)).now(), Duration::from_millis(10));
    }

    #[tokio::test]
    async fn a_server_is_found_by_name_and_by_number() {
        for (address, names) in [("127.0.0.1", &["127.0.0.1", "localhost"][..]), ("[::1]", &["[::1]"])] {
            // Not every machine has IPv6.
            let Ok(listener) = tokio::net::TcpListener::bind(format!("{address}:0")).await else { continue };
            let port = listener.local_addr().unwrap().port();
            for name in names {
                let url = Url::parse(&format!("ws://{name}:{port}/")).unwrap();
                dial(&url, FIRST).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            }
        }
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_is_given_up() {
        // A full queue of connections that nobody takes: further ones get no answer.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let url = Url::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        let patience = Duration::from_millis(50);
        let mut open = Vec::new();
        let error = loop {
            match dial(&url, patience).await {
                Ok(stream) => open.push(stream),
                Err(error) => break error,
            }
            assert!(open.len() < 100, "the queue has no end");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }
}

//! A TCP connection to the server, by whichever of its addresses takes it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// How long an attempt is alone before the next one begins beside it.
///
/// Where a pod has just gone, the cluster still sends packets to its address for a moment, and nothing answers; that
/// attempt stays lost also after the next pod is there. A new one is not.
const ANEW: Duration = Duration::from_millis(500);

/// Nothing but the caller ends it where nobody answers.
pub(crate) async fn dial(url: &Url) -> io::Result<TcpStream> {
    // As in a URL: in brackets when it is an address of IPv6.
    let host = url.host_str().ok_or_else(no_address)?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().ok_or_else(no_address)?;
    let addresses = tokio::net::lookup_host((host, port)).await?.collect();
    let stream = ask(addresses, TcpStream::connect).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks one address after the other, over and over while some say nothing, until one answers or all have refused.
async fn ask<T, F>(mut addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut refused = no_address();
    let mut attempts = FuturesUnordered::new();
    while let Some(address) = addresses.first().copied() {
        addresses.rotate_left(1);
        let attempt = connect(address);
        attempts.push(async move { (address, attempt.await) });
        match timeout(ANEW, attempts.next()).await {
            Ok(Some((_, Ok(answer)))) => return Ok(answer),
            Ok(Some((address, Err(error)))) => {
                refused = error;
                addresses.retain(|left| *left != address);
            }
            Ok(None) | Err(_) => {}
        }
    }
    Err(refused)
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the host has no address")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn at(address: impl std::fmt::Display) -> Url {
        Url::parse(&format!("ws://{address}/")).unwrap()
    }

    #[tokio::test]
    async fn a_server_is_found_by_name_and_by_number() {
        for (address, names) in [("127.0.0.1", &["127.0.0.1", "localhost"][..]), ("[::1]", &["[::1]"])] {
            // Not every machine has IPv6.
            let Ok(listener) = TcpListener::bind(format!("{address}:0")).await else { continue };
            let port = listener.local_addr().unwrap().port();
            for name in names {
                let url = at(format!("{name}:{port}"));
                dial(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_not_waited_for() {
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = dial(&at(closed.local_addr().unwrap())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_say_nothing_are_asked_anew_and_those_that_refuse_are_not() {
        let [silent, closed]: [SocketAddr; 2] = [([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()];
        let asked = RefCell::new(Vec::new());
        let connect = |address| {
            asked.borrow_mut().push(address);
            let times = asked.borrow().iter().filter(|asked| **asked == address).count();
            async move {
                match (address == closed, times) {
                    (true, _) => Err(io::ErrorKind::ConnectionRefused.into()),
                    // The first packets went to a pod that was gone.
                    (false, 1..3) => pending().await,
                    (false, times) => Ok(times),
                }
            }
        };
        assert_eq!(ask(vec![silent, closed], connect).await.unwrap(), 3);
        assert_eq!(*asked.borrow(), [silent, closed, silent, silent]);
    }
}

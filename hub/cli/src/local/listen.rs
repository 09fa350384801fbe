//! Taking the port, in words that help when it is taken.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

use crate::data_dir::{Running, running_file};

/// Port 0 is any free one, but the one of last time where that is free: drones that worked on know no other.
pub(super) async fn bind(wanted: SocketAddr, data: &Path) -> anyhow::Result<TcpListener> {
    if wanted.port() == 0
        && let Some(port) = last_port(data)
        && let Ok(listener) = TcpListener::bind(SocketAddr::new(wanted.ip(), port)).await
    {
        return Ok(listener);
    }
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
            "{wanted} is taken by another program: stop that one, or choose another port with --listen {}:0, \
             which picks a free one",
            bracketed(wanted)
        ),
        Err(error) => Err(error).with_context(|| format!("failed to listen on {wanted}")),
    }
}

/// What a hub left that was killed.
fn last_port(data: &Path) -> Option<u16> {
    let Running { url, pid: _ } = serde_json::from_slice(&std::fs::read(running_file(data)).ok()?).ok()?;
    url::Url::parse(&url).ok()?.port()
}

fn bracketed(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_what_to_do() {
        let data = tempfile::tempdir().unwrap();
        let taken = bind("127.0.0.1:0".parse().unwrap(), data.path()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, data.path()).await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--listen 127.0.0.1:0"), "{error}");
    }

    #[tokio::test]
    async fn any_port_means_the_last_one_again_where_it_is_free() {
        let data = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let port = bind(any, data.path()).await.unwrap().local_addr().unwrap().port();
        let left = Running { url: format!("http://127.0.0.1:{port}"), pid: 1 };
        std::fs::write(running_file(data.path()), serde_json::to_vec(&left).unwrap()).unwrap();
        let again = bind(any, data.path()).await.unwrap();
        assert_eq!(again.local_addr().unwrap().port(), port);
        let third = bind(any, data.path()).await.unwrap();
        assert_ne!(third.local_addr().unwrap().port(), port);
    }
}

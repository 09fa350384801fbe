//! Accepts connections and puts a [`Guard`] on each: the server that serves through it can kill, pause and reap them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::socket::guard::{Guard, GuardedIo};

/// Bounds of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// A connection whose peer takes nothing for this long is ended.
    pub write_stall: Duration,
    /// A request that is not sent whole within this ends its connection.
    pub request: Duration,
    /// A connection on which no further request is begun for this long is ended. Longer than clients keep one for later.
    pub idle: Duration,
    /// Open connections of one address. Behind a proxy all come from one: set it high there.
    pub per_address: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            write_stall: Duration::from_secs(10),
            request: Duration::from_mins(1),
            idle: Duration::from_mins(2),
            per_address: 1024,
        }
    }
}

/// A TCP listener whose connections are guarded.
#[derive(Debug)]
pub struct GuardedListener {
    inner: TcpListener,
    limits: ListenerLimits,
    addresses: Addresses,
}

impl GuardedListener {
    pub fn new(inner: TcpListener, limits: ListenerLimits) -> Self {
        Self { inner, limits, addresses: Addresses::default() }
    }
}

impl Listener for GuardedListener {
    type Io = GuardedIo;
    type Addr = Guard;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Tokio's own listener logs and waits where accepting fails, such as out of file descriptors.
            let (stream, peer) = Listener::accept(&mut self.inner).await;
            let Some(permit) = self.addresses.admit(peer.ip(), self.limits.per_address) else {
                tracing::debug!(%peer, "dropped a connection: too many of this address");
                continue;
            };
            // Small events must leave at once; without it they wait for the acknowledgement of the one before.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "dropped a connection that was gone before it was served");
                continue;
            }
            let guard = Guard::new(peer);
            return (GuardedIo::new(stream, guard.clone(), self.limits, permit), guard);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr().map(Guard::new)
    }
}

impl Connected<IncomingStream<'_, GuardedListener>> for Guard {
    fn connect_info(stream: IncomingStream<'_, GuardedListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Counts open connections by address.
#[derive(Clone, Debug, Default)]
struct Addresses {
    /// Locked for a look-up only.
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Addresses {
    fn admit(&self, address: IpAddr, most: usize) -> Option<AddressPermit> {
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(AddressPermit { address, addresses: self.clone() })
    }
}

/// One counted connection.
#[derive(Debug)]
pub(super) struct AddressPermit {
    address: IpAddr,
    addresses: Addresses,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_hold_so_many_connections_and_gets_them_back() {
        let addresses = Addresses::default();
        let here: IpAddr = [127, 0, 0, 1].into();
        let first = addresses.admit(here, 2);
        let second = addresses.admit(here, 2);
        assert!(first.is_some() && second.is_some());
        assert!(addresses.admit(here, 2).is_none());
        assert!(addresses.admit([127, 0, 0, 2].into(), 2).is_some(), "another address has its own count");
        drop(first);
        assert!(addresses.admit(here, 2).is_some());
        drop(second);
        assert!(addresses.open.lock().is_empty(), "nothing is remembered of addresses that are gone");
    }
}

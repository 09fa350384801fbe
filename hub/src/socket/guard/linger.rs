//! The end of a connection, without a reset where its peer ends soon as well.
//!
//! A socket that is closed before all that came is read resets the connection. Whoever forwards it takes that for a fault:
//! `kubectl port-forward` ends then, and with it everybody's connections that go through it. So what still comes after the
//! end is read for a moment, and thrown away.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::socket::listener::AddressPermit;

/// What a peer has sent already is there by then.
const LINGER: Duration = Duration::from_secs(1);

/// The connection counts as open until its peer has closed it as well, or that time is over.
pub(super) fn close(stream: &TcpStream, permit: Option<AddressPermit>) {
    // Where the runtime ends, nobody reads any more.
    let Ok(runtime) = Handle::try_current() else { return };
    match half_closed(stream) {
        Ok(mut rest) => {
            runtime.spawn(async move {
                let mut piece = [0; 4096];
                let reading = async { while rest.read(&mut piece).await.is_ok_and(|bytes| bytes > 0) {} };
                let _late = tokio::time::timeout(LINGER, reading).await;
                drop(permit);
            });
        }
        // The peer has reset it; or no descriptor is free.
        Err(error) => tracing::trace!(%error, "a connection has ended"),
    }
}

/// The same socket, on which nothing more is sent.
fn half_closed(stream: &TcpStream) -> io::Result<TcpStream> {
    let socket = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    socket.shutdown(Shutdown::Write)?;
    TcpStream::from_std(socket)
}

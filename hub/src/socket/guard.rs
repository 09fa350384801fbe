//! One accepted TCP connection, with what neither the server nor the library offers: limits on stuck writes and on
//! requests that are never sent whole, a kill switch, a gate for reads and a probe.
//!
//! The library never reaps a peer that stops reading: its writer sits inside a write that nothing wakes, and the
//! disconnect waits for that writer. So the IO itself must fail. Killing it is also the only way to make a client come
//! back by itself: after a disconnect by the server a Socket.IO client stays away.

mod linger;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::socket::listener::{AddressPermit, ListenerLimits};

/// Handle to one connection. Travels with every request that comes over it.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    peer: SocketAddr,
    killed: AtomicBool,
    paused: AtomicBool,
    /// Milliseconds after which the kernel gives up on bytes that the peer has not acknowledged; 0 is its default.
    unacknowledged_limit: AtomicU32,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// Requests that are read whole and not yet answered.
    under_way: AtomicUsize,
    /// How many have been answered.
    answered: AtomicUsize,
    /// It carries something else than requests now.
    upgraded: AtomicBool,
    /// Bytes have left for the kernel: whoever waits for room may try again.
    written: Notify,
}

impl Guard {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            peer,
            killed: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            unacknowledged_limit: AtomicU32::new(0),
            under_way: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            upgraded: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            written: Notify::new(),
        }))
    }

    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Fails both directions at once.
    pub fn kill(&self) {
        self.0.killed.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
        self.0.written.notify_waiters();
    }

    /// Stops or resumes reading. A pause must end before the ping time-out, or the connection is lost.
    pub fn pause(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Release);
        if !paused {
            self.0.reader.wake();
        }
    }

    /// Lets the kernel drop the connection when sent bytes stay unacknowledged for `limit`: a peer whose machine or
    /// network is gone is found out by the next thing that is sent to it. `None`: the kernel's own patience.
    pub fn probe(&self, limit: Option<Duration>) {
        let limit = limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
        self.0.unacknowledged_limit.store(limit, Ordering::Release);
        self.0.reader.wake();
    }

    /// Waits until something more was written, or `at_most`.
    pub(super) async fn written(&self, at_most: Duration) {
        // Over polling nothing may ever be written on this connection: the wait alone has to do then.
        let _timed_out = tokio::time::timeout(at_most, self.0.written.notified()).await;
    }

    /// A request has been read to its end.
    pub(crate) fn request_read(&self) {
        self.0.under_way.fetch_add(1, Ordering::AcqRel);
    }

    /// A request that was read is answered: from now on the next one is waited for.
    pub(crate) fn answered(&self) {
        self.0.answered.fetch_add(1, Ordering::AcqRel);
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
        self.0.reader.wake();
    }

    pub(crate) fn upgraded(&self) {
        self.0.upgraded.store(true, Ordering::Release);
    }

    /// How many requests were before the one that is being waited for; `None`: none is.
    fn awaits_request(&self) -> Option<usize> {
        let busy = self.0.upgraded.load(Ordering::Acquire) || self.0.under_way.load(Ordering::Acquire) > 0;
        (!busy).then(|| self.0.answered.load(Ordering::Acquire))
    }

    fn check(&self) -> io::Result<()> {
        if self.0.killed.load(Ordering::Acquire) {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was killed by the hub"))
        } else {
            Ok(())
        }
    }
}

/// The IO of a guarded connection.
#[derive(Debug)]
pub struct GuardedIo {
    stream: TcpStream,
    guard: Guard,
    limits: ListenerLimits,
    /// Runs while a write is stuck.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs while a request is waited for.
    patience: Option<Patience>,
    /// What the kernel was told last.
    unacknowledged_limit: u32,
    /// The peer has sent all that it will.
    read_whole: bool,
    /// Counts this connection for as long as it lives.
    permit: Option<AddressPermit>,
}

/// How long the next request is waited for.
#[derive(Debug)]
struct Patience {
    /// Requests before it.
    before: usize,
    /// Something of it is there.
    begun: bool,
    ends: Pin<Box<Sleep>>,
}

impl GuardedIo {
    pub(super) fn new(
        stream: TcpStream,
        guard: Guard,
        limits: ListenerLimits,
        permit: AddressPermit,
    ) -> Self {
        Self {
            stream,
            guard,
            limits,
            stalled: None,
            patience: None,
            unacknowledged_limit: 0,
            read_whole: false,
            permit: Some(permit),
        }
    }

    /// Fails the reading of a request that does not come to its end. `came`: something was read.
    fn watch_request(&mut self, came: bool, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(before) = self.guard.awaits_request() else {
            self.patience = None;
            return Ok(());
        };
        let ListenerLimits { request, idle, .. } = self.limits;
        let ends = |limit| Box::pin(tokio::time::sleep(limit));
        let patience = match &mut self.patience {
            Some(patience) if patience.before == before => patience,
            // Who has just connected has something to say.
            none => none.insert(Patience {
                before,
                begun: before == 0,
                ends: ends(if before == 0 { request } else { idle }),
            }),
        };
        if came && !patience.begun {
            patience.begun = true;
            patience.ends = ends(request);
        }
        if patience.ends.as_mut().poll(cx).is_ready() {
            self.guard.kill();
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no whole request came in time"));
        }
        Ok(())
    }

    fn apply_probe(&mut self) {
        let wanted = self.guard.0.unacknowledged_limit.load(Ordering::Acquire);
        if wanted != self.unacknowledged_limit {
            self.unacknowledged_limit = wanted;
            if let Err(error) = set_tcp_user_timeout(&self.stream, wanted) {
                tracing::debug!(%error, "the kernel took no limit for unacknowledged bytes");
            }
        }
    }

    /// Passes a write's outcome on, and fails one that has been stuck for too long.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(done) => {
                self.stalled = None;
                self.guard.0.written.notify_waiters();
                Poll::Ready(done)
            }
            Poll::Pending => {
                self.guard.0.writer.register(cx.waker());
                self.guard.check()?;
                let limit = self.limits.write_stall;
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                if stalled.as_mut().poll(cx).is_ready() {
                    self.guard.kill();
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the peer took nothing for too long",
                    )));
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.guard.0.reader.register(cx.waker());
        self.guard.check()?;
        self.apply_probe();
        if self.guard.0.paused.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let filled = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len() > filled;
        if outcome.is_ready() && !came && buf.remaining() > 0 {
            self.read_whole = true;
        }
        self.watch_request(came, cx)?;
        outcome
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.guard.check()?;
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(outcome, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard.check()?;
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.guard.check()?;
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Drop for GuardedIo {
    fn drop(&mut self) {
        if !self.read_whole {
            linger::close(&self.stream, self.permit.take());
        }
    }
}

#[cfg(test)]
mod tests;

//! One ordered lane out to one connection.
//!
//! The library's buffer refuses what does not fit and has no way to wait for room. So what does not fit waits here, in
//! order, bounded, and follows as the kernel takes bytes. A peer for which even that is not enough is killed: it comes
//! back and goes on from its last number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use socketioxide::extract::AckSender;
use socketioxide::handler::FromMessageParts as _;
use socketioxide::socket::Socket;
use socketioxide::{AckError, SendError, SocketError};
use socketioxide_core::{Str, Value as PacketValue};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::session::state::input::Unanswered;
use crate::socket::frame::Frame;
use crate::socket::incoming::AnswerArgs;
use crate::socket::lifeline::Lifeline;

/// How much may wait for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    pub messages: usize,
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { messages: 8192, bytes: 16 * 1024 * 1024 }
    }
}

/// How often a full buffer is tried again when nothing tells that bytes have left.
const RETRY: Duration = Duration::from_millis(20);

pub struct Outbox {
    limits: OutboxLimits,
    lifeline: Lifeline,
    tasks: TaskTracker,
    /// Locked while messages are handed to the library, which does not wait; never across an await.
    lane: Mutex<Lane>,
}

struct Lane {
    /// Absent once the connection is gone, so that nothing keeps the library's socket alive.
    socket: Option<Arc<Socket>>,
    /// CONNECT has been answered; before it the library refuses events.
    open: bool,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// A task is sending what waits.
    draining: bool,
}

enum Message {
    Event {
        name: &'static str,
        frame: Frame,
    },
    Ack {
        id: i64,
        frame: Frame,
    },
    /// An event that wants an answer.
    Ask {
        name: &'static str,
        frame: Frame,
        limit: Duration,
        reply: oneshot::Sender<Reply>,
    },
    /// Everything before it has been taken by the library.
    Mark(oneshot::Sender<()>),
}

/// The arguments of an answer, or why there is none.
pub type Reply = Result<Vec<Value>, Unanswered>;

enum Sent {
    Yes,
    NoRoom(Message),
    Closed,
}

impl Outbox {
    pub fn new(
        socket: Arc<Socket>,
        lifeline: Lifeline,
        tasks: TaskTracker,
        limits: OutboxLimits,
    ) -> Arc<Self> {
        let lane = Lane {
            socket: Some(socket),
            open: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            draining: false,
        };
        Arc::new(Self { limits, lifeline, tasks, lane: Mutex::new(lane) })
    }

    /// CONNECT has been answered.
    pub fn open(self: &Arc<Self>) {
        let mut lane = self.lane.lock();
        lane.open = true;
        self.drain_soon(&mut lane);
    }

    pub fn is_open(&self) -> bool {
        self.lane.lock().open
    }

    /// The connection is gone; what waits will not be sent.
    pub fn close(&self) {
        let mut lane = self.lane.lock();
        lane.socket = None;
        lane.waiting.clear();
        lane.waiting_bytes = 0;
    }

    pub fn event(self: &Arc<Self>, name: &'static str, frame: Frame) {
        self.send(Message::Event { name, frame });
    }

    pub fn ack(self: &Arc<Self>, id: i64, args: Vec<Value>) {
        self.send(Message::Ack { id, frame: Frame::built(args) });
    }

    /// Sends an event and asks for an answer, which comes within `limit` of being sent, or not at all.
    pub fn ask(
        self: &Arc<Self>,
        name: &'static str,
        frame: Frame,
        limit: Duration,
    ) -> oneshot::Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask { name, frame, limit, reply });
        answer
    }

    pub fn lifeline(&self) -> &Lifeline {
        &self.lifeline
    }

    /// Resolves when everything sent so far has been taken by the library, or the connection is gone.
    pub fn drained(self: &Arc<Self>) -> oneshot::Receiver<()> {
        let (mark, drained) = oneshot::channel();
        self.send(Message::Mark(mark));
        drained
    }

    pub fn kill(&self) {
        self.lifeline.kill();
    }

    fn send(self: &Arc<Self>, message: Message) {
        let mut lane = self.lane.lock();
        let Some(socket) = &lane.socket else { return };
        let message = if lane.open && lane.waiting.is_empty() {
            match message.hand_over(socket, &self.tasks) {
                Sent::Yes | Sent::Closed => return,
                Sent::NoRoom(message) => message,
            }
        } else {
            message
        };
        lane.waiting_bytes += message.size();
        lane.waiting.push_back(message);
        if lane.waiting.len() > self.limits.messages || lane.waiting_bytes > self.limits.bytes {
            tracing::debug!(peer = %self.lifeline.peer(), "killed a connection that takes too little");
            lane.socket = None;
            lane.waiting.clear();
            lane.waiting_bytes = 0;
            drop(lane);
            self.lifeline.kill();
        } else {
            self.drain_soon(&mut lane);
        }
    }

    fn drain_soon(self: &Arc<Self>, lane: &mut Lane) {
        if lane.open && !lane.draining && !lane.waiting.is_empty() {
            lane.draining = true;
            let outbox = Arc::clone(self);
            self.tasks.spawn(async move {
                while outbox.drain_some() {
                    outbox.lifeline.written(RETRY).await;
                }
            });
        }
    }

    /// Sends what fits; says whether anything is left.
    fn drain_some(&self) -> bool {
        let mut lane = self.lane.lock();
        let lane = &mut *lane;
        while let (Some(socket), Some(message)) = (&lane.socket, lane.waiting.pop_front()) {
            let size = message.size();
            match message.hand_over(socket, &self.tasks) {
                Sent::Yes => lane.waiting_bytes -= size,
                Sent::NoRoom(message) => {
                    lane.waiting.push_front(message);
                    return true;
                }
                Sent::Closed => lane.socket = None,
            }
        }
        lane.waiting.clear();
        lane.waiting_bytes = 0;
        lane.draining = false;
        false
    }
}

impl Message {
    fn size(&self) -> usize {
        match self {
            Self::Event { name: _, frame } | Self::Ack { id: _, frame } | Self::Ask { frame, .. } => {
                frame.size()
            }
            Self::Mark(_) => 0,
        }
    }

    fn hand_over(self, socket: &Arc<Socket>, tasks: &TaskTracker) -> Sent {
        match self {
            Self::Event { name, frame } => {
                let outcome = socket.emit(name, &frame);
                sent(outcome, || Self::Event { name, frame })
            }
            Self::Ack { id, frame } => {
                // An ack's sender can be made for a number at any time, which lets a full buffer be tried again.
                let mut nothing = PacketValue::Str(Str::from("[]"), None);
                let outcome = match AckSender::from_message_parts(socket, &mut nothing, &Some(id)) {
                    Ok(sender) => sender.send(&frame),
                    Err(never) => match never {},
                };
                sent(outcome, || Self::Ack { id, frame })
            }
            Self::Ask { name, frame, limit, reply } => {
                match socket.timeout(limit).emit_with_ack::<_, AnswerArgs>(name, &frame) {
                    Ok(answer) => {
                        tasks.spawn(async move {
                            // Whoever asked has gone: nobody waits for the answer.
                            let _gone =
                                reply.send(answer.await.map(|AnswerArgs(args)| args).map_err(unanswered));
                        });
                        Sent::Yes
                    }
                    Err(error) => sent(Err(error), || Self::Ask { name, frame, limit, reply }),
                }
            }
            Self::Mark(mark) => {
                let _gone = mark.send(());
                Sent::Yes
            }
        }
    }
}

fn sent(outcome: Result<(), SendError>, again: impl FnOnce() -> Message) -> Sent {
    match outcome {
        Ok(()) => Sent::Yes,
        Err(SendError::Socket(SocketError::InternalChannelFull)) => Sent::NoRoom(again()),
        Err(SendError::Socket(SocketError::Closed)) => Sent::Closed,
        Err(SendError::Serialize(error)) => {
            tracing::error!(%error, "dropped a message that cannot be encoded");
            Sent::Yes
        }
    }
}

fn unanswered(error: AckError) -> Unanswered {
    match error {
        AckError::Timeout => Unanswered::TimedOut,
        AckError::Socket(_) => Unanswered::Disconnected,
        AckError::Decode(error) => {
            tracing::warn!(%error, "an answer cannot be read");
            Unanswered::TimedOut
        }
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lane = self.lane.lock();
        f.debug_struct("Outbox").field("waiting", &lane.waiting.len()).finish_non_exhaustive()
    }
}

//! The hub as a drone sees it: takes events by their numbers, hands out work orders, answers for the model. It can be
//! killed and started again on the same port; what it has stored it keeps.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::assemble::{Assembled, TurnAssembler};
use protocol::drone::{
    CrashRecoveryRequest, CrashRecoveryResponse, DroneAuth, Hello, HelloAck, HelloPending, WorkOrderTurn,
    name,
};
use protocol::error::{Code, Refusal};
use protocol::event::{DroneMeta, EventName, RawEvent, TurnEvent};
use protocol::ide;
use protocol::ids::TurnId;
use protocol::value::{ChatTurnStatus, RecoveryAction};
use scripted_model::ScriptedModel;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::to_raw_value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Generous: it ends a test that would hang, and decides nothing else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

pub(crate) const TOKEN: &str = "drone-token";
pub(crate) const SESSION_TOKEN: &str = "session-token";

pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    // A lock because handlers run on the server's threads; held for one step.
    state: Mutex<Store>,
    /// Counts changes of the state.
    changed: watch::Sender<u64>,
    model: ScriptedModel,
}

/// What the hub knows.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) generation: u64,
    /// The generation of the last hello.
    greeted: u64,
    socket: Option<SocketRef>,
    pub(crate) hellos: Vec<Hello>,
    /// The turn's newest work order.
    order: Option<WorkOrderTurn>,
    /// How the turn ended.
    pub(crate) over: Option<ChatTurnStatus>,
    /// All events, by number from 1.
    pub(crate) events: Vec<RawEvent>,
    /// Events that came again although they were stored.
    pub(crate) doubled: usize,
    pub(crate) refused: Vec<String>,
    pub(crate) status: Vec<String>,
    pub(crate) modes: Vec<String>,
    pub(crate) recoveries: Vec<CrashRecoveryRequest>,
    /// Answers to work orders.
    pub(crate) dispatched: Vec<Vec<Value>>,
    /// Do not ack nor store any more events than this.
    pub(crate) events_at_most: Option<usize>,
    /// A crashed turn is not wanted any more.
    pub(crate) discards: bool,
    /// The session token that is given and taken from now on; none: [`SESSION_TOKEN`].
    pub(crate) exchanged_token: Option<String>,
}

/// All arguments of an event, or of an ack.
#[derive(Clone, Debug, Default)]
pub(crate) struct All(pub(crate) Vec<Value>);

impl<'de> Deserialize<'de> for All {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = All;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<All, A::Error> {
                let mut all = Vec::new();
                while let Some(next) = list.next_element()? {
                    all.push(next);
                }
                Ok(All(all))
            }
        }
        // The library hands over all arguments to whoever asks for a tuple.
        deserializer.deserialize_tuple(16, Collect)
    }
}

impl Hub {
    pub(crate) fn start(model: ScriptedModel) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: watch::channel(0).0, model });
        let (address, listener) = free_port();
        let runtime = serve(listener, shared.clone());
        Self { address, shared, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends every connection where it stands.
    pub(crate) async fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits until the port is free again.
            tokio::task::spawn_blocking(|| runtime.shutdown_timeout(DEADLINE)).await.unwrap();
        }
        self.shared.state.lock().socket = None;
    }

    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        let free = async {
            loop {
                // A process that is just being started has the old listener until it is another program.
                match TcpListener::bind(self.address) {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let listener = tokio::time::timeout(DEADLINE, free).await.expect("the port does not get free");
        self.runtime = Some(serve(listener, self.shared.clone()));
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Store) -> T) -> T {
        let result = look(&mut self.shared.state.lock());
        self.shared.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until there is something to see.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&mut Store) -> Option<T>) -> T {
        let mut changed = self.shared.changed.subscribe();
        let seen = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = look(&mut self.shared.state.lock()) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, seen).await {
            Ok(found) => found,
            Err(late) => panic!("{what}: {late}; {}", self.summary()),
        }
    }

    /// Waits until a drone has said hello `count` times.
    pub(crate) async fn hellos(&self, count: usize) {
        self.until("a hello", |store| (store.hellos.len() >= count).then_some(())).await;
    }

    /// Asks the drone.
    pub(crate) async fn ask<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Vec<Value> {
        let socket = self.until("a drone", |store| store.socket.clone()).await;
        let answer = socket.emit_with_ack::<_, All>(event, args).unwrap();
        tokio::time::timeout(DEADLINE, answer).await.expect("no answer in time").unwrap().0
    }

    /// Sends a work order; the hub sends it again by itself when the drone crashes.
    pub(crate) async fn dispatch(&self, mut order: WorkOrderTurn) -> Vec<Value> {
        self.look(|store| {
            order.work_order.first_seq = store.events.len() as u64 + 1;
            order.work_order.generation = store.generation;
            store.over = None;
            store.order = Some(order.clone());
        });
        self.ask(name::PROCESS_WORK_ORDER, &(Value::Null, order)).await
    }

    /// Sends the work order as the next attempt, as if the last one were lost.
    pub(crate) fn send_again(&self) {
        let socket = self.look(|store| store.socket.clone()).unwrap();
        let _runtime = self.runtime.as_ref().unwrap().enter();
        again(&self.shared, &socket);
    }

    /// Waits for the turn's end.
    pub(crate) async fn over(&self) -> ChatTurnStatus {
        self.until("the turn's end", |store| store.over).await
    }

    pub(crate) fn events(&self) -> Vec<TurnEvent> {
        self.look(|store| store.events.iter().map(|event| event.parse().unwrap()).collect())
    }

    /// What a reader of everything stored sees.
    pub(crate) fn transcript(&self) -> Assembled {
        let mut assembler = TurnAssembler::default();
        for (seq, event) in (1..).zip(self.events()) {
            assembler.apply(seq, Timestamp::UNIX_EPOCH, event);
        }
        assembler.finish()
    }

    fn summary(&self) -> String {
        let store = self.shared.state.lock();
        let Store { hellos, events, refused, status, recoveries, dispatched, over, .. } = &*store;
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        format!(
            "hellos {}, events {names:?}, refused {refused:?}, status {status:?}, recoveries {}, dispatched \
             {dispatched:?}, over {over:?}",
            hellos.len(),
            recoveries.len()
        )
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A port that the kernel gives to no outgoing connection, so that it is free when the hub comes back.
fn free_port() -> (SocketAddr, TcpListener) {
    loop {
        let port = 20_000 + u16::try_from(getrandom::u32().unwrap() % 12_000).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if let Ok(listener) = TcpListener::bind(address) {
            return (address, listener);
        }
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>) -> Runtime {
    let (layer, io) = SocketIo::builder().max_buffer_size(2048).build_layer();
    let middleware_shared = shared.clone();
    let connect = |socket: SocketRef| {
        let _socket = socket;
        std::future::ready(())
    };
    let middleware = move |socket: SocketRef, Data(auth): Data<DroneAuth>| {
        std::future::ready(admit(&middleware_shared, socket, &auth))
    };
    io.ns("/", connect.with(middleware));
    let router = Router::new().fallback(model).with_state(shared).layer(layer);
    // A runtime of its own, so that dropping it drops every connection where it stands, like a kill.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    listener.set_nonblocking(true).unwrap();
    runtime.spawn(
        async move { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await },
    );
    runtime
}

async fn model(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let bearer = format!("Bearer {}", session_token(&shared.state.lock()));
    if headers["authorization"].to_str().unwrap() != bearer {
        let from_hub = [("x-gadget-hub", "token_expired")];
        return (StatusCode::UNAUTHORIZED, from_hub, "another token is wanted").into_response();
    }
    assert!(uri.path().starts_with("/internal/model/scripted/"), "{uri}");
    shared.model.respond(uri.path(), &headers, body).await
}

fn session_token(store: &Store) -> String {
    store.exchanged_token.clone().unwrap_or_else(|| SESSION_TOKEN.to_owned())
}

#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn admit(shared: &Arc<Shared>, socket: SocketRef, auth: &DroneAuth) -> Result<(), Refused> {
    if auth.token != TOKEN {
        let refusal = Refusal::new(Code::Forbidden, "this token is of another drone");
        return Err(Refused(serde_json::to_string(&refusal).unwrap()));
    }
    let generation = {
        let mut store = shared.state.lock();
        store.generation += 1;
        store.socket = Some(socket.clone());
        store.generation
    };
    let on_hello = shared.clone();
    let hello_socket = socket.clone();
    socket.on(name::HELLO, move |Data(hello): Data<Hello>, ack: AckSender| {
        let (answer, is_lost) = greet(&on_hello, hello, generation);
        ack.send(&(answer,)).unwrap();
        if is_lost {
            again(&on_hello, &hello_socket);
        }
        std::future::ready(())
    });
    for event in EventName::ALL {
        let (shared, event) = (shared.clone(), event.as_str());
        socket.on(event, move |Data(All(args)): Data<All>, ack: AckSender| {
            if let Some(answer) = take(&shared, event, args, generation) {
                match answer {
                    Ok(()) => ack.send(&(true,)).unwrap(),
                    Err(refusal) => ack.send(&(false, refusal)).unwrap(),
                }
            }
            std::future::ready(())
        });
    }
    let on_recovery = shared.clone();
    let recovery_socket = socket.clone();
    socket.on(name::REQUEST_CRASH_RECOVERY, move |Data(request): Data<CrashRecoveryRequest>| {
        recover(&on_recovery, &recovery_socket, request);
        std::future::ready(())
    });
    for (event, is_mode) in [(ide::name::STATUS, false), (ide::name::WORKSPACE_MODE_CHANGED, true)] {
        let shared = shared.clone();
        socket.on(event, move |Data(text): Data<String>| {
            let mut store = shared.state.lock();
            if is_mode {
                store.modes.push(text);
            } else {
                store.status.push(text);
            }
            drop(store);
            shared.changed.send_modify(|count| *count += 1);
            std::future::ready(())
        });
    }
    shared.changed.send_modify(|count| *count += 1);
    Ok(())
}

/// The answer, and whether the newest work order was lost on its way to the drone that came back.
fn greet(shared: &Arc<Shared>, hello: Hello, generation: u64) -> (HelloAck, bool) {
    let mut store = shared.state.lock();
    let is_locked = hello.lock.is_some();
    let is_back = store.greeted != generation;
    store.greeted = generation;
    let wanted = store.order.as_ref().filter(|_| store.over.is_none());
    let is_wanted = |turn: &TurnId, attempt: u32| {
        wanted.is_some_and(|order| *turn == order.id && attempt == order.work_order.attempt)
    };
    let told = hello.turn.as_ref().filter(|told| is_wanted(&told.turn_id, told.attempt));
    let stored_seq = told.map(|_| store.events.len() as u64);
    let is_found = match &hello.pending {
        HelloPending::Untold => panic!("the drone does not say what it found"),
        HelloPending::Nothing => false,
        HelloPending::Turn(found) => is_wanted(&found.turn_id, found.attempt),
    };
    let is_lost = is_back && is_locked && wanted.is_some() && hello.turn.is_none() && !is_found;
    let token = session_token(&store);
    store.hellos.push(hello);
    drop(store);
    shared.changed.send_modify(|count| *count += 1);
    let ack =
        HelloAck { generation, session_token: is_locked.then_some(token), expires_at: None, stored_seq };
    (ack, is_lost)
}

/// As the contract says: the next number is stored, a lower one is acked and ignored, a higher one is refused.
fn take(shared: &Arc<Shared>, event: &str, args: Vec<Value>, generation: u64) -> Option<Result<(), Refusal>> {
    let args = args.iter().map(|arg| to_raw_value(arg).unwrap()).collect();
    let mut store = shared.state.lock();
    let answer = judge(&mut store, RawEvent::from_drone(event, args), generation);
    if let Some(Err(refusal)) = &answer {
        store.refused.push(refusal.message.clone());
    }
    drop(store);
    shared.changed.send_modify(|count| *count += 1);
    answer
}

fn judge(
    store: &mut Store,
    event: Result<(RawEvent, DroneMeta), Refusal>,
    generation: u64,
) -> Option<Result<(), Refusal>> {
    let (event, meta) = match event {
        Ok(parts) => parts,
        Err(refusal) => return Some(Err(refusal)),
    };
    let stored = store.events.len() as u64;
    if store.events_at_most.is_some_and(|most| store.events.len() >= most) {
        return None;
    }
    if meta.seq <= stored {
        store.doubled += 1;
        return Some(Ok(()));
    }
    let refuse = |code: Code, words: String| Some(Err(Refusal::new(code, words)));
    let Some(order) = &store.order else { return refuse(Code::NoTurn, "no turn".to_owned()) };
    if meta.turn_id != order.id || meta.attempt != order.work_order.attempt || store.over.is_some() {
        return refuse(Code::NoTurn, format!("{meta:?} is not of the running attempt"));
    }
    if meta.generation != generation || generation != store.generation {
        return refuse(Code::Superseded, format!("generation {} of {generation}", meta.generation));
    }
    if meta.seq > stored + 1 {
        return refuse(Code::Conflict, format!("a gap: {} after {stored}", meta.seq));
    }
    if let Ok(TurnEvent::WorkOrderComplete { status, .. }) = event.parse() {
        store.over = Some(status);
    }
    store.events.push(event);
    Some(Ok(()))
}

fn recover(shared: &Arc<Shared>, socket: &SocketRef, request: CrashRecoveryRequest) {
    let mut store = shared.state.lock();
    let is_wanted = store.order.as_ref().is_some_and(|order| order.id == request.turn_id)
        && store.over.is_none()
        && !store.discards;
    let action = if is_wanted { RecoveryAction::Retry } else { RecoveryAction::Discard };
    let response = CrashRecoveryResponse { turn_id: request.turn_id.clone(), action, retry_delay: None };
    store.recoveries.push(request);
    drop(store);
    shared.changed.send_modify(|count| *count += 1);
    // A socket that is gone will come back and ask again.
    let _gone = socket.emit(name::CRASH_RECOVERY_RESPONSE, &(response,));
    if is_wanted {
        again(shared, socket);
    }
}

/// Sends the work order as the next attempt.
fn again(shared: &Arc<Shared>, socket: &SocketRef) {
    let order = {
        let mut store = shared.state.lock();
        let first_seq = store.events.len() as u64 + 1;
        let generation = store.generation;
        let Some(order) = &mut store.order else { return };
        order.work_order.attempt += 1;
        order.work_order.first_seq = first_seq;
        order.work_order.generation = generation;
        order.clone()
    };
    let Ok(answer) = socket.emit_with_ack::<_, All>(name::PROCESS_WORK_ORDER, &(Value::Null, order)) else {
        return;
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        if let Ok(All(args)) = answer.await {
            shared.state.lock().dispatched.push(args);
            shared.changed.send_modify(|count| *count += 1);
        }
    });
}

//! A drone without a model: says what a test tells it to say, numbers it, keeps it until it is acked, and tells the truth
//! in `hello`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Config, Connection, Incoming};
use parking_lot::Mutex;
use protocol::drone::{HelloAck, WorkOrderTurn};
use protocol::event::{DroneMeta, TurnEvent};
use protocol::ids::{DroneId, TurnId};
use protocol::value::ChatTurnStatus;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::eventually;
use super::fleet::TestFleet;

#[derive(Clone)]
pub(crate) struct FakeDrone {
    pub(crate) id: DroneId,
    client: Arc<Mutex<Option<Client>>>,
    now: Arc<Mutex<Now>>,
}

struct Now {
    connection: Option<Connection>,
    welcome: Option<HelloAck>,
    lock: Option<(String, String)>,
    mode: &'static str,
    run: Option<Run>,
    /// The work order of a process that died.
    crashed: Option<Run>,
    outbox: VecDeque<(u64, TurnEvent)>,
    commands: Vec<(String, Value)>,
    recovery: Vec<Value>,
    /// Does not answer work orders, aborts and the like.
    silent: bool,
    refuses_lock: bool,
    refused: Option<String>,
    process_restarts: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) turn: TurnId,
    pub(crate) attempt: u32,
    pub(crate) prompt: String,
    pub(crate) context: usize,
    pub(crate) first_seq: u64,
    next_seq: u64,
    progress: u64,
}

impl FakeDrone {
    pub(crate) fn start(url: &str, id: DroneId) -> Self {
        let token = TestFleet::token(&id);
        Self::start_with(url, id, token)
    }

    pub(crate) fn start_with(url: &str, id: DroneId, token: String) -> Self {
        let now = Now {
            connection: None,
            welcome: None,
            lock: None,
            mode: "idle",
            run: None,
            crashed: None,
            outbox: VecDeque::new(),
            commands: Vec::new(),
            recovery: Vec::new(),
            silent: false,
            refuses_lock: false,
            refused: None,
            process_restarts: 0,
        };
        let drone = Self { id, client: Arc::default(), now: Arc::new(Mutex::new(now)) };
        drone.connect(url, token);
        drone
    }

    fn connect(&self, url: &str, token: String) {
        let auth = json!({ "registrationId": self.id, "token": token, "workspaceId": "w" });
        let config = Config::new(url).unwrap();
        let (client, mut incoming) =
            client::connect(config, move |_| std::future::ready(Ok(auth.clone()))).unwrap();
        *self.client.lock() = Some(client);
        let drone = self.clone();
        tokio::spawn(async move {
            // Sending belongs to a connection; a new one begins anew.
            let mut sending = JoinSet::new();
            while let Some(what) = incoming.recv().await {
                match what {
                    Incoming::Connected(connection) => {
                        sending.abort_all();
                        drone.now.lock().connection = Some(connection.clone());
                        let drone = drone.clone();
                        sending.spawn(async move { drone.begin(connection).await });
                    }
                    Incoming::Event(event) => {
                        let args: Vec<Value> = event.args.parse().unwrap();
                        let answer = drone.command(&event.name, &args.into());
                        if let (Some(responder), Some(answer)) = (event.responder, answer) {
                            let _lost = responder.respond(&answer).await;
                        }
                        // As a drone does whose lock has changed.
                        let again = event.name == "requestSessionLock";
                        if again {
                            let drone = drone.clone();
                            sending.spawn(async move { drone.hello().await });
                        }
                    }
                    Incoming::Disconnected { .. } => {
                        let mut now = drone.now.lock();
                        now.connection = None;
                        now.welcome = None;
                    }
                    Incoming::ConnectFailed { .. } => {}
                    Incoming::Fatal(fatal) => drone.now.lock().refused = Some(format!("{fatal:?}")),
                }
            }
        });
    }

    async fn begin(self, connection: Connection) {
        self.hello().await;
        let crashed = self.now.lock().crashed.clone();
        if let Some(run) = crashed {
            let session = self.now.lock().lock.clone().map(|(session, _)| session);
            let request = json!({
                "workspaceId": "w", "turnId": run.turn, "chatSessionId": session,
                "resumable": true, "lastSeq": run.next_seq - 1, "progress": run.progress,
            });
            let _lost = connection.emit("requestCrashRecovery", &(request,)).await;
        }
        // One by one in order; the hub takes only the next number.
        let mut sent = 0;
        loop {
            let next = {
                let now = self.now.lock();
                let place = now.outbox.partition_point(|(seq, _)| *seq <= sent);
                now.outbox.get(place).cloned()
            };
            let Some((seq, event)) = next else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            sent = seq;
            let Some(meta) = self.meta(seq, &event) else { continue };
            let mut args = event.args();
            args.push(json!(meta));
            let Ok(ack) =
                connection.emit_with_ack(event.name().as_str(), &args, Duration::from_secs(30)).await
            else {
                return;
            };
            let drone = self.clone();
            tokio::spawn(async move {
                if let Ok(answer) = ack.answer().await {
                    let (stored, why): (bool, Value) = answer.parse().unwrap();
                    let mut now = drone.now.lock();
                    if stored {
                        if let Ok(place) = now.outbox.binary_search_by_key(&seq, |(seq, _)| *seq) {
                            now.outbox.remove(place);
                        }
                    } else {
                        now.recovery.push(json!({ "refused": why }));
                    }
                }
            });
        }
    }

    fn meta(&self, seq: u64, event: &TurnEvent) -> Option<DroneMeta> {
        let now = self.now.lock();
        let generation = now.welcome.as_ref()?.generation;
        let run = now.run.as_ref()?;
        let (turn_id, attempt) = (run.turn.clone(), run.attempt);
        Some(DroneMeta { turn_id, attempt, generation, seq, notes: event.notes() })
    }

    async fn hello(&self) {
        let (connection, hello, told) = {
            let now = self.now.lock();
            let Some(connection) = now.connection.clone() else { return };
            let lock = now
                .lock
                .as_ref()
                .map(|(session, project)| json!({ "chatSessionId": session, "projectId": project }));
            let turn = now.run.as_ref().map(
                |run| json!({ "turnId": run.turn, "attempt": run.attempt, "lastSeq": run.next_seq - 1 }),
            );
            let hello = json!({
                "workspaceId": "w", "lock": lock, "mode": now.mode, "turn": turn,
                "processRestarts": now.process_restarts, "hostname": "test", "version": "0",
            });
            (connection, hello, now.run.is_some())
        };
        let Ok(answer) = connection.request("hello", &(hello,), Duration::from_secs(10)).await else {
            return;
        };
        let Ok((ack,)) = answer.parse::<(HelloAck,)>() else { return };
        let mut now = self.now.lock();
        match ack.stored_seq {
            Some(stored) => now.outbox.retain(|(seq, _)| *seq > stored),
            None if told => {
                now.run = None;
                now.outbox.clear();
            }
            None => {}
        }
        now.welcome = Some(ack);
    }

    /// What the hub asks. `None`: no answer.
    fn command(&self, name: &str, args: &Value) -> Option<Value> {
        let mut now = self.now.lock();
        now.commands.push((name.to_owned(), args.clone()));
        if now.silent {
            return None;
        }
        Some(match name {
            "requestSessionLock" if now.refuses_lock => {
                json!([false, args[2]["_id"], { "code": "drone_locked", "message": "locked by a test" }])
            }
            "requestSessionLock" => {
                let text = |value: &Value| value["_id"].as_str().unwrap().to_owned();
                now.lock = Some((text(&args[2]), text(&args[1])));
                json!([true, args[2]["_id"]])
            }
            "releaseSessionLock" => {
                now.lock = None;
                json!([true])
            }
            "sessionHeartbeat" => json!([now.lock.is_some()]),
            "requestWorkspaceMode" => {
                now.mode = match args[3].as_str() {
                    Some("user") => "user",
                    Some("agent") => "agent",
                    _ => "idle",
                };
                json!([true, now.mode])
            }
            "processWorkOrder" => {
                let turn: WorkOrderTurn = serde_json::from_value(args[1].clone()).unwrap();
                let first_seq = turn.work_order.first_seq;
                now.crashed = None;
                now.outbox.clear();
                now.run = Some(Run {
                    turn: turn.id,
                    attempt: turn.work_order.attempt,
                    prompt: turn.prompts.user,
                    context: turn.work_order.context.turns.len(),
                    first_seq,
                    next_seq: first_seq,
                    progress: 0,
                });
                json!([true])
            }
            "abortWorkOrder" => {
                drop(now);
                self.complete(ChatTurnStatus::Aborted);
                json!([true, "stopping"])
            }
            "fileTreeRequest" => {
                json!([true, { "entries": [{ "name": "a", "path": "a", "type": "file" }] }])
            }
            "fileReadRequest" => {
                json!([true, { "content": "text", "encoding": "utf8", "sha256": "x", "size": 4 }])
            }
            "fileWriteRequest" => json!([true, { "sha256": "y" }]),
            "workspaceState" => json!([true, { "workspaceId": "w" }]),
            "crashRecoveryResponse" => {
                now.recovery.push(args[0].clone());
                if args[0]["action"] == "discard" {
                    now.crashed = None;
                }
                return None;
            }
            _ => json!([true]),
        })
    }

    pub(crate) fn emit(&self, event: TurnEvent) {
        let mut now = self.now.lock();
        let run = now.run.as_mut().expect("the drone works on a turn");
        let seq = run.next_seq;
        run.next_seq += 1;
        run.progress += 1;
        now.outbox.push_back((seq, event));
    }

    pub(crate) fn say(&self, text: &str) {
        self.emit(TurnEvent::Response { content: text.to_owned() });
    }

    pub(crate) fn complete(&self, status: ChatTurnStatus) {
        let run = self.now.lock().run.clone().expect("the drone works on a turn");
        let message = match status {
            ChatTurnStatus::Aborted => Some("aborted".to_owned()),
            ChatTurnStatus::Error => Some("it broke".to_owned()),
            ChatTurnStatus::Finished | ChatTurnStatus::Processing => None,
        };
        self.emit(TurnEvent::WorkOrderComplete { turn_id: run.turn, status, message });
    }

    /// Sends an event as it is, with an ack.
    pub(crate) async fn raw(&self, name: &str, args: &Value) -> Vec<Value> {
        let connection = self.now.lock().connection.clone().expect("the drone is connected");
        connection.request(name, args, Duration::from_secs(20)).await.unwrap().parse().unwrap()
    }

    pub(crate) async fn tell(&self, name: &str, args: &Value) {
        let connection = self.now.lock().connection.clone().expect("the drone is connected");
        connection.emit(name, args).await.unwrap();
    }

    /// Waits for a work order.
    pub(crate) async fn work(&self) -> Run {
        eventually("a work order comes", async || self.now.lock().run.clone()).await
    }

    pub(crate) async fn attempt(&self, attempt: u32) -> Run {
        eventually("the attempt comes", async || {
            self.now.lock().run.clone().filter(|run| run.attempt == attempt)
        })
        .await
    }

    /// Waits until everything that was said is stored.
    pub(crate) async fn stored(&self) {
        eventually("all events are acked", async || self.now.lock().outbox.is_empty().then_some(())).await;
    }

    /// As [`Self::stored`], and then forgets the turn as a drone does.
    pub(crate) async fn done(&self) {
        self.stored().await;
        self.now.lock().run = None;
    }

    pub(crate) async fn welcomed(&self) -> HelloAck {
        eventually("the hub answers hello", async || self.now.lock().welcome.clone()).await
    }

    pub(crate) async fn locked(&self) {
        eventually("the drone is locked", async || self.now.lock().lock.clone()).await;
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.now.lock().lock.is_some()
    }

    pub(crate) fn commands(&self, name: &str) -> Vec<Value> {
        let now = self.now.lock();
        now.commands.iter().filter(|(command, _)| command == name).map(|(_, args)| args.clone()).collect()
    }

    pub(crate) fn recoveries(&self) -> Vec<Value> {
        self.now.lock().recovery.clone()
    }

    pub(crate) fn be_silent(&self) {
        self.now.lock().silent = true;
    }

    pub(crate) fn refuse_lock(&self) {
        self.now.lock().refuses_lock = true;
    }

    /// The process dies with what it knew, and does not come back by itself.
    pub(crate) async fn die(&self) {
        let client = self.client.lock().take();
        if let Some(client) = client {
            client.close().await;
        }
        let mut now = self.now.lock();
        now.connection = None;
        now.outbox.clear();
        if let Some(run) = now.run.take() {
            now.crashed = Some(run);
        }
    }

    /// Another process on the same workspace.
    pub(crate) fn come_back(&self, url: &str) {
        self.now.lock().process_restarts += 1;
        self.connect(url, TestFleet::token(&self.id));
    }
}

//! An IDE: remembers everything that it is sent, in order.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Config, Connection, Incoming};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::eventually;

pub(crate) struct Ide {
    client: Client,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    connection: Option<Connection>,
    connects: u32,
    refused: Option<String>,
    events: Vec<(String, Value)>,
    /// The numbers of those that have one.
    seqs: Vec<u64>,
}

impl Ide {
    /// Connects, and comes back by itself whenever the connection is lost.
    pub(crate) async fn connect(url: &str, auth: Value) -> Self {
        let ide = Self::begin(url, auth);
        ide.connected(1).await;
        ide
    }

    pub(crate) fn begin(url: &str, auth: Value) -> Self {
        Self::begin_with(url, move || auth.clone())
    }

    pub(crate) fn begin_with(url: &str, auth: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let mut config = Config::new(url).unwrap();
        config.max_outgoing_bytes = 16 << 20;
        let (client, mut incoming) =
            client::connect(config, move |_| std::future::ready(Ok(auth()))).unwrap();
        let sink = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Some(what) = incoming.recv().await {
                let mut now = sink.now.lock();
                match what {
                    Incoming::Connected(connection) => {
                        now.connection = Some(connection);
                        now.connects += 1;
                    }
                    Incoming::Event(event) => {
                        let args: Vec<Value> = event.args.parse().unwrap();
                        now.seqs.extend(args.last().and_then(|meta| meta.get("seq")?.as_u64()));
                        now.events.push((event.name, args.into()));
                    }
                    Incoming::Disconnected { .. } => now.connection = None,
                    Incoming::ConnectFailed { .. } => {}
                    Incoming::Fatal(fatal) => now.refused = Some(format!("{fatal:?}")),
                }
            }
        });
        Self { client, shared }
    }

    pub(crate) async fn connected(&self, times: u32) {
        eventually("the IDE is connected", async || {
            let now = self.shared.now.lock();
            assert!(now.refused.is_none(), "{:?}", now.refused);
            (now.connects >= times && now.connection.is_some()).then_some(())
        })
        .await;
    }

    /// Why the hub does not let it in.
    pub(crate) async fn refused(&self) -> String {
        eventually("the connection is refused", async || self.shared.now.lock().refused.clone()).await
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.shared.now.lock().refused.is_some()
    }

    pub(crate) fn connects(&self) -> u32 {
        self.shared.now.lock().connects
    }

    pub(crate) fn connection(&self) -> Connection {
        self.shared.now.lock().connection.clone().expect("the IDE is connected")
    }

    /// Sends an event and waits for its ack's arguments. `args` is a list.
    pub(crate) async fn request(&self, name: &str, args: &Value) -> Vec<Value> {
        let answer = self.connection().request(name, args, Duration::from_secs(40)).await;
        answer.unwrap_or_else(|error| panic!("{name}: {error}")).parse().unwrap()
    }

    pub(crate) async fn submit(&self, prompt: &str) -> Vec<Value> {
        self.request("submitPrompt", &json!([prompt])).await
    }

    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        self.shared.now.lock().events.clone()
    }

    /// The arguments of the events of that name, oldest first.
    pub(crate) fn named(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|(event, _)| event == name).map(|(_, args)| args).collect()
    }

    /// Numbers and first arguments of everything that carries a number.
    pub(crate) fn numbered(&self) -> Vec<(u64, String)> {
        let text = |args: &Value| args[0].as_str().map_or_else(|| args[0].to_string(), str::to_owned);
        let seq = |args: &Value| args.as_array().and_then(|args| args.last()?.get("seq")?.as_u64());
        let events = self.events();
        events.iter().filter_map(|(_, args)| Some((seq(args)?, text(args)))).collect()
    }

    pub(crate) fn seqs(&self) -> Vec<u64> {
        self.shared.now.lock().seqs.clone()
    }

    /// Waits for an event of that name whose arguments fit.
    pub(crate) async fn wait_for(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name} arrives"), async || self.named(name).into_iter().find(|args| fits(args)))
            .await
    }

    pub(crate) async fn wait_seq(&self, seq: u64) {
        let there = async || self.shared.now.lock().seqs.contains(&seq).then_some(());
        eventually(&format!("number {seq} arrives"), there).await;
    }

    /// Leaves for good.
    pub(crate) async fn close(self) {
        self.client.close().await;
    }
}

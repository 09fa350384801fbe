//! A person's IDE: one tab, on one chat session, that keeps what the hub tells it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Args, AuthError, Client, Config, Connection, Fatal, Incoming};
use jiff::Timestamp;
use protocol::assemble::Assembled;
use protocol::document::{Block, ChatSession, Project};
use protocol::event::{EventName, Meta, RawEvent};
use protocol::ide::{DroneStatusEvent, IdeAuth, name};
use protocol::ids::{ChatSessionId, DroneId, TurnId};
use protocol::value::ChatTurnStatus;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::deadline::{eventually, within};
use crate::gadget::Gadget;
use crate::log::Log;
use crate::screen::{Order, Screen};

/// How long the hub may take to answer; nothing is decided by it but that a test ends.
const ANSWER: Duration = Duration::from_mins(1);

/// Something that the hub said.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which connection brought it, counted from 1.
    pub epoch: u64,
    pub name: String,
    pub args: Args,
}

impl Heard {
    fn drone_status(&self) -> Option<DroneStatusEvent> {
        let first =
            self.args.clone().into_vec().into_iter().next().filter(|_| self.name == name::DRONE_STATUS)?;
        serde_json::from_str(first.get()).ok()
    }
}

#[derive(Debug)]
pub struct Ide {
    client: Client,
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// All events but those of turns.
    heard: Log<Heard>,
    /// A lock because the test reads while the pump fills; held for one look or one event.
    screen: Mutex<Screen>,
    /// Gets an entry with each turn event: what waits for the screen waits for this.
    drawn: Log<EventName>,
    session: Mutex<Option<ChatSessionId>>,
    fatal: Log<Fatal>,
}

impl Shared {
    fn last_seq(&self) -> Option<HashMap<ChatSessionId, u64>> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(HashMap::from([(session, self.screen(|screen| screen.last_seq()))]))
    }

    fn screen<R>(&self, look: impl FnOnce(&mut Screen) -> R) -> R {
        look(&mut self.screen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hear(&self, epoch: u64, name: String, args: Args) -> Result<()> {
        let Some(turn_event) = EventName::parse(&name) else {
            self.heard.push(Heard { epoch, name, args });
            return Ok(());
        };
        let mut args = args.into_vec();
        let last = args.pop().context("a turn event has no arguments")?;
        // What the hub itself says of a turn, such as the end of one whose drone cannot come back, has no number.
        let Ok(meta) = serde_json::from_str::<Meta>(last.get()) else {
            args.push(last);
            self.heard.push(Heard { epoch, name, args: Args::new(args) });
            return Ok(());
        };
        let event =
            RawEvent { name: turn_event, args: serde_json::value::to_raw_value(&args)?, notes: meta.notes };
        self.screen(|screen| screen.apply(meta, event));
        self.drawn.push(turn_event);
        Ok(())
    }
}

impl Ide {
    /// Connects with the owner's token, as the tab `tab`.
    pub async fn connect(gadget: &Gadget, tab: &str) -> Result<Self> {
        Self::connect_with(gadget, gadget.token(), tab).await
    }

    /// The same as whoever has the token.
    pub async fn connect_with(gadget: &Gadget, token: &str, tab: &str) -> Result<Self> {
        Self::connect_to(&gadget.origin(), token, tab).await
    }

    /// The same at any hub.
    pub async fn connect_to(origin: &str, token: &str, tab: &str) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let auth = {
            let (shared, token, tab) = (Arc::clone(&shared), token.to_owned(), tab.to_owned());
            move |_| {
                let payload =
                    IdeAuth { token: token.clone(), tab_id: Some(tab.clone()), last_seq: shared.last_seq() };
                let payload = serde_json::to_value(payload).map_err(|error| AuthError::Stop(error.into()));
                std::future::ready(payload)
            }
        };
        let (client, incoming) = client::connect(Config::new(origin)?, auth)?;
        let pump = tokio::spawn(pump(Arc::clone(&shared), incoming));
        let ide = Self { client, shared, pump };
        ide.connection().await?;
        Ok(ide)
    }

    /// The connection of this moment, waiting for it when there is none.
    pub async fn connection(&self) -> Result<Connection> {
        eventually("a connection to the hub", || async {
            if !self.shared.fatal.is_empty() {
                bail!("the hub refused: {:?}", self.shared.fatal.read(Vec::pop));
            }
            Ok(self.client.connection())
        })
        .await
    }

    /// A later connection than the first one.
    pub async fn reconnected(&self) -> Result<Connection> {
        eventually("another connection to the hub", || async {
            Ok(self.connection().await.ok().filter(|connection| connection.epoch() > 1))
        })
        .await
    }

    /// Asks on the connection of this moment.
    pub async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        event: &str,
        args: &impl serde::Serialize,
    ) -> Result<T> {
        let answer = self.connection().await?.request(event, args, ANSWER).await;
        let answer = answer.with_context(|| format!("{event} was not answered"))?;
        answer.parse().with_context(|| format!("{event}: strange answer {answer:?}"))
    }

    /// Takes the session for this tab, with whatever drone the hub finds or starts.
    pub async fn open(&self, project: &Project, session: &ChatSession) -> Result<()> {
        self.open_with(None, project, session).await
    }

    /// The same with this drone.
    pub async fn open_with(
        &self,
        drone: Option<&DroneId>,
        project: &Project,
        session: &ChatSession,
    ) -> Result<()> {
        *self.shared.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.id.clone());
        let drone = drone.map_or(Value::Null, |drone| json!({ "_id": drone }));
        let args = (drone, json!({ "_id": project.id }), json!({ "_id": session.id }));
        let (success, id, detail): (bool, Value, Option<Value>) =
            self.ask(name::REQUEST_SESSION_LOCK, &args).await?;
        if !success || id != session.id.as_str() {
            bail!("the session is not given: {success} {id} {detail:?}");
        }
        Ok(())
    }

    /// Reads along what another tab's session says, from where this one was.
    pub async fn follow(&self, session: &ChatSessionId) -> Result<()> {
        *self.shared.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        let request =
            json!({ "chatSessionId": session, "lastSeq": self.shared.screen(|screen| screen.last_seq()) });
        let (success, detail): (bool, Value) = self.ask(name::FOLLOW_SESSION, &(request,)).await?;
        if !success {
            bail!("the session cannot be followed: {detail}");
        }
        Ok(())
    }

    /// Asks for a turn; an `Err` is a refusal or a lost answer.
    pub async fn prompt(&self, content: &str) -> Result<TurnId> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Detail {
            turn_id: Option<TurnId>,
        }
        let (success, detail): (bool, Value) = self.ask(name::SUBMIT_PROMPT, &(content,)).await?;
        let Detail { turn_id } = Detail::deserialize(&detail)?;
        match turn_id {
            Some(turn) if success => Ok(turn),
            _ => bail!("the prompt is refused: {detail}"),
        }
    }

    /// Waits until the turn is over on the screen.
    pub async fn finished(&self, turn: &TurnId) -> Result<ChatTurnStatus> {
        let shared = &self.shared;
        shared
            .drawn
            .wait("the turn's end on the screen", |_| shared.screen(|screen| screen.status(turn)))
            .await
    }

    /// Waits until the turn has shown so many events.
    pub async fn shown(&self, turn: &TurnId, events: usize) -> Result<()> {
        let shared = &self.shared;
        let enough = |_: &[EventName]| {
            let shown = shared.screen(|screen| screen.names(turn).len());
            (shown >= events).then_some(())
        };
        shared.drawn.wait("events on the screen", enough).await
    }

    /// Waits until these words are on the screen: of what the turn thinks or says.
    pub async fn reads(&self, turn: &TurnId, words: &str) -> Result<()> {
        let shared = &self.shared;
        let is_there = |block: &Block| match block {
            Block::Thinking { content, .. } | Block::Responding { content, .. } => content.contains(words),
            Block::Tool { .. } => false,
        };
        let there = |_: &[EventName]| {
            let blocks = shared.screen(|screen| screen.turn(turn)).blocks;
            blocks.iter().any(is_there).then_some(())
        };
        shared.drawn.wait(words, there).await
    }

    /// Waits until the hub says something of the drone.
    pub async fn told(
        &self,
        what: &str,
        like: impl Fn(&DroneStatusEvent) -> bool,
    ) -> Result<DroneStatusEvent> {
        let told = |heard: &[Heard]| heard.iter().filter_map(Heard::drone_status).find(|told| like(told));
        let found = self.shared.heard.wait(what, told).await;
        found.with_context(|| format!("the hub said {:#?}", self.heard()))
    }

    /// Waits for an event that is not of a turn.
    pub async fn hears(&self, what: &str, mut like: impl FnMut(&Heard) -> bool) -> Result<Heard> {
        self.shared.heard.wait(what, |heard| heard.iter().find(|heard| like(heard)).cloned()).await
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.read(|heard| heard.clone())
    }

    /// All that the hub has said of the drone so far.
    pub fn drone_statuses(&self) -> Vec<DroneStatusEvent> {
        self.shared.heard.read(|heard| heard.iter().filter_map(Heard::drone_status).collect())
    }

    pub fn turn(&self, turn: &TurnId) -> Assembled {
        self.shared.screen(|screen| screen.turn(turn))
    }

    pub fn names(&self, turn: &TurnId) -> Vec<EventName> {
        self.shared.screen(|screen| screen.names(turn))
    }

    /// How the turn ended, once that is on the screen.
    pub fn status(&self, turn: &TurnId) -> Option<ChatTurnStatus> {
        self.shared.screen(|screen| screen.status(turn))
    }

    /// When the turn's events were made, by the hub's clock.
    pub fn times(&self, turn: &TurnId) -> Vec<Timestamp> {
        self.shared.screen(|screen| screen.times(turn))
    }

    pub fn order(&self) -> Order {
        self.shared.screen(|screen| screen.order().clone())
    }

    /// Closes the tab.
    pub async fn close(self) -> Result<()> {
        let Self { client, shared: _, pump } = self;
        within("the tab's end", client.close()).await?;
        within("the end of its events", pump).await?.context("the tab's task failed")
    }
}

async fn pump(shared: Arc<Shared>, mut incoming: mpsc::Receiver<Incoming>) {
    let mut epoch = 0;
    while let Some(next) = incoming.recv().await {
        match next {
            Incoming::Connected(connection) => epoch = connection.epoch(),
            Incoming::Event(event) => {
                if let Err(error) = shared.hear(epoch, event.name, event.args) {
                    tracing::error!(%error, "an event cannot be understood");
                }
            }
            Incoming::Disconnected { .. } | Incoming::ConnectFailed { .. } => {}
            Incoming::Fatal(fatal) => shared.fatal.push(fatal),
        }
    }
}

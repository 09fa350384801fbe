//! What hub and drone add to the time to the first token, on one machine, with a model that answers at once. The floor is
//! the same request sent straight to the same model server, after each turn.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use axum::serve::ListenerExt as _;
use futures_util::StreamExt;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Step};
use serde_json::json;
use tests::api::Api;
use tests::gadget::{Gadget, Options};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::raw_peer::{Packet, RawPeer};
use crate::report::{Figure, Goal};
use crate::sample::Sample;

/// Several people, because one may not give more than sixty prompts in a minute.
const PEOPLE: usize = 4;
const WARM_UPS: usize = 5;
const TURNS: usize = 50;

/// The first word, and then a pause in which it must be on its way.
const FIRST: &str = "Hello";
const PAUSE: u64 = 30;

/// What the model server was asked last.
struct Asked {
    at: Instant,
    path: String,
    body: Bytes,
}

struct Watched {
    model: ScriptedModel,
    /// Locked for a look only.
    asked: Mutex<Option<Asked>>,
}

struct Times {
    whole: Sample,
    /// Until the model server has the request.
    asking: Sample,
    /// From there to the first token.
    answering: Sample,
}

impl Times {
    fn new() -> Result<Self> {
        Ok(Self { whole: Sample::new()?, asking: Sample::new()?, answering: Sample::new()? })
    }

    fn record(&mut self, began: Instant, asked: Instant, seen: Instant) -> Result<()> {
        self.whole.record(seen - began)?;
        self.asking.record(asked - began)?;
        self.answering.record(seen - asked)
    }
}

pub(crate) async fn run() -> Result<Vec<Figure>> {
    let script = Script::new([Answer::new([Step::say(FIRST), Step::Pause(PAUSE), Step::say(" there.")])]);
    let watched = Arc::new(Watched { model: ScriptedModel::of(script), asked: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        let _delayed = stream.set_nodelay(true);
    });
    let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&watched));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let gadget = Gadget::start(Options::openai(&format!("{url}/v1"), "sk-bench")).await?;
    let owner = Api::new(&gadget)?;
    let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;

    let (mut through, mut straight) = (Times::new()?, Times::new()?);
    for person in 0..PEOPLE {
        let api = owner.as_new_user(&format!("person-{person}@example.com")).await?;
        let mut ide = session(&gadget, &api).await?;
        for turn in 0..WARM_UPS + TURNS {
            let (began, seen) = prompt(&mut ide).await?;
            let asked = watched.take().context("the model was not asked")?;
            let (floor_began, floor_seen) = ask(&http, &url, &asked).await?;
            let floor_asked = watched.take().context("the model was not asked directly")?;
            if turn >= WARM_UPS {
                through.record(began, asked.at, seen)?;
                straight.record(floor_began, floor_asked.at, floor_seen)?;
            }
        }
    }
    let violations = watched.model.violations();
    if !violations.is_empty() {
        bail!("the model was asked in a wrong way: {violations:?}");
    }
    drop(gadget);
    serving.abort();
    Ok(figures(&through, &straight))
}

fn figures(through: &Times, straight: &Times) -> Vec<Figure> {
    let n = through.whole.len();
    let added = |quantile| through.whole.millis(quantile) - straight.whole.millis(0.5);
    let beside = |what: &str, of: fn(&Times) -> &Sample, quantile| {
        Figure::new(what, "ms", of(through).millis(quantile), n)
            .against("straight to the model", of(straight).millis(quantile))
    };
    vec![
        Figure::new("time to first token added by hub and drone, p50", "ms", added(0.5), n)
            .goal(Goal::AtMost(2.0)),
        Figure::new("time to first token added by hub and drone, p99", "ms", added(0.99), n)
            .goal(Goal::AtMost(8.0)),
        beside("prompt sent → first token at the IDE, p50", |times| &times.whole, 0.5),
        beside("prompt sent → first token at the IDE, p99", |times| &times.whole, 0.99),
        beside("prompt sent → the model is asked, p50", |times| &times.asking, 0.5),
        beside("prompt sent → the model is asked, p99", |times| &times.asking, 0.99),
        beside("the model is asked → first token at the IDE, p50", |times| &times.answering, 0.5),
        beside("the model is asked → first token at the IDE, p99", |times| &times.answering, 0.99),
    ]
}

impl Watched {
    fn take(&self) -> Option<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

async fn answer(
    State(watched): State<Arc<Watched>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = Asked { at: Instant::now(), path: uri.path().to_owned(), body: body.clone() };
    *watched.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
    watched.model.respond(uri.path(), &headers, body).await
}

async fn session(gadget: &Gadget, api: &Api) -> Result<RawPeer> {
    let project = api.create_project("first token", None).await?;
    let session = api.create_session(&project).await?;
    let mut ide = RawPeer::connect(&gadget.origin(), &json!({ "token": api.token() })).await?;
    let lock = format!("\"requestSessionLock\",null,{},{}", json!(project.id), json!(session.id));
    let ack = ide.call(&lock, |_| None).await?;
    if ack[0] != true {
        bail!("the session was not locked: {ack}");
    }
    Ok(ide)
}

/// One turn to its end: when the prompt was sent and when the first token came.
async fn prompt(ide: &mut RawPeer) -> Result<(Instant, Instant)> {
    let began = Instant::now();
    let prompt = ide.feed("\"submitPrompt\",\"Say hello\"").await?;
    ide.flush().await?;
    let mut seen = None;
    loop {
        match ide.packet().await? {
            Packet::Event { json, .. } if json.starts_with("[\"response\"") => {
                seen.get_or_insert_with(Instant::now);
            }
            Packet::Event { json, .. } if json.starts_with("[\"workOrderComplete\"") => {
                return Ok((began, seen.context("the turn ended without a token")?));
            }
            Packet::Ack { id, json } if id == prompt && !json.starts_with("[true") => {
                bail!("the prompt was refused: {json}");
            }
            Packet::Event { .. } | Packet::Ack { .. } => {}
        }
    }
}

/// The same request without hub and drone.
async fn ask(http: &reqwest::Client, url: &str, asked: &Asked) -> Result<(Instant, Instant)> {
    let began = Instant::now();
    let request = http.post(format!("{url}{}", asked.path)).header("content-type", "application/json");
    let answer = request.body(asked.body.clone()).send().await?.error_for_status()?;
    let mut stream = answer.bytes_stream();
    let mut text = Vec::new();
    let mut seen = None;
    while let Some(piece) = stream.next().await {
        text.extend_from_slice(&piece?);
        if seen.is_none() && String::from_utf8_lossy(&text).contains(FIRST) {
            seen = Some(Instant::now());
        }
    }
    Ok((began, seen.context("the model said nothing")?))
}

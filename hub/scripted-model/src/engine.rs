//! Chooses the answer to a request, and keeps what a test wants to know afterwards.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::body::{Cut, perform};
use crate::check::{Conversations, check, check_expected};
use crate::dialect::Dialect;
use crate::pace::Pace;
use crate::plan::{self, Plan};
use crate::request::{Request, fingerprint};
use crate::script::{Answer, Script, Step};
use crate::settings::Settings;

/// How many requests are kept for inspection.
const KEPT: usize = 10_000;

/// A closure that answers what it knows and leaves the rest to others.
type Rule = Box<dyn Fn(&Request) -> Option<Vec<Step>> + Send + Sync>;

/// A model that follows a script. Cheap to clone; all clones are the same model.
#[derive(Clone)]
pub struct ScriptedModel {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    rules: Vec<Rule>,
    /// None for a model that nobody inspects: it keeps nothing, so it can run for ever.
    memory: Option<Mutex<Memory>>,
    observed: watch::Sender<Observed>,
}

/// What has happened. The lock is held for look-ups only.
#[derive(Default)]
struct Memory {
    requests: Vec<Request>,
    violations: Vec<String>,
    conversations: Conversations,
    /// How often a conversation was sent, by its fingerprint.
    tries: HashMap<u64, usize>,
}

/// Counts to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Requests that came.
    pub requests: usize,
    /// Responses that came to their scripted end.
    pub finished: usize,
    /// Responses whose client went before that.
    pub abandoned: usize,
}

impl ScriptedModel {
    /// Answers by the scripts, checks each request and keeps them.
    pub fn new(settings: Settings) -> Self {
        Self::build(settings, Vec::new(), Some(Mutex::default()))
    }

    /// Answers each prompt, whatever it says, by one script.
    pub fn of(script: Script) -> Self {
        Self::new(Settings { scripts: [(DEFAULT.to_owned(), script)].into(), ..Settings::default() })
    }

    /// Answers by a closure, and where that gives none by the scripts.
    pub fn with_rule(
        settings: Settings,
        rule: impl Fn(&Request) -> Option<Vec<Step>> + Send + Sync + 'static,
    ) -> Self {
        Self::build(settings, vec![Box::new(rule)], Some(Mutex::default()))
    }

    /// The demo tour: never refuses, keeps nothing.
    pub fn tour(pace: Pace) -> Self {
        let settings = Settings { pace, models: vec![crate::tour::MODEL.to_owned()], ..Settings::default() };
        let rule: Rule = Box::new(|request| Some(crate::tour::answer(request)));
        Self::build(settings, vec![rule], None)
    }

    fn build(settings: Settings, rules: Vec<Rule>, memory: Option<Mutex<Memory>>) -> Self {
        let (observed, _) = watch::channel(Observed::default());
        Self { inner: Arc::new(Inner { settings, rules, memory, observed }) }
    }

    /// Answers a request to a path below the provider's base URL, in process.
    ///
    /// A scripted break before the status line cannot happen without a connection: it is an answer 502 then.
    pub async fn respond(&self, path: &str, headers: &HeaderMap, body: Bytes) -> Response<Body> {
        self.answer(path, headers, body)
            .await
            .unwrap_or_else(|Cut| json_response(502, &json!({ "error": "cut" })))
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.memory(|memory| memory.requests.clone())
    }

    /// What was wrong with it. A test that ends with an empty list has asked as it should.
    pub fn violations(&self) -> Vec<String> {
        self.memory(|memory| memory.violations.clone())
    }

    /// Counts that change as things happen.
    pub fn observed(&self) -> watch::Receiver<Observed> {
        self.inner.observed.subscribe()
    }

    pub(crate) async fn answer(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, Cut> {
        let Some(dialect) = Dialect::of_path(path) else { return Ok(self.other(path)) };
        self.inner.observed.send_modify(|observed| observed.requests += 1);
        let plan = match dialect.read(&body) {
            Ok(request) => self.plan(request, headers, &body),
            Err(error) => {
                let message = format!("{error}: {}", error.source);
                self.report(std::slice::from_ref(&message));
                plan::refusal(dialect, 400, &message)
            }
        };
        perform(plan, self.inner.observed.clone()).await
    }

    /// Everything but the network.
    fn plan(&self, request: Request, headers: &HeaderMap, body: &[u8]) -> Plan {
        let Inner { settings, rules, memory: _, observed: _ } = &*self.inner;
        let due = due(settings, &request);
        let nth_try = self.memory(|memory| {
            let tries = memory.tries.entry(identity(&request)).or_default();
            *tries += 1;
            *tries - 1
        });
        let problems = self.problems(&request, headers, body, &due);
        let dialect = request.dialect;
        let window = settings.context_window.filter(|window| plan::tokens(request.size) > *window);
        let plan = if !problems.is_empty() {
            self.report(&problems);
            plan::refusal(dialect, 400, &format!("the request breaks a rule: {}", problems.join("; ")))
        } else if let Some(window) = window {
            plan::overflow(&request, window)
        } else if let Some(steps) = rules.iter().find_map(|rule| rule(&request)) {
            plan::plan(&request, &steps, settings.pace)
        } else {
            let steps = match &due.answer {
                Some(answer) => answer.nth_try(nth_try).to_vec(),
                None => vec![Step::say(due.absence())],
            };
            plan::plan(&request, &steps, settings.pace)
        };
        self.memory(|memory| {
            if memory.requests.len() < KEPT {
                memory.requests.push(request);
            }
        });
        plan
    }

    fn problems(&self, request: &Request, headers: &HeaderMap, body: &[u8], due: &Due) -> Vec<String> {
        if self.inner.memory.is_none() {
            return Vec::new();
        }
        let secrets = &self.inner.settings.secrets;
        let mut problems = check(request, body, secrets);
        // The key itself belongs into this header; anything else that is secret does not.
        let header_texts = headers.iter().filter(|(name, _)| *name != http::header::AUTHORIZATION);
        for (name, value) in header_texts {
            if secrets.iter().any(|secret| value.to_str().is_ok_and(|value| value.contains(secret.as_str())))
            {
                problems.push(format!("a secret is in the header {name}"));
            }
        }
        let expect = due.answer.as_ref().map(|answer| &answer.expect);
        problems.extend(expect.map(|expect| check_expected(request, expect)).unwrap_or_default());
        let may_differ = expect.is_some_and(|expect| expect.rewritten);
        problems.extend(self.memory(|memory| memory.conversations.check(request, due.prompt, may_differ)));
        problems
    }

    fn report(&self, problems: &[String]) {
        self.memory(|memory| memory.violations.extend_from_slice(problems));
    }

    fn memory<T: Default>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        // A poisoned lock means that another test thread has failed; what it left is still good to look at.
        let memory = self.inner.memory.as_ref();
        memory
            .map(|memory| look(&mut memory.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// What clients ask besides answers: the models there are, and what was wrong so far.
    fn other(&self, path: &str) -> Response<Body> {
        let mut models = self.inner.settings.models.clone();
        if models.is_empty() {
            models.push("scripted".to_owned());
        }
        let path = path.trim_end_matches('/');
        if path.ends_with("/models") {
            let data: Vec<Value> = models
                .iter()
                .map(|model| json!({ "id": model, "object": "model", "owned_by": "script" }))
                .collect();
            json_response(200, &json!({ "object": "list", "data": data }))
        } else if path.ends_with("/api/tags") {
            let models: Vec<Value> =
                models.iter().map(|model| json!({ "name": model, "model": model })).collect();
            json_response(200, &json!({ "models": models }))
        } else if path.ends_with("/api/show") {
            let window = self.inner.settings.context_window.unwrap_or(32_768);
            json_response(
                200,
                &json!({
                    "capabilities": ["completion", "tools", "thinking"],
                    "model_info": { "general.architecture": "script", "script.context_length": window },
                }),
            )
        } else if path.ends_with("/report") {
            let Observed { requests, finished, abandoned } = *self.inner.observed.borrow();
            json_response(
                200,
                &json!({
                    "requests": requests,
                    "finished": finished,
                    "abandoned": abandoned,
                    "violations": self.violations(),
                }),
            )
        } else {
            json_response(404, &json!({ "error": format!("the scripted model has nothing at {path}") }))
        }
    }
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedModel")
            .field("observed", &*self.inner.observed.borrow())
            .finish_non_exhaustive()
    }
}

/// The script for prompts without a marker.
const DEFAULT: &str = "default";

/// What a script says to a request.
struct Due {
    /// The place of the prompt that the answer belongs to.
    prompt: Option<usize>,
    script: String,
    answer: Option<Answer>,
}

impl Due {
    fn absence(&self) -> String {
        format!("No script has an answer here (script {:?}).", self.script)
    }
}

/// The newest prompt with a marker chooses the script; the answers since then choose the place in it.
fn due(settings: &Settings, request: &Request) -> Due {
    let marked = request.newest_user(|text| marker(text).is_some());
    let prompt = marked.or_else(|| request.newest_user(|_| true));
    let name = marked.and_then(|place| match &request.messages[place] {
        crate::request::Message::User { text } => marker(text),
        _ => None,
    });
    let script = name.unwrap_or(DEFAULT).to_owned();
    let nth = prompt.map_or(0, |prompt| request.answers_since(prompt));
    let answer = settings.scripts.get(&script).and_then(|script| script.answers.get(nth)).cloned();
    Due { prompt, script, answer }
}

/// The name in `[[script:NAME]]`. What follows the prompt in tags is not the user's: it may repeat an older prompt.
fn marker(text: &str) -> Option<&str> {
    let text = text.split("\n<").next()?;
    let start = text.find("[[script:")? + "[[script:".len();
    let end = text[start..].find("]]")?;
    Some(text[start..start + end].trim())
}

/// The same for a request that is made again.
fn identity(request: &Request) -> u64 {
    let mut parts = vec![format!("{:x}", request.preamble)];
    parts.extend(request.fingerprints.iter().map(|own| format!("{own:x}")));
    fingerprint(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn json_response(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

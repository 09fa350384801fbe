//! The script format.
//!
//! A script is a list of answers: the first one to the prompt, the next one to the results of the first one's tool
//! calls, and so on. Which answer is due is read off the conversation alone, so a request that is made again, by the
//! same client or by one that was restarted, gets the same answer. Only an answer with several `tries` is different:
//! the first try is for the first request at that place, the second for the next one, the last for all further ones.
//!
//! As JSON an answer is a list of steps, or an object `{ "expect": …, "steps": […] }`, or `{ "tries": [[…], […]] }`:
//!
//! ```json
//! { "answers": [
//!     { "tries": [ [ { "status": { "code": 429, "headers": { "retry-after": "1" } } } ],
//!                  [ { "think": "I should look." }, { "call": { "name": "read", "arguments": { "path": "a" } } } ] ] },
//!     [ { "say": "It says hello." }, "cut" ]
//! ] }
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answers to one prompt, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub answers: Vec<Answer>,
}

/// One answer of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "AnswerForm")]
pub struct Answer {
    /// What must be true of the request.
    pub expect: Expect,
    /// What happens at the first request, the second one, …; never empty.
    pub tries: Vec<Vec<Step>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnswerForm {
    Steps(Vec<Step>),
    Object {
        #[serde(default)]
        expect: Expect,
        #[serde(default)]
        steps: Option<Vec<Step>>,
        #[serde(default)]
        tries: Vec<Vec<Step>>,
    },
}

/// One step of an answer. What comes before the first content happens before the status line is sent.
///
/// An answer whose steps are over ends as the dialect demands: stop reason, counts, end mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A piece of thinking, streamed word by word.
    Think(String),
    /// A piece of the answer's text, streamed word by word.
    Say(String),
    /// A tool call.
    Call(CallStep),
    /// The counts at the end; without this step they are made up from the sizes.
    Usage(Usage),
    /// No counts at the end.
    NoUsage,
    /// Why the answer ends; without this step it is what fits.
    Stop(Stop),
    /// Nothing for so many milliseconds.
    Pause(u64),
    /// Sends status and headers now, with these beside the usual ones.
    Headers(BTreeMap<String, String>),
    /// From here on so many bytes at a time.
    Drip(Drip),
    /// A comment of the stream's syntax: no content.
    Comment(String),
    /// These bytes, as they are.
    Raw(String),
    /// This JSON as a frame of the dialect.
    Frame(Value),
    /// A frame whose JSON is broken.
    BadFrame,
    /// An error inside the stream.
    Error(ErrorStep),
    /// The connection breaks here; before any content: without a status line.
    Cut,
    /// The body ends here, cleanly, but without stop reason and end mark.
    End,
    /// Nothing more comes, and the connection stays open.
    Stall,
    /// An error status instead of an answer.
    Status(Status),
    /// The words with which this kind of endpoint says that the conversation is too long.
    Overflow,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallStep {
    pub name: String,
    pub arguments: Value,
    /// Made up from the conversation's length when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    pub bytes: usize,
    /// Milliseconds between them.
    #[serde(default)]
    pub pause: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorStep {
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub code: u16,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub headers: BTreeMap<String, String>,
}

/// Token counts. `cached` is beside `input`, `thinking` is a part of `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub input: u64,
    #[serde(default)]
    pub cached: u64,
    pub output: u64,
    #[serde(default)]
    pub thinking: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    #[default]
    End,
    ToolCalls,
    Length,
    Refusal,
}

/// What a script demands of a request. Texts are searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// In the newest message.
    pub last_contains: Vec<String>,
    /// Anywhere in system prompt or conversation.
    pub contains: Vec<String>,
    /// Nowhere in them.
    pub lacks: Vec<String>,
    /// Tools on offer.
    pub offers: Vec<String>,
    /// Tools not on offer.
    pub withholds: Vec<String>,
    /// The history may differ from what was sent before: it has been made shorter.
    pub rewritten: bool,
}

impl Script {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: answers.into_iter().collect() }
    }
}

impl Answer {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { expect: Expect::default(), tries: vec![steps.into_iter().collect()] }
    }

    /// The same answer, with other steps when it is asked for again.
    #[must_use]
    pub fn then(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.tries.push(steps.into_iter().collect());
        self
    }

    #[must_use]
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// The steps of the `nth` try, counted from 0; the last try goes on for ever.
    pub fn nth_try(&self, nth: usize) -> &[Step] {
        self.tries.get(nth).or(self.tries.last()).map_or(&[], Vec::as_slice)
    }
}

impl From<AnswerForm> for Answer {
    fn from(form: AnswerForm) -> Self {
        match form {
            AnswerForm::Steps(steps) => Self::new(steps),
            AnswerForm::Object { expect, steps, tries } => {
                Self { expect, tries: steps.into_iter().chain(tries).collect() }
            }
        }
    }
}

impl Step {
    pub fn think(text: impl Into<String>) -> Self {
        Self::Think(text.into())
    }

    pub fn say(text: impl Into<String>) -> Self {
        Self::Say(text.into())
    }

    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Self::Call(CallStep { name: name.into(), arguments, id: None })
    }

    pub fn status(code: u16) -> Self {
        Self::Status(Status { code, message: None, headers: BTreeMap::new() })
    }

    /// 429 with `Retry-After`.
    pub fn rate_limit(retry_after: &str) -> Self {
        let headers = BTreeMap::from([("retry-after".to_owned(), retry_after.to_owned())]);
        Self::Status(Status { code: 429, message: None, headers })
    }

    pub fn error(message: impl Into<String>) -> Self {
        Self::Error(ErrorStep { message: message.into(), code: None })
    }
}

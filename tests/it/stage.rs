//! What most tests need: a model that follows a script, a hub that uses it, and a tab on a session.

use std::collections::BTreeMap;

use protocol::assemble::Assembled;
use protocol::document::{Block, ChatSession, Project, ToolCall, ToolCallStatus};
use scripted_model::script::{Answer, Script, Step};
use scripted_model::settings::Settings;
use scripted_model::{Pace, ScriptedModel, Server};
use serde_json::Value;
use tests::api::Api;
use tests::gadget::{Gadget, Options};
use tests::ide::Ide;

/// A key that must be seen by the model server and by nobody else.
pub(crate) const KEY: &str = "sk-nobody-else-may-see-this";

pub(crate) struct Stage {
    pub model: ScriptedModel,
    pub server: Server,
    pub gadget: Gadget,
    pub api: Api,
}

impl Stage {
    /// Each script answers the prompts that have `[[script:its name]]` in them.
    pub(crate) async fn with_scripts<'a>(
        scripts: impl IntoIterator<Item = (&'a str, Script)>,
        pace: u64,
    ) -> Self {
        let scripts =
            scripts.into_iter().map(|(name, script)| (name.to_owned(), script)).collect::<BTreeMap<_, _>>();
        let settings = Settings {
            scripts,
            secrets: vec![KEY.to_owned()],
            pace: Pace { piece: pace, seed: 1 },
            ..Settings::default()
        };
        Self::with_model(ScriptedModel::new(settings)).await
    }

    /// One script for every prompt.
    pub(crate) async fn with_script(script: Script) -> Self {
        Self::with_scripts([("default", script)], 0).await
    }

    async fn with_model(model: ScriptedModel) -> Self {
        let server = model.serve_here().await.unwrap();
        let options = Options::openai(&format!("{}/v1", server.url()), KEY);
        let gadget = Gadget::start(options).await.unwrap();
        let api = Api::new(&gadget).unwrap();
        Self { model, server, gadget, api }
    }

    pub(crate) async fn session(&self, name: &str, git_url: Option<&str>) -> (Project, ChatSession) {
        let project = self.api.create_project(name, git_url).await.unwrap();
        let session = self.api.create_session(&project).await.unwrap();
        (project, session)
    }

    /// A tab of its own on a session of its own.
    pub(crate) async fn open(&self, name: &str, git_url: Option<&str>) -> (Ide, ChatSession) {
        let (project, session) = self.session(name, git_url).await;
        let ide = Ide::connect(&self.gadget, name).await.unwrap();
        ide.open(&project, &session).await.unwrap();
        (ide, session)
    }

    /// The model was asked as it should be: each call with one result, nothing rewritten, no secret.
    pub(crate) fn assert_well_asked(&self) {
        assert_eq!(self.model.violations(), Vec::<String>::new());
    }
}

/// A block of a transcript without what differs from run to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Thinking(String),
    Responding(String),
    Called { name: String, arguments: Value },
}

/// What a reader of the scripted answers must see: consecutive text of one kind is one block.
pub(crate) fn scripted(answers: &[Answer]) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    for step in answers.iter().flat_map(|answer| answer.nth_try(usize::MAX)) {
        match (step, said.last_mut()) {
            (Step::Think(text), Some(Said::Thinking(last)))
            | (Step::Say(text), Some(Said::Responding(last))) => {
                last.push_str(text);
            }
            (Step::Think(text), _) => said.push(Said::Thinking(text.clone())),
            (Step::Say(text), _) => said.push(Said::Responding(text.clone())),
            (Step::Call(call), _) => {
                said.push(Said::Called { name: call.name.clone(), arguments: call.arguments.clone() });
            }
            _ => {}
        }
    }
    said
}

pub(crate) fn said(blocks: &[Block]) -> Vec<Said> {
    blocks
        .iter()
        .map(|block| match block {
            Block::Thinking { content, .. } => Said::Thinking(content.clone()),
            Block::Responding { content, .. } => Said::Responding(content.clone()),
            Block::Tool { content, .. } => Said::Called {
                name: content.name.clone(),
                arguments: serde_json::from_str(&content.parameters).unwrap(),
            },
        })
        .collect()
}

/// Both show the same: text, calls with their results and flags. Times may differ.
pub(crate) fn assert_same(screen: &Assembled, stored: &[Block]) {
    let comparable = |blocks: &[Block]| -> Vec<(Said, Option<ToolCall>)> {
        let call = |block: &Block| match block {
            Block::Tool { content, .. } => {
                let at = jiff::Timestamp::UNIX_EPOCH;
                let ended_at = content.ended_at.map(|_| at);
                Some(ToolCall { started_at: at, ended_at, ..content.clone() })
            }
            _ => None,
        };
        said(blocks).into_iter().zip(blocks.iter().map(call)).collect()
    };
    assert_eq!(comparable(&screen.blocks), comparable(stored));
}

/// All tool calls have ended, without error and with a known outcome.
pub(crate) fn assert_all_ended_well(calls: &[ToolCall]) {
    for call in calls {
        assert!(
            call.status == ToolCallStatus::Finished && !call.is_error && !call.unknown_outcome,
            "{call:?}"
        );
    }
}

//! Changes of a chat session that touch what they name and nothing else, so that two at the same time both last.

use jiff::Timestamp;
use protocol::document::ChatSession;
use protocol::ids::WorkspaceId;
use protocol::value::{ChatSessionMode, ReasoningEffort};

/// `None`: as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPatch {
    pub name: Option<Rename>,
    pub mode: Option<ChatSessionMode>,
    pub model: Option<SessionModel>,
    pub reasoning_effort: Option<ReasoningEffort>,
    pub workspace_id: Option<WorkspaceId>,
    pub archive: Option<Archive>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    To(String),
    /// Only if it still has the name `from`.
    From {
        from: &'static str,
        to: String,
    },
}

/// Both together: a model of one provider is none of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionModel {
    pub provider: Option<String>,
    pub selected_model: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// Unless it is archived already.
    At(Timestamp),
    Never,
}

impl SessionPatch {
    pub(crate) fn apply(self, session: &mut ChatSession) {
        let Self { name, mode, model, reasoning_effort, workspace_id, archive } = self;
        match name {
            Some(Rename::To(name)) => session.name = name,
            Some(Rename::From { from, to }) if session.name == from => session.name = to,
            Some(Rename::From { .. }) | None => {}
        }
        if let Some(mode) = mode {
            session.mode = mode;
        }
        if let Some(SessionModel { provider, selected_model }) = model {
            session.provider = provider;
            session.selected_model = selected_model;
        }
        if let Some(effort) = reasoning_effort {
            session.reasoning_effort = effort;
        }
        if workspace_id.is_some() {
            session.workspace_id = workspace_id;
        }
        match archive {
            Some(Archive::At(at)) => {
                session.archived_at.get_or_insert(at);
            }
            Some(Archive::Never) => session.archived_at = None,
            None => {}
        }
    }
}

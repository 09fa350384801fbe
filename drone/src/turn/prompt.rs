//! What the model is told before the conversation: who it is, how it works here, what the project asks for.
//!
//! The system prompt holds only what stays the same from turn to turn, so that the endpoint's cache of it holds. What
//! changes (date, host) stands at the end of the user's message.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use jiff::Timestamp;
use protocol::drone::WorkOrderSession;
use protocol::value::{ChatSessionMode, SubagentKind};

/// The most of an `AGENTS.md` that is taken.
const MOST_INSTRUCTIONS: u64 = 64 * 1024;

/// The system prompt of the turn's own agent. `agents_md` is the text of the project's file of that name.
pub(crate) fn system(session: &WorkOrderSession, mode: ChatSessionMode, agents_md: Option<&str>) -> String {
    let mut sections = vec![ROLE.to_owned(), mode_section(mode).to_owned(), WAYS.to_owned()];
    sections.push(format!(
        "# Project\nYou work on the project \"{}\". All paths are relative to its root, which is the current directory of \
         every command. Stay inside it.",
        session.project.name
    ));
    sections.extend(instructions(session, agents_md));
    sections.join("\n\n")
}

/// The system prompt of a sub-agent.
pub(crate) fn sub_agent_system(
    session: &WorkOrderSession,
    kind: SubagentKind,
    agents_md: Option<&str>,
) -> String {
    let role = match kind {
        SubagentKind::Explore => EXPLORE,
        SubagentKind::General => GENERAL,
    };
    let mut sections = vec![role.to_owned()];
    sections.extend(instructions(session, agents_md));
    sections.join("\n\n")
}

/// The user's message, with what is true today at its end.
pub(crate) fn user(prompt: &str, session: &WorkOrderSession, project_root: &Path, now: Timestamp) -> String {
    let date = now.strftime("%Y-%m-%d");
    format!(
        "{prompt}\n\n<environment>\ndate: {date} (UTC)\nsession: {name}\nproject root: {root}\nplatform: {platform}\n</environment>",
        name = session.name,
        root = project_root.display(),
        platform = std::env::consts::OS,
    )
}

/// The project's `AGENTS.md`; cut when it is long, and left out when it is a link that leads out of the project.
pub(crate) fn agents_md(project_root: &Path) -> io::Result<Option<String>> {
    let path = project_root.join("AGENTS.md");
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !real.starts_with(project_root.canonicalize()?) || !real.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(real)?.take(MOST_INSTRUCTIONS + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() as u64 > MOST_INSTRUCTIONS;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if is_cut {
        let most = usize::try_from(MOST_INSTRUCTIONS).unwrap_or(usize::MAX);
        text.truncate(text.floor_char_boundary(most));
        text.push_str("\n[The file goes on; read AGENTS.md for the rest.]");
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

fn instructions(session: &WorkOrderSession, agents_md: Option<&str>) -> Vec<String> {
    let mut sections = Vec::new();
    if let Some(text) = given(session.project.instructions.as_deref()) {
        sections.push(format!("# Rules of the project\nThey come from its owner and are binding.\n\n{text}"));
    }
    if let Some(text) = given(agents_md) {
        sections.push(format!("# AGENTS.md of the project\n{text}"));
    }
    if let Some(text) = given(session.user.persona.as_deref()) {
        sections.push(format!("# The user's wishes for how you talk and work\n{text}"));
    }
    sections
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn mode_section(mode: ChatSessionMode) -> &'static str {
    match mode {
        ChatSessionMode::Plan => PLAN,
        ChatSessionMode::Build => BUILD,
        ChatSessionMode::Test => TEST,
        ChatSessionMode::Ship => SHIP,
        ChatSessionMode::Develop => DEVELOP,
    }
}

const ROLE: &str = "You are Gadget, a coding agent. You work in a checkout of the user's project with the tools that you \
are given, and you answer in the chat. The user sees every tool call and everything that you write.";

const WAYS: &str = "# How you work
- Look before you change: read the files that matter, search for what uses them, follow the style that is there.
- Make the change that was asked for, whole and no larger. Do not leave placeholders.
- Run independent tool calls in one answer; they run side by side. Give searches of their own to `subagent` with type \
`explore` when they would fill this conversation.
- Check your work with the project's own build and tests when there are any. Say so when you could not.
- When a tool fails, read the error and change something; never repeat the same call unchanged.
- A result that says that its outcome is unknown means that the machine stopped while the call ran: find out what is \
true before you repeat it.
- Never print secrets, and never undo changes of the user that you did not make.
- End with a short plain summary: what you did, what you saw, what is left.";

const PLAN: &str = "# Mode: plan
You research and plan; the project's files stay as they are, and you have no tools that change them. Read widely, \
give reading to `explore` sub-agents, and answer with a plan: what to change in which files, in which order, what could \
go wrong, and how to see that it works. Ask when the goal is not clear.";

const BUILD: &str = "# Mode: build
You carry out what the user asks for: write code, run commands, fix what breaks.";

const TEST: &str = "# Mode: test
You find faults and prove them. Run the tests, write tests for what has none, and make each fault show itself in a \
test before you touch the code. Report what fails and why; fix only what the user asks you to fix.";

const SHIP: &str = "# Mode: ship
You make the work ready to be published: the tests pass, the tree is clean, commits are small and well described, \
documents and change log say what is true. Push or tag only when the user asks for it.";

const DEVELOP: &str = "# Mode: develop
You work on Gadget itself, and you run inside it. Never stop or replace the processes that run you: the hub, its drones, \
their supervisor. Changes of them take effect when the user starts them again; say so when it matters.";

const EXPLORE: &str = "You are a sub-agent of a coding agent. You look for the answer to one question in a project and \
change nothing. Search first, then read what matters; run independent calls in one answer. Your last message is all that \
is passed on: give the answer, with the paths and line numbers that prove it, and say what you did not find.";

const GENERAL: &str = "You are a sub-agent of a coding agent. You carry out one task in a project on your own. Others may \
work in the same project at the same time: change only what the task is about. Your last message is all that is passed on: \
say what you did, which files you changed, how you checked it, and what is left.";

#[cfg(test)]
mod tests;

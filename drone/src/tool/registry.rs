//! Which tools there are, and for whom.

use std::sync::Arc;

use protocol::value::{ChatSessionMode, SubagentKind};

use super::edit::Edit;
use super::glob::Glob;
use super::grep::Grep;
use super::list::List;
use super::read::Read;
use super::shell_exec::ShellExec;
use super::todo::Todo;
use super::write::Write;
use super::{Audience, Tool};

/// The tools on offer, sorted by name. A plan changes nothing: no writing tools, and the shell finds the project
/// read-only. An exploring sub-agent has no shell either. The todo list is the turn's own agent's.
pub fn tools_for(mode: ChatSessionMode, audience: Audience) -> Vec<Arc<dyn Tool>> {
    let mut tools: Vec<Arc<dyn Tool>> = vec![Arc::new(Glob), Arc::new(Grep), Arc::new(List), Arc::new(Read)];
    let writes = mode != ChatSessionMode::Plan;
    match audience {
        Audience::Main => {
            tools.push(Arc::new(ShellExec));
            tools.push(Arc::new(Todo));
        }
        Audience::Sub(SubagentKind::General) => tools.push(Arc::new(ShellExec)),
        Audience::Sub(SubagentKind::Explore) => {}
    }
    if writes && audience != Audience::Sub(SubagentKind::Explore) {
        tools.push(Arc::new(Edit));
        tools.push(Arc::new(Write));
    }
    tools.sort_by_key(|tool| tool.spec().name);
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(mode: ChatSessionMode, audience: Audience) -> String {
        tools_for(mode, audience).iter().map(|tool| tool.spec().name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_mode_and_audience_has_its_tools() {
        let (general, explore) = (Audience::Sub(SubagentKind::General), Audience::Sub(SubagentKind::Explore));
        for mode in
            [ChatSessionMode::Build, ChatSessionMode::Test, ChatSessionMode::Ship, ChatSessionMode::Develop]
        {
            assert_eq!(names(mode, Audience::Main), "edit glob grep list read shell_exec todo write");
            assert_eq!(names(mode, general), "edit glob grep list read shell_exec write");
            assert_eq!(names(mode, explore), "glob grep list read");
        }
        assert_eq!(names(ChatSessionMode::Plan, Audience::Main), "glob grep list read shell_exec todo");
        assert_eq!(names(ChatSessionMode::Plan, general), "glob grep list read shell_exec");
        assert_eq!(names(ChatSessionMode::Plan, explore), "glob grep list read");
    }

    #[test]
    fn every_parameter_is_described_by_an_object_schema_with_its_required_ones() {
        for tool in tools_for(ChatSessionMode::Build, Audience::Main) {
            let spec = tool.spec();
            assert_eq!(spec.parameters["type"], "object", "{}", spec.name);
            for required in spec.parameters["required"].as_array().into_iter().flatten() {
                let name = required.as_str().unwrap();
                assert!(spec.parameters["properties"][name].is_object(), "{} {name}", spec.name);
            }
        }
    }
}

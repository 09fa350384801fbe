use protocol::document::{Project, SessionStats, User};
use protocol::value::ReasoningEffort;

use super::*;

fn session() -> WorkOrderSession {
    let at = Timestamp::UNIX_EPOCH;
    WorkOrderSession {
        id: "s".into(),
        created_at: at,
        user: User {
            id: "u".into(),
            handle: "u".to_owned(),
            email: "u@example.com".to_owned(),
            display_name: "U".to_owned(),
            roles: Vec::new(),
            persona: Some("Speak like a sailor.".to_owned()),
            created_at: at,
        },
        project: Project {
            id: "p".into(),
            created_at: at,
            user: "u".into(),
            name: "Boats".to_owned(),
            slug: "boats".to_owned(),
            git_url: None,
            instructions: Some("Every hull has a test.".to_owned()),
        },
        name: "A leak".to_owned(),
        mode: ChatSessionMode::Build,
        provider: None,
        selected_model: None,
        reasoning_effort: ReasoningEffort::Off,
        workspace_id: None,
        stats: SessionStats::default(),
    }
}

#[test]
fn project_rules_agents_file_and_persona_are_always_in() {
    let session = session();
    for mode in ChatSessionMode::ALL {
        let text = system(&session, *mode, Some("Use tabs."));
        for part in ["Every hull has a test.", "Use tabs.", "Speak like a sailor.", "Boats"] {
            assert!(text.contains(part), "{mode}: {part}");
        }
        assert!(text.contains(&format!("# Mode: {mode}")), "{mode}");
    }
    for kind in SubagentKind::ALL {
        let text = sub_agent_system(&session, *kind, Some("Use tabs."));
        assert!(text.contains("Every hull has a test.") && text.contains("Use tabs."), "{kind}");
    }
}

#[test]
fn what_changes_from_turn_to_turn_is_in_the_last_message_alone() {
    let session = session();
    let message = user("fix the leak", &session, Path::new("/w/boats"), Timestamp::UNIX_EPOCH);
    assert!(message.starts_with("fix the leak\n"));
    assert!(message.contains("1970-01-01") && message.contains("/w/boats") && message.contains("A leak"));
    let renamed = WorkOrderSession { name: "Another name".to_owned(), ..session.clone() };
    assert_eq!(
        system(&session, ChatSessionMode::Build, None),
        system(&renamed, ChatSessionMode::Build, None)
    );
}

#[test]
fn a_long_agents_file_is_cut_between_characters() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(agents_md(dir.path()).unwrap(), None);
    std::fs::write(dir.path().join("AGENTS.md"), "ä".repeat(100_000)).unwrap();
    let text = agents_md(dir.path()).unwrap().unwrap();
    assert!(text.len() < 70_000);
    assert!(text.contains("read AGENTS.md for the rest"));
}

#[test]
fn an_agents_file_that_leads_out_of_the_project_is_left_alone() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let project = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), project.path().join("AGENTS.md")).unwrap();
    assert_eq!(agents_md(project.path()).unwrap(), None);
}

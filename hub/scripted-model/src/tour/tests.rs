use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::verb::parse;
use super::*;
use crate::dialect::Dialect;
use crate::script::{CallStep, Step};

const TOOLS: &[&str] = &["edit", "glob", "grep", "list", "read", "shell_exec", "subagent", "todo", "write"];

/// A session of the tour over a real clone of the toy, with plain stand-ins for the agent's tools.
struct Session {
    root: tempfile::TempDir,
    messages: Vec<Value>,
    tools: Vec<&'static str>,
}

impl Session {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bare = root.path().join("toy.git");
        write_toy_repository(&bare).unwrap();
        run(root.path(), "git clone --quiet toy.git work");
        Self { root, messages: Vec::new(), tools: TOOLS.to_vec() }
    }

    fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), "mkdir work");
        Self { root, messages: Vec::new(), tools: TOOLS.to_vec() }
    }

    /// Runs a whole turn. Returns the names of the tools that were called, and the last answer.
    fn prompt(&mut self, text: &str) -> (Vec<String>, String) {
        self.messages.push(json!({ "role": "user", "content": text }));
        let mut called = Vec::new();
        for _ in 0..20 {
            let steps = self.next();
            let said: String = steps.iter().filter_map(said).collect();
            let calls: Vec<&CallStep> = steps.iter().filter_map(call).collect();
            if calls.is_empty() {
                self.messages.push(json!({ "role": "assistant", "content": said }));
                return (called, said);
            }
            let ids: Vec<String> =
                (0..calls.len()).map(|nth| format!("{}-{nth}", self.messages.len())).collect();
            let wire: Vec<Value> = calls
                .iter()
                .zip(&ids)
                .map(|(call, id)| {
                    let arguments = call.arguments.to_string();
                    json!({ "id": id, "function": { "name": call.name, "arguments": arguments } })
                })
                .collect();
            self.messages.push(json!({ "role": "assistant", "content": said, "tool_calls": wire }));
            for (call, id) in calls.iter().zip(&ids) {
                called.push(call.name.clone());
                let result = self.call(&call.name, &call.arguments);
                self.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": result }));
            }
        }
        panic!("the tour does not end: {called:?}");
    }

    fn next(&self) -> Vec<Step> {
        let tools: Vec<Value> =
            self.tools.iter().map(|name| json!({ "function": { "name": name } })).collect();
        let body = json!({ "model": MODEL, "messages": self.messages, "tools": tools, "stream": true });
        let request = Dialect::OpenAi.read(body.to_string().as_bytes()).unwrap();
        let steps = answer(&request);
        assert_eq!(steps, answer(&request), "the same request gives the same answer");
        steps
    }

    fn call(&self, name: &str, arguments: &Value) -> String {
        let work = self.root.path().join("work");
        let text =
            |field: &str| arguments[field].as_str().unwrap_or_else(|| panic!("{name}: {field} is missing"));
        match name {
            "read" => {
                std::fs::read_to_string(work.join(text("path"))).unwrap_or_else(|error| error.to_string())
            }
            "shell_exec" => run(&work, text("command")),
            "grep" => run(&work, &format!("grep -Ern --exclude-dir=.git '{}' .", text("pattern"))),
            "list" => match run(&work, "ls") {
                names if names.is_empty() => "[the directory is empty]".to_owned(),
                names => names,
            },
            "write" => {
                let path = work.join(text("path"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text("content")).unwrap();
                "written".to_owned()
            }
            "todo" => "ok".to_owned(),
            "edit" => {
                let path = work.join(text("path"));
                let before = std::fs::read_to_string(&path).unwrap();
                assert_eq!(before.matches(text("old")).count(), 1);
                std::fs::write(path, before.replace(text("old"), text("new"))).unwrap();
                "edited".to_owned()
            }
            "subagent" => {
                let root = tempfile::tempdir().unwrap();
                let mut sub =
                    Session { root, messages: Vec::new(), tools: vec!["glob", "grep", "list", "read"] };
                std::fs::create_dir(sub.root.path().join("work")).unwrap();
                std::fs::copy(work.join("calc.sh"), sub.root.path().join("work/calc.sh")).unwrap();
                let (called, report) = sub.prompt(text("prompt"));
                assert_eq!(called, ["read"]);
                report
            }
            other => panic!("the tour called {other}"),
        }
    }
}

fn said(step: &Step) -> Option<&str> {
    match step {
        Step::Say(text) => Some(text),
        _ => None,
    }
}

fn call(step: &Step) -> Option<&CallStep> {
    match step {
        Step::Call(call) => Some(call),
        _ => None,
    }
}

fn run(dir: &Path, command: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(command).current_dir(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_tour_finds_and_mends_the_bug() {
    let mut session = Session::new();
    let (called, last) = session.prompt("Start the tour!");
    let expected = [
        "list",
        "read",
        "read",
        "grep",
        "shell_exec",
        "edit",
        "shell_exec",
        "shell_exec",
        "subagent",
        "todo",
    ];
    assert_eq!(called, expected);
    assert!(last.starts_with("Done."), "{last}");
    let review = session.messages.iter().any(|message| {
        message["content"]
            .as_str()
            .is_some_and(|text| text.starts_with("`mul` multiplies its two numbers now"))
    });
    assert!(review, "the sub-agent has seen the mended file");
    let (_, tests) = session.prompt("run the tests");
    assert!(tests.starts_with("The tests pass:"), "{tests}");
}

#[test]
fn a_second_tour_in_the_same_workspace_says_that_the_bug_is_mended() {
    let mut session = Session::new();
    session.prompt("start the tour");
    let (called, last) = session.prompt("start the tour");
    assert_eq!(called, ["list", "read", "read", "grep", "shell_exec"]);
    assert!(last.contains("mended in this workspace before"), "{last}");
}

#[test]
fn a_tour_without_writing_tools_ends_at_the_failing_test() {
    let mut session = Session::new();
    session.tools.retain(|tool| !matches!(*tool, "edit" | "write"));
    let (called, last) = session.prompt("demo");
    assert_eq!(called.last().unwrap(), "shell_exec");
    assert!(last.contains("FAIL  calc mul 3 4: expected 12, got 7"), "{last}");
}

#[test]
fn a_tour_in_another_repository_says_so() {
    let mut session = Session::new();
    run(&session.root.path().join("work"), "rm -r calc.sh tests; echo hello > notes");
    let (called, last) = session.prompt("tour");
    assert_eq!(called, ["list", "read", "read"]);
    assert!(last.contains("something else"), "{last}");
}

#[test]
fn a_tour_in_an_empty_workspace_makes_its_toy_first() {
    let mut session = Session::empty();
    let (called, last) = session.prompt("tour");
    let made = ["list", "write", "write", "write", "write", "shell_exec"];
    let toured =
        ["read", "read", "grep", "shell_exec", "edit", "shell_exec", "shell_exec", "subagent", "todo"];
    assert_eq!(called, [&made[..], &toured].concat());
    assert!(last.starts_with("Done."), "{last}");
    let work = session.root.path().join("work");
    assert_eq!(run(&work, "git log --format=%s"), "Add a calculator\n");
    assert_eq!(run(&work, "git status --short"), " M calc.sh\n");
}

#[test]
fn a_tour_that_may_not_write_says_what_to_do_in_an_empty_workspace() {
    let mut session = Session::empty();
    session.tools.retain(|tool| !matches!(*tool, "edit" | "write"));
    let (called, last) = session.prompt("tour");
    assert_eq!(called, ["list"]);
    assert!(last.contains("build mode"), "{last}");
}

#[test]
fn every_verb_runs_its_tool_and_shows_the_result() {
    let mut session = Session::new();
    for (prompt, tool, shown) in [
        ("list files", "list", "calc.sh"),
        ("Run the tests.", "shell_exec", "1 of 6 tests failed"),
        ("show the diff", "shell_exec", "Nothing has been changed."),
        ("search for \"echo $((\"", "grep", "./calc.sh:5:add()"),
        ("open README.md", "read", "A calculator for whole numbers"),
    ] {
        let (called, last) = session.prompt(prompt);
        assert_eq!(called, [tool], "{prompt}");
        assert!(last.contains(shown), "{prompt}: {last}");
    }
}

#[test]
fn anything_else_is_answered_honestly() {
    let (called, last) = Session::new().prompt("Refactor this into Rust, please");
    assert_eq!(called, Vec::<String>::new());
    for text in ["there is no AI", "list files", "gadget local --ollama", "--openai URL --key-env NAME"] {
        assert!(last.contains(text), "{text} is missing: {last}");
    }
}

#[test]
fn notes_of_the_agent_loop_are_no_prompts() {
    let mut session = Session::new();
    session.messages.push(json!({ "role": "user", "content": "list files" }));
    session.messages.push(json!({ "role": "user", "content": "<note>the sun shines</note>" }));
    assert_eq!(session.next().iter().filter_map(call).count(), 1);
}

#[test]
fn prompts_are_understood_by_their_first_line() {
    for (prompt, expected) in [
        ("Start the demo", Verb::Tour),
        ("please list the files", Verb::ListFiles),
        ("ls", Verb::ListFiles),
        ("Run tests!", Verb::RunTests),
        ("git diff", Verb::ShowDiff),
        ("grep TODO", Verb::Search("TODO".to_owned())),
        ("open `calc.sh`\n\nmore text", Verb::Open("calc.sh".to_owned())),
        ("write me a poem", Verb::Other),
        ("", Verb::Other),
    ] {
        assert_eq!(parse(prompt), expected, "{prompt:?}");
    }
}

#[test]
fn the_toy_repository_is_the_same_each_time_and_left_alone_when_it_is_there() {
    let root = tempfile::tempdir().unwrap();
    let id = |name: &str| run(root.path(), &format!("git -C {name} rev-parse main"));
    write_toy_repository(&root.path().join("a.git")).unwrap();
    write_toy_repository(&root.path().join("deep/b.git")).unwrap();
    assert_eq!(id("a.git").trim().len(), 40);
    assert_eq!(id("a.git"), id("deep/b.git"));
    write_toy_repository(&root.path().join("a.git")).unwrap();
    let left: Vec<_> =
        std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

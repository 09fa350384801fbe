//! The demo tour through the real loop and the real tools.

use std::path::Path;

use protocol::value::{ChatSessionMode, ChatTurnStatus};
use scripted_model::settings::Settings;
use scripted_model::{ScriptedModel, tour};
use tokio::process::Command;

use crate::world::{World, order};

/// The tour, by a model that checks what it is asked.
fn guide() -> ScriptedModel {
    ScriptedModel::with_rule(Settings::default(), |request| Some(tour::answer(request)))
}

/// A drone whose project is the toy repository.
async fn world(model: ScriptedModel) -> World {
    let world = World::locked(model).await;
    let toy = world.workspace().with_file_name("toy.git");
    tour::write_toy_repository(&toy).unwrap();
    git(&world.project(), &["pull", "--quiet", toy.to_str().unwrap(), "main"]).await;
    world
}

async fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(dir).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the tools that were called, and the last words.
fn told(world: &World) -> (Vec<String>, String) {
    let story = world.story();
    let called = story.iter().filter_map(|line| line.strip_prefix("calls: ")).map(str::to_owned).collect();
    (called, story.last().cloned().unwrap_or_default())
}

#[tokio::test]
async fn the_tour_mends_the_bug_with_the_real_tools() {
    let model = guide();
    let world = world(model.clone()).await;
    assert_eq!(world.hub.dispatch(order("Start the tour")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    let (called, last) = told(&world);
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
    assert_eq!(called, expected, "{:?}", world.story());
    assert!(last.starts_with("says: Done."), "{last}");
    assert!(git(&world.project(), &["diff"]).await.contains("+mul() { echo $(($1 * $2)); }"));
    let transcript = world.hub.transcript();
    let review = transcript.tool_calls.iter().find_map(|call| call.subagent.as_ref()).unwrap();
    assert!(review.response.starts_with("`mul` multiplies its two numbers now"), "{review:?}");
    assert_eq!(model.violations(), [""; 0]);
}

#[tokio::test]
async fn the_tour_makes_its_repository_in_an_empty_project() {
    let model = guide();
    let world = World::locked(model.clone()).await;
    assert_eq!(world.hub.dispatch(order("Start the tour")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    let (called, last) = told(&world);
    assert_eq!(called.iter().filter(|name| *name == "write").count(), 4, "{:?}", world.story());
    assert!(last.starts_with("says: Done."), "{last}");
    assert!(git(&world.project(), &["diff"]).await.contains("+mul() { echo $(($1 * $2)); }"));
    assert_eq!(model.violations(), [""; 0]);
}

#[tokio::test]
async fn the_tour_in_plan_mode_looks_and_does_not_write() {
    let model = guide();
    let world = world(model.clone()).await;
    let mut order = order("Start the tour");
    order.mode = ChatSessionMode::Plan;
    order.session.mode = ChatSessionMode::Plan;
    assert_eq!(world.hub.dispatch(order).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    let (_, last) = told(&world);
    assert!(last.contains("FAIL  calc mul 3 4: expected 12, got 7"), "{last}");
    assert_eq!(git(&world.project(), &["diff"]).await, "");
    assert_eq!(model.violations(), [""; 0]);
}

#[tokio::test]
async fn the_tours_verbs_run_their_tools() {
    for (prompt, tool, shown) in [
        ("list files", "list", "calc.sh"),
        ("run the tests", "shell_exec", "1 of 6 tests failed"),
        ("show the diff", "shell_exec", "Nothing has been changed."),
        ("search divide by", "grep", "cannot divide by zero"),
        ("open README.md", "read", "A calculator for whole numbers"),
        ("write me a poem", "", "there is no AI behind this demo"),
    ] {
        let world = world(guide()).await;
        assert_eq!(world.hub.dispatch(order(prompt)).await, [true]);
        assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
        let (called, last) = told(&world);
        assert_eq!(called.join(" "), tool, "{prompt}");
        assert!(last.contains(shown), "{prompt}: {last}");
    }
}

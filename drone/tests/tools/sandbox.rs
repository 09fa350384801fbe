//! Where commands may write. The kernel of the machine must have Landlock for this to be worth anything; where it has
//! none, commands run all the same and say so.

use drone::job::directory::State;
use protocol::value::ChatSessionMode;
use serde_json::json;

use crate::world::World;

/// Whether this kernel confines commands.
async fn is_confined(world: &World) -> bool {
    let intent = world.plan("shell_exec", json!({ "command": "true" })).await.unwrap();
    world.apply(&intent).await;
    match world.job(&intent).state().unwrap() {
        State::Ended(exit) => exit.confined,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn commands_write_in_the_project_and_scratch_directories_and_nowhere_else() {
    let world = World::new();
    if !is_confined(&world).await {
        return;
    }
    std::fs::write(world.context.workspace.join(".gadget/workspace.json"), "{}").unwrap();
    std::fs::create_dir(world.context.workspace.join(".gadget/journal")).unwrap();
    for allowed in
        ["touch new", "mkdir -p a/b", "echo x > $TMPDIR/y && mv $TMPDIR/y here", "echo > /dev/null"]
    {
        let outcome = world.call("shell_exec", json!({ "command": allowed })).await;
        assert!(!outcome.is_error, "{allowed}: {}", outcome.text);
    }
    for refused in [
        "touch ../.gadget/journal/x",
        "echo > ../.gadget/workspace.json",
        "rm ../.gadget/workspace.json",
        "touch ../beside",
        "touch /etc/gadget-was-here",
        "ln -s / link && touch link/gadget-was-here",
    ] {
        let outcome = world.call("shell_exec", json!({ "command": refused })).await;
        assert!(outcome.is_error && outcome.text.contains("ermission denied"), "{refused}: {}", outcome.text);
    }
}

#[tokio::test]
async fn in_plan_mode_the_project_is_read_only() {
    let mut world = World::new();
    if !is_confined(&world).await {
        return;
    }
    world.put("file", "x");
    world.context.mode = ChatSessionMode::Plan;
    assert!(
        world
            .text("shell_exec", json!({ "command": "cat file; echo x > $TMPDIR/note" }))
            .await
            .starts_with("x\n")
    );
    for refused in ["touch new", "echo y > file", "rm file", "mv file other"] {
        let outcome = world.call("shell_exec", json!({ "command": refused })).await;
        assert!(outcome.is_error && outcome.text.contains("ermission denied"), "{refused}: {}", outcome.text);
    }
    assert_eq!(world.content("file"), "x");
}

#[tokio::test]
async fn a_command_cannot_signal_processes_of_others() {
    let world = World::new();
    if !is_confined(&world).await || !scopes_signals() {
        return;
    }
    let me = std::process::id();
    let outcome =
        world.call("shell_exec", json!({ "command": format!("sleep 5 & kill $! && kill -0 {me}") })).await;
    assert!(outcome.is_error && outcome.text.contains("not permitted"), "{}", outcome.text);
}

/// Linux 6.12 and later.
fn scopes_signals() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 12)
}

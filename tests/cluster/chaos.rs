//! What goes wrong in a cluster in the middle of a turn. The turn ends as it would have: nothing is lost and nothing is
//! there twice, in the store, on the screen and in the workspace; and the tab is told what happened.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use protocol::value::DronePhase;
use scripted_model::script::{Answer, Expect, Step};
use serde_json::json;
use tests::screen::Order;
use tokio::time::Instant;

use crate::node::{OwnNode, not_here};
use crate::stage::{RAN, Stage, Turn, Work};
use tests::release::{kubectl, until};

/// How a sentence begins that takes long enough for a fault in the middle of it.
const LONG: &str = "The second sentence goes on";

fn shell(command: String) -> Step {
    Step::call("shell_exec", json!({ "command": command }))
}

fn append(line: &str) -> Step {
    shell(format!("echo {line} >>{RAN}"))
}

/// For a fault while the model speaks.
fn talk() -> Work {
    let on = "and on, for it has a good deal to say before it comes to what is to be done next, and says all of it";
    Work {
        name: "talk",
        answers: vec![
            Answer::new([
                Step::think("The first thought has a few words. "),
                Step::say("The first sentence is short. "),
                Step::call("write", json!({ "path": "note.txt", "content": "a note\n" })),
                append("first"),
            ]),
            Answer::new([Step::say(format!("{LONG} {on}. ")), append("second")]),
            Answer::new([
                Step::think("The second thought is short. "),
                Step::say("The third sentence is short. "),
                Step::call("read", json!({ "path": "note.txt" })),
                append("third"),
            ]),
            Answer::new([Step::say("The fourth sentence, "), Step::say("the last one, ends it.")]),
        ],
        lines: &["first", "second", "third"],
    }
}

/// For a fault while a command runs, which ends when it is let go.
fn command() -> Work {
    let long = format!("echo begins >>{RAN}; until [ -e go ]; do sleep 0.1; done; echo ends >>{RAN}");
    Work {
        name: "command",
        answers: vec![
            Answer::new([Step::say("The command of this sentence takes long. "), shell(long)]),
            Answer::new([Step::say("The other one does not. "), append("after")]),
            Answer::new([Step::say("That was all.")]),
        ],
        lines: &["begins", "ends", "after"],
    }
}

/// Commands that want more memory than their container has, alone and together.
fn greedy() -> Work {
    let alone = format!("tail /dev/zero || echo alone >>{RAN}");
    // Each keeps what it has until one of them is gone.
    let hold = "{ head -c 120M /dev/zero; until [ -e enough ]; do echo; sleep 0.1; done; } | tail -c 120M >/dev/null";
    let together = format!("seq 3 | xargs -P 3 -I N sh -c '{hold} || touch enough'; echo together >>{RAN}");
    let after = |words: &str| Expect { last_contains: vec![words.to_owned()], ..Expect::default() };
    Work {
        name: "greedy",
        answers: vec![
            Answer::new([Step::say("One process wants all the memory. "), shell(alone)]),
            Answer::new([Step::say("Three want half of it each. "), shell(together)])
                .expecting(after("memory exhausted")),
            Answer::new([Step::say("So I take less. "), append("less")])
                .expecting(after("killed because all memory of 256 MiB was used up; use less")),
            Answer::new([Step::say("That was enough.")]),
        ],
        lines: &["alone", "together", "less"],
    }
}

/// Lets the command go, as soon as the pod can be reached.
async fn let_go(turn: &Turn<'_>) -> Result<()> {
    let command = format!("for file in /workspace/*/{RAN}; do touch \"${{file%/*}}/go\"; done");
    until("the pod to be reached", async || Ok(turn.stage.release.in_pod(turn.name, &command).await.ok()))
        .await
        .map(drop)
}

/// The pod of the turn's session as it is now.
async fn pod(turn: &Turn<'_>) -> Result<Pod> {
    turn.stage.release.api::<Pod>().get(turn.name).await.context("the session has no pod")
}

/// It is the one of before, and its container never ended.
async fn is_untouched(turn: &Turn<'_>) -> Result<()> {
    let pod = pod(turn).await?;
    ensure!(pod.uid() == turn.pod.uid(), "the pod was replaced");
    let status = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    ensure!(status.iter().all(|container| container.restart_count == 0), "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drone_that_is_killed_in_a_command_finds_it_again_and_its_end_is_told() -> Result<()> {
    let work = command();
    let stage = Stage::with(&[&work], &[]).await?;
    let turn = stage.begin("killed", &work).await?;
    turn.runs("begins").await?;
    let since = Instant::now();
    stage.release.kill_drone("killed").await?;
    let told = turn.ide.told("the drone to be back", |told| told.restarts > 0).await?;
    println!("killed: the drone was back after {:.1} s", since.elapsed().as_secs_f64());
    ensure!(told.reason.as_deref() == Some("ProcessRestarted"), "{told:?}");
    ensure!(told.message.as_deref() == Some("the drone's process was ended by signal 9"), "{told:?}");
    turn.hears("status", "The drone's connection is lost; the turn goes on when it is back").await?;
    turn.hears("status", "The drone crashed and is back; the turn goes on").await?;
    let_go(&turn).await?;
    turn.ends_as_written(since).await?;
    is_untouched(&turn).await?;
    stage.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_want_too_much_memory_end_alone_and_their_results_say_why() -> Result<()> {
    let work = greedy();
    let less =
        ["limits.memory=256Mi", "requests.memory=128Mi"].map(|of| format!("drones.class.resources.{of}"));
    let stage = Stage::with(&[&work], &["--set", &less[0], "--set", &less[1]]).await?;
    let turn = stage.begin("greedy", &work).await?;
    if stage.release.in_pod("greedy", "[ -e /sys/fs/cgroup/cgroup.controllers ]").await.is_ok() {
        return not_here(
            "with control groups of version 2 a kubelet ends the whole container for one process",
        );
    }
    let account = turn.ends_as_written(Instant::now()).await?;
    ensure!(account.attempts == 0 && account.repeated_calls == 0, "{account:?}");
    is_untouched(&turn).await?;
    stage.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_hub_operator_and_drone_are_deleted_one_by_one_and_all_at_once() -> Result<()> {
    let work = talk();
    let stage = Stage::with(&[&work], &[]).await?;

    // Nobody notices: the operator is not needed for what runs.
    let turn = stage.begin("operator", &work).await?;
    turn.ide.reads(&turn.id, LONG).await?;
    let (since, before) = (Instant::now(), stage.pods(&["operator"]).await?);
    stage.delete_pods(&["operator"]).await?;
    let account = turn.ends_as_written(since).await?;
    ensure!(account.attempts == 0 && account.repeated_calls == 0, "{account:?}");
    ensure!(turn.ide.order() == Order::default(), "{:?}", turn.ide.order());
    is_untouched(&turn).await?;
    turn.heard_of_no_fault()?;
    until("another operator", async || {
        let now = stage.pods(&["operator"]).await?;
        Ok((now != before && !now.is_empty()).then_some(()))
    })
    .await?;

    let turn = stage.begin("hub", &work).await?;
    turn.ide.reads(&turn.id, LONG).await?;
    let since = Instant::now();
    stage.delete_pods(&["hub"]).await?;
    turn.hears("goingAway", "the hub is going away; connect again in a moment").await?;
    turn.hears("status", "Re-attached to the chat session whose turn is running").await?;
    println!("hub: the tab was back after {:.1} s", since.elapsed().as_secs_f64());
    turn.ends_as_written(since).await?;
    is_untouched(&turn).await?;

    let turn = stage.begin("all", &work).await?;
    turn.ide.reads(&turn.id, LONG).await?;
    let since = Instant::now();
    stage.delete_pods(&["hub", "operator"]).await?;
    stage.release.api::<Pod>().delete("all", &DeleteParams::default()).await?;
    turn.hears("goingAway", "connect again in a moment").await?;
    let deleted = turn.ide.told("that the pod is gone", |told| told.phase == DronePhase::Recovering).await?;
    println!("all: the tab was told after {:.1} s", since.elapsed().as_secs_f64());
    // The restart counts once the next pod is there.
    ensure!(deleted.reason.as_deref() == Some("PodDeleted"), "{deleted:?}");
    let words = deleted.message.unwrap_or_default();
    ensure!(words.starts_with("the pod was deleted; nothing to do: it is replaced"), "{words}");
    turn.ide.told("the new pod", |told| told.phase == DronePhase::Busy && told.restarts == 1).await?;
    turn.ends_as_written(since).await?;
    ensure!(pod(&turn).await?.uid() != turn.pod.uid(), "the pod was to be replaced");
    stage.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_replaces_hub_and_operator_and_touches_no_drone() -> Result<()> {
    let work = talk();
    let stage = Stage::with(&[&work], &[]).await?;
    let turn = stage.begin("upgraded", &work).await?;
    turn.ide.reads(&turn.id, LONG).await?;
    let (since, before) = (Instant::now(), stage.pods(&["hub", "operator"]).await?);
    let of_both = ["hub", "operator"].map(|of| format!("{of}.podAnnotations.upgraded=yes"));
    // A new class is for drones to come.
    let of_drones = "drones.class.resources.requests.cpu=60m";
    stage.release.upgrade(&["--set", &of_both[0], "--set", &of_both[1], "--set", of_drones]).await?;
    turn.ends_as_written(since).await?;
    let after = stage.pods(&["hub", "operator"]).await?;
    ensure!(after.len() == 2 && after.iter().all(|pod| !before.contains(pod)), "{before:?} became {after:?}");
    is_untouched(&turn).await?;
    stage.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubelet_and_containerd_are_killed_and_a_command_runs_on() -> Result<()> {
    let Some(node) = OwnNode::find() else {
        return not_here("kubelet and containerd are killed in one of `cargo xtask cluster` alone");
    };
    let work = command();
    let stage = Stage::with(&[&work], &[]).await?;
    for program in ["kubelet", "containerd"] {
        let turn = stage.begin(program, &work).await?;
        turn.runs("begins").await?;
        let since = Instant::now();
        node.restart(program).await?;
        println!("{program}: it ran again after {:.1} s", since.elapsed().as_secs_f64());
        let_go(&turn).await?;
        println!("{program}: the pod could be reached after {:.1} s", since.elapsed().as_secs_f64());
        let account = turn.ends_as_written(since).await?;
        ensure!(account.attempts == 0 && account.repeated_calls == 0, "{account:?}");
        is_untouched(&turn).await?;
        turn.heard_of_no_fault()?;
    }
    stage.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_tainted_loses_its_drones_which_go_on_when_there_is_room_again() -> Result<()> {
    let work = talk();
    // Hub and operator stay, as they would on nodes of their own.
    let stays = r#"[{"key":"gadget-test","operator":"Exists"}]"#;
    let stays = [format!("hub.tolerations={stays}"), format!("operator.tolerations={stays}")];
    // What a run that was interrupted has left; an error if it has left nothing.
    let _nothing = kubectl(&["taint", "nodes", "--all", "gadget-test-"]).await;
    let stage = Stage::with(&[&work], &["--set-json", &stays[0], "--set-json", &stays[1]]).await?;
    let turn = stage.begin("tainted", &work).await?;
    turn.ide.reads(&turn.id, LONG).await?;
    let node = turn.pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("no node")?;
    let since = Instant::now();
    kubectl(&["taint", "node", &node, "gadget-test=away:NoExecute"]).await?;
    let lost = turn.ide.told("the loss of the node", |told| told.reason.as_deref() == Some("NodeLost")).await;
    let waits = turn
        .ide
        .told("the drone to wait for room", |told| told.reason.as_deref() == Some("Unschedulable"))
        .await;
    kubectl(&["taint", "node", &node, "gadget-test-"]).await?;
    let (lost, waits) = (lost?, waits?);
    ensure!(lost.phase == DronePhase::Recovering, "{lost:?}");
    ensure!(waits.phase == DronePhase::Recovering, "{waits:?}");
    turn.ends_as_written(since).await?;
    ensure!(pod(&turn).await?.uid() != turn.pod.uid(), "the pod was to be replaced");
    stage.remove().await
}

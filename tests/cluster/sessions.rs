//! Sessions in real pods, and what may end those.

use anyhow::{Context as _, Result, ensure};
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::DeleteParams;
use protocol::document::ChatSession as Document;
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use tests::ide::Ide;
use tests::screen::Order;
use tests::transcript::{Said, said, same};

use tests::release::{Release, kubectl, until};

/// The demo provider answers; it is a script that uses the real tools.
const PROMPT: &str = "Start the tour.";

/// The turn to its end: on the screen what is in the store, nothing missing and nothing twice.
async fn to_its_end(release: &Release, ide: &Ide, document: &Document, turn: &TurnId) -> Result<Vec<Said>> {
    let status = ide.finished(turn).await?;
    ensure!(status == ChatTurnStatus::Finished, "the turn ended as {status:?}");
    let stored = release.admin.finished_turn(&document.id, turn).await?;
    same(&ide.turn(turn), &stored.blocks)?;
    // The tour has one test fail, to mend it.
    let (failed, well): (Vec<_>, Vec<_>) = stored.tool_calls.iter().partition(|call| call.is_error);
    ensure!(
        failed.len() == 1 && failed[0].response.contains("1 of 6 tests failed"),
        "these failed: {failed:?}"
    );
    ensure!(well.iter().all(|call| call.ended_at.is_some() && !call.unknown_outcome), "{well:?}");
    let order = ide.order();
    ensure!(order == Order::default(), "{order:?}");
    said(&stored.blocks)
}

/// A session of five lines that is open in a tab.
async fn session(release: &Release, name: &str) -> Result<(Ide, Document)> {
    release.apply(name).await?;
    release.open(name).await
}

async fn uid(release: &Release, pod: &str) -> Result<String> {
    release.api::<Pod>().get(pod).await?.metadata.uid.context("a pod has a uid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_lines_give_a_drone_with_a_volume_that_works_behind_walls_and_leaves_nothing_but_its_work()
-> Result<()> {
    let release = Release::install().await?;
    let (ide, document) = session(&release, "first").await?;
    let claim = release.api::<PersistentVolumeClaim>().get("ws-first").await?;
    let phase = claim.status.and_then(|status| status.phase);
    ensure!(phase.as_deref() == Some("Bound"), "the claim is {phase:?}");
    let turn = ide.prompt(PROMPT).await?;
    let told = to_its_end(&release, &ide, &document, &turn).await?;
    ensure!(told.len() > 10, "the tour ended early: {told:?}");

    // As the pod is, not as it is written down.
    let facts = "id -u; grep CapEff /proc/1/status; grep NoNewPrivs /proc/1/status; grep Seccomp: /proc/1/status; \
                 touch /usr/x 2>&1 | grep -o 'Read-only.*'; ls /var/run/secrets/kubernetes.io 2>/dev/null; \
                 git --version >/dev/null && rg --version >/dev/null && command -v ssh";
    let expected = "10001\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nRead-only file system\n\
                    /usr/bin/ssh\n";
    let facts = release.in_pod("first", facts).await?;
    ensure!(facts == expected, "{facts}");

    release.api::<ChatSession>().delete("first", &DeleteParams::default()).await?;
    release.gone::<DroneRegistration>("first").await?;
    release.gone::<Pod>("first").await?;
    // The class says so, as long as nobody says otherwise.
    release.api::<PersistentVolumeClaim>().get("ws-first").await.context("the workspace is to stay")?;
    release.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_ends_as_it_would_have_though_its_pod_is_deleted_in_the_middle() -> Result<()> {
    let release = Release::install().await?;
    let (ide, document) = session(&release, "undisturbed").await?;
    let turn = ide.prompt(PROMPT).await?;
    let expected = to_its_end(&release, &ide, &document, &turn).await?;

    let (ide, document) = session(&release, "moved").await?;
    let before = uid(&release, "moved").await?;
    let turn = ide.prompt(PROMPT).await?;
    ide.shown(&turn, 12).await?;
    ensure!(ide.status(&turn) != Some(ChatTurnStatus::Finished), "the turn was over before its pod was");
    kubectl(&["--namespace", "gadget-test", "delete", "pod", "moved"]).await?;
    let told = to_its_end(&release, &ide, &document, &turn).await?;
    ensure!(told == expected, "{told:?}\nis not\n{expected:?}");
    ensure!(uid(&release, "moved").await? != before, "the pod was to be replaced");
    release.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_sleeps_has_no_pod_keeps_its_files_and_wakes_for_a_prompt() -> Result<()> {
    let release = Release::install().await?;
    let (ide, document) = session(&release, "sleepy").await?;
    release.in_pod("sleepy", "echo kept >/workspace/kept").await?;
    release.sleeps_after("sleepy", "3s").await?;
    release.asleep("sleepy").await?;
    release.gone::<Pod>("sleepy").await?;
    release.api::<PersistentVolumeClaim>().get("ws-sleepy").await.context("the workspace is to stay")?;

    release.sleeps_after("sleepy", "1h").await?;
    let turn = until("the prompt to be taken", async || Ok(ide.prompt(PROMPT).await.ok())).await?;
    to_its_end(&release, &ide, &document, &turn).await?;
    let kept = release.in_pod("sleepy", "cat /workspace/kept").await?;
    ensure!(kept == "kept\n", "the file holds {kept:?}");
    release.remove().await
}

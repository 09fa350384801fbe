//! `kubectl gadget` against real pods: what each verb prints, and how it ends.

use anyhow::{Context as _, Result, ensure};
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tests::release::{NAMESPACE, Release, fed, program, until};

use crate::person::{Person, holds, invite};

const PROMPT: &str = "Start the tour.";
/// What `as_new_user` gives to its users.
const PASSWORD: &str = "correct horse battery staple\n";

/// A session whose drone is called wrongly, so that it logs an error.
async fn broken(release: &Release) -> Result<()> {
    let class = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneClass", "metadata": { "name": "broken" },
        "spec": {
            "image": release.drone_image().await?, "imagePullPolicy": "IfNotPresent",
            "env": [{ "name": "GADGET_CLONE_DEPTH", "value": "deep" }],
            "resources": { "requests": { "cpu": "5m", "memory": "32Mi" } },
        },
    });
    let session = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "metadata": { "name": "broken" },
        "spec": { "user": "admin", "project": { "slug": "broken" }, "className": "broken" },
    });
    let all = json!({ "apiVersion": "v1", "kind": "List", "items": [class, session] });
    let apply = ["--namespace", NAMESPACE, "apply", "--filename", "-"];
    fed(program("kubectl")?.args(apply), all.to_string().as_bytes()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_sign_in_by_a_link_that_works_once_or_by_their_password() -> Result<()> {
    let release = Release::install().await?;
    let person = Person::new()?;
    release.apply("one").await?;
    let stranger = person.refused(&["attach", "one"]).await?;
    holds(&stranger, &["not signed in to the hub in namespace gadget-test", "gadget-hub invite HANDLE"]);

    let link = invite().await?;
    let told = person.said(&["login", "--invite", &link]).await?;
    ensure!(told == format!("signed in to the hub in namespace {NAMESPACE}\n"), "{told}");
    holds(&Person::new()?.refused(&["login", "--invite", &link]).await?, &["error: ", "invite"]);
    holds(&person.refused(&["login", "--invite", "http://hub/"]).await?, &["no link of `gadget-hub invite`"]);

    release.admin.as_new_user("ada@example.org").await?;
    let ada = Person::new()?;
    let by_password = ["login", "--email", "ada@example.org"];
    let wrong = ada.answering(&by_password, "battery\n").await?;
    ensure!(wrong.status.code() == Some(1), "{wrong:?}");
    let right = ada.answering(&by_password, PASSWORD).await?;
    ensure!(right.status.success(), "{right:?}");
    // What is another's is not there.
    for words in [&["attach", "one"][..], &["prompt", "one", PROMPT]] {
        holds(&ada.refused(words).await?, &["error: "]);
    }
    holds(&person.said(&["ls"]).await?, &["one", "Ready", "admin"]);
    release.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_prompted_its_log_read_and_its_page_opened() -> Result<()> {
    let release = Release::install().await?;
    let person = Person::signed_in().await?;
    release.apply("one").await?;
    broken(&release).await?;

    let table = person.said(&["ls"]).await?;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(rows[0] == ["NAME", "PHASE", "SINCE", "USER", "PROJECT", "RESTARTS", "WHY"], "{table}");
    let row = rows.iter().find(|row| row[0] == "one").context("one is not listed")?;
    ensure!(row[1] == "Ready" && row[3..] == ["admin", "one", "0"], "{table}");
    let why = person.said(&["why", "one"]).await?;
    holds(&why, &["one is ready\n", "since", "it waits for a prompt"]);

    let tour = person.said(&["prompt", "one", PROMPT]).await?;
    for sentence in [
        "Welcome to the demo tour.",
        "They become the first commit.",
        "✗ shell_exec  sh tests/run.sh",
        "All tests pass.",
        "Done. `mul` multiplies",
    ] {
        ensure!(tour.matches(sentence).count() == 1, "{sentence:?} is not there once:\n{tour}");
    }
    let events = person.said(&["prompt", "one", "show the diff", "--json"]).await?;
    let events: Vec<Value> = events.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let last = events.last().context("no event")?;
    ensure!(last["event"] == "workOrderComplete" && last["args"][1] == true, "{last}");

    let quiet = person.gadget(&["logs", "one"]).await?;
    ensure!(quiet.status.success() && quiet.stdout.is_empty(), "{quiet:?}");
    let file = "/workspace/.gadget/logs/drone.log";
    holds(&String::from_utf8(quiet.stderr)?, &["the pod one has logged no error", file]);
    ensure!(
        release.in_pod("one", &format!("cat {file}")).await?.contains("health checks"),
        "no log in {file}"
    );
    holds(&person.refused(&["logs", "one", "--previous"]).await?, &["no log of the pod one", "not found"]);
    let error = "error: invalid value 'deep'";
    for words in
        [&["logs", "broken"][..], &["logs", "drone/broken", "--previous"], &["logs", "broken", "--follow"]]
    {
        until(&format!("{words:?}"), async || {
            let output = person.gadget(words).await?;
            Ok(String::from_utf8_lossy(&output.stdout).contains(error).then_some(()))
        })
        .await?;
    }
    let end = person.said(&["logs", "broken", "--tail", "1"]).await?;
    ensure!(end == "For more information, try '--help'.\n", "{end:?}");

    let uid = release.api::<ChatSession>().get("one").await?.uid().context("no uid")?;
    let opened = person.open(&["one"]).await?;
    ensure!(opened.address.ends_with(&format!("/#/s/{uid}")), "{}", opened.address);
    let page = reqwest::get(opened.origin()).await?.error_for_status()?.text().await?;
    ensure!(page.contains("<html"), "this is no page: {page}");
    let shown = until("the browser", async || {
        let shown = std::fs::read_to_string(person.home().join("opened")).unwrap_or_default();
        Ok((!shown.is_empty()).then_some(shown))
    })
    .await?;
    ensure!(shown.trim() == opened.address, "the browser shows {shown}");
    ensure!(opened.interrupt().await? == Some(0), "Ctrl-C is no failure");
    release.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_suspended_resumed_and_its_drone_ended_and_its_files_stay() -> Result<()> {
    let release = Release::install().await?;
    let person = Person::signed_in().await?;
    release.apply("one").await?;
    release.in_pod("one", "echo kept >/workspace/kept").await?;

    let told = person.said(&["suspend", "one", "--wait"]).await?;
    ensure!(told == "one: its pod ends, its workspace is kept\n", "{told}");
    release.gone::<Pod>("one").await?;
    let why = person.said(&["why", "one"]).await?;
    holds(&why, &["one is suspended\n", "a person suspended it", "kubectl gadget resume one"]);
    let refused = person.refused(&["prompt", "one", PROMPT]).await?;
    holds(&refused, &["stopped by a person", "resume it"]);

    let told = person.said(&["resume", "one", "--wait"]).await?;
    ensure!(told == "one: its pod starts on the same workspace\n", "{told}");
    ensure!(release.in_pod("one", "cat /workspace/kept").await? == "kept\n", "the file is gone");

    let before = release.api::<DroneRegistration>().get("one").await?.uid();
    let told = person.said(&["terminate", "one", "--wait"]).await?;
    ensure!(told == "one: its drone ends\n", "{told}");
    release.gone::<Pod>("one").await?;
    holds(&person.refused(&["logs", "one"]).await?, &["one has no drone now", "kubectl gadget why one"]);
    person.said(&["resume", "one", "--wait"]).await?;
    ensure!(release.api::<DroneRegistration>().get("one").await?.uid() != before, "the same drone came back");
    ensure!(release.in_pod("one", "cat /workspace/kept").await? == "kept\n", "the file is gone");
    release.remove().await
}

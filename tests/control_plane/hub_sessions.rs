//! Sessions of the hub as pods of a cluster: opened in an IDE, made with kubectl, suspended, deleted on either side.

use anyhow::{Context as _, Result, bail, ensure};
use crds::{ChatSession, DroneRegistration};
use kube::ResourceExt as _;
use protocol::document::{ChatSession as Document, Project};
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use reqwest::Method;
use scripted_model::script::{Answer, Script, Step};
use serde_json::{Value, json};
use tests::api::Api;
use tests::deadline::eventually;
use tests::ide::Ide;
use tests::transcript::{said, scripted};

use crate::hub_stage::HubStage;

pub(crate) const QUICK: &str = "[[script:quick]] Say something.";
pub(crate) const SLOW: &str = "[[script:slow]] Work for a while.";

fn quick() -> Script {
    Script::new([Answer::new([Step::say("All is well.")])])
}

pub(crate) fn slow() -> Vec<Answer> {
    let command = |line: &str| json!({ "command": format!("sleep 1; echo {line} >> ran.txt") });
    vec![
        Answer::new([Step::say("I begin with the first part. "), Step::call("shell_exec", command("first"))]),
        Answer::new([Step::say("Now for the second part. "), Step::call("shell_exec", command("second"))]),
        Answer::new([Step::say("Both parts are done.")]),
    ]
}

pub(crate) async fn stage() -> Result<HubStage> {
    HubStage::start([("quick", quick()), ("slow", Script::new(slow()))]).await
}

/// The turn is stored as the script has it: nothing lost, nothing doubled.
pub(crate) async fn told_whole(
    api: &Api,
    session: &Document,
    turn: &TurnId,
    answers: &[Answer],
) -> Result<()> {
    let stored = api.finished_turn(&session.id, turn).await?;
    ensure!(stored.status == ChatTurnStatus::Finished, "{:?}: {:?}", stored.status, stored.error_message);
    let (stored, expected) = (said(&stored.blocks)?, scripted(answers));
    ensure!(stored == expected, "{stored:#?}\nis not\n{expected:#?}");
    Ok(())
}

pub(crate) async fn says_something(stage: &HubStage, api: &Api, ide: &Ide, session: &Document) -> Result<()> {
    let turn = ide.prompt(QUICK).await.with_context(|| stage.complaints())?;
    let answer = [Answer::new([Step::say("All is well.")])];
    told_whole(api, session, &turn, &answer).await.with_context(|| stage.complaints())
}

/// Suspends something or lets it run again, and waits until the tab is told that its drone is so.
pub(crate) async fn told<F: Future<Output = Result<()>>>(
    stage: &HubStage,
    ide: &Ide,
    phase: &str,
    act: F,
) -> Result<()> {
    let before = ide.heard().len();
    act.await?;
    let phase = format!("{phase:?}");
    eventually("the tab to be told", || async {
        let is_told = ide.heard().iter().skip(before).any(|heard| {
            heard.name == "droneStatus"
                && heard.args.clone().into_vec().iter().any(|told| told.get().contains(&phase))
        });
        Ok(is_told.then_some(()))
    })
    .await
    .with_context(|| stage.complaints())
}

pub(crate) async fn refused_as_suspended(ide: &Ide) -> Result<()> {
    match ide.prompt(QUICK).await {
        Err(refused) if refused.to_string().contains("suspended") => Ok(()),
        other => bail!("a prompt is to be refused as suspended: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_opened_in_the_ide_works_in_a_pod_and_goes_on_in_the_next() -> Result<()> {
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let (ide, session) = stage.open(&ada, "Shop").await?;
    let name = session.id.as_str();
    let resource = stage.api::<ChatSession>().get(name).await?;
    ensure!(resource.spec.user == "ada" && resource.spec.project.slug == "shop", "{:?}", resource.spec);
    says_something(&stage, &ada, &ide, &session).await?;
    stage.busy(name).await?;
    stage
        .shows::<DroneRegistration>(name, "says what it does", |drone| {
            let told = drone.status.as_ref().and_then(|status| status.activity.as_ref());
            told.is_some_and(|activity| activity.workspace_id.is_some())
        })
        .await?;

    // Its pod is deleted in the middle of a turn.
    let before = stage.pod_uid(name).await?;
    let turn = ide.prompt(SLOW).await?;
    ide.shown(&turn, 3).await?;
    stage.delete::<k8s_openapi::api::core::v1::Pod>(name).await?;
    told_whole(&ada, &session, &turn, &slow()).await.with_context(|| stage.complaints())?;
    ensure!(stage.pod_uid(name).await? != before, "another pod has gone on");

    // The drone is deleted as a whole.
    let drone = stage.busy(name).await?.uid();
    stage.delete::<DroneRegistration>(name).await?;
    stage.shows::<DroneRegistration>(name, "is a new one", |new| new.uid() != drone).await?;
    says_something(&stage, &ada, &ide, &session).await?;

    // The hub deletes the session, and its resource follows.
    ide.close().await?;
    let (status, text) = ada.send(Method::DELETE, &format!("/chat-sessions/{name}"), None).await?;
    ensure!(status.is_success(), "{status} {text}");
    eventually("the resource to be gone", || async {
        Ok(stage.api::<ChatSession>().get_opt(name).await?.is_none().then_some(()))
    })
    .await
    .with_context(|| stage.complaints())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_suspends_with_kubectl_stays_suspended_and_what_they_delete_is_archived() -> Result<()>
{
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let (ide, session) = stage.open(&ada, "Shop").await?;
    let name = session.id.as_str();
    says_something(&stage, &ada, &ide, &session).await?;
    let mode = |mode: &str| json!({ "spec": { "operatingMode": mode } });

    told(&stage, &ide, "Suspended", stage.patch::<ChatSession>(name, mode("Suspended"))).await?;
    refused_as_suspended(&ide).await?;
    told(&stage, &ide, "Busy", stage.patch::<ChatSession>(name, mode("Running"))).await?;
    says_something(&stage, &ada, &ide, &session).await?;

    told(&stage, &ide, "Suspended", stage.patch::<DroneRegistration>(name, mode("Suspended"))).await?;
    refused_as_suspended(&ide).await?;
    told(&stage, &ide, "Busy", stage.patch::<DroneRegistration>(name, mode("Running"))).await?;
    says_something(&stage, &ada, &ide, &session).await?;

    stage.delete::<ChatSession>(name).await?;
    eventually("the session to be archived", || async { Ok(ada.session(&session.id).await?.archived_at) })
        .await
        .with_context(|| stage.complaints())?;
    ensure!(stage.api::<ChatSession>().get_opt(name).await?.is_none(), "an open tab must not bring it back");
    ide.hears("that the resource is gone", |heard| {
        heard.name == "droneStatus" && format!("{:?}", heard.args).contains("SessionDeleted")
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_made_with_kubectl_are_taken_in_when_they_can_be() -> Result<()> {
    let mut stage = stage().await?;
    let spec = |url: Option<&str>| {
        let mut spec = json!({ "user": "ada", "project": { "slug": "shop" }, "title": "Fix the login" });
        if let Some(url) = url {
            spec["project"]["gitUrl"] = url.into();
        }
        spec
    };
    let adopted = |session: &ChatSession| {
        let adoption = session.status.as_ref().and_then(|status| status.adoption.as_ref());
        adoption.map(|adoption| format!("{:?}", adoption.state)).unwrap_or_default()
    };
    // Before there is such a user, and while no hub runs.
    stage.stop_hub(nix::sys::signal::Signal::SIGTERM).await?;
    let made = stage.make("fix-login", spec(None)).await?;
    let id = made.uid().context("a session has a uid")?;
    stage.start_hub().await?;
    stage.shows("fix-login", "has no user", |session| adopted(session) == "UserUnknown").await?;
    let ada = stage.person("ada").await?;
    stage.shows("fix-login", "is taken in", |session| adopted(session) == "Adopted").await?;
    let document: Document = ada.session(&id.as_str().into()).await?;
    ensure!(document.name == "Fix the login", "{document:?}");
    let project: Project = ada.call(Method::GET, &format!("/projects/{}", document.project), None).await?;
    let ide = stage.tab(&ada, &project, &document).await?;
    says_something(&stage, &ada, &ide, &document).await?;

    // The project has another address, until the resource is corrected.
    stage.make("elsewhere", spec(Some("https://git.example/other.git"))).await?;
    stage.shows("elsewhere", "differs", |session| adopted(session) == "ProjectDiffers").await?;
    let corrected = json!({ "spec": { "project": { "gitUrl": null } } });
    stage.patch::<ChatSession>("elsewhere", corrected).await?;
    stage.shows("elsewhere", "is taken in", |session| adopted(session) == "Adopted").await?;

    // A hub that is killed and comes back knows all of it, and a name that comes back is another session.
    stage.stop_hub(nix::sys::signal::Signal::SIGKILL).await?;
    stage.delete::<ChatSession>("elsewhere").await?;
    stage.start_hub().await?;
    ide.open(&project, &document).await?;
    says_something(&stage, &ada, &ide, &document).await?;
    let again = stage.make("elsewhere", spec(None)).await?;
    stage.shows("elsewhere", "is taken in", |session| adopted(session) == "Adopted").await?;
    ada.session(&again.uid().context("a session has a uid")?.as_str().into()).await?;
    let sessions: Value = ada.call(Method::GET, "/chat-sessions?archived=true", None).await?;
    ensure!(sessions["items"].as_array().is_some_and(|items| items.len() == 1), "{sessions}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_sleeps_and_wakes_for_the_next_prompt() -> Result<()> {
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let spec = json!({ "user": "ada", "project": { "slug": "shop" }, "idleTimeout": "3s" });
    let made = stage.make("sleepy", spec).await?;
    stage.busy("sleepy").await?;
    stage
        .shows::<DroneRegistration>("sleepy", "sleeps", |drone| {
            serde_json::to_value(&drone.status).unwrap_or_default()["phase"] == "Suspended"
        })
        .await?;
    let document = ada.session(&made.uid().context("a session has a uid")?.as_str().into()).await?;
    let project: Project = ada.call(Method::GET, &format!("/projects/{}", document.project), None).await?;
    // Opening a tab wakes it, and a prompt that comes meanwhile is held.
    let ide = Ide::connect_to(&stage.origin(), ada.token(), "tab").await?;
    let (opened, turn) = tokio::join!(ide.open(&project, &document), async {
        eventually("a prompt to be taken", || async { Ok(ide.prompt(QUICK).await.ok()) }).await
    });
    opened?;
    let answer = [Answer::new([Step::say("All is well.")])];
    told_whole(&ada, &document, &turn?, &answer).await.with_context(|| stage.complaints())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_away_the_hub_serves_what_it_can() -> Result<()> {
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let (ide, session) = stage.open(&ada, "Shop").await?;
    says_something(&stage, &ada, &ide, &session).await?;
    stage.proxy.set_down(true);
    eventually("the hub to say so", || async {
        Ok(stage.ready().await.filter(|words| words.contains("no drone can be started")))
    })
    .await?;
    // A drone that is connected works on, and everything can be read.
    says_something(&stage, &ada, &ide, &session).await?;
    ensure!(ada.turns(&session.id).await?.len() == 2);
    stage.proxy.set_down(false);
    let (ide, session) = stage.open(&ada, "Another").await?;
    says_something(&stage, &ada, &ide, &session).await?;
    eventually("the hub to be well", || async { Ok(stage.ready().await.filter(|words| words == "ok")) })
        .await?;
    Ok(())
}

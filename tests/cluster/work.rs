//! The whole story: from `helm install` to a commit that an agent has pushed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Client;
use protocol::document::ChatTurn;
use protocol::event::{EventName, Meta, RawEvent};
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use scripted_model::script::{Answer, Expect, Script, Step};
use scripted_model::settings::Settings;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tests::screen::{Order, Screen};
use tests::transcript::{all_ended_well, said, same, scripted};
use tokio::process::Command;

use crate::node::OwnNode;
use crate::servers::{GIT_HOST, GIT_PORT, GIT_URL, MODEL_HOST, MODEL_PORT, Servers};
use crate::walls;
use tests::release::{Release, run};

const PROMPT: &str = "Multiplication is wrong: mend it and push. [[script:work]]";
const BROKEN: &str = "mul() { echo $(($1 + $2)); }";
const MENDED: &str = "mul() { echo $(($1 * $2)); }";

/// Each answer is given only when the tools have done what the one before asked for.
fn work() -> Vec<Answer> {
    let shell = |command: &str| Step::call("shell_exec", json!({ "command": command }));
    let after = |words: &str| Expect { last_contains: vec![words.to_owned()], ..Expect::default() };
    let commit = "git add --all && git commit --quiet --message 'Multiply' && git status --short --branch";
    vec![
        Answer::new([
            Step::think("A calculator: I should look at how it multiplies. "),
            Step::say("I look at the calculator. "),
            Step::call("read", json!({ "path": "calc.sh" })),
        ]),
        Answer::new([
            Step::say("It adds where it should multiply. "),
            Step::call("edit", json!({ "path": "calc.sh", "old": BROKEN, "new": MENDED })),
            shell("sh tests/run.sh"),
        ])
        .expecting(after(BROKEN)),
        Answer::new([Step::say("The tests pass now, so I commit. "), shell(commit)])
            .expecting(after("all tests passed")),
        Answer::new([Step::say("I push. "), shell("git push --quiet origin HEAD:main")])
            .expecting(after("exit code 0")),
        Answer::new([
            Step::think("That was all. "),
            Step::say("Multiplication is mended and pushed. "),
            Step::say("Have a look at it."),
        ])
        .expecting(after("exit code 0")),
    ]
}

/// What the official client has heard of one turn.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heard {
    turn_id: TurnId,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    name: String,
    args: Box<RawValue>,
    meta: Meta,
}

impl Heard {
    fn screen(self) -> Result<Screen> {
        let mut screen = Screen::default();
        for Event { name, args, meta } in self.events {
            let name = EventName::parse(&name).with_context(|| format!("{name} is no event of a turn"))?;
            let event = RawEvent { name, args, notes: meta.notes };
            screen.apply(meta, event);
        }
        Ok(screen)
    }
}

/// Prompts by the official Socket.IO client, which waits for the turn's end.
async fn prompted(release: &Release, document: &protocol::document::ChatSession) -> Result<Heard> {
    let wish = json!({
        "origin": release.hub(),
        "token": release.admin.token(),
        "session": document,
        "prompt": PROMPT,
    });
    let node = std::env::var_os("NODE_BIN").map_or_else(|| PathBuf::from("node"), PathBuf::from);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/ide/prompt.mjs");
    let said = run(Command::new(node).arg(program).arg(wish.to_string())).await?;
    serde_json::from_str(&said).with_context(|| format!("the client says {said}"))
}

/// As the script has it, sentence by sentence.
fn told_as_written(screen: &Screen, turn: &ChatTurn) -> Result<()> {
    ensure!(turn.status == ChatTurnStatus::Finished, "the turn ended as {:?}", turn.status);
    let (kept, wanted) = (said(&turn.blocks)?, scripted(&work()));
    ensure!(kept == wanted, "the store has {kept:#?}, the script says {wanted:#?}");
    all_ended_well(&turn.tool_calls)?;
    same(&screen.turn(&turn.id), &turn.blocks)?;
    ensure!(screen.order() == &Order::default(), "{:?}", screen.order());
    ensure!(turn.attempts == 1 && turn.stats.retries == 0, "{} attempts, {:?}", turn.attempts, turn.stats);
    Ok(())
}

/// The work, behind walls.
async fn done(release: &Release, servers: &Servers) -> Result<()> {
    if OwnNode::find().is_some() {
        let there = walls::reaches(release, "calc", GIT_HOST, GIT_PORT).await?;
        let not_there = walls::reaches(release, "calc", MODEL_HOST, MODEL_PORT).await?;
        ensure!(there && !not_there, "git is reached: {there}, the model is: {not_there}");
    }
    let document = release.document("calc").await?;
    let heard = prompted(release, &document).await?;
    let turn = release.admin.finished_turn(&document.id, &heard.turn_id).await?;
    told_as_written(&heard.screen()?, &turn).with_context(|| format!("{turn:#?}"))?;
    servers.well_asked().await?;

    // What others see of it.
    let log = servers.git(&["log", "--format=%s", "main"]).await?;
    ensure!(log == "Multiply\nAdd a calculator\n", "{log}");
    let changed = servers.git(&["show", "--format=", "--name-only", "main"]).await?;
    ensure!(changed == "calc.sh\n", "{changed}");
    let pushed = servers.git(&["show", "main:calc.sh"]).await?;
    ensure!(pushed.contains(MENDED) && !pushed.contains(BROKEN), "{pushed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_clones_mends_tests_commits_and_pushes_what_its_model_says_and_tells_it_word_by_word()
-> Result<()> {
    let scripts = [("work".to_owned(), Script::new(work()))].into();
    let (only, servers) = Servers::start(&Settings { scripts, ..Settings::default() }).await?;
    let own = OwnNode::find();
    let names = walls::names(&Client::try_default().await?).await?;
    let names = names.iter().map(String::as_str).filter(|_| own.is_some());
    let values: Vec<_> = servers.values().into_iter().chain(names).collect();
    let release = Release::install_alone(only, &values).await?;
    release.apply_with("calc", &format!("project: {{ slug: calc, gitUrl: \"{GIT_URL}\" }}")).await?;
    let claim = release.api::<PersistentVolumeClaim>().get("ws-calc").await?;
    let phase = claim.status.and_then(|status| status.phase);
    ensure!(phase.as_deref() == Some("Bound"), "the claim is {phase:?}");
    if let Some(own) = &own {
        walls::enforce_policies(own, &release.client).await?;
    }
    let done = done(&release, &servers).await;
    if let Some(own) = &own {
        walls::enforce_nothing(own).await?;
    }
    done?;
    tokio::try_join!(release.remove(), servers.remove()).map(drop)
}

//! A release whose model follows a script, and turns that are held against it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use protocol::document::ChatSession as Document;
use protocol::ids::TurnId;
use protocol::value::DronePhase;
use scripted_model::Pace;
use scripted_model::script::{Answer, Script};
use scripted_model::settings::Settings;
use tests::ide::Ide;
use tests::lane::{Account, Outcome};
use tokio::time::Instant;

use crate::servers::Servers;
use tests::release::{Release, complaints, until};

/// Milliseconds between two words of the model: a sentence takes a second or two.
const PACE: u64 = 60;

/// What a turn does. Its sentences can be told apart, and its commands append lines to [`RAN`].
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) answers: Vec<Answer>,
    /// Each of them is to be there once.
    pub(crate) lines: &'static [&'static str],
}

pub(crate) const RAN: &str = "ran.txt";

pub(crate) struct Stage {
    pub(crate) release: Release,
    servers: Servers,
}

/// A turn that runs, in a session and a pod of one name, with a tab that looks on.
pub(crate) struct Turn<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) name: &'a str,
    pub(crate) ide: Ide,
    document: Document,
    pub(crate) id: TurnId,
    work: &'a Work,
    /// The pod in which it began.
    pub(crate) pod: Pod,
}

impl Stage {
    /// `values`: helm's arguments, besides those that the servers need.
    pub(crate) async fn with(work: &[&Work], values: &[&str]) -> Result<Self> {
        let scripts = work.iter().map(|work| (work.name.to_owned(), Script::new(work.answers.clone())));
        let pace = Pace { piece: PACE, seed: 1 };
        let settings = Settings { scripts: scripts.collect(), pace, ..Settings::default() };
        let (only, servers) = Servers::start(&settings).await?;
        let release = Release::install_alone(only, &[&servers.values(), values].concat()).await?;
        Ok(Self { release, servers })
    }

    pub(crate) async fn begin<'a>(&'a self, name: &'a str, work: &'a Work) -> Result<Turn<'a>> {
        self.release.apply(name).await?;
        let (ide, document) = self.release.open(name).await?;
        let pod = self.release.api::<Pod>().get(name).await?;
        // The session's name makes it a conversation of its own.
        let id = ide.prompt(&format!("Work in session {name} [[script:{}]]", work.name)).await?;
        Ok(Turn { stage: self, name, ide, document, id, work, pod })
    }

    /// Deletes the pods of that component, all at once.
    pub(crate) async fn delete_pods(&self, components: &[&str]) -> Result<()> {
        let pods = self.pods(components).await?;
        ensure!(pods.len() == components.len(), "{} pods for {components:?}", pods.len());
        let api = self.release.api::<Pod>();
        let parameters = DeleteParams::default();
        futures_util::future::try_join_all(pods.iter().map(|name| api.delete(name, &parameters))).await?;
        Ok(())
    }

    /// The names of the pods of these components.
    pub(crate) async fn pods(&self, components: &[&str]) -> Result<Vec<String>> {
        let selector = format!("app.kubernetes.io/component in ({})", components.join(","));
        let pods = self.release.api::<Pod>();
        let pods = pods.list(&kube::api::ListParams::default().labels(&selector)).await?;
        Ok(pods.items.into_iter().filter_map(|pod| pod.metadata.name).collect())
    }

    pub(crate) async fn remove(self) -> Result<()> {
        self.servers.well_asked().await?;
        tokio::try_join!(self.release.remove(), self.servers.remove()).map(drop)
    }
}

impl Turn<'_> {
    /// What the commands have left behind. None while it cannot be asked for.
    pub(crate) async fn ran(&self) -> Option<String> {
        self.stage.release.in_pod(self.name, &format!("cat /workspace/*/{RAN}")).await.ok()
    }

    /// Waits until a command has left this line behind.
    pub(crate) async fn runs(&self, line: &str) -> Result<()> {
        until(line, async || {
            let ran = self.ran().await.unwrap_or_default();
            Ok(ran.lines().any(|ran| ran == line).then_some(()))
        })
        .await
    }

    /// Waits for the turn's end: in the store, on the screen and in the workspace is what the script says, each once.
    pub(crate) async fn ends_as_written(&self, since: Instant) -> Result<Account> {
        let ending = async {
            let status = self.ide.finished(&self.id).await?;
            let took = since.elapsed();
            println!("{}: the turn ended {:.1} s after the fault", self.name, took.as_secs_f64());
            let stored = self.stage.release.admin.finished_turn(&self.document.id, &self.id).await?;
            let ran = until("the workspace", async || Ok(self.ran().await)).await?;
            Account::of(&Outcome {
                answers: &self.work.answers,
                lines: self.work.lines,
                ran: &ran,
                stored: &stored,
                status,
                screen: &self.ide.turn(&self.id),
                order: &self.ide.order(),
            })
        };
        let account = match ending.await {
            Ok(account) => account,
            Err(error) => return Err(error.context(self.complaints().await)),
        };
        if !account.is_clean() {
            anyhow::bail!("{account:#?}\n{}", self.complaints().await);
        }
        Ok(account)
    }

    /// Waits until the hub says something to the tab that is no event of the turn.
    pub(crate) async fn hears(&self, name: &str, words: &str) -> Result<()> {
        let is = |heard: &tests::ide::Heard| {
            let said = serde_json::to_string(&heard.args.clone().into_vec()).unwrap_or_default();
            heard.name == name && said.contains(words)
        };
        let heard = self.ide.hears(words, is).await;
        heard.with_context(|| format!("the hub said {:#?}", self.ide.heard())).map(drop)
    }

    /// Nothing was the matter, as far as the tab was told.
    pub(crate) fn heard_of_no_fault(&self) -> Result<()> {
        let told = self.ide.drone_statuses();
        ensure!(told.iter().all(|told| told.phase == DronePhase::Busy && told.restarts == 0), "{told:#?}");
        ensure!(self.ide.heard().iter().all(|heard| heard.name != "goingAway"), "the hub went away");
        Ok(())
    }

    async fn complaints(&self) -> String {
        format!("the tab heard {:#?}\n{}", self.ide.heard(), complaints().await)
    }
}

//! `kubectl gadget attach` in a real terminal, and a hub that is replaced in the middle of a turn.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use crds::ChatSession;
use kube::ResourceExt as _;
use protocol::ids::ChatSessionId;
use protocol::value::ChatTurnStatus;
use tests::api::Api;
use tests::control_plane::programs::Programs;
use tests::release::{NAMESPACE, Release, fed, kubectl, until};
use tokio::process::Command;

use crate::person::Person;

const PROMPT: &str = "Start the tour.";
const WITHDRAWN: &str = "[the model call broke off: its text above is withdrawn and told again]";

/// A server of tmux with one pane. It ends when this is dropped.
struct Terminal<'a> {
    person: &'a Person,
    socket: String,
}

impl<'a> Terminal<'a> {
    /// Runs the script in a terminal of its own.
    async fn start(person: &'a Person, script: &str) -> Result<Self> {
        let settings = person.home().join("tmux.conf");
        std::fs::write(&settings, "set -g history-limit 10000\nset -g remain-on-exit on\n")?;
        let file = person.home().join("attach.sh");
        std::fs::write(&file, script)?;
        let terminal = Self { person, socket: person.home().join("tmux").display().to_string() };
        let (settings, file) = (settings.display().to_string(), format!("sh {}", file.display()));
        terminal
            .tmux(&["-f", &settings, "new-session", "-d", "-x", "180", "-y", "50", &file])
            .await
            .context("no terminal: the tests need tmux (Debian: apt-get install tmux)")?;
        Ok(terminal)
    }

    async fn tmux(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        self.person.settle(&mut command);
        command.arg("-S").arg(&self.socket).args(words).env("LC_ALL", "C.UTF-8");
        fed(&mut command, b"").await
    }

    async fn types(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).await?;
        self.press("Enter").await
    }

    async fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).await.map(drop)
    }

    /// All that was shown since the beginning; what is longer than the terminal is wide is one line all the same.
    async fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]).await
    }

    /// Waits until the text is shown for so many times.
    async fn shows(&self, text: &str, times: usize) -> Result<String> {
        let mut seen = String::new();
        let shown = until(&format!("{text:?} in the terminal"), async || {
            seen = self.screen().await?;
            Ok((seen.matches(text).count() >= times).then_some(()))
        })
        .await;
        shown.with_context(|| seen.clone()).map(|()| seen)
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let mut end = std::process::Command::new("tmux");
        end.args(["-S", &self.socket, "kill-server"]).stdout(Stdio::null()).stderr(Stdio::null());
        let _gone_already = end.status();
    }
}

/// What an agent has said, without blanks, so that it does not matter where a line ends: a note may stand amid a sentence,
/// and the text that is withdrawn is told again.
fn told(screen: &str) -> String {
    const NOTES: [&str; 5] =
        ["connection lost", "failed to reach", "Re-attached to", "Making a new", "The project is ready"];
    let mut lines: Vec<&str> = Vec::new();
    for line in screen.lines() {
        if line.starts_with(WITHDRAWN) {
            let is_of_tool = |line: &&str| ["✓", "✗", "  ↳"].iter().any(|mark| line.starts_with(mark));
            let kept = lines.iter().rposition(is_of_tool).map_or(0, |last| last + 1);
            lines.truncate(kept);
        } else if !NOTES.iter().any(|note| line.starts_with(note)) {
            lines.push(line);
        }
    }
    lines.concat().split_whitespace().collect()
}

/// The sentences of a transcript, and which tools were called.
fn sentences(transcript: &str) -> Vec<String> {
    let lines = transcript.lines().map(|line| line.strip_prefix("(thinking) ").unwrap_or(line));
    let without_time = |line: &str| match line.strip_prefix(['✓', '✗']) {
        Some(call) => call.rsplit_once("  ").map_or(call, |(call, _)| call).to_owned(),
        None => line.to_owned(),
    };
    let squeezed = lines.map(|line| without_time(line).split_whitespace().collect::<String>());
    let mut all: Vec<String> = squeezed.filter(|line| !line.is_empty()).collect();
    all.sort();
    all
}

async fn turn_ends(api: &Api, session: &ChatSessionId, number: usize) -> Result<()> {
    until(&format!("turn {number} to end"), async || {
        let turns = api.turns(session).await?;
        Ok((turns.len() == number && turns.iter().all(|turn| turn.status.is_over())).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_is_attached_lives_through_the_hub_and_is_given_back_as_it_was() -> Result<()> {
    let release = Release::install().await?;
    let person = Person::signed_in().await?;
    release.apply("undisturbed").await?;
    let expected = person.said(&["prompt", "undisturbed", PROMPT]).await?;
    release.apply("attached").await?;
    let session = release.api::<ChatSession>().get("attached").await?.uid().context("no uid")?;
    let session = ChatSessionId::from(session.as_str());

    let kubectl_program = Programs::find()?.command("kubectl").get_program().to_owned();
    let script = format!(
        "trap : INT\nbefore=$(stty -g)\n{} gadget --namespace {NAMESPACE} attach attached\necho \"it left with $?\"\n\
         test \"$before\" = \"$(stty -g)\" && echo 'the terminal is as it was'\n",
        kubectl_program.display()
    );
    let terminal = Terminal::start(&person, &script).await?;
    terminal.shows("type a prompt and Enter", 1).await?;
    terminal.types(PROMPT).await?;
    let amid = terminal.shows("✓ write  calc.sh", 1).await?;
    ensure!(!amid.contains("Done."), "the turn was over before its hub was:\n{amid}");
    let hubs = "--selector=app.kubernetes.io/component=hub";
    kubectl(&["--namespace", NAMESPACE, "delete", "pod", hubs, "--wait=false"]).await?;
    terminal.shows("coming back", 1).await?;
    let screen = terminal.shows("--openai URL --key-env NAME", 1).await?;
    let (prompted, whole) = screen.split_once(PROMPT).context("the prompt is not to be seen")?;
    ensure!(prompted.lines().count() < 10, "{screen}");
    let whole = told(whole);
    let shown = sentences(&expected);
    for sentence in &shown {
        let times = shown.iter().filter(|other| other.contains(sentence.as_str())).count();
        let seen = whole.matches(sentence.as_str()).count();
        ensure!(seen >= 1 && seen <= times.max(1), "{sentence:?} is there {seen} times:\n{screen}");
    }

    // By a forward that finds the next hub as well.
    let opened = person.open(&["--no-browser"]).await?;
    let api = Api::at(opened.origin(), release.admin.token())?;
    turn_ends(&api, &session, 1).await?;
    terminal.types("show the diff").await?;
    let screen = terminal.shows("+mul() { echo $(($1 * $2)); }", 1).await?;
    ensure!(screen.matches("coming back").count() == 1, "the connection was lost again:\n{screen}");

    turn_ends(&api, &session, 2).await?;
    terminal.types(PROMPT).await?;
    terminal.shows("Welcome to the demo tour.", 2).await?;
    terminal.press("C-c").await?;
    terminal.shows("stopped", 1).await?;
    turn_ends(&api, &session, 3).await?;
    let last = api.turns(&session).await?.pop().context("no turn")?;
    ensure!(last.status == ChatTurnStatus::Aborted, "the turn ended as {:?}", last.status);
    terminal.press("C-c").await?;
    terminal.shows("it left with 0", 1).await?;
    terminal.shows("the terminal is as it was", 1).await?;
    ensure!(opened.interrupt().await? == Some(0), "Ctrl-C is no failure");
    release.remove().await
}

//! A person with `kubectl gadget`, who has a home and a browser of their own.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::control_plane::programs::built;
use tests::release::{NAMESPACE, kubectl, program};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// A turn of the tour takes some ten seconds.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Person {
    home: TempDir,
    path: OsString,
}

/// `kubectl gadget open`, which goes on until it is interrupted.
pub(crate) struct Opened {
    child: Child,
    pub(crate) address: String,
}

impl Person {
    pub(crate) fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let browser = home.path().join("xdg-open");
        std::fs::write(&browser, "#!/bin/sh\necho \"$1\" >\"$HOME/opened\"\n")?;
        std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755))?;
        let plugin = built("kubectl-gadget")?;
        let kubectl = program("kubectl")?;
        let programs = [plugin.as_path(), Path::new(kubectl.as_std().get_program())];
        let mut places = vec![home.path().to_owned()];
        places.extend(programs.iter().filter_map(|program| program.parent()).map(Path::to_path_buf));
        places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path = std::env::join_paths(places)?;
        Ok(Self { home, path })
    }

    /// Administrator of the hub, by a link as the chart's notes tell of it.
    pub(crate) async fn signed_in() -> Result<Self> {
        let person = Self::new()?;
        let link = invite().await?;
        person.said(&["login", "--invite", &link]).await?;
        Ok(person)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// As this person, in their place.
    pub(crate) fn settle(&self, command: &mut Command) {
        command.env("PATH", &self.path).env("HOME", self.home.path()).env_remove("XDG_CONFIG_HOME");
        command.env_remove("NO_COLOR").kill_on_drop(true);
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = program("kubectl")?;
        command.arg("gadget").args(words).args(["--namespace", NAMESPACE]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.settle(&mut command);
        Ok(command)
    }

    pub(crate) async fn gadget(&self, words: &[&str]) -> Result<Output> {
        let output = self.command(words)?.output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        Ok(output.with_context(|| format!("{words:?} takes too long"))??)
    }

    /// What it says when it does as it is told.
    pub(crate) async fn said(&self, words: &[&str]) -> Result<String> {
        let output = self.gadget(words).await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{words:?} ended with {}: {complaint}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What it complains of.
    pub(crate) async fn refused(&self, words: &[&str]) -> Result<String> {
        let output = self.gadget(words).await?;
        ensure!(output.status.code() == Some(1), "{words:?} was not refused: {output:?}");
        Ok(String::from_utf8(output.stderr)?)
    }

    /// With what is typed where it asks.
    pub(crate) async fn answering(&self, words: &[&str], typed: &str) -> Result<Output> {
        let mut child = self.command(words)?.stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("stdin is piped")?.write_all(typed.as_bytes()).await?;
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        Ok(output.with_context(|| format!("{words:?} takes too long"))??)
    }

    pub(crate) async fn open(&self, words: &[&str]) -> Result<Opened> {
        let mut child = self.command(&[&["open", "--port", "0"], words].concat())?.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("nothing is opened")?;
        Ok(Opened { child, address: line?.context("nothing is opened")? })
    }
}

impl Opened {
    /// Where the hub answers.
    pub(crate) fn origin(&self) -> &str {
        self.address
            .split_once("/#")
            .map_or(self.address.as_str(), |(origin, _)| origin)
            .trim_end_matches('/')
    }

    /// Ctrl-C, and the code with which it ends.
    pub(crate) async fn interrupt(mut self) -> Result<Option<i32>> {
        let id = self.child.id().context("it has ended")?;
        kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGINT)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it goes on")??;
        Ok(status.code())
    }
}

/// A link that signs in as administrator, once.
pub(crate) async fn invite() -> Result<String> {
    let words =
        ["--namespace", NAMESPACE, "exec", "deploy/gadget-hub", "--", "gadget-hub", "invite", "admin"];
    Ok(kubectl(&words).await?.trim().to_owned())
}

pub(crate) fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

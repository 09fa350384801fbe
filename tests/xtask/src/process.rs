//! Running other programs so that none of them outlives this one.
//!
//! Each runs in a process group of its own. After Ctrl-C or a TERM the group is asked to stop, and killed when it does
//! not; the group's leader is still unreaped then, so its number cannot belong to anyone else.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a stopped program may take to end before it is killed: `gadget local` promises five seconds.
const GRACE: Duration = Duration::from_secs(8);

#[derive(Clone)]
pub(crate) struct Runner {
    interrupted: CancellationToken,
}

impl Runner {
    /// Takes over the signals that end a program.
    pub(crate) fn new() -> Result<Self> {
        let interrupted = CancellationToken::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind).context("failed to listen for signals")?;
            let interrupted = interrupted.clone();
            tokio::spawn(async move {
                signals.recv().await;
                interrupted.cancel();
            });
        }
        Ok(Self { interrupted })
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }

    /// Runs a program that must succeed; its output is ours.
    pub(crate) async fn run(&self, command: &mut Command) -> Result<()> {
        let name = describe(command);
        let child = start(command)?;
        let status = self.wait(child, &name, std::future::pending()).await?;
        succeeded(status, &name)
    }

    /// Runs a program that must succeed, for what it writes to stdout.
    pub(crate) async fn output(&self, command: &mut Command) -> Result<String> {
        let name = describe(command);
        let mut text = String::new();
        let status = self
            .lines(command, |line| {
                text.push_str(line);
                text.push('\n');
            })
            .await?;
        succeeded(status, &name)?;
        Ok(text)
    }

    /// Runs a program and hands over each line of its stdout.
    pub(crate) async fn lines(
        &self,
        command: &mut Command,
        mut on_line: impl FnMut(&str),
    ) -> Result<ExitStatus> {
        let name = describe(command);
        let mut child = start(command.stdout(Stdio::piped()))?;
        let stdout = child.stdout.take().context("stdout is not piped")?;
        let reading = async {
            let mut lines = BufReader::new(stdout).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                on_line(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            }
            std::future::pending::<()>().await;
        };
        self.wait(child, &name, reading).await
    }

    /// Waits for the end of a program while `beside` is driven along.
    async fn wait(
        &self,
        mut child: Child,
        name: &str,
        beside: impl Future<Output = ()>,
    ) -> Result<ExitStatus> {
        let mut beside = std::pin::pin!(beside);
        let status = tokio::select! {
            biased;
            () = self.interrupted.cancelled() => None,
            () = &mut beside => None,
            status = child.wait() => Some(status.with_context(|| format!("failed to wait for {name}"))?),
        };
        if let Some(status) = status {
            // What is still in the pipe; a grandchild may hold it open, so not for ever.
            let _rest = tokio::time::timeout(Duration::from_millis(200), beside).await;
            return Ok(status);
        }
        stop(child).await.with_context(|| format!("failed to stop {name}"))?;
        bail!("interrupted; {name} was stopped");
    }
}

fn start(command: &mut Command) -> Result<Child> {
    let name = describe(command);
    command
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {name}"))
}

async fn stop(mut child: Child) -> Result<()> {
    let Some(id) = child.id() else { return Ok(()) };
    let group = Pid::from_raw(i32::try_from(id).context("the process id is out of range")?);
    let _already_gone = killpg(group, Signal::SIGTERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _already_gone = killpg(group, Signal::SIGKILL);
        child.wait().await?;
    }
    Ok(())
}

fn succeeded(status: ExitStatus, name: &str) -> Result<()> {
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}

fn describe(command: &Command) -> String {
    let command = command.as_std();
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args().take(4) {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> Runner {
        Runner { interrupted: CancellationToken::new() }
    }

    #[tokio::test]
    async fn all_lines_of_a_program_arrive() {
        let text = runner().output(Command::new("seq").arg("5000")).await.unwrap();
        assert_eq!(text.lines().count(), 5000);
    }

    #[tokio::test]
    async fn a_program_that_fails_is_an_error() {
        assert!(runner().run(&mut Command::new("false")).await.is_err());
        assert!(runner().run(&mut Command::new("no-such-program-here")).await.is_err());
    }

    #[tokio::test]
    async fn an_interrupt_stops_the_whole_group() {
        let runner = runner();
        let interrupted = runner.interrupted.clone();
        let mut grandchild = None;
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & echo $!; wait"]);
        let ended = runner
            .lines(&mut shell, |line| {
                grandchild = Some(line.parse::<i32>().unwrap());
                interrupted.cancel();
            })
            .await;
        assert!(ended.is_err());
        let grandchild = Pid::from_raw(grandchild.unwrap());
        let gone = async {
            while nix::sys::signal::kill(grandchild, None).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the grandchild lives");
    }
}

//! Servers under measurement: started on a processor of their own, weighed by the kernel's accounting, stopped again.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A child process that is killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Kept open: a server that logs to a closed pipe would die of it.
    _stdout: BufReader<ChildStdout>,
    /// The first line that it printed.
    pub(crate) ready: String,
}

impl Server {
    /// Starts a server on processor `cpu` (any when `None`) and waits for its first line on stdout.
    pub(crate) fn start(cpu: Option<usize>, program: &str, arguments: &[String]) -> Result<Self> {
        let mut command = match cpu {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(cpu.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {program}"))?;
        let Some(stdout) = child.stdout.take() else { bail!("{program} has no stdout") };
        let mut stdout = BufReader::new(stdout);
        let mut ready = String::new();
        let read = stdout.read_line(&mut ready);
        let server = Self { child, _stdout: stdout, ready };
        if read.with_context(|| format!("failed to read from {program}"))? == 0 {
            bail!("{program} ended before it was ready");
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_time(self.pid())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        resident(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("failed to read the process's times")?;
    // The second field is the program's name in brackets and may hold blanks.
    let (_, fields) = stat.rsplit_once(')').context("malformed stat")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The same to the nanosecond, of the threads that it has now.
#[cfg(feature = "control-plane")]
pub(crate) fn exact_cpu_time(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).context("failed to list the threads")?;
    for thread in threads {
        let Ok(times) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let nanos = times.split_whitespace().next().and_then(|first| first.parse().ok());
        sum += Duration::from_nanos(nanos.context("malformed schedstat")?);
    }
    Ok(sum)
}

pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("failed to read the process's memory")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).context("malformed VmRSS")?;
    Ok(kibibytes * 1024)
}

pub(crate) fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .map(|text| text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}

//! The processes of one data directory, found by their command lines: drones outlive the hub that started them.

use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that works for a hub on some data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: Pid,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `gadget local`.
    Hub,
    /// `… init`: restarts a drone that dies.
    Supervisor,
    /// `… run`: the drone itself.
    Drone,
    /// `… job`: runs a shell command.
    Job,
}

/// All that have a path below `directory` among their arguments.
pub fn of(directory: &Path) -> Result<Vec<Process>> {
    let directory = directory.to_str().context("the directory's name is not UTF-8")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("failed to list processes")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process that has ended meanwhile, or is a zombie, has no command line.
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let arguments: Vec<String> =
            line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        if arguments.iter().any(|argument| argument.contains(directory))
            && let Some(role) = role(&arguments)
        {
            found.push(Process { pid: Pid::from_raw(pid), role });
        }
    }
    Ok(found)
}

/// By the sub-command: the first argument that is one.
fn role(arguments: &[String]) -> Option<Role> {
    arguments.iter().skip(1).take(3).find_map(|argument| match argument.as_str() {
        "local" => Some(Role::Hub),
        "init" => Some(Role::Supervisor),
        "run" => Some(Role::Drone),
        "job" => Some(Role::Job),
        _ => None,
    })
}

/// SIGKILL. One that has ended already is fine.
pub fn kill_hard(pid: Pid) -> Result<()> {
    match kill(pid, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("failed to kill {pid}")),
    }
}

/// Kills everything that works on the directory; supervisors first, so that they restart nothing.
pub fn kill_all(directory: &Path) -> Result<()> {
    let mut left = of(directory)?;
    left.sort_by_key(|process| process.role != Role::Hub && process.role != Role::Supervisor);
    for Process { pid, role: _ } in left {
        kill_hard(pid)?;
    }
    Ok(())
}

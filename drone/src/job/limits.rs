//! What the kernel itself takes care of: memory, file size, and who dies first when memory runs out.

use std::fs;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Limits, process};

/// Limits this process and all that it starts.
pub(super) fn apply(limits: &Limits) -> Result<(), Errno> {
    let Limits { memory, processes: _, more_tasks, file_size, output: _ } = *limits;
    // Data and not address space: many programs reserve far more addresses than they ever use.
    lower(Resource::RLIMIT_DATA, memory)?;
    lower(Resource::RLIMIT_FSIZE, file_size)?;
    lower(Resource::RLIMIT_CORE, 0)?;
    if let Some(more) = more_tasks {
        let user = nix::unistd::getuid().as_raw();
        lower(Resource::RLIMIT_NPROC, process::tasks_of(user).saturating_add(more))?;
    }
    Ok(())
}

/// Makes the kernel end this process and its children before any other one of the container. Without the file there is
/// nothing to prefer.
pub(super) fn be_the_first_to_go() {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!(%error, "failed to prefer the job when memory runs out");
    }
}

/// Three quarters of what there is, so that a single process hits its own limit before the container does.
pub fn most_of_the_memory() -> u64 {
    all_memory().unwrap_or(8 * 1024 * 1024 * 1024) / 4 * 3
}

/// What this container has, else the machine.
pub(super) fn all_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(container).min()
}

/// How many processes of this container the kernel has ended so far because the memory was used up. 0 where it does not
/// count them.
pub(super) fn out_of_memory() -> u64 {
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]
        .iter()
        .find_map(|file| kills(&fs::read_to_string(file).ok()?))
        .unwrap_or_default()
}

fn lower(resource: Resource, wanted: u64) -> Result<(), Errno> {
    let (_, most) = getrlimit(resource)?;
    let limit = wanted.min(most);
    setrlimit(resource, limit, limit)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn kills(counts: &str) -> Option<u64> {
    counts.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_for_memory_are_counted_by_both_kinds_of_control_groups() {
        assert_eq!(kills("low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn the_memory_limit_is_below_what_the_machine_has() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2048 * 1024));
        let machine = total(&fs::read_to_string("/proc/meminfo").unwrap()).unwrap();
        assert!((1..machine).contains(&most_of_the_memory()));
    }
}

//! Processes as the kernel shows them: who is who, who comes from whom.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// A process, told apart from every other one that has or had its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks between boot and its start.
    pub started: u64,
    /// The boot and the process number space that both are of.
    pub boot: String,
}

/// A line of the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) started: u64,
    /// Ended, but its parent has not asked for the result.
    pub(super) zombie: bool,
}

pub(super) fn own_identity() -> io::Result<Identity> {
    let pid = nix::unistd::getpid().as_raw();
    let entry = entry(pid).ok_or_else(|| io::Error::other("the process table does not show this process"))?;
    Ok(Identity { pid, started: entry.started, boot: boot()? })
}

/// Whether this very process is there and not just waiting to be reaped.
pub(super) fn is_alive(identity: &Identity) -> bool {
    boot().is_ok_and(|boot| boot == identity.boot)
        && entry(identity.pid).is_some_and(|entry| entry.started == identity.started && !entry.zombie)
}

/// Every process that can be seen.
pub(super) fn table() -> Vec<Entry> {
    let Ok(directory) = fs::read_dir("/proc") else { return Vec::new() };
    directory.filter_map(|found| entry(found.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// How many processes and threads a user has, as far as they can be seen.
pub(super) fn tasks_of(user: u32) -> u64 {
    let Ok(directory) = fs::read_dir("/proc") else { return 0 };
    let tasks = |status: String| {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        (field("Uid:") == Some(u64::from(user))).then(|| field("Threads:").unwrap_or(1))
    };
    directory
        .filter_map(|found| {
            let pid: i32 = found.ok()?.file_name().to_str()?.parse().ok()?;
            tasks(fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
        })
        .sum()
}

/// The children of a process, asked for quickly: one that comes or goes meanwhile may be missed. None: this kernel
/// cannot say.
pub(super) fn children(pid: i32) -> Option<Vec<i32>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let lists: Vec<String> =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok()).collect();
    let children = |list: &String| -> Vec<i32> {
        list.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect()
    };
    (!lists.is_empty()).then(|| lists.iter().flat_map(children).collect())
}

/// All processes that come from this one, however far down.
pub(super) fn descendants(table: &[Entry], root: i32) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for entry in table.iter().filter(|entry| entry.parent == parent && entry.pid != root) {
            parents.push(entry.pid);
            found.push(*entry);
        }
    }
    found
}

/// Whether a process was started with this variable.
pub(super) fn has_variable(pid: i32, name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

fn entry(pid: i32) -> Option<Entry> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`, see proc(5). The name in parentheses may hold anything, parentheses included.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Entry {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn boot() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let space = fs::read_link("/proc/self/ns/pid")?;
    Ok(format!("{} {}", boot.trim(), space.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_confuse_the_parser() {
        let stat = "7 (a) R 1 (b)) S 3 7 5 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        let entry = parse(7, stat).unwrap();
        assert_eq!(entry, Entry { pid: 7, parent: 3, group: 7, session: 5, started: 777, zombie: false });
    }

    #[test]
    fn descendants_are_found_however_far_down_and_in_whatever_order() {
        let entry = |pid, parent| Entry { pid, parent, group: 0, session: 0, started: 0, zombie: false };
        let table = [entry(5, 4), entry(4, 2), entry(2, 1), entry(3, 1), entry(9, 8)];
        let mut found: Vec<i32> = descendants(&table, 1).iter().map(|entry| entry.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4, 5]);
        assert_eq!(descendants(&table, 3), []);
    }

    #[test]
    fn this_process_is_alive_and_in_the_table() {
        let me = own_identity().unwrap();
        assert!(is_alive(&me));
        assert!(table().iter().any(|entry| entry.pid == me.pid && entry.started == me.started));
    }
}

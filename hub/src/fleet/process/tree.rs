//! Finding and killing everything that a drone has started, also what has left its process group or lost its parent.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use protocol::ids::DroneId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::identity::{Stat, gone};

/// The environment variable that every process of a drone inherits; its value is the drone's id.
pub(super) const MARKER: &str = "GADGET_DRONE_ID";

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running process, and whether it carries the drone's mark.
#[derive(Clone, Copy, Debug)]
struct Seen {
    stat: Stat,
    marked: bool,
}

/// The drone's supervisor, found by its mark: its process group's leader. For when its pid was not written down.
pub(super) fn find_supervisor(drone: &DroneId) -> io::Result<Option<i32>> {
    let leader = |seen: &&Seen| seen.marked && seen.stat.pid == seen.stat.group;
    Ok(look(drone)?.iter().find(leader).map(|seen| seen.stat.pid))
}

/// Kills all that belongs to the drone but `spared`, until nothing of it runs. Answers whether that was reached.
pub(super) async fn sweep(drone: &DroneId, root: Option<i32>, spared: Option<i32>) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut targets = belonging(&look(drone)?, root);
        targets.retain(|pid| Some(*pid) != spared);
        if targets.is_empty() {
            return Ok(true);
        }
        for pid in targets.into_iter().filter_map(Pid::from_raw) {
            match kill_process(pid, Signal::KILL).map_err(io::Error::from) {
                Err(error) if !gone(&error) => return Err(error),
                _ => {}
            }
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// All processes but zombies and this one.
fn look(drone: &DroneId) -> io::Result<Vec<Seen>> {
    let mark = format!("{MARKER}={drone}");
    let own = std::process::id().to_string();
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| *name != own) else { continue };
        let Ok(pid) = name.parse() else { continue };
        if let Some(stat) = Stat::read(pid)?.filter(|stat| !stat.zombie) {
            // Unreadable is what other users' processes are, and they are none of ours.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            all.push(Seen { stat, marked });
        }
    }
    Ok(all)
}

/// Marked processes, members of the root's group, the root, and whatever descends from one of these.
fn belonging(all: &[Seen], root: Option<i32>) -> HashSet<i32> {
    let mut found: HashSet<i32> = all
        .iter()
        .filter(|seen| seen.marked || Some(seen.stat.pid) == root || Some(seen.stat.group) == root)
        .map(|seen| seen.stat.pid)
        .collect();
    loop {
        let children: Vec<i32> = all
            .iter()
            .map(|seen| seen.stat)
            .filter(|stat| found.contains(&stat.parent) && !found.contains(&stat.pid))
            .map(|stat| stat.pid)
            .collect();
        if children.is_empty() {
            return found;
        }
        found.extend(children);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, parent: i32, group: i32, marked: bool) -> Seen {
        Seen { stat: Stat { pid, parent, group, zombie: false, start_time: 1 }, marked }
    }

    #[test]
    fn children_group_members_and_marked_orphans_belong_and_nobody_else() {
        let all = [
            seen(9, 8, 9, false),   // grandchild in a session of its own
            seen(8, 5, 8, false),   // child in a session of its own
            seen(5, 1, 5, false),   // the supervisor
            seen(6, 1, 5, false),   // orphan that stayed in the group
            seen(7, 1, 7, true),    // orphan that left it, but carries the mark
            seen(10, 7, 10, false), // child of that one
            seen(1, 0, 1, false),   // not ours
            seen(11, 1, 11, false), // not ours
        ];
        assert_eq!(belonging(&all, Some(5)), HashSet::from([5, 6, 7, 8, 9, 10]));
        assert_eq!(belonging(&all, None), HashSet::from([7, 10]));
    }
}

//! Everything that descends from the supervisor. Orphans stay among them, because it is their subreaper.

use std::collections::HashSet;
use std::io;

/// A running descendant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descendant {
    pub pid: i32,
    /// Of this process itself.
    pub is_child: bool,
}

/// Running descendants of this process; zombies are not running.
pub(super) fn of_this_process() -> io::Result<Vec<Descendant>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if !name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        // A process that ended since the directory was read has nothing to say.
        let stat = std::fs::read(std::path::Path::new("/proc").join(name).join("stat")).unwrap_or_default();
        processes.extend(parse(&String::from_utf8_lossy(&stat)));
    }
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    Ok(below(own, &processes))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    zombie: bool,
}

/// The program's name comes second, in brackets, and may itself hold spaces and brackets.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (_name, rest) = rest.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Process {
        pid: pid.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        zombie: matches!(state, "Z" | "X" | "x"),
    })
}

fn below(root: i32, processes: &[Process]) -> Vec<Descendant> {
    let mut family = HashSet::from([root]);
    loop {
        let children: Vec<i32> = processes
            .iter()
            .filter(|process| family.contains(&process.parent) && !family.contains(&process.pid))
            .map(|process| process.pid)
            .collect();
        if children.is_empty() {
            break;
        }
        family.extend(children);
    }
    let running = processes.iter().filter(|process| !process.zombie && process.pid != root);
    running
        .filter(|process| family.contains(&process.pid))
        .map(|process| Descendant { pid: process.pid, is_child: process.parent == root })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_count_and_zombies_and_strangers_do_not() {
        let process = |pid, parent, zombie| Process { pid, parent, zombie };
        let all = [
            process(30, 20, false),
            process(20, 10, true),
            process(10, 1, false),
            process(40, 10, false),
            process(50, 1, false),
        ];
        let found = |pid, is_child| Descendant { pid, is_child };
        assert_eq!(below(10, &all), [found(30, false), found(40, true)]);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        assert_eq!(parse("42 (a) Z (c) S 7 40"), Some(Process { pid: 42, parent: 7, zombie: false }));
        assert_eq!(parse("42 (a) Z 7 40"), Some(Process { pid: 42, parent: 7, zombie: true }));
        assert_eq!(parse(""), None);
    }
}

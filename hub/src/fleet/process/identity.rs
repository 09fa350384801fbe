//! Which process it is: a pid alone is reused, a pid with its start time is not.

use std::io;

use serde::{Deserialize, Serialize};

/// A process of this machine, past or present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    pub pid: i32,
    /// Clock ticks between the machine's boot and the start of the process.
    pub start_time: u64,
    /// The boot that the ticks count from.
    pub boot_id: String,
}

/// What `/proc/<pid>/stat` says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    /// Ended, and only waits for its parent to look.
    pub zombie: bool,
    pub start_time: u64,
}

impl Identity {
    /// The identity of a process, also of one that has ended and was not waited for. `None`: there is none.
    pub(super) fn of(pid: i32) -> io::Result<Option<Self>> {
        match Stat::read(pid)? {
            Some(stat) => Ok(Some(Self { pid, start_time: stat.start_time, boot_id: boot_id()? })),
            None => Ok(None),
        }
    }

    /// Whether this very process runs now.
    pub(super) fn is_alive(&self) -> io::Result<bool> {
        let Self { pid, start_time, boot_id: boot } = self;
        let runs = Stat::read(*pid)?.is_some_and(|stat| !stat.zombie && stat.start_time == *start_time);
        Ok(runs && boot_id()? == *boot)
    }
}

impl Stat {
    /// `None`: there is no such process.
    pub(super) fn read(pid: i32) -> io::Result<Option<Self>> {
        match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(text) => Self::parse(&String::from_utf8_lossy(&text)).map(Some).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not as expected"))
            }),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The program's name comes second, in brackets, and may itself hold spaces and brackets.
    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (_name, rest) = rest.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// A process can end between two looks at it: ESRCH while a file is open, ENOENT before.
pub(super) fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 7 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1";
        let expected = Stat { pid: 42, parent: 7, group: 40, zombie: false, start_time: 123_456 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (a) S 7"), None);
    }

    #[test]
    fn a_running_process_is_itself_and_a_reused_pid_is_another() {
        let identity = Identity::of(own_pid()).unwrap().unwrap();
        assert!(identity.is_alive().unwrap());
        let earlier = Identity { start_time: identity.start_time - 1, ..identity.clone() };
        assert!(!earlier.is_alive().unwrap());
        let other_boot = Identity { boot_id: "another".to_owned(), ..identity };
        assert!(!other_boot.is_alive().unwrap());
    }

    #[test]
    fn no_process_has_no_identity() {
        assert_eq!(Identity::of(i32::MAX).unwrap(), None);
    }
}

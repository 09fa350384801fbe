//! Whether a drone process that ended is started again. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::drone::ProcessExit;
use tokio::time::Instant;

use super::EXIT_HOPELESS;

/// So many restarts within the window; whoever started the supervisor has more patience.
const MOST: usize = 3;
const WINDOW: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Restart,
    /// With this exit code.
    End(u8),
}

#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// When it was restarted, oldest first, none older than the window.
    recent: VecDeque<Instant>,
    total: u32,
}

impl Restarts {
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    pub(super) fn next(&mut self, exit: ProcessExit, stop_asked: bool, now: Instant) -> Next {
        let code = exit_code(exit);
        while self.recent.front().is_some_and(|&restart| now.duration_since(restart) >= WINDOW) {
            self.recent.pop_front();
        }
        if stop_asked || code == 0 || code == EXIT_HOPELESS || self.recent.len() >= MOST {
            return Next::End(code);
        }
        self.recent.push_back(now);
        self.total += 1;
        Next::Restart
    }
}

/// As a shell tells it: a signal counts from 128.
fn exit_code(exit: ProcessExit) -> u8 {
    let ProcessExit { code, signal } = exit;
    let code = code.or(signal.map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: ProcessExit = ProcessExit { code: None, signal: Some(9) };

    fn code(code: i32) -> ProcessExit {
        ProcessExit { code: Some(code), signal: None }
    }

    #[test]
    fn the_fourth_death_in_ten_minutes_ends_it_with_the_drones_own_code() {
        let mut restarts = Restarts::default();
        let now = Instant::now();
        let minute = Duration::from_mins(1);
        let next: Vec<Next> = (0..3).map(|n| restarts.next(KILLED, false, now + n * minute)).collect();
        assert_eq!(next, [Next::Restart; 3]);
        assert_eq!(restarts.next(code(7), false, now + 3 * minute), Next::End(7));
        assert_eq!(restarts.total(), 3);
    }

    #[test]
    fn restarts_leave_the_window_one_by_one() {
        let mut restarts = Restarts::default();
        let now = Instant::now();
        for n in 0..30 {
            assert_eq!(restarts.next(KILLED, false, now + n * Duration::from_secs(201)), Next::Restart);
        }
        assert_eq!(restarts.total(), 30);
    }

    #[test]
    fn a_good_end_a_wanted_end_and_a_hopeless_one_are_final() {
        let now = Instant::now();
        let end = |exit, stop_asked| Restarts::default().next(exit, stop_asked, now);
        assert_eq!(end(code(0), false), Next::End(0));
        assert_eq!(end(code(i32::from(EXIT_HOPELESS)), false), Next::End(EXIT_HOPELESS));
        assert_eq!(end(KILLED, true), Next::End(137));
        assert_eq!(end(code(1), true), Next::End(1));
    }
}

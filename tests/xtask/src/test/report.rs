//! The table at the end of a test run.

use std::fmt::Write as _;
use std::time::Duration;

use crate::test::Outcome;

#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
}

pub(super) struct Row {
    pub part: &'static str,
    pub outcome: Outcome,
    pub took: Duration,
}

impl Report {
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn is_good(&self, strict: bool) -> bool {
        let (passed, failed) = self.totals(strict);
        failed == 0 && passed > 0
    }

    /// One line for each part; the very last line has the totals. A part that could not run is a failure when `strict`.
    pub(super) fn table(&self, strict: bool) -> String {
        let mut text = format!("{:<13} {:>7} {:>7} {:>8}  not run\n", "part", "passed", "failed", "seconds");
        for Row { part, outcome: Outcome { passed, failed, not_run }, took } in &self.rows {
            let why = not_run.as_deref().unwrap_or("-");
            let seconds = took.as_secs_f64();
            let _infallible = writeln!(text, "{part:<13} {passed:>7} {failed:>7} {seconds:>8.1}  {why}");
        }
        let (passed, failed) = self.totals(strict);
        let _infallible = writeln!(text, "{passed} passed, {failed} failed");
        text
    }

    fn totals(&self, strict: bool) -> (u64, u64) {
        self.rows.iter().fold((0, 0), |(passed, failed), Row { outcome, .. }| {
            let not_run = u64::from(strict && outcome.not_run.is_some());
            (passed + outcome.passed, failed + outcome.failed + not_run)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        let outcome = Outcome { passed: 12, failed: 0, not_run: None };
        report.add(Row { part: "rust", outcome, took: Duration::from_millis(61_240) });
        report.add(Row {
            part: "page",
            outcome: Outcome::not_run("missing: chromium"),
            took: Duration::ZERO,
        });
        report
    }

    #[test]
    fn the_last_line_has_the_totals() {
        let expected = "\
part           passed  failed  seconds  not run
rust               12       0     61.2  -
page                0       0      0.0  missing: chromium
12 passed, 0 failed
";
        assert_eq!(report().table(false), expected);
    }

    #[test]
    fn a_part_that_could_not_run_fails_in_ci_alone() {
        assert!(report().is_good(false));
        assert!(!report().is_good(true));
        assert!(report().table(true).ends_with("12 passed, 1 failed\n"));
    }

    #[test]
    fn nothing_passed_is_not_good() {
        assert!(!Report::default().is_good(false));
    }
}

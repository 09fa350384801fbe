//! What the model reads of a job that is over.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::directory::{Exit, JobDirectory, Reason};
use super::limits;
use super::tail::{Ends, ends};
use crate::tool::{Outcome, ToolError};

/// Bytes shown of each of the two outputs. Most of what matters is at the end.
const HEAD: usize = 8 * 1024;
const TAIL: usize = 16 * 1024;

/// The outcome of a job that has ended. `spill` is where the whole of a long output can be read.
pub(crate) fn outcome(exit: &Exit, directory: &JobDirectory, spill: &Path) -> Outcome {
    if let Reason::NotStarted(error) = &exit.reason {
        return ToolError::new("NOT_STARTED", format!("the command could not be started: {error}"))
            .hint("Check `cwd` and whether the machine has a shell.")
            .into();
    }
    let mut text = String::new();
    let (mut sizes, mut files) = ([0, 0], [None, None]);
    let outputs = [(directory.stdout(), "stdout"), (directory.stderr(), "stderr")];
    for (at, (path, name)) in outputs.iter().enumerate() {
        match show(path, name, spill) {
            Ok((shown, size, file)) => {
                if at == 1 && size > 0 {
                    text += "[stderr]\n";
                }
                text += &shown;
                (sizes[at], files[at]) = (size, file);
            }
            Err(error) => {
                let _infallible = writeln!(text, "[the {name} could not be read: {error}]");
            }
        }
    }
    if sizes == [0, 0] {
        text += "[no output]\n";
    }
    text += &ending(exit);
    let data = json!({
        "exitCode": exit.code,
        "signal": exit.signal,
        "reason": exit.reason,
        "durationMs": exit.duration_ms,
        "stdoutBytes": sizes[0],
        "stderrBytes": sizes[1],
        "stdoutFile": files[0],
        "stderrFile": files[1],
    });
    let is_error = exit.reason != Reason::Ended || exit.code != Some(0);
    Outcome { text, is_error, unknown_outcome: false, data: Some(data) }
}

/// The outcome of a job whose runner was killed: what it had printed, and the plain truth.
pub(crate) fn unknown(command: &str, directory: &JobDirectory, spill: &Path) -> Outcome {
    let mut text =
        "[the outcome of this command is unknown: it was interrupted and may have taken effect in whole, \
                    in part or not at all. Check before you repeat it.]\n"
            .to_owned();
    for (path, name) in [(directory.stdout(), "stdout"), (directory.stderr(), "stderr")] {
        if let Ok((shown, size, _)) = show(&path, name, spill)
            && size > 0
        {
            let _infallible = write!(text, "[{name} until then]\n{shown}");
        }
    }
    let data = json!({ "command": command, "code": "UNKNOWN_OUTCOME" });
    Outcome { text, is_error: true, unknown_outcome: true, data: Some(data) }
}

/// The last line: how it ended, in words.
fn ending(exit: &Exit) -> String {
    let took = format!("after {}.{} s", exit.duration_ms / 1000, exit.duration_ms % 1000 / 100);
    let mut text = match (&exit.reason, exit.code, exit.signal) {
        (Reason::TimedOut, ..) => {
            format!(
                "[stopped: it ran longer than its time limit, {took}; give a longer `timeout` if it needs one]"
            )
        }
        (Reason::Stopped, ..) => format!("[stopped by the user {took}]"),
        (Reason::TooManyProcesses, ..) => format!("[stopped: it had too many processes at once, {took}]"),
        (Reason::TooMuchOutput, ..) => {
            format!("[stopped: it printed too much, {took}; send output to a file or filter it]")
        }
        (_, Some(code), _) => format!("[exit code {code} {took}]"),
        (_, None, Some(signal)) => format!("[ended by signal {signal} {took}]"),
        (_, None, None) => format!("[ended {took}]"),
    };
    if exit.out_of_memory > 0 {
        text += "\n";
        text += &out_of_memory(exit.out_of_memory, limits::all_memory());
    }
    match exit.leftovers {
        0 => {}
        1 => text += "\n[a process that it had left behind was ended with it]",
        many => {
            let _infallible = write!(text, "\n[{many} processes that it had left behind were ended with it]");
        }
    }
    if exit.survivors > 0 {
        let _infallible = write!(text, "\n[{} processes could not be ended]", exit.survivors);
    }
    text
}

/// What the exit code does not tell: that of a pipe is the last program's.
fn out_of_memory(ended: u64, memory: Option<u64>) -> String {
    let processes = if ended == 1 { "a process was".to_owned() } else { format!("{ended} processes were") };
    let all = memory.map(|bytes| format!(" of {} MiB", bytes >> 20)).unwrap_or_default();
    format!("[{processes} killed because all memory{all} was used up; use less, or do fewer things at once]")
}

type Shown = (String, u64, Option<PathBuf>);

/// One output: what is shown of it, its true size, and where the whole is when it is not shown.
fn show(path: &Path, name: &str, spill: &Path) -> io::Result<Shown> {
    let Ends { size, head, tail } = ends(path, HEAD, TAIL)?;
    if tail.is_empty() {
        let newline = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
        return Ok((format!("{head}{newline}"), size, None));
    }
    let whole = keep(path, name, spill);
    let note = whole.as_ref().map_or_else(
        || "the whole could not be kept".into(),
        |path| format!("the whole is in {}", path.display()),
    );
    let mut text = crate::tool::join(&head, &tail, size, &note);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok((text, size, whole))
}

/// Gives a long output a second name where tools can read it; it outlives the job's directory there.
fn keep(path: &Path, name: &str, spill: &Path) -> Option<PathBuf> {
    let kept = spill.with_extension(name);
    let link = || {
        if let Some(directory) = kept.parent() {
            crate::tool::make_room(directory)?;
        }
        match std::fs::hard_link(path, &kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_no_links_here) => std::fs::copy(path, &kept).map(drop),
            Ok(()) => Ok(()),
        }
    };
    match link() {
        Ok(()) => Some(kept),
        Err(error) => {
            tracing::warn!(%error, "failed to keep a long output");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: Option<i32>, signal: Option<i32>, reason: Reason) -> Exit {
        Exit {
            code,
            signal,
            reason,
            duration_ms: 1234,
            leftovers: 0,
            out_of_memory: 0,
            survivors: 0,
            confined: true,
        }
    }

    fn job(stdout: &str, stderr: &str) -> (tempfile::TempDir, JobDirectory, PathBuf) {
        let workspace = tempfile::tempdir().unwrap();
        let job = JobDirectory::at(workspace.path().join("job"));
        std::fs::create_dir(job.path()).unwrap();
        std::fs::write(job.stdout(), stdout).unwrap();
        std::fs::write(job.stderr(), stderr).unwrap();
        let spill = workspace.path().join("spill/call");
        (workspace, job, spill)
    }

    #[test]
    fn output_errors_and_exit_code_are_told() {
        let (_workspace, job, spill) = job("out", "err\n");
        let outcome = outcome(&exit(Some(2), None, Reason::Ended), &job, &spill);
        assert_eq!(outcome.text, "out\n[stderr]\nerr\n[exit code 2 after 1.2 s]");
        assert!(outcome.is_error);
        assert_eq!(outcome.data.unwrap()["exitCode"], 2);
    }

    #[test]
    fn processes_that_were_killed_for_memory_are_told_whatever_the_exit_code() {
        let (_workspace, job, spill) = job("out\n", "");
        let exit = Exit { out_of_memory: 2, ..exit(Some(0), None, Reason::Ended) };
        let text = outcome(&exit, &job, &spill).text;
        assert!(
            text.starts_with(
                "out\n[exit code 0 after 1.2 s]\n[2 processes were killed because all memory of "
            )
        );
        let expected = "[a process was killed because all memory of 256 MiB was used up; use less, or do fewer things at once]";
        assert_eq!(out_of_memory(1, Some(256 << 20)), expected);
    }

    #[test]
    fn silence_is_said() {
        let (_workspace, job, spill) = job("", "");
        let outcome = outcome(&exit(Some(0), None, Reason::Ended), &job, &spill);
        assert_eq!(outcome.text, "[no output]\n[exit code 0 after 1.2 s]");
        assert!(!outcome.is_error);
    }

    #[test]
    fn a_long_output_shows_its_ends_and_where_the_whole_is() {
        let (_workspace, job, spill) = job(&"0123456789\n".repeat(10_000), "");
        let outcome = outcome(&exit(Some(0), None, Reason::Ended), &job, &spill);
        let kept = spill.with_extension("stdout");
        assert!(outcome.text.len() < HEAD + TAIL + 500);
        assert!(
            outcome.text.contains(&format!("of 110000 bytes left out; the whole is in {}", kept.display()))
        );
        assert_eq!(std::fs::metadata(kept).unwrap().len(), 110_000);
    }

    #[test]
    fn long_outputs_that_are_kept_push_out_the_oldest() {
        let (workspace, job, _) = job(&"0123456789\n".repeat(10_000), "");
        let name = |number: usize| workspace.path().join(format!("spill/call-{number:03}"));
        for number in 0..250 {
            outcome(&exit(Some(0), None, Reason::Ended), &job, &name(number));
        }
        assert!(name(249).with_extension("stdout").exists());
        let kept = std::fs::read_dir(workspace.path().join("spill")).unwrap().count();
        assert!(kept <= 200, "{kept} outputs are kept");
    }

    #[test]
    fn how_a_job_was_ended_is_told_apart() {
        for (exit, words) in [
            (exit(None, Some(9), Reason::Ended), "ended by signal 9"),
            (exit(None, Some(15), Reason::TimedOut), "time limit"),
            (exit(None, Some(15), Reason::Stopped), "stopped by the user"),
            (exit(None, None, Reason::TooManyProcesses), "too many processes"),
            (exit(None, None, Reason::TooMuchOutput), "printed too much"),
        ] {
            assert!(ending(&exit).contains(words), "{exit:?}");
        }
        let left = Exit { leftovers: 2, ..exit(Some(0), None, Reason::Ended) };
        assert!(ending(&left).contains("2 processes that it had left behind"));
    }
}

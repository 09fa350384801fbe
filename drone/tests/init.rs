//! The supervisor as a process of its own, with shell scripts in the place of the drone.
#![cfg(test)]

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use drone::init::{EXIT_HOPELESS, InitConfig, supervise};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

const SCRIPT: &str = "GADGET_TEST_SCRIPT";
const GRACE: &str = "GADGET_TEST_GRACE_MS";

/// Not a test of its own: the others run this very function in a process of its own, for a supervisor owns the signals
/// and all children of its process.
#[test]
#[expect(clippy::exit, reason = "the supervisor's answer is its exit code")]
fn supervisor() {
    let Ok(script) = std::env::var(SCRIPT) else { return };
    let grace = std::env::var(GRACE).unwrap().parse().unwrap();
    let config = InitConfig {
        program: "/bin/sh".into(),
        name: "sh".into(),
        args: ["-c", &script, "drone"].map(Into::into).to_vec(),
        grace: Duration::from_millis(grace),
    };
    std::process::exit(supervise(&config).unwrap().into());
}

struct Supervised {
    dir: TempDir,
    child: Child,
}

impl Supervised {
    fn start(script: &str) -> Self {
        Self::with_grace(script, Duration::from_mins(1))
    }

    fn with_grace(script: &str, grace: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["supervisor", "--exact", "--nocapture"])
            .env(SCRIPT, script)
            .env(GRACE, grace.as_millis().to_string())
            .current_dir(dir.path())
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.unwrap().unwrap()
    }

    /// The lines of a file that scripts write, once there are so many.
    async fn lines(&self, file: &str, count: usize) -> Vec<String> {
        let path = self.dir.path().join(file);
        until(&format!("{count} lines in {file}"), || {
            let lines = whole_lines(&path);
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    async fn pid_in(&self, file: &str) -> i32 {
        self.lines(file, 1).await.last().unwrap().parse().unwrap()
    }
}

fn whole_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// State and parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn runs(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

#[tokio::test]
async fn a_drone_that_dies_is_restarted_three_times_and_told_how_it_ended() {
    let mut init = Supervised::start("echo \"$*\" >> calls; kill -9 $$");
    let supervisor = init.pid();
    assert_eq!(init.ended().await.code(), Some(137), "the drone's own end");
    let expected: Vec<String> = (0..4)
        .map(|n| {
            let last_exit = if n == 0 { "" } else { " --last-exit signal:9" };
            format!("--process-restarts {n}{last_exit} --supervisor {supervisor}")
        })
        .collect();
    assert_eq!(whole_lines(&init.dir.path().join("calls")), expected);
}

#[tokio::test]
async fn an_exit_code_is_told_to_the_next_process() {
    let mut init = Supervised::start("echo \"$*\" >> calls; [ $2 = 0 ] && exit 7; exit 0");
    assert_eq!(init.ended().await.code(), Some(0));
    let calls = whole_lines(&init.dir.path().join("calls"));
    assert!(calls[1].contains("--last-exit code:7"), "{calls:?}");
    assert_eq!(calls.len(), 2);
}

#[tokio::test]
async fn a_good_end_and_a_hopeless_one_are_passed_on_at_once() {
    for code in [0, EXIT_HOPELESS] {
        let mut init = Supervised::start(&format!("echo x >> calls; exit {code}"));
        assert_eq!(init.ended().await.code(), Some(code.into()));
        assert_eq!(whole_lines(&init.dir.path().join("calls")).len(), 1);
    }
}

#[tokio::test]
async fn the_wish_to_stop_reaches_the_drone_and_its_answer_is_the_supervisors() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut init = Supervised::start(
            "trap 'echo term >> got; exit 5' TERM; echo $$ >> ready; while :; do sleep 0.01; done",
        );
        init.lines("ready", 1).await;
        init.signal(signal);
        assert_eq!(init.ended().await.code(), Some(5));
        assert_eq!(whole_lines(&init.dir.path().join("got")), ["term"]);
        assert_eq!(whole_lines(&init.dir.path().join("ready")).len(), 1, "it is not restarted");
    }
}

#[tokio::test]
async fn a_drone_that_does_not_stop_is_killed_after_its_grace() {
    let script = "trap '' TERM; echo $$ > ready; while :; do sleep 0.01; done";
    let mut init = Supervised::with_grace(script, Duration::from_millis(50));
    let drone = init.pid_in("ready").await;
    init.signal(Signal::SIGTERM);
    let status = init.ended().await;
    assert_eq!((status.code(), status.signal()), (Some(137), None));
    assert!(!runs(drone));
}

#[tokio::test]
async fn a_job_outlives_the_drone_process_and_goes_with_the_supervisor() {
    // The first drone starts a job in a session of its own and dies; the second one waits to be stopped.
    let script = "if [ $2 = 0 ]; then \
                      setsid sh -c 'trap \"\" TERM; echo $$ > job; while :; do sleep 0.01; done' & \
                      while [ ! -s job ]; do sleep 0.01; done; kill -9 $$; \
                  fi; \
                  trap 'exit 0' TERM; echo $$ > second; while :; do sleep 0.01; done";
    let mut init = Supervised::start(script);
    let second = init.pid_in("second").await;
    let job = init.pid_in("job").await;
    assert!(runs(job) && runs(second));
    until("the supervisor to be the job's parent", || (stat(job)?.1 == init.pid()).then_some(())).await;
    init.signal(Signal::SIGTERM);
    assert_eq!(init.ended().await.code(), Some(0));
    assert!(!runs(job), "a job that ignores being asked is killed");
    assert!(!runs(second));
}

#[tokio::test]
async fn what_is_left_is_asked_before_it_is_killed() {
    let script = "setsid sh -c 'trap \"echo bye >> asked; exit\" TERM; echo $$ > job; while :; do sleep 0.01; done' & \
                  while [ ! -s job ]; do sleep 0.01; done; exit 0";
    let mut init = Supervised::start(script);
    assert_eq!(init.ended().await.code(), Some(0));
    assert_eq!(whole_lines(&init.dir.path().join("asked")), ["bye"]);
    assert!(!runs(init.pid_in("job").await));
}

#[tokio::test]
async fn a_drone_process_does_not_outlive_a_supervisor_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "t").unwrap();
    let mut init = Command::new(env!("CARGO_BIN_EXE_gadget-drone"))
        .args(["init", "--hub", "http://127.0.0.1:1", "--registration", "d1", "--workspace"])
        .arg(dir.path().join("workspace"))
        .arg("--token-file")
        .arg(&token)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let supervisor: i32 = init.id().unwrap().try_into().unwrap();
    // Bound to its supervisor before it does anything else, such as making the workspace.
    let ready = dir.path().join("workspace/.gadget/workspace.json");
    until("the workspace", || ready.exists().then_some(())).await;
    let children = std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap();
    let drone: i32 = children.trim().parse().unwrap();
    assert!(runs(drone));
    init.kill().await.unwrap();
    until("the drone process to end", || (!runs(drone)).then_some(())).await;
}

#[tokio::test]
async fn orphans_are_reaped_and_leave_no_zombies() {
    let script = "for n in 1 2 3 4 5 6 7 8; do sh -c 'sh -c \"echo \\$\\$ >> orphans\" &' ; done; \
                  echo $$ > ready; trap 'exit 0' TERM; while :; do sleep 0.01; done";
    let mut init = Supervised::start(script);
    let orphans = init.lines("orphans", 8).await;
    init.lines("ready", 1).await;
    let pids: Vec<i32> = orphans.iter().map(|line| line.parse().unwrap()).collect();
    until("all orphans to be reaped", || pids.iter().all(|pid| stat(*pid).is_none()).then_some(())).await;
    init.signal(Signal::SIGTERM);
    assert_eq!(init.ended().await.code(), Some(0));
}

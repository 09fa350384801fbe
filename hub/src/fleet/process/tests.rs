//! Real child processes: shell scripts in the place of the drone's supervisor.

use std::path::Path;

use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

use super::identity::{Identity, Stat};
use super::*;

const HUB: &str = "http://127.0.0.1:1";

/// A supervisor that works until it is told to stop, and says who it is.
const WORKS: &str = "echo $$ >> pids; printf '%s\\n' \"$@\" > args; env > environment; exec sleep 1000";

struct Bench {
    data: TempDir,
    spec: DroneSpec,
    config: ProcessConfig,
}

impl Bench {
    fn new(script: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("supervisor.sh");
        std::fs::write(&path, script).unwrap();
        let environment = [("PATH".into(), std::env::var_os("PATH").unwrap())].into();
        let config = ProcessConfig {
            layout: Layout::new(data.path()),
            program: Program {
                path: "/bin/sh".into(),
                prefix: vec![path.into(), "drone".into()],
                environment,
            },
            hub: HUB.to_owned(),
            grace: Duration::from_millis(100),
            restarts: RestartPolicy { first_wait: Duration::from_millis(1), ..RestartPolicy::default() },
        };
        let spec = DroneSpec {
            id: DroneId::generate(),
            user: "anna".into(),
            session: Some("s1".into()),
            facts: Arc::default(),
        };
        Self { data, spec, config }
    }

    fn open(&self) -> ProcessFleet {
        ProcessFleet::open(self.config.clone()).unwrap()
    }

    fn workspace(&self) -> std::path::PathBuf {
        self.config.layout.workspace(&self.spec)
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.config.layout.token(&self.spec.id)).unwrap()
    }

    fn record(&self) -> Record {
        Record::load(&self.config.layout.record(&self.spec.id)).unwrap().unwrap()
    }

    /// The pids that scripts have left in a file of the workspace, once there are so many.
    async fn pids(&self, file: &str, count: usize) -> Vec<i32> {
        let path = self.workspace().join(file);
        until(&format!("{count} pids in {file}"), || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let pids: Vec<i32> =
                text.split('\n').rev().skip(1).filter_map(|line| line.parse().ok()).collect();
            (pids.len() >= count).then(|| pids.into_iter().rev().collect())
        })
        .await
    }

    async fn latest(&self, fleet: &ProcessFleet) -> FleetEvent {
        fleet.snapshot().await.into_iter().find(|event| event.drone == self.spec.id).unwrap()
    }
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

async fn reason(events: &mut Receiver<FleetEvent>, reason: &str) -> FleetEvent {
    let wanted = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.reason.as_deref() == Some(reason) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wanted)
        .await
        .unwrap_or_else(|_| panic!("no event {reason}"))
}

fn runs(pid: i32) -> bool {
    Stat::read(pid).unwrap().is_some_and(|stat| !stat.zombie)
}

fn kill(pid: i32) {
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[tokio::test]
async fn a_drone_is_told_where_it_works_for_whom_and_nothing_else_of_the_hub() {
    let bench = Bench::new(WORKS);
    let fleet = bench.open();
    fleet.start(bench.spec.clone()).await.unwrap();
    let pid = bench.pids("pids", 1).await[0];
    let read = async |file: &str, last: &str| {
        let path = bench.workspace().join(file);
        until(file, || std::fs::read_to_string(&path).ok().filter(|text| text.contains(last))).await
    };
    let workspace = bench.workspace();
    let token_file = bench.config.layout.token(&bench.spec.id);
    let expected = format!(
        "drone\ninit\n--workspace\n{}\n--hub\n{HUB}\n--registration\n{}\n--token-file\n{}\n--grace\n100ms\n",
        workspace.display(),
        bench.spec.id,
        token_file.display()
    );
    assert_eq!(read("args", "100ms\n").await, expected);
    let environment = read("environment", tree::MARKER).await;
    let names: Vec<&str> =
        environment.lines().filter_map(|line| line.split_once('=')).map(|(n, _)| n).collect();
    assert!(
        names.iter().all(|name| ["PATH", "PWD", "OLDPWD", "_", "SHLVL", tree::MARKER].contains(name)),
        "{names:?}"
    );
    assert_eq!(Stat::read(pid).unwrap().unwrap().group, pid, "a process group of its own");
    assert_eq!(bench.latest(&fleet).await.phase, DronePhase::Starting);
    fleet.close(true).await;
    assert!(!runs(pid));
}

#[tokio::test]
async fn only_the_newest_token_of_a_drone_that_should_run_is_good() {
    let bench = Bench::new(WORKS);
    let fleet = bench.open();
    let id = &bench.spec.id;
    assert_eq!(fleet.authenticate(id, "").await.unwrap(), None, "unknown drone");
    fleet.start(bench.spec.clone()).await.unwrap();
    let first = bench.token();
    let identity = DroneIdentity { drone: id.clone(), user: "anna".into() };
    assert_eq!(fleet.authenticate(id, &first).await.unwrap(), Some(identity));
    assert_eq!(fleet.authenticate(id, "wrong").await.unwrap(), None);
    assert_eq!(
        fleet.authenticate(&DroneId::generate(), &first).await.unwrap(),
        None,
        "another drone's token"
    );
    fleet.suspend(id).await.unwrap();
    assert_eq!(fleet.authenticate(id, &first).await.unwrap(), None, "a stopped drone's token");
    fleet.start(bench.spec.clone()).await.unwrap();
    assert_eq!(fleet.authenticate(id, &first).await.unwrap(), None, "the token of the process before");
    assert!(fleet.authenticate(id, &bench.token()).await.unwrap().is_some());
    let on_disk = serde_json::to_string(&bench.record()).unwrap();
    assert!(!on_disk.contains(&bench.token()), "the record holds the hash alone");
    fleet.close(true).await;
}

#[tokio::test]
async fn many_starts_are_one() {
    let bench = Bench::new(WORKS);
    let fleet = bench.open();
    let starts = join_all((0..8).map(|_| fleet.start(bench.spec.clone()))).await;
    assert!(starts.iter().all(Result::is_ok));
    let pid = bench.pids("pids", 1).await[0];
    fleet.start(bench.spec.clone()).await.unwrap();
    fleet.close(true).await;
    assert_eq!(bench.pids("pids", 1).await, [pid]);
}

#[tokio::test]
async fn a_drone_that_keeps_dying_is_restarted_with_back_off_and_then_given_up_with_its_last_words() {
    let bench = Bench::new("echo $$ >> pids; echo 'the disk is on fire' >&2; exit 3");
    let fleet = bench.open();
    let mut events = fleet.watch();
    fleet.start(bench.spec.clone()).await.unwrap();
    let first = reason(&mut events, "ProcessExited").await;
    assert_eq!((first.phase, first.restarts), (DronePhase::Recovering, 1));
    let last = reason(&mut events, "GivenUp").await;
    assert_eq!((last.phase, last.restarts), (DronePhase::Failed, 4));
    let message = last.message.unwrap();
    assert!(message.contains("exit status: 3") && message.contains("the disk is on fire"), "{message}");
    assert_eq!(bench.pids("pids", 5).await.len(), 5);

    fleet.start(bench.spec.clone()).await.unwrap();
    reason(&mut events, "Started").await;
    reason(&mut events, "GivenUp").await;
    fleet.close(true).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_reported_and_given_up() {
    let mut bench = Bench::new(WORKS);
    bench.config.program.path = "/nonexistent/gadget".into();
    let fleet = bench.open();
    let mut events = fleet.watch();
    fleet.start(bench.spec.clone()).await.unwrap();
    let message = reason(&mut events, "StartFailed").await.message.unwrap();
    assert!(message.contains("/nonexistent/gadget"), "{message}");
    assert_eq!(reason(&mut events, "GivenUp").await.phase, DronePhase::Failed);
    fleet.close(true).await;
}

#[tokio::test]
async fn a_drone_that_ends_by_itself_is_left_alone_and_a_refused_one_fails_at_once() {
    let bench = Bench::new("echo 'directory /w is neither empty nor a workspace' >&2; exit $(cat ../code)");
    let fleet = bench.open();
    let mut events = fleet.watch();
    let workspaces = bench.workspace().parent().unwrap().to_owned();
    std::fs::create_dir_all(&workspaces).unwrap();
    std::fs::write(workspaces.join("code"), "0").unwrap();
    fleet.start(bench.spec.clone()).await.unwrap();
    assert_eq!(reason(&mut events, "ProcessExited").await.phase, DronePhase::Offline);
    std::fs::write(workspaces.join("code"), "78").unwrap();
    fleet.start(bench.spec.clone()).await.unwrap();
    let refused = reason(&mut events, "Refused").await;
    assert_eq!((refused.phase, refused.restarts), (DronePhase::Failed, 0));
    assert!(refused.message.unwrap().contains("neither empty nor a workspace"));
    fleet.close(true).await;
}

#[tokio::test]
async fn a_drone_that_is_asked_to_stop_ends_in_its_own_way() {
    let mut bench =
        Bench::new("trap 'echo 1 >> ended; exit 0' TERM; echo $$ >> pids; while :; do sleep 0.01; done");
    bench.config.grace = Duration::from_secs(30);
    let fleet = bench.open();
    fleet.start(bench.spec.clone()).await.unwrap();
    let pid = bench.pids("pids", 1).await[0];
    fleet.suspend(&bench.spec.id).await.unwrap();
    assert!(!runs(pid));
    assert_eq!(bench.pids("ended", 1).await, [1]);
    let latest = bench.latest(&fleet).await;
    assert_eq!((latest.phase, latest.reason.as_deref()), (DronePhase::Suspended, Some("Suspended")));
    assert_eq!(bench.record().process, None);
    assert!(bench.workspace().is_dir());
    fleet.close(true).await;
}

#[tokio::test]
async fn a_stubborn_drone_is_killed_with_all_that_descends_from_it() {
    let bench = Bench::new(
        "trap '' TERM; echo $$ >> pids; \
         sh -c 'echo $$ >> pids; sleep 1000' & \
         setsid sh -c 'echo $$ >> pids; setsid sh -c \"echo \\$\\$ >> pids; sleep 1000\" & sleep 1000' & \
         while :; do sleep 0.01; done",
    );
    let fleet = bench.open();
    fleet.start(bench.spec.clone()).await.unwrap();
    let pids = bench.pids("pids", 4).await;
    assert!(pids.iter().all(|pid| runs(*pid)));
    fleet.terminate(&bench.spec.id).await.unwrap();
    assert_eq!(pids.iter().filter(|pid| runs(**pid)).count(), 0);
    fleet.close(true).await;
}

#[tokio::test]
async fn what_a_dead_drone_left_behind_ends_when_it_is_stopped() {
    let bench = Bench::new("setsid sh -c 'echo $$ >> jobs; sleep 1000' & echo $$ >> pids; exec sleep 1000");
    let fleet = bench.open();
    let mut events = fleet.watch();
    fleet.start(bench.spec.clone()).await.unwrap();
    let (job, pid) = (bench.pids("jobs", 1).await[0], bench.pids("pids", 1).await[0]);
    kill(pid);
    reason(&mut events, "Restarted").await;
    assert!(runs(job), "a job outlives the drone, the next one finds it again");
    fleet.suspend(&bench.spec.id).await.unwrap();
    assert!(!runs(job));
    fleet.close(true).await;
}

#[tokio::test]
async fn a_drone_that_worked_on_is_adopted_by_the_next_fleet_and_still_watched() {
    let bench = Bench::new(WORKS);
    let first = bench.open();
    first.start(bench.spec.clone()).await.unwrap();
    let (pid, token) = (bench.pids("pids", 1).await[0], bench.token());
    first.close(false).await;
    assert!(runs(pid));

    let second = bench.open();
    let mut events = second.watch();
    assert_eq!(bench.latest(&second).await.reason.as_deref(), Some("Adopted"));
    assert!(second.authenticate(&bench.spec.id, &token).await.unwrap().is_some());
    second.start(bench.spec.clone()).await.unwrap();
    assert_eq!(bench.pids("pids", 1).await, [pid], "it is not started a second time");

    kill(pid);
    assert_eq!(reason(&mut events, "Restarted").await.restarts, 1);
    let pids = bench.pids("pids", 2).await;
    assert!(second.authenticate(&bench.spec.id, &token).await.unwrap().is_none());
    second.close(true).await;
    assert_eq!(pids.iter().filter(|pid| runs(**pid)).count(), 0);
}

#[tokio::test]
async fn an_adopted_drone_is_stopped_like_any_other() {
    let bench = Bench::new(WORKS);
    let first = bench.open();
    first.start(bench.spec.clone()).await.unwrap();
    let pid = bench.pids("pids", 1).await[0];
    first.close(false).await;
    let second = bench.open();
    second.terminate(&bench.spec.id).await.unwrap();
    assert!(!runs(pid));
    second.close(true).await;
}

#[tokio::test]
async fn a_process_that_the_last_hub_had_no_time_to_write_down_is_found() {
    let bench = Bench::new(WORKS);
    let first = bench.open();
    first.start(bench.spec.clone()).await.unwrap();
    let pid = bench.pids("pids", 1).await[0];
    first.close(false).await;
    let record = Record { process: None, ..bench.record() };
    record.save(&bench.config.layout.record(&bench.spec.id)).unwrap();

    let second = bench.open();
    assert_eq!(bench.latest(&second).await.reason.as_deref(), Some("Adopted"));
    second.close(true).await;
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_stranger_that_got_the_drones_pid_is_neither_adopted_nor_harmed() {
    let bench = Bench::new(WORKS);
    let first = bench.open();
    first.start(bench.spec.clone()).await.unwrap();
    bench.pids("pids", 1).await;
    first.close(true).await;
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(stranger.id()).unwrap();
    let identity = Identity::of(pid).unwrap().unwrap();
    let reused = Identity { start_time: identity.start_time - 1, ..identity };
    let record = Record { process: Some(reused), ..bench.record() };
    record.save(&bench.config.layout.record(&bench.spec.id)).unwrap();

    let second = bench.open();
    let latest = bench.latest(&second).await;
    assert_eq!((latest.phase, latest.reason.as_deref()), (DronePhase::Offline, Some("ProcessExited")));
    second.terminate(&bench.spec.id).await.unwrap();
    assert!(runs(pid));
    second.close(true).await;
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_drone_that_was_told_another_address_is_restarted() {
    let mut bench = Bench::new(WORKS);
    let first = bench.open();
    first.start(bench.spec.clone()).await.unwrap();
    let pid = bench.pids("pids", 1).await[0];
    first.close(false).await;
    bench.config.hub = "http://127.0.0.1:2".to_owned();
    let second = bench.open();
    let pids = bench.pids("pids", 2).await;
    assert!(!runs(pid) && runs(pids[1]));
    assert_eq!(bench.record().hub, bench.config.hub);
    second.close(true).await;
}

#[tokio::test]
async fn a_terminated_drone_is_forgotten_and_its_workspace_stays_until_it_is_deleted() {
    let bench = Bench::new(WORKS);
    let fleet = bench.open();
    fleet.start(bench.spec.clone()).await.unwrap();
    bench.pids("pids", 1).await;
    let refused = fleet.delete_workspace(bench.spec.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("failed to delete the workspace"), "{refused}");
    fleet.terminate(&bench.spec.id).await.unwrap();
    assert!(matches!(fleet.suspend(&bench.spec.id).await, Err(FleetError::Unknown(_))));
    assert_eq!(fleet.snapshot().await, []);
    assert!(!bench.config.layout.drone(&bench.spec.id).exists());
    assert!(bench.workspace().is_dir());
    fleet.delete_workspace(bench.spec.clone()).await.unwrap();
    assert!(!bench.workspace().exists());
    fleet.delete_workspace(bench.spec.clone()).await.unwrap();
    fleet.close(true).await;
}

#[tokio::test]
async fn a_directory_that_the_user_chose_is_worked_in_and_never_deleted() {
    let bench = Bench::new(WORKS);
    let chosen = bench.data.path().join("chosen");
    std::fs::create_dir(&chosen).unwrap();
    let session = bench.spec.session.clone().unwrap();
    bench.config.layout.assign_workspace(&session, &chosen).unwrap();
    let fleet = bench.open();
    fleet.start(bench.spec.clone()).await.unwrap();
    bench.pids("pids", 1).await;
    fleet.terminate(&bench.spec.id).await.unwrap();
    fleet.delete_workspace(bench.spec.clone()).await.unwrap();
    assert!(!bench.workspace().exists());
    assert!(chosen.join("pids").exists());
    assert!(Path::new(&chosen).is_dir());
    fleet.close(true).await;
}

#[tokio::test]
async fn a_closed_fleet_starts_nothing() {
    let bench = Bench::new(WORKS);
    let fleet = bench.open();
    fleet.start(bench.spec.clone()).await.unwrap();
    let pid = bench.pids("pids", 1).await[0];
    fleet.close(true).await;
    assert!(fleet.start(bench.spec.clone()).await.is_err());
    assert!(!runs(pid));
    assert_eq!(bench.pids("pids", 1).await, [pid]);
}

#[tokio::test]
async fn a_broken_record_of_one_drone_does_not_keep_the_others_from_working() {
    let bench = Bench::new(WORKS);
    let broken = bench.config.layout.drone(&"broken".into());
    std::fs::create_dir_all(&broken).unwrap();
    std::fs::write(broken.join("process.json"), "{").unwrap();
    let fleet = bench.open();
    assert_eq!(fleet.snapshot().await, []);
    fleet.start(bench.spec.clone()).await.unwrap();
    bench.pids("pids", 1).await;
    fleet.close(true).await;
}

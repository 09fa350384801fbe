use std::sync::Barrier;

use super::*;

fn job() -> (tempfile::TempDir, JobDirectory) {
    let workspace = tempfile::tempdir().unwrap();
    let job = JobDirectory::of(workspace.path(), "one");
    let spec = Spec {
        marker: "m".into(),
        command: "true".into(),
        cwd: "/".into(),
        timeout_ms: 1000,
        limits: Limits::default(),
        writable: Vec::new(),
    };
    job.create(&spec).unwrap();
    (workspace, job)
}

fn exit() -> Exit {
    Exit {
        code: Some(0),
        signal: None,
        reason: Reason::Ended,
        duration_ms: 1,
        leftovers: 0,
        out_of_memory: 0,
        survivors: 0,
        confined: true,
    }
}

#[test]
fn of_many_runners_one_gets_the_job() {
    let (_workspace, job) = job();
    let gate = Barrier::new(8);
    let winners = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    gate.wait();
                    job.claim(&process::own_identity().unwrap()).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
    });
    assert_eq!(winners, 1);
}

#[test]
fn the_files_tell_where_a_job_is_in_its_life() {
    let (_workspace, job) = job();
    assert_eq!(job.state().unwrap(), State::Unclaimed);
    let me = process::own_identity().unwrap();
    assert!(job.claim(&me).unwrap());
    assert_eq!(job.state().unwrap(), State::Running(me));
    job.end(&exit()).unwrap();
    assert_eq!(job.state().unwrap(), State::Ended(exit()));
}

#[test]
fn a_runner_of_another_boot_or_with_a_reused_process_id_is_gone() {
    let me = process::own_identity().unwrap();
    let others =
        [Identity { boot: "another".into(), ..me.clone() }, Identity { started: me.started + 1, ..me }];
    for other in others {
        let (_workspace, job) = job();
        job.claim(&other).unwrap();
        assert_eq!(job.state().unwrap(), State::Lost(other));
    }
}

#[test]
fn a_job_that_is_there_already_keeps_its_specification() {
    let (_workspace, job) = job();
    let other = Spec { command: "false".into(), ..job.spec().unwrap() };
    job.create(&other).unwrap();
    assert_eq!(job.spec().unwrap().command, "true");
}

#[test]
fn a_job_that_runs_or_waits_is_never_forgotten_however_many_come_after_it() {
    let (workspace, running) = job();
    running.claim(&process::own_identity().unwrap()).unwrap();
    let spec = running.spec().unwrap();
    let waiting = JobDirectory::of(workspace.path(), "waiting");
    waiting.create(&spec).unwrap();
    for number in 0..KEPT.entries + 10 {
        let job = JobDirectory::of(workspace.path(), &format!("ended-{number}"));
        job.create(&spec).unwrap();
        job.end(&exit()).unwrap();
    }
    assert!(JobDirectory::all(workspace.path()).unwrap().len() <= KEPT.entries + 1);
    assert!(matches!(running.state().unwrap(), State::Running(_)));
    assert_eq!(waiting.spec().unwrap(), spec);
}

//! Whatever happens in whatever order, with watches that lag, answers that are lost and operators that die at any write:
//! once it is quiet, there is one drone, one pod and one workspace for each session, and nothing is written any more.

use crds::chat_session::SessionPhase;
use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestCaseError};

use super::world::Fault;
use super::*;

const NAMES: [&str; 2] = ["x", "y"];

#[derive(Clone, Debug)]
enum Step {
    /// The watches say so much more.
    Watch(usize),
    Reconcile,
    Garbage,
    Time(u64),
    Restart,
    Fault(u16),
    AnswerLost,
    Suspend(usize),
    Resume(usize),
    Grow(usize),
    Retain(usize, bool),
    DeleteSession(usize),
    MakeSession(usize),
    DeleteDrone(usize),
    DeletePod(usize),
    RunPod(usize),
    PodGoes(usize),
    Crash(usize),
    Exit(usize),
    Evict(usize),
    Bind,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..NAMES.len();
    prop_oneof![
        6 => (1..4_usize).prop_map(Step::Watch),
        8 => Just(Step::Reconcile),
        1 => Just(Step::Garbage),
        2 => (0..20_u64).prop_map(Step::Time),
        1 => Just(Step::Restart),
        1 => prop_oneof![Just(409), Just(429), Just(500)].prop_map(Step::Fault),
        1 => Just(Step::AnswerLost),
        1 => which.clone().prop_map(Step::Suspend),
        1 => which.clone().prop_map(Step::Resume),
        1 => which.clone().prop_map(Step::Grow),
        1 => (which.clone(), any::<bool>()).prop_map(|(which, retain)| Step::Retain(which, retain)),
        1 => which.clone().prop_map(Step::DeleteSession),
        3 => which.clone().prop_map(Step::MakeSession),
        1 => which.clone().prop_map(Step::DeleteDrone),
        1 => which.clone().prop_map(Step::DeletePod),
        3 => which.clone().prop_map(Step::RunPod),
        2 => which.clone().prop_map(Step::PodGoes),
        1 => which.clone().prop_map(Step::Crash),
        1 => which.clone().prop_map(Step::Exit),
        1 => which.prop_map(Step::Evict),
        1 => Just(Step::Bind),
    ]
}

async fn take(sim: &mut Sim, step: Step) {
    let patch = |which: usize, spec: Value| {
        let _ = sim.world.lock().patch("chatsessions", NAMES[which], &json!({ "spec": spec }), false);
    };
    let pod = |which: usize, status: Value| {
        let _ = sim.world.lock().patch("pods", NAMES[which], &json!({ "status": status }), true);
    };
    match step {
        Step::Watch(most) => sim.watch(most),
        Step::Reconcile => {
            sim.reconcile_one().await;
        }
        Step::Garbage => sim.world.lock().collect_garbage(),
        Step::Time(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
        Step::Restart => sim.restart(),
        Step::Fault(code) => sim.world.lock().faults.push_back(Fault::Code(code)),
        Step::AnswerLost => sim.world.lock().faults.push_back(Fault::AnswerLost),
        Step::Suspend(which) => patch(which, json!({ "operatingMode": "Suspended" })),
        Step::Resume(which) => patch(which, json!({ "operatingMode": "Running" })),
        Step::Grow(which) => patch(which, json!({ "workspace": { "size": "20Gi" } })),
        Step::Retain(which, retain) => {
            let retention = if retain { "Retain" } else { "Delete" };
            patch(which, json!({ "workspace": { "retention": retention } }));
        }
        Step::DeleteSession(which) => {
            let _ = sim.world.lock().delete("chatsessions", NAMES[which]);
        }
        Step::MakeSession(which) => make(sim, which),
        Step::DeleteDrone(which) => {
            let _ = sim.world.lock().delete("droneregistrations", NAMES[which]);
        }
        Step::DeletePod(which) => {
            let _ = sim.world.lock().delete("pods", NAMES[which]);
        }
        Step::RunPod(which) => run(sim, which),
        Step::PodGoes(which) => pod_goes(sim, which),
        Step::Crash(which) => pod(which, pod_with("Running", terminated(1, "Error", ""), 0, json!({}))),
        Step::Exit(which) => pod(which, pod_with("Succeeded", terminated(0, "Completed", ""), 0, json!({}))),
        Step::Evict(which) => {
            pod(which, json!({ "phase": "Failed", "reason": "Evicted", "message": "disk" }));
        }
        Step::Bind => sim.bind_claims(),
    }
}

fn make(sim: &Sim, which: usize) {
    if sim.get("chatsessions", NAMES[which]).is_none() {
        sim.session(NAMES[which]);
    }
}

fn run(sim: &Sim, which: usize) {
    let is_fresh = sim.get("pods", NAMES[which]).is_some_and(|pod| {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        pod["metadata"]["deletionTimestamp"].is_null() && !matches!(phase, "Succeeded" | "Failed")
    });
    if is_fresh {
        sim.run_pod(NAMES[which]);
    }
}

fn pod_goes(sim: &Sim, which: usize) {
    let goes =
        sim.get("pods", NAMES[which]).is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_string());
    if goes {
        sim.let_pod_go(NAMES[which]);
    }
}

/// Nodes do their work, the faults are over, and time passes.
async fn calm_down(sim: &Sim) {
    sim.world.lock().faults.clear();
    for _ in 0..40 {
        sim.settle().await;
        for which in 0..NAMES.len() {
            pod_goes(sim, which);
            run(sim, which);
        }
        sim.wait(Duration::from_secs(30)).await;
    }
}

fn is_at_rest(sim: &Sim) -> Result<(), TestCaseError> {
    for name in NAMES {
        let session = sim.get("chatsessions", name);
        let drone = sim.get("droneregistrations", name);
        let pod = sim.get("pods", name);
        let Some(session) = session else {
            prop_assert!(drone.is_none() && pod.is_none(), "{name} left something behind");
            continue;
        };
        let status = sim.session_status(name);
        let phase = status.phase;
        let suspended = session["spec"]["operatingMode"] == "Suspended";
        match phase {
            Some(SessionPhase::Suspended) => prop_assert!(suspended && pod.is_none(), "{name}"),
            Some(SessionPhase::Ready) => {
                prop_assert!(!suspended && pod.is_some(), "{name}");
                let drone = drone.unwrap();
                prop_assert_eq!(&drone["metadata"]["ownerReferences"][0]["uid"], &session["metadata"]["uid"]);
                let pod = pod.unwrap();
                prop_assert_eq!(&pod["metadata"]["ownerReferences"][0]["uid"], &drone["metadata"]["uid"]);
                let claim = sim.get("persistentvolumeclaims", &format!("ws-{name}")).unwrap();
                let goes_with_it = session["spec"]["workspace"]["retention"] == "Delete";
                let owner = &claim["metadata"]["ownerReferences"][0]["uid"];
                prop_assert_eq!(goes_with_it, !owner.is_null());
            }
            Some(SessionPhase::Failed) => {
                // Given up after many failures, or its workspace is gone: said, and nothing runs.
                prop_assert!(pod.is_none() && !suspended, "{name} {status:?}");
            }
            other => prop_assert!(false, "{name} is {other:?}: {status:?}"),
        }
        prop_assert_eq!(status.observed_generation, session["metadata"]["generation"].as_i64());
    }
    Ok(())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn everything_comes_to_rest(steps in prop::collection::vec(step(), 1..120)) {
        block_on(async {
            let mut sim = Sim::new();
            make(&sim, 0);
            for step in steps {
                take(&mut sim, step).await;
            }
            calm_down(&sim).await;
            is_at_rest(&sim)?;
            sim.writes();
            sim.restart();
            sim.wait(Duration::from_mins(30)).await;
            prop_assert_eq!(sim.writes(), [""; 0], "it is quiet, also for a new operator");
            is_at_rest(&sim)
        })?;
    }
}

/// An operator dies at each of the writes of a launch, a suspend and a deletion: before it, and after it.
#[tokio::test(start_paused = true)]
async fn an_operator_may_die_at_any_write() {
    for fault in [Fault::Code(500), Fault::AnswerLost] {
        for at in 0..12 {
            let mut sim = Sim::new();
            sim.session_with("x", json!({ "workspace": { "retention": "Delete" } }));
            let mut left = at;
            for stage in 0..3 {
                match stage {
                    0 => {}
                    1 => sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": "Suspended" } })),
                    _ => sim.delete("chatsessions", "x"),
                }
                for _ in 0..20 {
                    die_at_write(&mut sim, &mut left, fault).await;
                    pod_goes(&sim, 0);
                    run(&sim, 0);
                }
                let phase = sim.session_status("x").phase;
                match stage {
                    0 => assert_eq!(phase, Some(SessionPhase::Ready), "{fault:?} at {at}"),
                    1 => assert_eq!(phase, Some(SessionPhase::Suspended), "{fault:?} at {at}"),
                    _ => {
                        for plural in ["droneregistrations", "pods", "persistentvolumeclaims"] {
                            assert_eq!(sim.names(plural), [""; 0], "{fault:?} at {at}");
                        }
                    }
                }
            }
        }
    }
}

/// Goes on until nothing is to be done. At the write at which it is to die, a new operator takes over.
async fn die_at_write(sim: &mut Sim, left: &mut usize, fault: Fault) {
    for _ in 0..200 {
        sim.world.lock().collect_garbage();
        sim.watch(usize::MAX);
        let before = sim.world.lock().writes.len();
        if *left == 0 {
            sim.world.lock().faults.push_back(fault);
        }
        let worked = sim.reconcile_one().await;
        let is_dead = *left == 0 && sim.world.lock().faults.pop_back().is_none();
        let writes = sim.world.lock().writes.len() - before;
        *left = if is_dead { usize::MAX } else { left.saturating_sub(writes) };
        if is_dead {
            sim.restart();
        } else if !worked {
            tokio::time::advance(Duration::from_secs(2)).await;
            if !sim.reconcile_one().await {
                return;
            }
        }
    }
}

//! The drone as a program: how soon it is there, what it weighs, how soon it and what it runs are gone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scripted_model::script::{Answer, Script, Step};
use serde_json::json;
use tests::deadline::{eventually, within};
use tests::processes::{self, Role};
use tests::stage::Stage;
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::resident;
use crate::raw_peer::{Packet, RawPeer};
use crate::relay::{Pair, Target};
use crate::report::{Figure, Goal};
use crate::sample::{Sample, as_f64};

const STARTS: usize = 40;
const WARM_UPS: usize = 3;
const ABORTS: u32 = 30;
const STOPS: u32 = 20;
/// After which a drone with nothing to do counts as idle.
const SETTLED: Duration = Duration::from_millis(500);
/// Between two looks at processes that end.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) async fn run(target: &Path) -> Result<Vec<Figure>> {
    let program = target.join("release/gadget-drone");
    let program = if program.exists() { program } else { target.join("gadget-drone") };
    let Starts { available, version, drone, supervisor, stop, survivors } = starts(&program).await?;
    let busy = with_commands().await?;
    let size = stripped_size(&program).await?;
    let megabytes = |bytes: u64| as_f64(bytes) / 1e6;
    Ok(vec![
        Figure::new("exec → available at the hub, p50", "ms", available.millis(0.5), available.len())
            .against("exec of the same binary with --version", version.millis(0.5))
            .goal(Goal::AtMost(50.0)),
        Figure::new("exec → available at the hub, p99", "ms", available.millis(0.99), available.len())
            .against("exec of the same binary with --version", version.millis(0.99)),
        Figure::new("drone with a session, idle", "MB", megabytes(drone), available.len())
            .goal(Goal::AtMost(12.0)),
        Figure::new("its supervisor", "MB", megabytes(supervisor), available.len()),
        Figure::new("binary, stripped", "MB", megabytes(size), 1).goal(Goal::AtMost(12.0)),
        Figure::new("TERM → supervisor gone, idle, p99", "ms", stop.millis(0.99), stop.len())
            .goal(Goal::AtMost(300.0)),
        Figure::new(
            "TERM → supervisor gone, command running, p99",
            "ms",
            busy.stop.millis(0.99),
            busy.stop.len(),
        )
        .goal(Goal::AtMost(300.0)),
        Figure::new(
            "processes that survive a stop",
            "",
            as_f64(survivors + busy.stop_survivors),
            stop.len() + busy.stop.len(),
        )
        .count(Goal::Exactly(0.0)),
        Figure::new(
            "abort pressed → shown, command running, p50",
            "ms",
            busy.abort.millis(0.5),
            busy.abort.len(),
        ),
        Figure::new(
            "abort pressed → shown, command running, p99",
            "ms",
            busy.abort.millis(0.99),
            busy.abort.len(),
        )
        .goal(Goal::AtMost(300.0)),
        Figure::new(
            "processes of the command left when that is shown",
            "",
            as_f64(busy.abort_survivors),
            busy.abort.len(),
        )
        .count(Goal::Exactly(0.0)),
    ])
}

struct Starts {
    available: Sample,
    version: Sample,
    /// Bytes, the most that any had.
    drone: u64,
    supervisor: u64,
    stop: Sample,
    survivors: u64,
}

/// Drones on workspaces of their own, one after the other, at a hub whose fleet takes any.
async fn starts(program: &Path) -> Result<Starts> {
    let server = crate::hub_server::start(None, STARTS + WARM_UPS, 2)?;
    let Target { url, pairs } = serde_json::from_str(&server.ready)?;
    let mut starts = Starts {
        available: Sample::new()?,
        version: Sample::new()?,
        drone: 0,
        supervisor: 0,
        stop: Sample::new()?,
        survivors: 0,
    };
    for (number, pair) in pairs.iter().enumerate() {
        let mut discarded = (Sample::new()?, Sample::new()?);
        let (available, version) = if number < WARM_UPS {
            (&mut discarded.0, &mut discarded.1)
        } else {
            (&mut starts.available, &mut starts.version)
        };
        let began = Instant::now();
        let floor = Command::new(program).arg("--version").stdout(Stdio::null()).status().await?;
        version.record(began.elapsed())?;
        if !floor.success() {
            bail!("{} --version: {floor}", program.display());
        }

        let home = tempfile::tempdir()?;
        let workspace = home.path().join("workspace");
        std::fs::create_dir(&workspace)?;
        let token = home.path().join("token");
        std::fs::write(&token, pair.drone_auth["token"].as_str().context("a drone without a token")?)?;
        let mut ide = waiting_ide(&url, pair).await?;
        let began = Instant::now();
        let mut child = Command::new(program)
            .args(["init", "--hub", &url, "--registration", &pair.registration, "--grace", "2500ms"])
            .arg("--workspace")
            .arg(&workspace)
            .arg("--token-file")
            .arg(&token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start the drone")?;
        within("the drone at the hub", ide.wait_for("droneStatus", |_| None)).await??;
        available.record(began.elapsed())?;
        tokio::time::sleep(SETTLED).await;

        for process in processes::of(&workspace)? {
            let bytes = resident(process.pid.as_raw().try_into()?)?;
            match process.role {
                Role::Drone => starts.drone = starts.drone.max(bytes),
                Role::Supervisor => starts.supervisor = starts.supervisor.max(bytes),
                Role::Hub | Role::Job => bail!("a strange process: {process:?}"),
            }
        }
        let supervisor = Pid::from_raw(child.id().context("the drone has ended")?.try_into()?);
        let began = Instant::now();
        kill(supervisor, Signal::SIGTERM)?;
        within("the supervisor's end", child.wait()).await??;
        starts.stop.record(began.elapsed())?;
        starts.survivors += u64::try_from(processes::of(&workspace)?.len())?;
    }
    Ok(starts)
}

/// An IDE that has asked for its session, whose drone is not there yet.
async fn waiting_ide(url: &str, pair: &Pair) -> Result<RawPeer> {
    let mut ide = RawPeer::connect(url, &pair.ide_auth).await?;
    let follow = format!("\"followSession\",{}", json!({ "chatSessionId": pair.session }));
    let ack = ide.call(&follow, |_| None).await?;
    if ack[0] != true {
        bail!("the session cannot be followed: {ack}");
    }
    let (registration, project, session) =
        (json!(pair.registration), json!(pair.project), json!(pair.session));
    ide.feed(&format!("\"requestSessionLock\",{registration},{project},{session}")).await?;
    ide.flush().await?;
    Ok(ide)
}

struct Busy {
    abort: Sample,
    abort_survivors: u64,
    stop: Sample,
    stop_survivors: u64,
}

/// Aborts and stops while a shell command runs, with a process in the background.
async fn with_commands() -> Result<Busy> {
    // Found again by its argument.
    let nap = format!("{}.25", 100_000 + std::process::id());
    let command = json!({ "command": format!("sleep {nap} & sleep {nap}") });
    let script = Script::new([Answer::new([Step::say("Now. "), Step::call("shell_exec", command)])]);
    let stage = Stage::with_script(script).await?;
    let mut busy =
        Busy { abort: Sample::new()?, abort_survivors: 0, stop: Sample::new()?, stop_survivors: 0 };
    let project = stage.api.create_project("drone", None).await?;
    let session = stage.api.create_session(&project).await?;
    let mut ide = RawPeer::connect(&stage.gadget.origin(), &json!({ "token": stage.api.token() })).await?;
    let lock = format!("\"requestSessionLock\",null,{},{}", json!(project.id), json!(session.id));
    within("the session", ide.call(&lock, |_| None)).await??;
    for _ in 0..ABORTS {
        work(&mut ide, &nap).await?;
        let began = Instant::now();
        ide.feed("\"abortWorkOrder\"").await?;
        ide.flush().await?;
        let end = within("the end of the turn", completion(&mut ide)).await??;
        busy.abort.record(began.elapsed())?;
        busy.abort_survivors += u64::try_from(sleepers(&nap)?.len())?;
        if !end.contains("aborted") {
            bail!("the turn ended otherwise: {end}");
        }
        // The next one must not count what this one left.
        eventually("the end of the command", || async { Ok(sleepers(&nap)?.is_empty().then_some(())) })
            .await?;
    }
    drop(ide);

    for number in 0..STOPS {
        // A session of its own: a stopped drone leaves its turn to be gone on with.
        let session = stage.api.create_session(&project).await?;
        let tab = json!({ "token": stage.api.token(), "tabId": format!("stop-{number}") });
        let mut ide = RawPeer::connect(&stage.gadget.origin(), &tab).await?;
        let lock = format!("\"requestSessionLock\",null,{},{}", json!(project.id), json!(session.id));
        within("the session", ide.call(&lock, |_| None)).await??;
        work(&mut ide, &nap).await?;
        let workspace = stage.gadget.workspace(&session.id);
        let before = processes::of(&workspace)?;
        let supervisor = before.iter().find(|process| process.role == Role::Supervisor);
        let supervisor = supervisor.context("the drone has no supervisor")?.pid;
        // The hub starts a drone anew whose turn is not over: only those of before count.
        let all: Vec<Pid> = before.iter().map(|process| process.pid).chain(sleepers(&nap)?).collect();
        let began = Instant::now();
        kill(supervisor, Signal::SIGTERM)?;
        while is_running(supervisor) {
            tokio::time::sleep(LOOK).await;
        }
        busy.stop.record(began.elapsed())?;
        busy.stop_survivors += u64::try_from(all.into_iter().filter(|pid| is_running(*pid)).count())?;
        stage.api.terminate_drone(&session.id).await?;
        eventually("the end of the command", || async { Ok(sleepers(&nap)?.is_empty().then_some(())) })
            .await?;
    }
    Ok(busy)
}

/// A turn up to where its command runs, both processes of it.
async fn work(ide: &mut RawPeer, nap: &str) -> Result<()> {
    let ack = within("the prompt's answer", ide.call("\"submitPrompt\",\"Go\"", |_| None)).await??;
    if ack[0] != true {
        bail!("the prompt was refused: {ack}");
    }
    eventually("the command", || async { Ok((sleepers(nap)?.len() == 2).then_some(())) }).await
}

async fn completion(ide: &mut RawPeer) -> Result<String> {
    loop {
        if let Packet::Event { json, .. } = ide.packet().await?
            && json.starts_with("[\"workOrderComplete\"")
        {
            return Ok(json);
        }
    }
}

/// The `sleep` processes of the commands.
fn sleepers(nap: &str) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("failed to list processes")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has ended meanwhile, or is a zombie, has no command line.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line == format!("sleep\0{nap}\0").into_bytes() {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

/// A zombie does not run any more.
fn is_running(pid: Pid) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

async fn stripped_size(program: &Path) -> Result<u64> {
    let directory = tempfile::tempdir()?;
    let stripped: PathBuf = directory.path().join("gadget-drone");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(program).status().await;
    if !status.context("failed to start strip")?.success() {
        bail!("failed to strip {}", program.display());
    }
    Ok(std::fs::metadata(&stripped)?.len())
}

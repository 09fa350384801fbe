//! The task that keeps one drone: starts it, watches it, starts it again, stops it. Sole owner of the drone's record.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::value::DronePhase;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::launch::{self, Running};
use super::policy::{Restarts, Verdict};
use super::record::Record;
use super::token::TokenHash;
use super::{ProcessConfig, StopError, output, stop, tree};
use crate::fleet::{DroneSpec, FleetEvent};

/// How often the output of a running drone is looked at.
const TRIM_EVERY: Duration = Duration::from_mins(1);
/// What the supervisor needs beyond the drone's grace to end what is left.
const SUPERVISOR_MARGIN: Duration = Duration::from_millis(750);
/// The exit code of a drone that no restart can help: its workspace or its arguments are refused.
const HOPELESS: i32 = 78;

pub(super) enum Command {
    Start {
        spec: DroneSpec,
        done: oneshot::Sender<()>,
    },
    Stop {
        why: StopReason,
        done: oneshot::Sender<Result<(), StopError>>,
    },
    /// The hub goes away and the drone works on.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    Suspend,
    Terminate,
    HubStops,
}

/// What the fleet may look at beside the keeper. Locked for a copy at a time, never over an await.
#[derive(Debug)]
pub(super) struct Shared {
    pub latest: Mutex<FleetEvent>,
    /// Absent while no process should run: then no token is good.
    pub token: Mutex<Option<TokenHash>>,
}

pub(super) struct Keeper {
    pub config: Arc<ProcessConfig>,
    pub record: Record,
    pub restarts: Restarts,
    pub commands: mpsc::Receiver<Command>,
    pub events: broadcast::Sender<FleetEvent>,
    pub shared: Arc<Shared>,
}

/// Where the drone is, and so what the keeper waits for.
pub(super) enum Life {
    Idle,
    Running {
        running: Running,
        since: Instant,
    },
    /// It runs, but was told an address at which the hub is no more.
    Outdated {
        running: Running,
    },
    BackOff {
        until: Instant,
    },
    /// The keeper is done.
    Over,
}

impl Keeper {
    pub(super) async fn run(mut self, mut life: Life) {
        loop {
            life = match life {
                Life::Idle => self.idle().await,
                Life::Running { running, since } => self.watch(running, since).await,
                Life::Outdated { running } => self.replace(running).await,
                Life::BackOff { until } => self.back_off(until).await,
                Life::Over => return,
            };
        }
    }

    async fn idle(&mut self) -> Life {
        match self.commands.recv().await {
            Some(Command::Start { spec, done }) => {
                self.take_over(spec);
                self.restarts.forgive();
                let life = self.launch("Started", "the drone is starting".to_owned()).await;
                let _asker_gone = done.send(());
                life
            }
            Some(Command::Stop { why, done }) => self.stopped(why, done).await,
            Some(Command::Leave) | None => Life::Over,
        }
    }

    async fn back_off(&mut self, until: Instant) -> Life {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {
                let message = format!("the drone is started again (restart {})", self.record.restarts);
                self.launch("Restarted", message).await
            }
            command = self.commands.recv() => match command {
                Some(Command::Start { spec, done }) => {
                    // It is under way: who asks more often does not shorten the wait.
                    self.take_over(spec);
                    let _asker_gone = done.send(());
                    Life::BackOff { until }
                }
                Some(Command::Stop { why, done }) => self.stopped(why, done).await,
                Some(Command::Leave) | None => Life::Over,
            },
        }
    }

    async fn watch(&mut self, mut running: Running, since: Instant) -> Life {
        let trim = tokio::time::sleep(TRIM_EVERY);
        tokio::select! {
            exit = ended(&mut running) => self.died(exit, since.elapsed()).await,
            command = self.commands.recv() => match command {
                Some(Command::Start { spec, done }) => {
                    self.take_over(spec);
                    self.save().await;
                    let _asker_gone = done.send(());
                    Life::Running { running, since }
                }
                Some(Command::Stop { why, done }) => match self.stop(running).await {
                    Ok(()) => self.stopped(why, done).await,
                    Err(error) => {
                        let _asker_gone = done.send(Err(error));
                        Life::Idle
                    }
                },
                Some(Command::Leave) | None => Life::Over,
            },
            () = trim => {
                let path = self.config.layout.output(&self.record.drone);
                if let Err(error) = blocking(move || output::trim(&path)).await {
                    tracing::warn!(drone = %self.record.drone, %error, "failed to cut the drone's output");
                }
                Life::Running { running, since }
            }
        }
    }

    async fn replace(&mut self, running: Running) -> Life {
        match self.stop(running).await {
            Ok(()) => self.launch("HubMoved", "the drone is starting".to_owned()).await,
            Err(_) => Life::Idle,
        }
    }

    /// The session that a drone works for may change while it lives; its workspace never does.
    fn take_over(&mut self, spec: DroneSpec) {
        let DroneSpec { id: _, user, session, facts: _ } = spec;
        self.record.user = user;
        self.record.session = session;
    }

    async fn launch(&mut self, reason: &str, message: String) -> Life {
        // What is told of the start comes after it: the drone may be connected by then.
        let began = Timestamp::now();
        self.config.hub.clone_into(&mut self.record.hub);
        let (config, mut record) = (Arc::clone(&self.config), self.record.clone());
        let prepared = blocking(move || {
            launch::prepare(&config.layout, &mut record)?;
            Ok(record)
        });
        let started = match prepared.await {
            Ok(record) => {
                self.record = record;
                // Before the process runs, for it may connect at once.
                self.shared.token.lock().clone_from(&self.record.token_sha256);
                let ProcessConfig { layout, program, grace, .. } = &*self.config;
                launch::spawn(program, layout, &self.record, *grace)
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(running) => {
                self.record.process = Some(running.process.identity.clone());
                self.save().await;
                self.tell_of(began, DronePhase::Starting, reason, message);
                Life::Running { running, since: Instant::now() }
            }
            Err(error) => {
                let program = self.config.program.path.display();
                let what = format!("the drone could not be started with {program}: {error}");
                self.decide("StartFailed", &what, Duration::ZERO).await
            }
        }
    }

    async fn died(&mut self, exit: Option<ExitStatus>, lived: Duration) -> Life {
        let drone = self.record.drone.clone();
        // What the supervisor left in its group would hold the workspace; shell jobs have groups of their own and are
        // found again by the next drone.
        if let Some(identity) = &self.record.process {
            stop::kill_group(identity.pid);
        }
        self.forget_process().await;
        let path = self.config.layout.output(&drone);
        let last_words = blocking(move || Ok(output::last_words(&path))).await.ok().flatten();
        let last_words = last_words.map(|words| format!(": {words}")).unwrap_or_default();
        let what = match exit {
            Some(exit) if exit.success() => {
                let message = "the drone ended by itself and is started when it is needed".to_owned();
                self.tell(DronePhase::Offline, "ProcessExited", message);
                return Life::Idle;
            }
            Some(exit) if exit.code() == Some(HOPELESS) => {
                self.tell(DronePhase::Failed, "Refused", format!("the drone cannot work here{last_words}"));
                return Life::Idle;
            }
            Some(exit) => format!("the drone ended ({exit}){last_words}"),
            None => format!("the drone ended{last_words}"),
        };
        self.decide("ProcessExited", &what, lived).await
    }

    /// Waits for the next start, or gives up.
    async fn decide(&mut self, reason: &str, what: &str, lived: Duration) -> Life {
        tracing::warn!(drone = %self.record.drone, "{what}");
        self.forget_process().await;
        match self.restarts.died(lived, Instant::now()) {
            Verdict::RestartAfter(wait) => {
                self.record.restarts += 1;
                let seconds = wait.as_secs_f64().ceil();
                self.tell(
                    DronePhase::Recovering,
                    reason,
                    format!("{what}; it is started again in {seconds} s"),
                );
                Life::BackOff { until: Instant::now() + wait }
            }
            Verdict::GiveUp { deaths } => {
                let log = self.config.layout.output(&self.record.drone);
                let advice = format!(
                    "{what}. It died {deaths} times in short order and is not started again by itself. \
                     Look into {} and at the log in the workspace's .gadget/logs, then resume the drone",
                    log.display()
                );
                self.tell(DronePhase::Failed, "GivenUp", advice);
                Life::Idle
            }
        }
    }

    async fn stop(&mut self, running: Running) -> Result<(), StopError> {
        let patience = self.config.grace + SUPERVISOR_MARGIN;
        let stopped = stop::stop(&self.record.drone, running, patience).await;
        if let Err(error) = &stopped {
            self.tell(DronePhase::Failed, "StopFailed", format!("the drone does not end: {error}"));
        }
        stopped
    }

    async fn stopped(&mut self, why: StopReason, done: oneshot::Sender<Result<(), StopError>>) -> Life {
        // Also what a drone left behind that died before.
        let swept = tree::sweep(&self.record.drone, None, None).await;
        if !matches!(swept, Ok(true)) {
            tracing::warn!(drone = %self.record.drone, ?swept, "processes of the drone may still run");
        }
        self.forget_process().await;
        let (phase, reason, message) = match why {
            StopReason::Suspend => {
                (DronePhase::Suspended, "Suspended", "the drone is stopped, its workspace kept")
            }
            StopReason::Terminate => (DronePhase::Offline, "Terminated", "the drone is stopped for good"),
            StopReason::HubStops => (DronePhase::Offline, "HubStopped", "the drone is stopped with the hub"),
        };
        self.tell(phase, reason, message.to_owned());
        if why == StopReason::Terminate {
            let path = self.config.layout.drone(&self.record.drone);
            if let Err(error) = blocking(move || std::fs::remove_dir_all(path)).await {
                tracing::warn!(drone = %self.record.drone, %error, "failed to remove the drone's records");
            }
        }
        let _asker_gone = done.send(Ok(()));
        if why == StopReason::Suspend { Life::Idle } else { Life::Over }
    }

    /// No process should run: its token is not good any more, and nothing is left to adopt.
    async fn forget_process(&mut self) {
        *self.shared.token.lock() = None;
        let had = self.record.token_sha256.take().is_some() | self.record.process.take().is_some();
        if had {
            self.save().await;
        }
    }

    /// A record that cannot be written costs the next hub an adoption, and this one nothing.
    async fn save(&self) {
        let (record, path) = (self.record.clone(), self.config.layout.record(&self.record.drone));
        if let Err(error) = blocking(move || record.save(&path)).await {
            tracing::error!(drone = %self.record.drone, %error, "failed to write the drone's record");
        }
    }

    fn tell(&self, phase: DronePhase, reason: &str, message: String) {
        self.tell_of(Timestamp::now(), phase, reason, message);
    }

    fn tell_of(&self, since: Timestamp, phase: DronePhase, reason: &str, message: String) {
        tracing::info!(drone = %self.record.drone, %phase, reason, "{message}");
        let event = FleetEvent {
            drone: self.record.drone.clone(),
            phase,
            reason: Some(reason.to_owned()),
            message: Some(message),
            restarts: self.record.restarts,
            since,
        };
        *self.shared.latest.lock() = event.clone();
        // Nobody listening is no error: the snapshot has it.
        let _listeners = self.events.send(event);
    }
}

/// Resolves when the process has ended; with how, where it is our child.
async fn ended(running: &mut Running) -> Option<ExitStatus> {
    if let Some(child) = &mut running.child {
        return child.wait().await.ok();
    }
    if let Err(error) = running.process.ended().await {
        tracing::error!(%error, "failed to watch a drone's process");
    }
    None
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

//! What a server process has around its hub: a log, signals, what runs its drones, a first account.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hub::app::{App, SharedApp};
use hub::auth::account::ADMIN;
use hub::auth::invite;
use hub::fleet::SharedFleet;
#[cfg(feature = "kube")]
use hub::fleet::kube::{KubeConfig, KubeFleet, ServiceAccount};
use hub::fleet::process::{Layout, ProcessConfig, ProcessFleet, Program, RestartPolicy};
use hub::store::lock::{DataLock, LockError, LockedBy};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::args::{FleetKind, HubArgs, LogFormat, own_url};

/// How long a drone may take to stop.
const DRONE_GRACE: Duration = Duration::from_secs(30);
/// Between two looks whether another hub has ended.
const LOCK_LOOK: Duration = Duration::from_millis(50);

pub(crate) fn log_to_stderr(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env()?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    }
    .map_err(anyhow::Error::from_boxed)
}

/// Resolves at the first Ctrl-C or TERM.
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}

/// The data directory for this hub alone. Where pods are replaced the hub before this one may still be ending.
pub(crate) async fn lock(args: &HubArgs) -> anyhow::Result<DataLock> {
    let data = args.data()?;
    let deadline = Instant::now() + args.wait_for_data;
    let mut waits = false;
    loop {
        match DataLock::acquire(data) {
            Err(LockError::Held(by)) if Instant::now() < deadline => {
                if !waits {
                    let LockedBy { dir, pid } = by;
                    tracing::info!(?pid, "waits for another hub to let go of {}", dir.display());
                }
                waits = true;
                tokio::time::sleep(LOCK_LOOK).await;
            }
            locked => return Ok(locked?),
        }
    }
}

/// What runs the hub's drones.
pub(crate) struct Drones {
    pub(crate) fleet: SharedFleet,
    /// Lets the hub follow what happens to them, besides what every fleet tells.
    pub(crate) attach: Box<dyn FnOnce(&SharedApp) + Send>,
}

impl Drones {
    pub(crate) async fn open(args: &HubArgs, bound: SocketAddr) -> anyhow::Result<Self> {
        match args.fleet {
            FleetKind::Process => Ok(Self {
                fleet: processes(args.data()?, bound, args.drone.clone())?,
                attach: Box::new(|_| ()),
            }),
            FleetKind::Kube => Self::pods(args).await,
        }
    }

    #[cfg(feature = "kube")]
    async fn pods(args: &HubArgs) -> anyhow::Result<Self> {
        let cluster = KubeFleet::open(KubeConfig {
            kubeconfig: args.kubeconfig.clone(),
            namespace: args.namespace.clone(),
            class: args.class.clone(),
            drone_service_account: args.drone_service_account.clone(),
            tester: args.test_service_account.as_deref().map(service_account).transpose()?,
        })
        .await?;
        let fleet = Arc::clone(&cluster) as SharedFleet;
        Ok(Self { fleet, attach: Box::new(move |app| hub::cluster::attach(app, &cluster)) })
    }

    #[cfg(not(feature = "kube"))]
    #[expect(clippy::unused_async, reason = "the other one waits")]
    async fn pods(args: &HubArgs) -> anyhow::Result<Self> {
        let HubArgs {
            namespace: _,
            kubeconfig: _,
            class: _,
            drone_service_account: _,
            test_service_account: _,
            ..
        } = args;
        anyhow::bail!(
            "this gadget-hub cannot run drones in a cluster; take the one of the image, or build it with \
             `cargo build -p hub --bin gadget-hub --features kube`"
        )
    }
}

#[cfg(feature = "kube")]
fn service_account(text: &str) -> anyhow::Result<ServiceAccount> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let (namespace, name) = parts.with_context(|| format!("{text:?} is no account: write NAMESPACE/NAME"))?;
    Ok(ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// Drones as processes of this machine.
fn processes(data: &Path, bound: SocketAddr, drone: Option<PathBuf>) -> anyhow::Result<SharedFleet> {
    let program = match drone {
        Some(program) => program,
        None => std::env::current_exe()
            .context("failed to find this program's own file; name the drone's with --drone")?
            .with_file_name("gadget-drone"),
    };
    let fleet = ProcessFleet::open(ProcessConfig {
        layout: Layout::new(data),
        program: Program::new(program, Vec::<OsString>::new()),
        hub: own_url(bound)?.to_string().trim_end_matches('/').to_owned(),
        grace: DRONE_GRACE,
        restarts: RestartPolicy::default(),
    })?;
    Ok(Arc::new(fleet))
}

/// Prints a link that signs in once. The hub that runs on the same data directory finds what it stands for there.
pub(crate) fn invite(args: &HubArgs, account: &str) -> anyhow::Result<()> {
    let data = args.data()?;
    let is_person = account == ADMIN || account.split_once('@').is_some_and(|(name, _)| !name.is_empty());
    anyhow::ensure!(is_person, "{account:?} is neither `admin` nor an e-mail address");
    let code = invite::issue(data, account, Timestamp::now()).with_context(|| {
        format!("failed to write into {}; is it the hub's data directory?", data.display())
    })?;
    let url = args.public_url(args.listen)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}/#invite={code}", url.as_str().trim_end_matches('/'))?;
    Ok(())
}

pub(crate) async fn ensure_admin(app: &App, email: &str, password_file: &Path) -> anyhow::Result<()> {
    let password = std::fs::read_to_string(password_file)
        .with_context(|| format!("failed to read {}", password_file.display()))?;
    let password = password.trim_end_matches(['\r', '\n']);
    app.auth.ensure_admin(email, password).await.context("failed to make the administrator's account")?;
    Ok(())
}

//! What a server process has around its hub: a log, signals, drones on the same machine, a first account.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hub::app::App;
use hub::fleet::SharedFleet;
use hub::fleet::process::{Layout, ProcessConfig, ProcessFleet, Program, RestartPolicy};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, own_url};

/// How long a drone may take to stop.
const DRONE_GRACE: Duration = Duration::from_secs(30);

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

/// Drones as processes of this machine.
pub(crate) fn fleet(data: &Path, bound: SocketAddr, drone: Option<PathBuf>) -> anyhow::Result<SharedFleet> {
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

pub(crate) async fn ensure_admin(app: &App, email: &str, password_file: &Path) -> anyhow::Result<()> {
    let password = std::fs::read_to_string(password_file)
        .with_context(|| format!("failed to read {}", password_file.display()))?;
    let password = password.trim_end_matches(['\r', '\n']);
    app.auth.ensure_admin(email, password).await.context("failed to make the administrator's account")?;
    Ok(())
}

//! `gadget-operator`: turns Gadget's resources into pods and claims.

mod args;

use anyhow::Context as _;
use clap::Parser as _;
use kube::Client;
use operator::app;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat};

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    log_to_stderr(args.log_format)?;
    // The first one wins: there is none before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!("failed to listen on {}; choose another address with --listen", args.listen)
    })?;
    let bound = listener.local_addr()?;
    let (config, cluster) = args.into_config().await?;
    tracing::info!(namespace = %config.namespace, "the operator listens on {bound}");
    let client = Client::try_from(cluster).context("failed to make a client of the API server")?;
    let shutdown = CancellationToken::new();
    let running = app::build(config, client).run(listener, shutdown.clone());
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopped = async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        shutdown.cancel();
        std::future::pending().await
    };
    tokio::select! {
        ran = running => ran.context("failed to operate"),
        never = stopped => never,
    }
}

fn log_to_stderr(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env()?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    }
    .map_err(anyhow::Error::from_boxed)
}

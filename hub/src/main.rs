//! `gadget-hub`: a hub as a server of its own.

mod args;
mod daemon;
#[cfg(feature = "kube")]
mod smoke_test;

use std::pin::pin;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use hub::{app, router, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::args::{HubArgs, HubCommand};
use crate::daemon::Drones;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = HubArgs::parse();
    match &args.command {
        Some(HubCommand::Invite { account }) => return daemon::invite(&args, account),
        #[cfg(feature = "kube")]
        Some(HubCommand::SmokeTest(test)) => return smoke_test::run(test).await,
        None => {}
    }
    daemon::log_to_stderr(args.log_format)?;
    let mut stopped = pin!(daemon::stop_signal()?);
    let lock = tokio::select! {
        lock = daemon::lock(&args) => lock?,
        () = &mut stopped => return Ok(()),
    };
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!("failed to listen on {}; choose another address with --listen", args.listen)
    })?;
    let bound = listener.local_addr()?;
    let Drones { fleet, attach } = Drones::open(&args, bound).await?;
    let admin = args.admin_email.clone().zip(args.admin_password_file.clone());
    let app = app::build(args.into_config(bound)?, lock, Arc::clone(&fleet)).await?;
    attach(&app);
    if let Some((email, password_file)) = admin {
        daemon::ensure_admin(&app, &email, &password_file).await?;
    }
    tracing::info!(url = %app.config.public_url, "the hub listens on {bound}");
    let shutdown = CancellationToken::new();
    let serving = serve::run(Arc::clone(&app), router::router(Arc::clone(&app)), listener, shutdown.clone());
    let mut serving = pin!(serving);
    let asking = async {
        app.providers.probe_first(&app.config.providers).await;
        std::future::pending().await
    };
    let served = tokio::select! {
        served = &mut serving => served,
        never = asking => never,
        () = stopped => {
            shutdown.cancel();
            serving.await
        }
    };
    // Drones work on; the next hub on this data finds them.
    fleet.close(false).await;
    app.store.close().await;
    served.context("failed to serve")
}

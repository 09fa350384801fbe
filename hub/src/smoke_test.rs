//! `gadget-hub smoke-test`: tries an installation from inside its cluster. The pod of `helm test` runs it.
//!
//! It makes a session, gives it a prompt for the demo provider, deletes the drone's pod in the middle, and wants to see
//! the turn end whole. Its rights are those of its service account: the one session, the one pod, by their names.

mod cluster;
mod hub;
mod scenario;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use ::hub::auth::account::TESTER;
use clap::Args;
use tokio::time::Instant;
use url::Url;

use self::cluster::Cluster;
use self::hub::Hub;
use self::scenario::{Deadlines, Installation, Look};

/// What of the time is left to clear up.
const FOR_CLEARING_UP: Duration = Duration::from_secs(45);

#[derive(Args, Clone, Debug)]
pub(crate) struct SmokeTestArgs {
    /// The hub, as drones reach it
    #[arg(long, value_name = "URL")]
    hub: Url,
    /// File with the pod's token for the hub
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/gadgetcode.dev/token")]
    token_file: PathBuf,
    /// Namespace of sessions and drones
    #[arg(long, value_name = "NAMESPACE")]
    namespace: String,
    /// Name of the session that is made; one of this name that is there is removed
    #[arg(long, value_name = "NAME")]
    session: String,
    /// How long all of it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 280, value_parser = clap::value_parser!(u64).range(60..=3600))]
    timeout: u64,
}

pub(crate) async fn run(args: &SmokeTestArgs) -> anyhow::Result<()> {
    let SmokeTestArgs { hub, token_file, namespace, session, timeout } = args.clone();
    // The first one wins: there is none before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = Cluster::connect(namespace, session).await?;
    let hub = Hub::new(hub, token_file)?;
    let end = Instant::now() + Duration::from_secs(timeout);
    let deadlines = Deadlines { test: end - FOR_CLEARING_UP, end };
    scenario::run(&mut Real { cluster, hub }, deadlines, &mut |line| {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")
    })
    .await
}

/// The hub and the API server of this cluster.
struct Real {
    cluster: Cluster,
    hub: Hub,
}

#[async_trait::async_trait]
impl Installation for Real {
    async fn sign_in(&mut self) -> anyhow::Result<()> {
        self.hub.sign_in().await
    }

    async fn sign_out(&mut self) -> anyhow::Result<()> {
        self.hub.sign_out().await
    }

    async fn make_session(&mut self) -> anyhow::Result<()> {
        self.cluster.make_session(TESTER).await
    }

    async fn session(&self) -> anyhow::Result<Look> {
        self.cluster.session().await
    }

    async fn pod(&self) -> anyhow::Result<Option<String>> {
        self.cluster.pod().await
    }

    async fn delete_pod(&self, uid: &str) -> anyhow::Result<()> {
        self.cluster.delete_pod(uid).await
    }

    async fn prompt(&mut self, uid: &str, text: &str) -> anyhow::Result<protocol::ids::TurnId> {
        self.hub.prompt(&uid.into(), text).await
    }

    async fn turn(&self) -> anyhow::Result<protocol::document::ChatTurn> {
        self.hub.turn().await
    }

    async fn delete_session(&self) -> anyhow::Result<()> {
        self.cluster.delete_session().await
    }

    async fn left(&self) -> anyhow::Result<Option<String>> {
        self.cluster.left().await
    }
}

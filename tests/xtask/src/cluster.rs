//! `cargo xtask cluster`: a Kubernetes of one node on this machine, for tests and for trying things out.
//!
//! All of it lives in mount, network and process namespaces of its own below one process, the supervisor: when that ends,
//! however it does, the kernel takes away every process, mount, interface and packet rule. What is left then is a
//! directory, control groups of one name, and a link that goes with the network namespace.

mod addons;
mod certificates;
mod component;
mod down;
mod import;
mod link;
mod place;
mod require;
mod scratch;
mod settings;
mod stage;
mod status;
mod supervisor;
mod up;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use crate::cluster::down::down;
pub(crate) use crate::cluster::place::Place;
pub(crate) use crate::cluster::require::check as require;
pub(crate) use crate::cluster::scratch::scratch;
pub(crate) use crate::cluster::up::up;
use crate::process::Runner;

#[derive(Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    command: Command,
    /// Where all that the cluster keeps is; ~/.cache/gadget/cluster if none is given
    #[arg(long, global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Make the cluster, or start again what does not run, and load the images of this tree
    Up {
        /// Load no images
        #[arg(long)]
        no_images: bool,
    },
    /// Take the cluster away, with all that is in it
    Down,
    /// Say what runs
    Status,
    /// What `up` starts in namespaces of its own
    #[command(hide = true)]
    Supervise {
        /// The programs of Kubernetes
        #[arg(long)]
        programs: PathBuf,
    },
}

impl ClusterArgs {
    pub(crate) async fn run(self) -> Result<()> {
        let place = match self.directory {
            Some(directory) => Place::at(&directory)?,
            None => Place::usual()?,
        };
        match self.command {
            Command::Up { no_images } => up(&Runner::new()?, &place, !no_images).await.map(|cluster| {
                println!("export KUBECONFIG={}", cluster.kubeconfig.display());
            }),
            Command::Down => down(&place).await,
            Command::Status => status::print(&Runner::new()?, &place).await,
            Command::Supervise { programs } => supervisor::run(&place, &programs).await,
        }
    }
}

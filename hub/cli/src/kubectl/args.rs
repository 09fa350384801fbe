//! The command line of `kubectl gadget`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use url::Url;

/// Gadget's sessions and drones in a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl gadget", bin_name = "kubectl gadget", version, arg_required_else_help = true)]
pub(super) struct KubectlArgs {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which cluster, and where in it: as kubectl has them.
#[derive(Debug, Default, Args)]
pub(super) struct Place {
    /// Namespace of the sessions [default: the context's]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig [default: as kubectl finds it]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List sessions, with what keeps those that are not ready
    Ls(ListArgs),
    /// Say why a session or drone is as it is, since when, what happens next, and what you can do
    Why(WhyArgs),
    /// Follow a session live, and type to prompt it
    Attach(AttachArgs),
    /// Give a prompt to a session's agent and follow its work
    Prompt(PromptArgs),
    /// Print the log of a drone
    Logs(LogsArgs),
    /// Stop the pod and keep the workspace
    Suspend(SteerArgs),
    /// Start the pod again on the same workspace
    Resume(SteerArgs),
    /// End the drone for good; its session stays, suspended, with its workspace
    Terminate(SteerArgs),
    /// Open a session's page in the browser, through the API server
    Open(OpenArgs),
    /// Sign in to the cluster's hub and remember it
    Login(LoginArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Print one resource a line, as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// Session or drone: a name, or chat/NAME, or drone/NAME
    pub name: String,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SteerArgs {
    /// Session or drone: a name, or chat/NAME, or drone/NAME
    pub name: String,
    /// Return when it has come about
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Session or drone: a name, or chat/NAME, or drone/NAME
    pub name: String,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Of the container before the last restart
    #[arg(short, long)]
    pub previous: bool,
    /// How many lines of the end [default: all]
    #[arg(long, value_name = "LINES")]
    pub tail: Option<i64>,
}

/// Where the hub is.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct HubPlace {
    /// Namespace of the hub [default: that of the sessions]
    #[arg(long, value_name = "NAME")]
    pub hub_namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// The session's name
    pub session: String,
    #[command(flatten)]
    pub hub: HubPlace,
    /// Print events as JSON, one a line, as on the wire; takes no input
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// The session's name
    pub session: String,
    /// What the agent should do
    pub text: String,
    #[command(flatten)]
    pub hub: HubPlace,
    /// Print events as JSON, one a line, as on the wire
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    /// The session's name [default: the page's start]
    pub session: Option<String>,
    #[command(flatten)]
    pub hub: HubPlace,
    /// Port on this machine; 0 picks a free one
    #[arg(long, default_value_t = 8420)]
    pub port: u16,
    /// Only print the address
    #[arg(long)]
    pub no_browser: bool,
}

#[derive(Debug, Args)]
#[group(id = "with", required = true, multiple = false, args = ["email", "invite"])]
pub(super) struct LoginArgs {
    /// E-mail address; the password is asked for, or read from standard input
    #[arg(long)]
    pub email: Option<String>,
    /// Link that `gadget-hub invite` printed; it works once
    #[arg(long, value_name = "LINK")]
    pub invite: Option<Url>,
    #[command(flatten)]
    pub hub: HubPlace,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}; write 90s or 2m"))?;
    Duration::try_from(span).map_err(|_| "a time cannot be negative; write 90s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        KubectlArgs::command().debug_assert();
    }

    #[test]
    fn kubectl_s_options_stand_before_and_after_the_verb() {
        for words in [["-n", "team", "why", "x"], ["why", "x", "-n", "team"]] {
            let args = KubectlArgs::try_parse_from([&["kubectl-gadget"], &words[..]].concat()).unwrap();
            assert_eq!(args.place.namespace.as_deref(), Some("team"));
        }
    }

    #[test]
    fn times_are_read_and_wrong_ones_named() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert!(duration("soon").is_err() && duration("-2s").is_err());
    }
}

//! The command line of `gadget`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use url::Url;

/// Coding agents for a team, each in a workspace of its own.
#[derive(Debug, Parser)]
#[command(name = "gadget", version, arg_required_else_help = true)]
pub(crate) struct GadgetArgs {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: hub, store, and a drone for each session
    Local(LocalArgs),
    /// Give a prompt to an agent and follow its work in the terminal
    Prompt(PromptArgs),
    /// Follow a session live, and type to prompt it
    Attach(AttachArgs),
    /// List chat sessions
    Sessions(ListArgs),
    /// List drones
    Drones(ListArgs),
    /// Manage accounts
    Users(UsersArgs),
    /// Manage model providers
    Providers(ProvidersArgs),
    /// Sign in to a hub and remember it
    Login(LoginArgs),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8420")]
    pub listen: SocketAddr,
    /// Where everything is kept [default: the user's data directory]
    #[arg(long, value_name = "DIR", env = "GADGET_DATA")]
    pub data: Option<PathBuf>,
    /// Directory that the first session works in: empty, or a workspace already [default: below the data directory]
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Git repository that is cloned into the workspace [default: an empty project]
    #[arg(long, value_name = "URL|PATH")]
    pub project: Option<String>,
    /// Use a model behind an OpenAI-compatible address, such as <https://api.openai.com/v1>
    #[arg(long, value_name = "URL")]
    pub openai: Option<Url>,
    /// Environment variable that holds the key for --openai
    #[arg(long, value_name = "NAME", requires = "openai")]
    pub key_env: Option<String>,
    /// Use a model of an Ollama server, such as <http://127.0.0.1:11434>
    #[arg(long, value_name = "URL")]
    pub ollama: Option<Url>,
    /// Which model to use [default: the provider's first]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Run one turn with this prompt and exit: 0 finished, 1 error, 130 aborted
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Print JSON for machines, one object a line; the first says where the hub is
    #[arg(long)]
    pub json: bool,
}

/// Which hub, and as whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct HubArgs {
    /// Address of the hub [default: the one signed in to, else the one on this machine]
    #[arg(long, value_name = "URL", env = "GADGET_HUB")]
    pub hub: Option<String>,
    /// File with a token for that hub
    #[arg(long, value_name = "FILE", env = "GADGET_TOKEN_FILE", requires = "hub")]
    pub token_file: Option<PathBuf>,
    /// Data directory of the hub on this machine
    #[arg(long, value_name = "DIR", env = "GADGET_DATA")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub hub: HubArgs,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PromptArgs {
    /// What the agent should do
    pub text: String,
    /// Session to go on with [default: the newest, or a new one]
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Begin a new session
    #[arg(long, conflicts_with = "session")]
    pub new: bool,
    #[command(flatten)]
    pub hub: HubArgs,
    /// Print events as JSON, one a line, as on the wire
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The session's id
    pub session: String,
    #[command(flatten)]
    pub hub: HubArgs,
    /// Print events as JSON, one a line, as on the wire; takes no input
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    #[command(subcommand)]
    pub command: UsersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Make an account; the password is asked for, or read from standard input
    Add {
        email: String,
        /// Name to show
        #[arg(long)]
        name: Option<String>,
        /// Let the account manage users and providers
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        hub: HubArgs,
        /// Print the account as JSON
        #[arg(long)]
        json: bool,
    },
    /// List accounts
    Ls(ListArgs),
    /// Set a password; it is asked for, or read from standard input
    Passwd {
        /// E-mail address or handle
        user: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ProvidersArgs {
    #[command(subcommand)]
    pub command: ProvidersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProvidersCommand {
    /// Add a provider and look what models it has
    Add(AddProviderArgs),
    /// List providers and their models
    Ls(ListArgs),
    /// Look anew what models a provider has
    Probe(ProviderName),
    /// Let a provider be used
    Enable(ProviderName),
    /// Keep a provider from being used
    Disable(ProviderName),
    /// Remove a provider
    Rm(ProviderName),
}

#[derive(Debug, Args)]
pub(crate) struct AddProviderArgs {
    pub name: String,
    /// What it speaks: openai or ollama
    #[arg(long, value_parser = ["openai", "ollama"])]
    pub sdk: String,
    /// Its address
    #[arg(long, value_name = "URL")]
    pub url: Url,
    /// Environment variable of the hub that holds the key
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
    /// Read the key from standard input; the hub keeps it sealed
    #[arg(long, conflicts_with = "key_env")]
    pub key_stdin: bool,
    #[command(flatten)]
    pub hub: HubArgs,
    /// Print the provider as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProviderName {
    pub name: String,
    #[command(flatten)]
    pub hub: HubArgs,
    /// Print the provider as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Address of the hub
    pub url: Url,
    /// E-mail address; the password is asked for, or read from standard input
    #[arg(long)]
    pub email: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        GadgetArgs::command().debug_assert();
    }

    #[test]
    fn a_key_without_an_address_is_refused() {
        assert!(GadgetArgs::try_parse_from(["gadget", "local", "--key-env", "KEY"]).is_err());
    }
}

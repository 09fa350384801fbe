//! The command line of `gadget-hub`. Each setting can come from the environment as well, so that a container needs no
//! arguments.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use hub::config::{AllowedHosts, Demo, HubConfig, Limits, ModelChoice, ProviderSetting};
use hub::session::state::limits::SessionLimits;
use hub::store::ProviderKey;
use protocol::value::Sdk;
use url::{Host, Url};

/// The one door for IDEs and drones: routes between them and keeps every turn
#[derive(Clone, Debug, Parser)]
#[command(name = "gadget-hub", version)]
pub(crate) struct HubArgs {
    #[command(subcommand)]
    pub(crate) command: Option<HubCommand>,
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", env = "GADGET_LISTEN", default_value = "127.0.0.1:8420")]
    pub(crate) listen: SocketAddr,
    /// Directory for the store, the hub's keys and workspaces; one hub at a time
    #[arg(long, value_name = "DIR", env = "GADGET_DATA", global = true)]
    data: Option<PathBuf>,
    /// How long to wait for another hub that has the directory and is about to end
    #[arg(long, value_name = "TIME", env = "GADGET_WAIT_FOR_DATA", default_value = "0s", value_parser = time)]
    pub(crate) wait_for_data: Duration,
    /// Where people and drones reach the hub [default: the address listened on]
    #[arg(long, value_name = "URL", env = "GADGET_PUBLIC_URL", global = true)]
    public_url: Option<Url>,
    /// Names that the hub answers to [default: its own when it listens on loopback, else any]
    #[arg(long = "allow-host", value_name = "NAME", env = "GADGET_ALLOWED_HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Origins of pages elsewhere that may talk to the hub, such as <https://ide.example>
    #[arg(
        long = "allow-origin",
        value_name = "ORIGIN",
        env = "GADGET_ALLOWED_ORIGINS",
        value_delimiter = ','
    )]
    origins: Vec<Url>,
    /// Take client addresses from `X-Forwarded-For`: only behind a proxy that sets it
    #[arg(long, env = "GADGET_TRUST_FORWARDED_FOR")]
    trust_forwarded_for: bool,
    /// Hours that a sign-in is good
    #[arg(long, value_name = "HOURS", env = "GADGET_TOKEN_HOURS", default_value_t = 24,
          value_parser = clap::value_parser!(u64).range(1..=24 * 90))]
    token_hours: u64,
    /// Use models behind an OpenAI-compatible address, such as <https://api.openai.com/v1>
    #[arg(long, value_name = "URL", env = "GADGET_OPENAI_URL")]
    openai: Option<Url>,
    /// Environment variable that holds the key for --openai
    #[arg(
        long,
        value_name = "NAME",
        env = "GADGET_OPENAI_KEY_ENV",
        requires = "openai",
        conflicts_with = "key_file"
    )]
    key_env: Option<String>,
    /// File that holds the key for --openai
    #[arg(long, value_name = "FILE", env = "GADGET_OPENAI_KEY_FILE", requires = "openai")]
    key_file: Option<PathBuf>,
    /// Use models of an Ollama server, such as <http://127.0.0.1:11434>
    #[arg(long, value_name = "URL", env = "GADGET_OLLAMA_URL")]
    ollama: Option<Url>,
    /// Model of sessions that choose none: PROVIDER, or PROVIDER/MODEL
    #[arg(long, value_name = "MODEL", env = "GADGET_MODEL")]
    model: Option<String>,
    /// Offer the demo tour, which is scripted and needs no model
    #[arg(long, env = "GADGET_DEMO")]
    demo: bool,
    /// Make this account an administrator's at the first start
    #[arg(long, value_name = "EMAIL", env = "GADGET_ADMIN_EMAIL", requires = "admin_password_file")]
    pub(crate) admin_email: Option<String>,
    /// File that holds the password of --admin-email
    #[arg(long, value_name = "FILE", env = "GADGET_ADMIN_PASSWORD_FILE", requires = "admin_email")]
    pub(crate) admin_password_file: Option<PathBuf>,
    /// What runs drones: processes of this machine, or pods of a cluster
    #[arg(long, value_enum, value_name = "FLEET", env = "GADGET_FLEET", default_value_t = FleetKind::Process)]
    pub(crate) fleet: FleetKind,
    /// With --fleet kube: namespace of sessions and drones [default: the hub's own]
    #[arg(long, value_name = "NAMESPACE", env = "GADGET_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// With --fleet kube: how to reach the cluster [default: the one that the hub runs in]
    #[arg(long, value_name = "FILE", env = "GADGET_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// With --fleet kube: DroneClass of drones that are started for no session
    #[arg(long, value_name = "NAME", env = "GADGET_CLASS", default_value = "default")]
    pub(crate) class: String,
    /// With --fleet kube: service account of drones' pods
    #[arg(long, value_name = "NAME", env = "GADGET_DRONE_SERVICE_ACCOUNT", default_value = "gadget-drone")]
    pub(crate) drone_service_account: String,
    /// With --fleet kube: service account, as NAMESPACE/NAME, whose pods may sign in to an account of the test's own
    #[arg(long, value_name = "ACCOUNT", env = "GADGET_TEST_SERVICE_ACCOUNT")]
    pub(crate) test_service_account: Option<String>,
    /// After how long without work a drone is suspended, such as 30m, unless its session says; 0s: never
    #[arg(long, value_name = "TIME", env = "GADGET_IDLE_TIMEOUT", value_parser = time)]
    idle_timeout: Option<Duration>,
    /// Program that runs as a drone [default: `gadget-drone` beside this program]
    #[arg(long, value_name = "PROGRAM", env = "GADGET_DRONE")]
    pub(crate) drone: Option<PathBuf>,
    /// Largest body of one model call, in bytes
    #[arg(long, value_name = "BYTES", env = "GADGET_MAX_MODEL_BODY", default_value_t = Limits::default().model_body)]
    max_model_body: usize,
    /// Largest prompt, in bytes
    #[arg(long, value_name = "BYTES", env = "GADGET_MAX_PROMPT", default_value_t = Limits::default().prompt)]
    max_prompt: usize,
    /// Largest event of an IDE or a drone, in bytes
    #[arg(long, value_name = "BYTES", env = "GADGET_MAX_EVENT", default_value_t = Limits::default().event)]
    max_event: usize,
    /// Prompts of one user in a minute
    #[arg(long, value_name = "COUNT", env = "GADGET_PROMPTS_PER_MINUTE",
          default_value_t = Limits::default().prompts_per_minute)]
    prompts_per_minute: u32,
    /// Shape of the log on standard error; what is logged is set by `RUST_LOG`
    #[arg(long, value_enum, value_name = "FORMAT", env = "GADGET_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum HubCommand {
    /// Print a link that signs in once, within an hour; the hub may be running
    Invite {
        /// `admin` for the administrator, or an e-mail address; the account is made where there is none
        account: String,
    },
    /// Try an installation from inside its cluster, as `helm test` does: a session, a turn, a drone killed in its middle
    #[cfg(feature = "kube")]
    SmokeTest(crate::smoke_test::SmokeTestArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FleetKind {
    Process,
    Kube,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl HubArgs {
    /// Every command needs it, so it is asked for here and not by the parser, which takes it in either place.
    pub(crate) fn data(&self) -> anyhow::Result<&Path> {
        self.data.as_deref().context("name the hub's data directory with --data DIR, or GADGET_DATA")
    }

    /// Where people reach the hub.
    pub(crate) fn public_url(&self, bound: SocketAddr) -> Result<Url, url::ParseError> {
        self.public_url.clone().map_or_else(|| own_url(bound), Ok)
    }

    /// `bound` is the address that is really listened on.
    pub(crate) fn into_config(self, bound: SocketAddr) -> anyhow::Result<HubConfig> {
        let (data, public_url) = (self.data()?.to_owned(), self.public_url(bound)?);
        let Self {
            command: _,
            listen: _,
            data: _,
            wait_for_data: _,
            public_url: _,
            fleet: _,
            namespace: _,
            kubeconfig: _,
            class: _,
            drone_service_account: _,
            test_service_account: _,
            idle_timeout,
            hosts,
            origins,
            trust_forwarded_for,
            token_hours,
            openai,
            key_env,
            key_file,
            ollama,
            model,
            demo,
            admin_email: _,
            admin_password_file: _,
            drone: _,
            max_model_body,
            max_prompt,
            max_event,
            prompts_per_minute,
            log_format: _,
        } = self;
        let key = match (key_env, key_file) {
            (Some(name), _) => ProviderKey::Environment { name },
            (None, Some(path)) => ProviderKey::File { path: path.display().to_string() },
            (None, None) => ProviderKey::None,
        };
        let setting =
            |name: &str, sdk, base_url, key| ProviderSetting { name: name.to_owned(), sdk, base_url, key };
        let openai = openai.map(|url| setting("openai", Sdk::OpenAi, url, key));
        let ollama = ollama.map(|url| setting("ollama", Sdk::Ollama, url, ProviderKey::None));
        Ok(HubConfig {
            hosts: allowed_hosts(hosts, bound.ip()),
            allowed_origins: origins.iter().map(|url| url.origin().ascii_serialization()).collect(),
            trust_forwarded_for,
            token_life: Duration::from_hours(token_hours),
            limits: Limits {
                model_body: max_model_body,
                prompt: max_prompt,
                event: max_event,
                prompts_per_minute,
                ..Limits::default()
            },
            sessions: SessionLimits {
                idle: idle_timeout.unwrap_or(SessionLimits::default().idle),
                ..SessionLimits::default()
            },
            providers: openai.into_iter().chain(ollama).collect(),
            demo: if demo { Demo::On } else { Demo::Off },
            default_model: model.as_deref().map(model_choice),
            ..HubConfig::new(data, public_url)
        })
    }
}

/// How this machine itself reaches the hub: an address that stands for all of its own is loopback then.
pub(crate) fn own_url(bound: SocketAddr) -> Result<Url, url::ParseError> {
    let ip = if bound.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound.ip() };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, bound.port())))
}

/// `30m`, `1h30m`, `45s`: as resources spell times.
fn time(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut seconds = Some(0_u64);
    for (unit, factor) in [('h', 3600_u64), ('m', 60), ('s', 1)] {
        let Some((digits, after)) = rest.split_once(unit) else { continue };
        let number = digits.parse().ok().and_then(|number: u64| number.checked_mul(factor));
        seconds = seconds.zip(number).and_then(|(sum, number)| sum.checked_add(number));
        rest = after;
    }
    match seconds {
        Some(seconds) if rest.is_empty() && !text.is_empty() => Ok(Duration::from_secs(seconds)),
        _ => Err("write hours, minutes and seconds, such as 30m".to_owned()),
    }
}

fn allowed_hosts(names: Vec<String>, bound: IpAddr) -> AllowedHosts {
    match (names.is_empty(), bound.is_loopback()) {
        (true, true) => AllowedHosts::loopback(),
        (true, false) => AllowedHosts::Any,
        // As a request would spell them: an IPv6 address stands in brackets. Drones of this machine use loopback.
        (false, _) => match AllowedHosts::loopback() {
            AllowedHosts::Any => AllowedHosts::Any,
            AllowedHosts::These(own) => {
                let spelled = |name: String| Host::parse(&name).map_or(name, |host| host.to_string());
                AllowedHosts::These(names.into_iter().map(spelled).chain(own).collect())
            }
        },
    }
}

/// A model's id may have slashes of its own; a provider's name has none.
fn model_choice(text: &str) -> ModelChoice {
    match text.split_once('/') {
        Some((provider, model)) => {
            ModelChoice { provider: provider.to_owned(), model: Some(model.to_owned()) }
        }
        None => ModelChoice { provider: text.to_owned(), model: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn config(arguments: &[&str], bound: &str) -> HubConfig {
        let arguments = ["gadget-hub", "--data", "/data"].iter().chain(arguments);
        HubArgs::try_parse_from(arguments).unwrap().into_config(bound.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        HubArgs::command().debug_assert();
    }

    #[test]
    fn an_invitation_needs_no_more_than_the_data_directory_in_either_place() {
        for arguments in [["--data", "/d", "invite", "admin"], ["invite", "admin", "--data", "/d"]] {
            let args = HubArgs::try_parse_from(["gadget-hub"].iter().chain(&arguments)).unwrap();
            assert_eq!(args.data().unwrap(), Path::new("/d"));
            assert!(matches!(args.command, Some(HubCommand::Invite { account }) if account == "admin"));
        }
        assert!(HubArgs::try_parse_from(["gadget-hub"]).unwrap().data().is_err());
    }

    #[test]
    fn times_are_spelled_as_in_resources() {
        assert_eq!(
            config(&["--idle-timeout", "1h30m"], "127.0.0.1:1").sessions.idle,
            Duration::from_mins(90)
        );
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "m", "30m1h", "-1s", "1d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hub_on_loopback_answers_to_loopback_names_alone() {
        let local = config(&[], "127.0.0.1:4567");
        assert_eq!(local.hosts, AllowedHosts::loopback());
        assert_eq!(local.public_url.as_str(), "http://127.0.0.1:4567/");
        let open = config(&[], "0.0.0.0:4567");
        assert_eq!(open.hosts, AllowedHosts::Any);
        assert_eq!(open.public_url.as_str(), "http://127.0.0.1:4567/");
        let named = config(&["--allow-host", "Gadget.Example,hub.svc"], "0.0.0.0:1");
        let all = ["gadget.example", "hub.svc", "localhost", "127.0.0.1", "[::1]"];
        assert_eq!(named.hosts, AllowedHosts::These(all.map(String::from).to_vec()));
    }

    #[test]
    fn providers_come_with_where_their_keys_are() {
        let made = config(
            &["--openai", "https://api.example/v1", "--key-file", "/run/key", "--ollama", "http://o:11434"],
            "127.0.0.1:1",
        );
        let keys: Vec<_> =
            made.providers.iter().map(|provider| (&*provider.name, provider.key.clone())).collect();
        assert_eq!(
            keys,
            [("openai", ProviderKey::File { path: "/run/key".into() }), ("ollama", ProviderKey::None)]
        );
    }

    #[test]
    fn bounds_can_be_set() {
        let made =
            config(&["--max-event", "7", "--max-prompt", "5", "--prompts-per-minute", "3"], "127.0.0.1:1");
        let expected = Limits { event: 7, prompt: 5, prompts_per_minute: 3, ..Limits::default() };
        assert_eq!(made.limits, expected);
    }

    #[test]
    fn a_model_s_id_keeps_its_slashes() {
        let choice = config(&["--model", "openai/org/large"], "127.0.0.1:1").default_model;
        assert_eq!(choice, Some(ModelChoice { provider: "openai".into(), model: Some("org/large".into()) }));
    }

    #[test]
    fn origins_are_kept_without_paths() {
        let made = config(&["--allow-origin", "https://ide.example/some/path"], "127.0.0.1:1");
        assert_eq!(made.allowed_origins, ["https://ide.example"]);
    }

    #[test]
    fn a_key_without_an_address_is_refused() {
        assert!(HubArgs::try_parse_from(["gadget-hub", "--data", "/d", "--key-env", "KEY"]).is_err());
    }
}

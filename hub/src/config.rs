//! Everything that can be set about a hub, as one plain value that is made once and handed down.
//!
//! `gadget-hub` fills it from arguments and environment, `gadget local` makes it in code; nothing below reads either.

use std::path::PathBuf;
use std::time::Duration;

use protocol::value::Sdk;
use url::Url;

use crate::session::state::limits::SessionLimits;
use crate::socket::SocketSettings;
use crate::socket::listener::ListenerLimits;
use crate::store::ProviderKey;

#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Store, keys and workspaces. Held by one process at a time ([`crate::store::lock::DataLock`]).
    pub data_dir: PathBuf,
    /// Where drones and people reach this hub. A caller that listens on port 0 fills it in after binding.
    pub public_url: Url,
    pub hosts: AllowedHosts,
    /// Origins of pages that may talk to this hub, besides its own. `https://gadget.example`.
    pub allowed_origins: Vec<String>,
    /// Take the address of a client from `X-Forwarded-For`: only behind a proxy that sets it.
    pub trust_forwarded_for: bool,
    /// How long a sign-in is good.
    pub token_life: Duration,
    /// How long a drone's session token is good; drones renew it before.
    pub drone_token_life: Duration,
    pub limits: Limits,
    /// Times and bounds of chat sessions.
    pub sessions: SessionLimits,
    /// Bounds of Socket.IO connections.
    pub sockets: SocketSettings,
    pub listener: ListenerLimits,
    /// Providers that are there because they were named at the start. They are written to the store under their names.
    pub providers: Vec<ProviderSetting>,
    /// The scripted provider.
    pub demo: Demo,
    /// What a session gets that chose nothing, before the first enabled provider's first model.
    pub default_model: Option<ModelChoice>,
}

impl HubConfig {
    pub fn new(data_dir: PathBuf, public_url: Url) -> Self {
        Self {
            data_dir,
            public_url,
            hosts: AllowedHosts::Any,
            allowed_origins: Vec::new(),
            trust_forwarded_for: false,
            token_life: Duration::from_hours(24),
            drone_token_life: Duration::from_hours(1),
            limits: Limits::default(),
            sessions: SessionLimits::default(),
            sockets: SocketSettings::default(),
            listener: ListenerLimits::default(),
            providers: Vec::new(),
            demo: Demo::Off,
            default_model: None,
        }
    }
}

/// Which `Host` headers are answered. A hub on a loopback address must be strict: a page of a stranger could point
/// a name of its own at 127.0.0.1 (DNS rebinding) and would be of the hub's own origin then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    Any,
    /// Names or addresses without port, lower case.
    These(Vec<String>),
}

impl AllowedHosts {
    /// For a hub that only this machine can reach.
    pub fn loopback() -> Self {
        Self::These(["localhost", "127.0.0.1", "[::1]"].map(String::from).to_vec())
    }
}

/// Bounds on what anybody may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one REST request body.
    pub rest_body: usize,
    /// Bytes of one model request body.
    pub model_body: usize,
    /// Model calls under way at the same time.
    pub model_calls: usize,
    /// Bytes of one prompt.
    pub prompt: usize,
    /// Prompts of one user in a minute.
    pub prompts_per_minute: u32,
    /// Bytes of one Socket.IO event.
    pub event: usize,
    /// Failed sign-ins of one address, and of one account, in fifteen minutes.
    pub sign_in_failures: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rest_body: 1024 * 1024,
            model_body: 32 * 1024 * 1024,
            model_calls: 1024,
            prompt: 256 * 1024,
            prompts_per_minute: 60,
            event: 1024 * 1024,
            sign_in_failures: 10,
        }
    }
}

/// A provider named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSetting {
    pub name: String,
    pub sdk: Sdk,
    pub base_url: Url,
    pub key: ProviderKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demo {
    Off,
    /// May be chosen; taken by itself only where nothing else is configured.
    On,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChoice {
    pub provider: String,
    /// Absent: the provider's first.
    pub model: Option<String>,
}

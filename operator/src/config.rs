//! What an operator is told. Made once, by the command line or a test, and handed down.

use std::time::Duration;

use crds::DroneClassSpec;
use url::Url;

#[derive(Clone, Debug)]
pub struct Config {
    /// Where the drones are. The operator looks nowhere else.
    pub namespace: String,
    /// What drones connect to.
    pub hub_url: Url,
    /// What DroneClass `default` is made of, and follows until somebody edits it.
    pub default_class: Option<DroneClassSpec>,
    /// Class of sessions that name none.
    pub class: String,
    /// Service account of the drones' pods.
    pub drone_service_account: String,
    pub lease: LeaseConfig,
    /// How many objects are reconciled at the same time.
    pub workers: usize,
    /// How long one call of the API server may take.
    pub call: Duration,
}

#[derive(Clone, Debug)]
pub struct LeaseConfig {
    pub name: String,
    /// Ours, among all that want to lead.
    pub identity: String,
    /// How long a leader that is silent is waited for.
    pub duration: Duration,
    /// How often a leader says that it is there.
    pub renew: Duration,
}

impl LeaseConfig {
    pub fn new(name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(4),
            renew: Duration::from_secs(1),
        }
    }

    /// A leader that could not renew for so long stops to write, well before another may begin.
    pub fn deadline(&self) -> Duration {
        self.duration.mul_f64(0.75)
    }
}

/// The class that is made of the settings.
pub const DEFAULT_CLASS: &str = "default";

impl Config {
    pub fn new(namespace: impl Into<String>, hub_url: Url, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            hub_url,
            default_class: None,
            class: DEFAULT_CLASS.to_owned(),
            drone_service_account: "gadget-drone".to_owned(),
            lease: LeaseConfig::new("gadget-operator", identity),
            workers: 32,
            call: Duration::from_secs(10),
        }
    }
}

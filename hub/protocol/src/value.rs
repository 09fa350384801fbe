//! The small closed vocabularies of the contract.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

vocabulary!(
    /// Where a turn is. Only `processing` can change.
    ChatTurnStatus { Processing = "processing", Finished = "finished", Aborted = "aborted", Error = "error" }
);
vocabulary!(
    /// Who may change files in the workspace: nobody, the system, the person, or the agent.
    WorkspaceMode { Idle = "idle", Syncing = "syncing", User = "user", Agent = "agent" }
);
vocabulary!(
    /// Whether a drone can take a session. `available`: none bound; `busy`: bound.
    DroneStatus { Starting = "starting", Available = "available", Busy = "busy", Offline = "offline" }
);
vocabulary!(
    /// Where a drone is in its life, finer than [`DroneStatus`]; the phases of the resource in a cluster.
    DronePhase {
        Starting = "Starting",
        Available = "Available",
        Busy = "Busy",
        Recovering = "Recovering",
        Suspended = "Suspended",
        Offline = "Offline",
        Failed = "Failed",
    }
);
vocabulary!(
    /// What kind of work a session is for: changes the system prompt and the tools on offer.
    ChatSessionMode { Plan = "plan", Build = "build", Test = "test", Ship = "ship", Develop = "develop" }
);
vocabulary!(
    /// How much a model may think before it answers.
    ReasoningEffort { Off = "off", Low = "low", Medium = "medium", High = "high" }
);
vocabulary!(
    /// Who wrote a log line.
    Component { Hub = "hub", Operator = "operator", Drone = "drone", Ide = "ide" }
);
vocabulary!(
    /// How grave a log line is.
    LogLevel { Debug = "debug", Info = "info", Warn = "warn", Error = "error" }
);
vocabulary!(
    /// What a name in a file tree is.
    FileKind { File = "file", Directory = "directory", Symlink = "symlink" }
);
vocabulary!(
    /// How file content travels.
    Encoding { Utf8 = "utf8", Base64 = "base64" }
);
vocabulary!(
    /// What a drone does with a work order that it found after a crash.
    RecoveryAction { Discard = "discard", Retry = "retry" }
);
vocabulary!(
    /// Which sub-agent a `subagent` call starts: one that only reads, or one with the tools of the session's mode.
    SubagentKind { Explore = "explore", General = "general" }
);
vocabulary!(
    /// The wire language of a model endpoint.
    Dialect { OpenAi = "openai", OpenAiResponses = "openai-responses", Anthropic = "anthropic", Ollama = "ollama" }
);
vocabulary!(
    /// The kind of a provider, as an administrator names it. `demo` is scripted, without any model.
    Sdk { OpenAi = "openai", Ollama = "ollama", Anthropic = "anthropic", Demo = "demo" }
);

impl ChatTurnStatus {
    pub fn is_over(self) -> bool {
        self != Self::Processing
    }
}

impl Sdk {
    /// The dialect that a drone speaks to this kind of provider through the hub's model proxy.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi | Self::Demo => Dialect::OpenAi,
            Self::Ollama => Dialect::Ollama,
            Self::Anthropic => Dialect::Anthropic,
        }
    }
}

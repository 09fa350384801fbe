//! Values that several resources share.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a pod should run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OperatingMode {
    #[default]
    Running,
    Suspended,
}

/// What becomes of a workspace's volume claim when its session is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    #[default]
    Retain,
    Delete,
}

/// How the workspace's volume may be mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// By one pod at a time; the storage class must be able to keep that.
    #[default]
    ReadWriteOncePod,
    /// By pods of one node at a time.
    ReadWriteOnce,
    /// By pods of any node.
    ReadWriteMany,
}

/// What the agent may do, as the hub's chat sessions know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionMode {
    Plan,
    Build,
    Test,
    Ship,
    Develop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningEffort {
    Off,
    Low,
    Medium,
    High,
}

/// Who or what has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureClass {
    /// The drone's own process ended.
    Process,
    /// It ran out of memory.
    Memory,
    /// A person or a drain moved it.
    Moved,
    /// Its node failed, or wanted its room.
    Node,
    Storage,
    Image,
    /// The cluster has no room.
    Capacity,
    /// Somebody's rule forbids it: quota, admission, configuration.
    Policy,
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl AccessMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOncePod => "ReadWriteOncePod",
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

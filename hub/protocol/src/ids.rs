//! Identifiers. Strings on the wire; types of their own here, so that a turn's id is never taken for a session's.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A new ULID in lower case, so that it fits a DNS label. It sorts after every other one that this process has made, also
/// after those of the same millisecond: what is listed by its id is listed in the order in which it came.
pub fn next_ulid() -> String {
    static LAST: Mutex<ulid::Generator> = Mutex::new(ulid::Generator::new());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let next = last.generate().unwrap_or_else(ulid::Overflow::commit_overflow_increment);
    next.to_string().to_ascii_lowercase()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(with = "String")] Arc<str>);

        impl $name {
            /// A new id, see [`next_ulid`].
            pub fn generate() -> Self {
                Self(next_ulid().into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A person with an account.
    UserId
);
id!(
    /// A project of a user: a git repository, or an empty start.
    ProjectId
);
id!(
    /// A chat session: the conversation about one project, with one drone.
    ChatSessionId
);
id!(
    /// A turn: one prompt and everything that one run of the loop made of it.
    TurnId
);
id!(
    /// A drone registration: one drone with its workspace, over all restarts of its process or pod.
    DroneId
);
id!(
    /// The identity of a workspace directory; a UUID v4 that never changes.
    WorkspaceId
);
id!(
    /// One sending of a turn to a drone. A turn that is retried has a new one for each attempt.
    WorkOrderId
);
id!(
    /// A tool call, as the model named it, made unique within the session by the drone.
    CallId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_in_which_they_were_made_within_a_millisecond_too() {
        let made: Vec<TurnId> = (0..10_000).map(|_| TurnId::generate()).collect();
        assert!(made.is_sorted_by(|before, after| before < after));
    }

    #[test]
    fn an_id_fits_a_dns_label() {
        let id = ChatSessionId::generate();
        let of_a_label = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        assert!(id.as_str().len() <= 63 && id.as_str().chars().all(of_a_label), "{id}");
    }
}

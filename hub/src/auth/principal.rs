//! Who is asking, proved.

use jiff::Timestamp;
use protocol::document::User;
use protocol::error::{Code, Refusal};
use protocol::ids::UserId;

use crate::auth::account::Role;

/// A person whose token was good when it was checked. Cannot be had but from [`super::Auth::authenticate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    user: User,
    token_id: String,
    expires_at: Timestamp,
}

impl Principal {
    pub(super) fn proved(user: User, token_id: String, expires_at: Timestamp) -> Self {
        Self { user, token_id, expires_at }
    }

    pub fn id(&self) -> &UserId {
        &self.user.id
    }

    pub fn user(&self) -> &User {
        &self.user
    }

    /// When the token ends; a connection that outlives it must be refreshed.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    pub fn is_admin(&self) -> bool {
        self.user.roles.iter().any(|role| role == Role::Admin.as_str())
    }

    pub fn require_admin(&self) -> Result<(), Refusal> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(Refusal::new(Code::Forbidden, "only an administrator may do this"))
        }
    }
}

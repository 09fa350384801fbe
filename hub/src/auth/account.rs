//! Accounts: what makes one valid. Pure; storing is the caller's.

use jiff::Timestamp;
use protocol::document::User;
use protocol::error::{Code, Refusal};
use protocol::ids::UserId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a user may do. On documents it is a text, as the contract has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Manages users, providers and looks at the audit log. Does not see other users' sessions.
    Admin,
    Member,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

/// An account to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    pub email: String,
    /// Absent: made from the e-mail address.
    pub handle: Option<String>,
    pub display_name: Option<String>,
    pub persona: Option<String>,
    pub roles: Vec<Role>,
}

/// The handle of the one user of `gadget local`.
pub const OWNER: &str = "owner";

/// The handle of the account that `helm test` signs in to.
pub const TESTER: &str = "helm-test";

/// The address by which that account is known: nobody else's has the handle and this.
pub const TESTER_EMAIL: &str = "helm-test@localhost";

/// The handle of the administrator that an invitation makes.
pub const ADMIN: &str = "admin";

impl NewAccount {
    /// The one user of a hub that only this machine can reach. Has no password: signs in by a token in a file.
    pub fn owner() -> Self {
        Self {
            email: "owner@localhost".to_owned(),
            handle: Some(OWNER.to_owned()),
            display_name: Some("Owner".to_owned()),
            persona: None,
            roles: vec![Role::Admin, Role::Member],
        }
    }

    pub fn admin(email: String) -> Self {
        let roles = vec![Role::Admin, Role::Member];
        Self { email, handle: None, display_name: None, persona: None, roles }
    }

    /// Signs in by an invitation, and can be given an address and a password later.
    pub fn first_admin() -> Self {
        let handle = Some(ADMIN.to_owned());
        Self { handle, ..Self::admin("admin@localhost".to_owned()) }
    }

    /// Of a test of the installation: has no password, and nothing of anybody else's to see.
    pub fn tester() -> Self {
        Self { handle: Some(TESTER.to_owned()), ..Self::member(TESTER_EMAIL.to_owned()) }
    }

    pub fn member(email: String) -> Self {
        Self { roles: vec![Role::Member], ..Self::admin(email) }
    }

    pub fn into_user(self, now: Timestamp) -> Result<User, Refusal> {
        let Self { email, handle, display_name, persona, roles } = self;
        let email = normal_email(&email)?;
        let handle = match handle {
            Some(handle) => checked_handle(handle)?,
            None => handle_from(&email),
        };
        let roles = if roles.is_empty() { vec![Role::Member] } else { roles };
        Ok(User {
            id: UserId::generate(),
            display_name: display_name
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| handle.clone()),
            handle,
            email,
            roles: role_names(&roles),
            persona,
            created_at: now,
        })
    }
}

/// Each once, in the order given.
pub fn role_names(roles: &[Role]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for role in roles {
        if !names.iter().any(|name| name == role.as_str()) {
            names.push(role.as_str().to_owned());
        }
    }
    names
}

/// The form in which an address is stored and looked up.
pub fn normal_email(email: &str) -> Result<String, Refusal> {
    let email = email.trim().to_lowercase();
    let valid = email.len() <= 254
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if valid { Ok(email) } else { Err(Refusal::new(Code::Invalid, "email: must look like name@example.org")) }
}

pub fn checked_handle(handle: String) -> Result<String, Refusal> {
    let bytes = handle.as_bytes();
    let valid = (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-');
    if valid {
        Ok(handle)
    } else {
        Err(Refusal::new(
            Code::Invalid,
            "handle: must be 1 to 63 lower-case letters, digits or dashes, and not begin or end with a dash",
        ))
    }
}

fn handle_from(email: &str) -> String {
    let name = email.split('@').next().unwrap_or_default();
    let handle = slug(name);
    if handle.is_empty() { "user".to_owned() } else { handle }
}

/// A name as a DNS label: lower-case letters and digits, anything else becomes a dash. May be empty.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if slug.len() >= 63 {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(email: &str) -> NewAccount {
        NewAccount { email: email.into(), handle: None, display_name: None, persona: None, roles: Vec::new() }
    }

    #[test]
    fn an_account_needs_only_an_address() {
        let user = account(" Ada.Lovelace@Example.ORG ").into_user(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(user.email, "ada.lovelace@example.org");
        assert_eq!(user.handle, "ada-lovelace");
        assert_eq!(user.display_name, "ada-lovelace");
        assert_eq!(user.roles, ["member"]);
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for email in ["", "ada", "@example.org", "ada@", "a b@c", "a@b@c"] {
            assert_eq!(
                account(email).into_user(Timestamp::UNIX_EPOCH).unwrap_err().code,
                Code::Invalid,
                "{email}"
            );
        }
    }

    #[test]
    fn handles_are_dns_labels() {
        for handle in ["", "-a", "a-", "A", "a.b", "ä", &"a".repeat(64)] {
            assert!(checked_handle(handle.to_owned()).is_err(), "{handle}");
        }
        assert!(checked_handle("ada-1".to_owned()).is_ok());
    }

    #[test]
    fn names_become_slugs() {
        assert_eq!(slug("My Första  Project!"), "my-f-rsta-project");
        assert_eq!(slug("---"), "");
        assert_eq!(slug(&"ab ".repeat(40)).len(), 62);
    }
}

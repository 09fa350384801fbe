//! Who may do what: accounts, sign-in, tokens, and the one place where ownership is decided ([`access`]).

pub mod access;
pub mod account;
mod attempts;
pub mod generation;
pub mod invite;
pub mod keys;
mod password;
mod principal;
pub mod seal;
mod token;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::document::User;
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, DroneId, UserId};
use tokio::time::Instant;

use crate::auth::account::{ADMIN, NewAccount, OWNER, TESTER_EMAIL, normal_email};
use crate::auth::attempts::SignInAttempts;
use crate::auth::keys::Keys;
use crate::auth::password::Passwords;
use crate::auth::token::TokenSigner;
use crate::store::{SharedStore, StoreError, UserRecord, refuse};

pub use crate::auth::password::PasswordError;
pub use crate::auth::principal::Principal;
pub use crate::auth::token::{DroneSession, IssuedToken, SignError};

/// Signs people in and checks whose token it is.
pub struct Auth {
    store: SharedStore,
    tokens: TokenSigner,
    passwords: Passwords,
    /// Locked for a look-up only, never across an await.
    attempts: Mutex<SignInAttempts>,
    token_life: Duration,
    drone_token_life: Duration,
}

/// How tokens are made and attempts are counted.
#[derive(Clone, Copy, Debug)]
pub struct AuthSettings {
    pub token_life: Duration,
    pub drone_token_life: Duration,
    pub sign_in_failures: u32,
}

/// Somebody has signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub issued: IssuedToken,
    pub user: User,
}

#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The same for an unknown address, a wrong password and a disabled account.
    #[error("the e-mail address or the password is wrong")]
    Wrong,
    #[error("too many failed sign-ins; try again in {} seconds", retry_after.as_secs().max(1))]
    TooMany { retry_after: Duration },
    #[error(transparent)]
    Password(PasswordError),
    #[error("failed to look up an account")]
    Store(#[source] StoreError),
    #[error("failed to issue a token")]
    Sign(#[source] SignError),
}

/// Why an account cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Password(PasswordError),
    #[error("failed to store an account")]
    Store(#[source] StoreError),
}

impl Auth {
    pub fn new(store: SharedStore, keys: &Keys, settings: AuthSettings) -> Self {
        let AuthSettings { token_life, drone_token_life, sign_in_failures } = settings;
        Self {
            store,
            tokens: TokenSigner::new(keys),
            passwords: Passwords::default(),
            attempts: Mutex::new(SignInAttempts::new(sign_in_failures)),
            token_life,
            drone_token_life,
        }
    }

    /// Proves who a token speaks for: signed by this hub, in time, not signed out, of an account in good standing.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Refusal> {
        let claims = self.tokens.verify_user(token, Timestamp::now())?;
        let record = self.store.user(&claims.sub).await.map_err(refuse)?;
        let Some(UserRecord { user, password_hash: _, tokens_valid_from, disabled: false }) = record else {
            return Err(Refusal::new(Code::Unauthorized, "the account is gone or disabled"));
        };
        let expires_at = claims.expires_at();
        if claims.issued_before(tokens_valid_from)
            || self.store.token_revoked(&claims.jti).await.map_err(refuse)?
        {
            return Err(Refusal::new(Code::Unauthorized, "signed out; sign in again"));
        }
        Ok(Principal::proved(user, claims.jti, expires_at))
    }

    pub async fn sign_in(&self, email: &str, password: &str, from: IpAddr) -> Result<SignedIn, SignInError> {
        // An address that cannot be one takes the same way as one that is unknown.
        let account = normal_email(email).unwrap_or_default();
        self.attempts
            .lock()
            .begin(from, &account, Instant::now())
            .map_err(|too_many| SignInError::TooMany { retry_after: too_many.retry_after })?;
        let record = self.store.user_by_email(&account).await.map_err(SignInError::Store)?;
        let hash = record.as_ref().and_then(|record| record.password_hash.as_deref());
        let right = self.passwords.verify(password, hash).await.map_err(SignInError::Password)?;
        let Some(UserRecord { user, disabled: false, .. }) = record.filter(|_| right) else {
            return Err(SignInError::Wrong);
        };
        self.attempts.lock().succeeded(from, &account);
        let issued = self.issue(&user).map_err(SignInError::Sign)?;
        Ok(SignedIn { issued, user })
    }

    /// A token for a user who is known to be who they are.
    pub fn issue(&self, user: &User) -> Result<IssuedToken, SignError> {
        self.issue_for(user, self.token_life)
    }

    /// As [`Self::issue`], with a life of its own: for the owner of a local hub, who keeps it in a file.
    pub fn issue_for(&self, user: &User, life: Duration) -> Result<IssuedToken, SignError> {
        self.tokens.sign_user(&user.id, &user.roles, life, Timestamp::now())
    }

    /// The token is refused from now on, at every hub of this store.
    pub async fn sign_out(&self, who: &Principal) -> Result<(), StoreError> {
        self.store.revoke_token(who.token_id(), who.expires_at()).await
    }

    /// For the drone of an accepted connect: good for model calls and git of this chat session.
    pub fn mint_drone_session(
        &self,
        drone: &DroneId,
        session: &ChatSessionId,
        user: &UserId,
        generation: u64,
    ) -> Result<IssuedToken, SignError> {
        self.tokens.sign_drone(drone, session, user, generation, self.drone_token_life, Timestamp::now())
    }

    /// Signature, audience and time only. The caller compares the generation with the drone's current one.
    pub fn verify_drone_session(&self, token: &str) -> Result<DroneSession, Refusal> {
        self.tokens.verify_drone(token, Timestamp::now())
    }

    /// Makes an account; without a password it cannot sign in by one.
    pub async fn create_account(
        &self,
        account: NewAccount,
        password: Option<&str>,
    ) -> Result<UserRecord, AccountError> {
        let now = Timestamp::now();
        let user = account.into_user(now).map_err(AccountError::Refused)?;
        let password_hash = match password {
            Some(password) => Some(self.passwords.hash(password).await.map_err(AccountError::Password)?),
            None => None,
        };
        let record = UserRecord { user, password_hash, tokens_valid_from: now, disabled: false };
        self.store.insert_user(record.clone()).await.map_err(AccountError::Store)?;
        Ok(record)
    }

    /// Sets a password and ends every session that was signed in before.
    pub async fn set_password(&self, record: &mut UserRecord, password: &str) -> Result<(), AccountError> {
        record.password_hash = Some(self.passwords.hash(password).await.map_err(AccountError::Password)?);
        record.tokens_valid_from = Timestamp::now();
        Ok(())
    }

    /// The first administrator of a hub, who makes the other accounts. One that is there stays as it is.
    pub async fn ensure_admin(&self, email: &str, password: &str) -> Result<UserRecord, AccountError> {
        let email = normal_email(email).map_err(AccountError::Refused)?;
        match self.store.user_by_email(&email).await.map_err(AccountError::Store)? {
            Some(record) => Ok(record),
            None => self.create_account(NewAccount::admin(email), Some(password)).await,
        }
    }

    /// The account that an invitation names, made where there is none: whoever can invite could make it as well.
    pub async fn ensure_invited(&self, account: &str) -> Result<UserRecord, AccountError> {
        let (known, new) = if account == ADMIN {
            (self.store.user_by_handle(ADMIN).await, NewAccount::first_admin())
        } else {
            let email = normal_email(account).map_err(AccountError::Refused)?;
            (self.store.user_by_email(&email).await, NewAccount::member(email))
        };
        self.known_or_made(known, new).await
    }

    /// The account of the pod that tries the installation. It is known by its address: a person who took its handle
    /// keeps it, and the test is refused.
    pub async fn ensure_tester(&self) -> Result<UserRecord, AccountError> {
        self.known_or_made(self.store.user_by_email(TESTER_EMAIL).await, NewAccount::tester()).await
    }

    async fn known_or_made(
        &self,
        known: Result<Option<UserRecord>, StoreError>,
        new: NewAccount,
    ) -> Result<UserRecord, AccountError> {
        match known.map_err(AccountError::Store)? {
            Some(UserRecord { disabled: true, .. }) => {
                let refusal = Refusal::new(Code::Forbidden, "the account is disabled");
                Err(AccountError::Refused(refusal))
            }
            Some(record) => Ok(record),
            None => self.create_account(new, None).await,
        }
    }

    /// The one user of `gadget local`, made at the first start.
    pub async fn ensure_owner(&self) -> Result<UserRecord, AccountError> {
        match self.store.user_by_handle(OWNER).await.map_err(AccountError::Store)? {
            Some(record) => Ok(record),
            None => self.create_account(NewAccount::owner(), None).await,
        }
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

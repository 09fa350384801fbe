//! Passwords: argon2id, away from the threads that serve, few at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

/// Each takes 19 MiB and a core for some 20 ms.
const AT_ONCE: usize = 2;
/// Who waits longer than this for a turn is told to come back.
const WAIT: Duration = Duration::from_secs(5);
pub(super) const SHORTEST: usize = 8;
/// Longer ones are refused: hashing must not take as long as somebody likes.
pub(super) const LONGEST: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many sign-ins at the same time; try again in a moment")]
    Busy,
    #[error("a password has {SHORTEST} to {LONGEST} bytes")]
    Length,
    #[error("failed to hash a password")]
    Hash(#[source] HashError),
    #[error("failed to finish hashing a password")]
    Aborted(#[source] JoinError),
}

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    /// What a password is checked against when there is no such account, so that the answer takes as long.
    decoy: Arc<OnceCell<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), decoy: Arc::default() }
    }
}

impl Passwords {
    /// The PHC string to store.
    pub(super) async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        if !(SHORTEST..=LONGEST).contains(&password.len()) {
            return Err(PasswordError::Length);
        }
        self.hash_any(password.to_owned()).await
    }

    /// Whether the password is the stored one's. Takes as long when there is none stored.
    pub(super) async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool, PasswordError> {
        if password.len() > LONGEST {
            return Ok(false);
        }
        let decoy = self.decoy.get_or_try_init(|| self.hash_any(String::from("decoy"))).await?;
        let known = stored.is_some();
        let against = stored.unwrap_or(decoy).to_owned();
        let password = password.to_owned();
        let outcome = self
            .in_turn(move || {
                let hash = PasswordHash::new(&against).map_err(|_| HashError::EncodingInvalid)?;
                Argon2::default().verify_password(password.as_bytes(), &hash)
            })
            .await?;
        match outcome {
            Ok(()) => Ok(known),
            Err(HashError::PasswordInvalid) => Ok(false),
            Err(error) => Err(PasswordError::Hash(error)),
        }
    }

    async fn hash_any(&self, password: String) -> Result<String, PasswordError> {
        let hash = self.in_turn(move || Argon2::default().hash_password(password.as_bytes())).await?;
        hash.map(|hash| hash.to_string()).map_err(PasswordError::Hash)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = timeout(WAIT, Arc::clone(&self.turns).acquire_owned())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(PasswordError::Busy)?;
        spawn_blocking(move || {
            let outcome = work();
            // Held until the work is done, also when the request that asked for it is gone.
            drop(turn);
            outcome
        })
        .await
        .map_err(PasswordError::Aborted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_passes() {
        let passwords = Passwords::default();
        let stored = passwords.hash("correct horse").await.unwrap();
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        assert!(passwords.verify("correct horse", Some(&stored)).await.unwrap());
        assert!(!passwords.verify("wrong horse!", Some(&stored)).await.unwrap());
        assert!(!passwords.verify("", Some(&stored)).await.unwrap());
    }

    #[tokio::test]
    async fn an_account_without_a_password_takes_none_not_even_the_decoys() {
        let passwords = Passwords::default();
        assert!(!passwords.verify("decoy", None).await.unwrap());
    }

    #[tokio::test]
    async fn passwords_too_short_or_too_long_are_refused() {
        let passwords = Passwords::default();
        for password in ["1234567".to_owned(), "x".repeat(LONGEST + 1)] {
            assert!(matches!(passwords.hash(&password).await, Err(PasswordError::Length)));
        }
    }
}

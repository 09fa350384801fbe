//! The session token: what the hub lets this drone's model calls and git credentials in with. It lives for an hour or
//! so and is renewed by a hello.
//!
//! The clock of a machine that slept cannot be trusted with that: whoever is refused says so, and the drone asks for
//! the next token at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How long a hub that has refused a token may take to give the next one.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(Arc<str>);

impl SessionToken {
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// For the `Authorization` header of a request to the hub.
    pub(crate) fn bearer(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// Where the newest token is put, by the one who says hello.
#[derive(Debug)]
pub struct TokenKeeper {
    newest: watch::Sender<Option<SessionToken>>,
    refused: Arc<Notify>,
}

/// Where the newest token is had.
#[derive(Clone, Debug)]
pub struct SessionTokens {
    newest: watch::Receiver<Option<SessionToken>>,
    refused: Arc<Notify>,
}

impl TokenKeeper {
    /// None before the hub has given the first.
    pub fn new(first: Option<SessionToken>) -> Self {
        Self { newest: watch::channel(first).0, refused: Arc::default() }
    }

    pub fn tokens(&self) -> SessionTokens {
        SessionTokens { newest: self.newest.subscribe(), refused: self.refused.clone() }
    }

    pub fn put(&self, token: Option<SessionToken>) {
        self.newest.send_replace(token);
    }

    /// Waits until the hub has refused the newest token. Waiting may be given up without loss.
    pub async fn refused(&self) {
        self.refused.notified().await;
    }
}

impl SessionTokens {
    /// None: the hub has given none yet.
    pub fn newest(&self) -> Option<SessionToken> {
        self.newest.borrow().clone()
    }

    /// The newest token, waiting for the first one. None: there will never be one.
    pub async fn first(&self) -> Option<SessionToken> {
        self.newest.clone().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Another token than the one that the hub has refused, asking for it where there is none yet.
    pub async fn instead_of(&self, refused: &SessionToken) -> Option<SessionToken> {
        let mut newest = self.newest.clone();
        let is_another = |token: &Option<SessionToken>| token.as_ref().is_some_and(|token| token != refused);
        if !is_another(&newest.borrow()) {
            self.refused.notify_one();
        }
        timeout(RENEWAL_LIMIT, newest.wait_for(is_another)).await.ok()?.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_token_is_renewed_at_once_and_one_that_was_renewed_already_is_not() {
        let (old, new) = (SessionToken::new("old"), SessionToken::new("new"));
        let keeper = TokenKeeper::new(Some(old.clone()));
        let tokens = keeper.tokens();
        let renewed = async {
            keeper.refused().await;
            keeper.put(Some(new.clone()));
        };
        assert_eq!(tokio::join!(tokens.instead_of(&old), renewed).0, Some(new.clone()));
        assert_eq!(tokens.instead_of(&old).await, Some(new));
        let again = timeout(Duration::from_millis(50), keeper.refused()).await;
        assert!(again.is_err(), "the token that was given is asked for again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_gives_no_other_token_is_not_waited_for_without_end() {
        let keeper = TokenKeeper::new(Some(SessionToken::new("old")));
        assert_eq!(keeper.tokens().instead_of(&SessionToken::new("old")).await, None);
        let tokens = keeper.tokens();
        drop(keeper);
        assert_eq!(tokens.instead_of(&SessionToken::new("old")).await, None);
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", SessionToken::new("secret")), "SessionToken(…)");
    }
}

//! Tokens: JSON Web Tokens that the hub signs and checks itself. Pure: what time it is comes from the caller.
//!
//! Two kinds with audiences of their own, so that neither passes for the other: a person's, and a drone's for one
//! chat session. The algorithm is pinned; a header that names another is refused before anything else is read.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, DroneId, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::auth::keys::Keys;

const ALGORITHM: Algorithm = Algorithm::HS256;
const USER_AUDIENCE: &str = "gadget";
const DRONE_AUDIENCE: &str = "gadget-drone-session";
/// How far clocks may disagree.
const LEEWAY: Duration = Duration::from_secs(30);

/// A token and when it ends.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    pub token: String,
    pub expires_at: Timestamp,
}

/// What a person's token says. Only a claim: whether it is still good is decided by [`crate::auth::Auth`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UserClaims {
    pub(super) sub: UserId,
    /// For clients to read; the hub takes roles from the account.
    pub(super) roles: Vec<String>,
    pub(super) jti: String,
    aud: String,
    iat: i64,
    exp: i64,
    /// `iat` in milliseconds: a whole second is too coarse to tell tokens before a password change from those after.
    #[serde(rename = "iatMs")]
    iat_ms: i64,
}

/// What a drone's session token proves: this drone works for this user on this chat session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroneSession {
    pub drone: DroneId,
    pub session: ChatSessionId,
    pub user: UserId,
    /// Of the connect that the token was minted for.
    pub generation: u64,
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct DroneClaims {
    sub: DroneId,
    session: ChatSessionId,
    user: UserId,
    generation: u64,
    jti: String,
    aud: String,
    iat: i64,
    exp: i64,
}

#[derive(Debug, thiserror::Error)]
#[error("failed to sign a token")]
pub struct SignError(#[source] jsonwebtoken::errors::Error);

/// Signs with the newest key, checks with any.
pub(super) struct TokenSigner {
    kid: String,
    signing: EncodingKey,
    verifying: HashMap<String, DecodingKey>,
}

impl TokenSigner {
    pub(super) fn new(keys: &Keys) -> Self {
        let newest = keys.signing.first();
        Self {
            kid: newest.map(|key| key.kid.clone()).unwrap_or_default(),
            signing: EncodingKey::from_secret(newest.map_or(&[], |key| key.secret.bytes().as_slice())),
            verifying: keys
                .signing
                .iter()
                .map(|key| (key.kid.clone(), DecodingKey::from_secret(key.secret.bytes())))
                .collect(),
        }
    }

    pub(super) fn sign_user(
        &self,
        user: &UserId,
        roles: &[String],
        life: Duration,
        now: Timestamp,
    ) -> Result<IssuedToken, SignError> {
        let (iat, exp) = span(now, life);
        self.sign(
            &UserClaims {
                sub: user.clone(),
                roles: roles.to_vec(),
                jti: token_id(),
                aud: USER_AUDIENCE.to_owned(),
                iat,
                exp,
                iat_ms: now.as_millisecond(),
            },
            exp,
        )
    }

    pub(super) fn verify_user(&self, token: &str, now: Timestamp) -> Result<UserClaims, Refusal> {
        let claims: UserClaims = self.verify(token, USER_AUDIENCE)?;
        check_times(claims.iat, claims.exp, now)?;
        Ok(claims)
    }

    pub(super) fn sign_drone(
        &self,
        drone: &DroneId,
        session: &ChatSessionId,
        user: &UserId,
        generation: u64,
        life: Duration,
        now: Timestamp,
    ) -> Result<IssuedToken, SignError> {
        let (iat, exp) = span(now, life);
        self.sign(
            &DroneClaims {
                sub: drone.clone(),
                session: session.clone(),
                user: user.clone(),
                generation,
                jti: token_id(),
                aud: DRONE_AUDIENCE.to_owned(),
                iat,
                exp,
            },
            exp,
        )
    }

    pub(super) fn verify_drone(&self, token: &str, now: Timestamp) -> Result<DroneSession, Refusal> {
        let DroneClaims { sub, session, user, generation, jti: _, aud: _, iat, exp } =
            self.verify(token, DRONE_AUDIENCE)?;
        check_times(iat, exp, now)?;
        Ok(DroneSession { drone: sub, session, user, generation, expires_at: at(exp) })
    }

    fn sign<T: Serialize>(&self, claims: &T, exp: i64) -> Result<IssuedToken, SignError> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(ALGORITHM) };
        let token = jsonwebtoken::encode(&header, claims, &self.signing).map_err(SignError)?;
        Ok(IssuedToken { token, expires_at: at(exp) })
    }

    fn verify<T: DeserializeOwned>(&self, token: &str, audience: &str) -> Result<T, Refusal> {
        let refused = || Refusal::new(Code::Unauthorized, "the token is not one of this hub; sign in again");
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused())?;
        let key = header.kid.and_then(|kid| self.verifying.get(&kid)).ok_or_else(refused)?;
        let mut validation = Validation::new(ALGORITHM);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        // Times are checked against the caller's clock.
        validation.validate_exp = false;
        jsonwebtoken::decode::<T>(token, key, &validation).map(|data| data.claims).map_err(
            |error| match error.kind() {
                ErrorKind::InvalidAudience => {
                    Refusal::new(Code::Unauthorized, "the token is of another kind and is not good here")
                }
                _ => refused(),
            },
        )
    }
}

impl UserClaims {
    pub(super) fn expires_at(&self) -> Timestamp {
        at(self.exp)
    }

    pub(super) fn issued_before(&self, time: Timestamp) -> bool {
        self.iat_ms < time.as_millisecond()
    }
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSigner").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

fn check_times(iat: i64, exp: i64, now: Timestamp) -> Result<(), Refusal> {
    let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
    if now.as_second() > exp.saturating_add(leeway) {
        return Err(Refusal::new(Code::TokenExpired, "the token has expired; renew it or sign in again"));
    }
    if iat > now.as_second().saturating_add(leeway) {
        return Err(Refusal::new(
            Code::Unauthorized,
            "the token is from the future; the clock of the hub was set back, sign in again",
        ));
    }
    Ok(())
}

fn span(now: Timestamp, life: Duration) -> (i64, i64) {
    let iat = now.as_second();
    (iat, iat.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

fn token_id() -> String {
    ulid::Ulid::generate().to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests;

//! Credentials at rest: sealed by the hub's own key, each bound to the place where it belongs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};

use crate::auth::keys::Secret;

/// Says how the rest is made, for the day when it is made otherwise.
const VERSION: &str = "v1.";
const NONCE: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("failed to get random bytes from the operating system")]
    Random,
    #[error("failed to seal a credential")]
    Seal,
    /// Of another hub's key, of another place, or damaged.
    #[error("a sealed credential does not open with this hub's key; enter the credential again")]
    Open,
}

/// Seals and opens with the key in `keys.json`.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    pub fn new(key: &Secret) -> Self {
        Self { cipher: XChaCha20Poly1305::new(key.bytes().into()) }
    }

    /// `place` names what the credential is for: a sealed text that is moved to another record does not open.
    pub fn seal(&self, place: &str, plain: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: plain.as_bytes(), aad: place.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Seal)?;
        Ok(format!("{VERSION}{}", BASE64.encode([&nonce, sealed.as_slice()].concat())))
    }

    pub fn open(&self, place: &str, sealed: &str) -> Result<String, SealError> {
        let bytes =
            sealed.strip_prefix(VERSION).and_then(|text| BASE64.decode(text).ok()).ok_or(SealError::Open)?;
        let (nonce, msg) = bytes.split_first_chunk::<NONCE>().ok_or(SealError::Open)?;
        let payload = Payload { msg, aad: place.as_bytes() };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::Open)?;
        String::from_utf8(plain).map_err(|_| SealError::Open)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Sealer {
        Sealer::new(&Secret::generate().unwrap())
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_and_shows_nothing() {
        let hub = fresh();
        let sealed = hub.seal("provider:a", "sk-secret").unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(hub.open("provider:a", &sealed).unwrap(), "sk-secret");
    }

    #[test]
    fn it_opens_at_no_other_place_and_with_no_other_key() {
        let hub = fresh();
        let sealed = hub.seal("provider:a", "sk-secret").unwrap();
        assert_eq!(hub.open("provider:b", &sealed), Err(SealError::Open));
        assert_eq!(fresh().open("provider:a", &sealed), Err(SealError::Open));
    }

    #[test]
    fn what_was_never_sealed_is_refused() {
        let hub = fresh();
        for text in ["", "v1.", "v1.%%", "v2.AAAA", "sk-plain"] {
            assert_eq!(hub.open("provider:a", text), Err(SealError::Open), "{text}");
        }
    }
}

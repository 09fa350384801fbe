//! The hub's own secrets: keys that sign tokens, and the key that seals credentials at rest.
//!
//! They live in `keys.json` in the data directory, readable by the hub's user alone, and are made at the first start.
//! Several signing keys are good at once, told apart by `kid`, so that a new one can take over while tokens of the
//! one before it run out.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const FILE: &str = "keys.json";
/// A signing key is replaced after this time.
const SIGNS_FOR: Duration = Duration::from_hours(30 * 24);

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("failed to {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} is not a key file of this hub; restore it from a backup, or move it away to sign everybody out"
    )]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} holds no signing key; restore it from a backup, or move it away to sign everybody out")]
    Empty { path: PathBuf },
    #[error("failed to get random bytes from the operating system")]
    Random(#[source] getrandom::Error),
}

/// 32 secret bytes. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKey {
    pub kid: String,
    pub created_at: Timestamp,
    pub secret: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Newest first: the first signs, all verify. Never empty.
    pub signing: Vec<SigningKey>,
    pub sealing: Secret,
}

impl Keys {
    /// Reads the key file, or makes it; replaces a signing key that has become old. `token_life` is how long a key
    /// must be kept after it signed its last token.
    pub fn load_or_create(dir: &Path, token_life: Duration, now: Timestamp) -> Result<Self, KeysError> {
        let path = dir.join(FILE);
        let stored = match std::fs::read(&path) {
            Ok(text) => Some(
                serde_json::from_slice::<Self>(&text)
                    .map_err(|source| KeysError::Malformed { path: path.clone(), source })?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(KeysError::Io { action: "read", path, source }),
        };
        let keys = match &stored {
            Some(keys) if keys.signing.is_empty() => return Err(KeysError::Empty { path }),
            Some(keys) => keys.clone().rotated(token_life, now)?,
            None => Self { signing: vec![SigningKey::generate(now)?], sealing: Secret::generate()? },
        };
        if stored.as_ref() != Some(&keys) {
            keys.write(&path)?;
        }
        Ok(keys)
    }

    fn rotated(mut self, token_life: Duration, now: Timestamp) -> Result<Self, KeysError> {
        let age = |key: &SigningKey| now.duration_since(key.created_at).unsigned_abs();
        if self.signing.first().is_none_or(|newest| age(newest) >= SIGNS_FOR) {
            self.signing.insert(0, SigningKey::generate(now)?);
        }
        // A key signs until its successor is made, which happens at a start of the hub and may be late: what counts
        // is how long the successor has been there.
        let mut successor_age = Duration::MAX;
        self.signing.retain(|key| {
            let keep = successor_age == Duration::MAX || successor_age <= token_life;
            successor_age = age(key);
            keep
        });
        Ok(self)
    }

    /// Whole or not at all: a hub that dies meanwhile finds the old file.
    fn write(&self, path: &Path) -> Result<(), KeysError> {
        let failed = |source| KeysError::Io { action: "write", path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let aside = path.with_extension("json.new");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&aside, path).map_err(failed)?;
        match path.parent() {
            Some(dir) => File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed),
            None => Ok(()),
        }
    }
}

impl SigningKey {
    fn generate(now: Timestamp) -> Result<Self, KeysError> {
        let kid = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        Ok(Self { kid, created_at: now, secret: Secret::generate()? })
    }
}

impl Secret {
    pub fn generate() -> Result<Self, KeysError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(KeysError::Random)?;
        Ok(Self(bytes))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text).map_err(serde::de::Error::custom)?;
        <[u8; 32]>::try_from(bytes)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("a key of this hub has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const DAY: Duration = Duration::from_hours(24);

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + day * 24 * 3600).unwrap()
    }

    #[test]
    fn keys_are_made_once_and_readable_by_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::load_or_create(dir.path(), DAY, at(0)).unwrap();
        let second = Keys::load_or_create(dir.path(), DAY, at(1)).unwrap();
        assert_eq!(first, second);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_old_signing_key_is_followed_by_a_new_one_and_goes_when_its_tokens_have_run_out() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::load_or_create(dir.path(), DAY, at(0)).unwrap();
        let rotated = Keys::load_or_create(dir.path(), DAY, at(31)).unwrap();
        assert_eq!(rotated.signing.len(), 2);
        assert_eq!(rotated.signing[1], first.signing[0]);
        assert_eq!(rotated.sealing, first.sealing);
        let later = Keys::load_or_create(dir.path(), DAY, at(33)).unwrap();
        assert_eq!(later.signing, [rotated.signing[0].clone()]);
    }

    #[test]
    fn a_broken_key_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{}").unwrap();
        let error = Keys::load_or_create(dir.path(), DAY, at(0)).unwrap_err();
        assert!(matches!(error, KeysError::Malformed { .. }), "{error:?}");
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "{}");
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret([7; 32])), "Secret(…)");
    }
}

//! A provider's key: read from where the record says that it is, never shown.

use std::fmt;

use http::HeaderValue;

use crate::auth::seal::{SealError, Sealer};
use crate::store::ProviderKey;

/// The bytes of a key as they go into a header. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(HeaderValue);

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the environment variable {0} is not set where the hub runs; set it and start the hub again")]
    NoVariable(String),
    #[error("failed to read the key file {path}: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the key holds characters that no header can carry")]
    Malformed,
    #[error(transparent)]
    Sealed(SealError),
}

impl ApiKey {
    /// `Authorization: Bearer …`.
    pub fn bearer(&self) -> HeaderValue {
        self.0.clone()
    }

    fn new(key: &str) -> Result<Self, KeyError> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| KeyError::Malformed)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Fetches the key; `None` where the provider wants none.
pub(super) fn open(sealer: &Sealer, provider: &str, key: &ProviderKey) -> Result<Option<ApiKey>, KeyError> {
    let text = match key {
        ProviderKey::None => return Ok(None),
        ProviderKey::Environment { name } => {
            std::env::var(name).map_err(|_| KeyError::NoVariable(name.clone()))?
        }
        ProviderKey::File { path } => {
            std::fs::read_to_string(path).map_err(|source| KeyError::File { path: path.clone(), source })?
        }
        ProviderKey::Sealed { sealed } => sealer.open(&place(provider), sealed).map_err(KeyError::Sealed)?,
    };
    ApiKey::new(&text).map(Some)
}

/// Seals a key for one provider.
pub(super) fn seal(sealer: &Sealer, provider: &str, key: &str) -> Result<ProviderKey, KeyError> {
    ApiKey::new(key)?;
    sealer.seal(&place(provider), key).map(|sealed| ProviderKey::Sealed { sealed }).map_err(KeyError::Sealed)
}

fn place(provider: &str) -> String {
    format!("provider:{provider}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::Secret;

    fn sealer() -> Sealer {
        Sealer::new(&Secret::generate().unwrap())
    }

    #[test]
    fn a_typed_key_is_sealed_for_its_provider_alone() {
        let sealer = sealer();
        let stored = seal(&sealer, "a", "sk-1\n").unwrap();
        let key = open(&sealer, "a", &stored).unwrap().unwrap();
        assert_eq!(key.bearer(), "Bearer sk-1");
        assert_eq!(format!("{key:?} {:?}", key.bearer()), "ApiKey(…) Sensitive");
        assert!(open(&sealer, "b", &stored).is_err());
    }

    #[test]
    fn a_key_from_a_file_is_read_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sk-file\n").unwrap();
        let key = ProviderKey::File { path: file.path().display().to_string() };
        assert_eq!(open(&sealer(), "a", &key).unwrap().unwrap().bearer(), "Bearer sk-file");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let key = ProviderKey::Environment { name: "GADGET_TEST_NO_SUCH_KEY".into() };
        let error = open(&sealer(), "a", &key).unwrap_err().to_string();
        assert!(error.contains("GADGET_TEST_NO_SUCH_KEY"), "{error}");
    }

    #[test]
    fn a_key_that_would_break_a_header_is_refused() {
        assert!(matches!(seal(&sealer(), "a", "sk\r\nX: y"), Err(KeyError::Malformed)));
    }
}

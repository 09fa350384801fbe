//! Which hub a command talks to, and as whom.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::args::HubArgs;
use crate::data_dir;

/// A hub and a token for it.
#[derive(Clone, Debug)]
pub(crate) struct HubAccess {
    /// Without a path at the end.
    pub url: String,
    credential: Credential,
}

#[derive(Clone, Debug)]
enum Credential {
    /// Read anew each time, so that a renewed token is always the newest.
    File(PathBuf),
    Token(String),
}

/// What `gadget login` remembers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    pub url: String,
    pub token: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("failed to read the token in {path}")]
    Token {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl HubAccess {
    pub(crate) fn with_file(url: &str, token_file: PathBuf) -> Self {
        Self { url: trimmed(url), credential: Credential::File(token_file) }
    }

    #[cfg(feature = "kube")]
    pub(crate) fn with_token(url: &str, token: String) -> Self {
        Self { url: trimmed(url), credential: Credential::Token(token) }
    }

    pub(crate) fn token(&self) -> Result<String, AccessError> {
        match &self.credential {
            Credential::Token(token) => Ok(token.clone()),
            Credential::File(path) => match std::fs::read_to_string(path) {
                Ok(token) => Ok(token.trim().to_owned()),
                Err(source) => Err(AccessError::Token { path: path.clone(), source }),
            },
        }
    }

    /// The hub that was named, else the one signed in to, else the one that runs on this machine.
    pub(crate) fn find(args: &HubArgs) -> anyhow::Result<Self> {
        let HubArgs { hub, token_file, data } = args;
        let signed_in = sign_in_file().and_then(|path| read_json::<SignedIn>(&path).ok());
        match (hub, token_file, signed_in) {
            (Some(url), Some(file), _) => return Ok(Self::with_file(url, file.clone())),
            (Some(url), None, Some(signed_in)) if trimmed(url) == signed_in.url => {
                return Ok(Self { url: signed_in.url, credential: Credential::Token(signed_in.token) });
            }
            (Some(url), None, _) => {
                anyhow::bail!(
                    "not signed in to {url}: sign in with `gadget login {url} --email …`, or name a --token-file"
                )
            }
            (None, _, Some(signed_in)) if data.is_none() => {
                return Ok(Self { url: signed_in.url, credential: Credential::Token(signed_in.token) });
            }
            (None, _, _) => {}
        }
        let data = data_dir::resolve(data.as_deref())?;
        let running: data_dir::Running = read_json(&data_dir::running_file(&data)).with_context(|| {
            format!(
                "no hub is running on {}: start one with `gadget local`, or sign in to another with `gadget login`",
                data.display()
            )
        })?;
        Ok(Self::with_file(&running.url, data_dir::token_file(&data)))
    }
}

pub(crate) fn sign_in_file() -> Option<PathBuf> {
    Some(dirs::config_dir()?.join("gadget").join("sign-in.json"))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

pub(crate) fn trimmed(url: &str) -> String {
    url.split('#').next().unwrap_or_default().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_hub_without_a_sign_in_says_how_to_get_one() {
        let args = HubArgs { hub: Some("http://127.0.0.1:1".into()), token_file: None, data: None };
        let error = HubAccess::find(&args).unwrap_err().to_string();
        assert!(error.contains("gadget login"), "{error}");
    }

    #[test]
    fn without_a_running_hub_the_error_says_how_to_start_one() {
        let data = tempfile::tempdir().unwrap();
        let args = HubArgs { hub: None, token_file: None, data: Some(data.path().to_owned()) };
        let error = HubAccess::find(&args).unwrap_err().to_string();
        assert!(error.contains("gadget local"), "{error}");
    }

    #[test]
    fn a_link_with_a_token_is_cut_to_the_address() {
        assert_eq!(trimmed("http://127.0.0.1:8420/#token=x"), "http://127.0.0.1:8420");
    }
}

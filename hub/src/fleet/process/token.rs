//! The token that a drone proves itself with: 256 random bits, of which only the hash is kept.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of a token, in hex on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether `token` is the one that was minted. Takes the same time for every wrong one.
    pub(super) fn matches(&self, token: &str) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

/// Makes a new token and leaves it in a file that only the owner can read.
pub(super) fn mint(path: &Path) -> io::Result<TokenHash> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let token = hex(&bytes);
    // A new file under the old name: who still has the old one open does not see the new token.
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(token.as_bytes())?;
    std::fs::rename(&fresh, path)?;
    Ok(TokenHash::of(&token))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hex(&hash.0)
    }
}

impl TryFrom<String> for TokenHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "a token hash has 64 hex digits";
        let mut hash = [0_u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(WRONG);
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_minted_token_is_private_matches_its_hash_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let first = mint(&path).unwrap();
        let first_token = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first_token.len(), 64);
        assert!(first.matches(&first_token));
        assert!(!first.matches(""));
        assert!(!first.matches(&first_token[..63]));

        let second = mint(&path).unwrap();
        assert!(!second.matches(&first_token), "a new token shuts the old one out");
        assert!(second.matches(&std::fs::read_to_string(&path).unwrap()));
    }

    #[test]
    fn a_hash_reads_back_from_its_text_and_garbage_is_refused() {
        let hash = TokenHash::of("secret");
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<TokenHash>(&text).unwrap(), hash);
        assert!(!text.contains("secret"));
        for garbage in ["", "ab", &"g".repeat(64), &"é".repeat(32)] {
            assert!(TokenHash::try_from(garbage.to_owned()).is_err(), "{garbage}");
        }
    }
}

//! One-time sign-in links, for the first administrator above all.
//!
//! Whoever may write into the hub's data directory may invite: `gadget-hub invite` leaves the hash of a random code there,
//! as a file, and prints the code. That needs no way into the hub that runs, and no other secret. The hub looks for the
//! file when somebody shows the code; taking it away is what makes the code good once.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How long a code is good.
pub const LIFE: Duration = Duration::from_hours(1);
const DIR: &str = "invites";
const BYTES: usize = 32;

/// Who may sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invite {
    /// An e-mail address, or `admin`.
    pub account: String,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Leaves an invitation in the data directory and answers with its code. Those that are over are cleared away.
pub fn issue(data: &Path, account: &str, now: Timestamp) -> io::Result<String> {
    let dir = data.join(DIR);
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    clear_away(&dir, now);
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let code = hex(&bytes);
    let expires_at = now.checked_add(LIFE).unwrap_or(now);
    let invite = Invite { account: account.to_owned(), issued_at: now, expires_at };
    // Written elsewhere first: a hub never reads half an invitation.
    let file = file_of(&dir, &code);
    let fresh = file.with_extension("new");
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    open.write_all(&serde_json::to_vec(&invite)?)?;
    open.sync_all()?;
    std::fs::rename(&fresh, &file)?;
    Ok(code)
}

/// Takes the invitation away and hands it over, once. `None`: there is none of that code, or it is over.
pub fn redeem(data: &Path, code: &str, now: Timestamp) -> io::Result<Option<Invite>> {
    if code.len() != BYTES * 2 || !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let file = file_of(&data.join(DIR), code);
    let invite: Invite = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Of two at the same time one removes it.
    match std::fs::remove_file(&file) {
        Ok(()) => Ok(Some(invite).filter(|invite| now < invite.expires_at)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing depends on it: what is over is refused anyway.
fn clear_away(dir: &Path, now: Timestamp) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let invite =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Invite>(&bytes).ok());
        if invite.is_some_and(|invite| invite.expires_at <= now) {
            drop(std::fs::remove_file(path));
        }
    }
}

fn file_of(dir: &Path, code: &str) -> PathBuf {
    dir.join(hex(&Sha256::digest(code.to_ascii_lowercase().as_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_code_is_good_once_and_nobody_can_read_it_from_the_disk() {
        let data = tempfile::tempdir().unwrap();
        let code = issue(data.path(), "admin", at(0)).unwrap();
        let dir = data.path().join(DIR);
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        assert!(!files[0].to_string_lossy().contains(&code));
        assert!(!std::fs::read_to_string(&files[0]).unwrap().contains(&code));
        assert_eq!(redeem(data.path(), &code, at(1)).unwrap().unwrap().account, "admin");
        assert_eq!(redeem(data.path(), &code, at(1)).unwrap(), None);
    }

    #[test]
    fn what_is_over_or_no_code_is_refused() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(redeem(data.path(), &"0".repeat(64), at(0)).unwrap(), None);
        let code = issue(data.path(), "ada@example.org", at(0)).unwrap();
        for wrong in ["", "../../hub.pid", &code[1..], &"g".repeat(64)] {
            assert_eq!(redeem(data.path(), wrong, at(1)).unwrap(), None, "{wrong}");
        }
        assert_eq!(redeem(data.path(), &code, at(3600)).unwrap(), None);
    }

    #[test]
    fn old_invitations_are_cleared_away_by_the_next() {
        let data = tempfile::tempdir().unwrap();
        issue(data.path(), "admin", at(0)).unwrap();
        issue(data.path(), "admin", at(7200)).unwrap();
        assert_eq!(std::fs::read_dir(data.path().join(DIR)).unwrap().count(), 1);
    }
}

//! How the owner signs in: by a token in a file that only they can read, good for a year and renewed in time.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hub::app::App;
use hub::store::UserRecord;
use jiff::Timestamp;

use crate::data_dir::write_private;

const TOKEN_LIFE: Duration = Duration::from_hours(365 * 24);
/// A token with less than this left is renewed.
const RENEWED_BEFORE: Duration = Duration::from_hours(30 * 24);

/// The token in the file, if it is good and will be for a while; else a new one.
pub(super) async fn token(app: &App, owner: &UserRecord, file: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(text) if is_good_for_long(app, owner, text.trim()).await => {
            return Ok(text.trim().to_owned());
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("failed to read the token in {}", file.display()));
        }
        _ => {}
    }
    let issued = app.auth.issue_for(&owner.user, TOKEN_LIFE).context("failed to issue the owner's token")?;
    write_private(file, issued.token.as_bytes())
        .with_context(|| format!("failed to write the token to {}", file.display()))?;
    Ok(issued.token)
}

async fn is_good_for_long(app: &App, owner: &UserRecord, token: &str) -> bool {
    let Ok(who) = app.auth.authenticate(token).await else { return false };
    who.id() == &owner.user.id && lasts(who.expires_at(), Timestamp::now())
}

fn lasts(expires_at: Timestamp, now: Timestamp) -> bool {
    let left = expires_at.duration_since(now);
    left.is_positive() && left.unsigned_abs() >= RENEWED_BEFORE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_when_less_than_thirty_days_are_left() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let day = Duration::from_hours(24);
        assert!(lasts(now + 30 * day, now));
        assert!(!lasts(now + 30 * day - Duration::from_secs(1), now));
        assert!(!lasts(now - 365 * day, now));
    }
}

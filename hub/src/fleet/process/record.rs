//! What the fleet writes down about a drone, so that the next hub finds its process working on.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use protocol::ids::{ChatSessionId, DroneId, UserId};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::token::TokenHash;
use crate::fleet::DroneSpec;

/// `<data>/drones/<id>/process.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub drone: DroneId,
    pub user: UserId,
    pub session: Option<ChatSessionId>,
    /// Chosen at the first start and kept, whatever session the drone is bound to later.
    pub workspace: PathBuf,
    /// The address that the process was told. One that was told another cannot be adopted.
    pub hub: String,
    /// Written before the process starts, so that a hub that dies in between still knows the token.
    pub token_sha256: Option<TokenHash>,
    /// Absent while no process should run.
    pub process: Option<Identity>,
    pub started_at: Option<Timestamp>,
    pub restarts: u32,
}

impl Record {
    pub(super) fn new(spec: DroneSpec, workspace: PathBuf, hub: &str) -> Self {
        let DroneSpec { id, user, session, facts: _ } = spec;
        Self {
            drone: id,
            user,
            session,
            workspace,
            hub: hub.to_owned(),
            token_sha256: None,
            process: None,
            started_at: None,
            restarts: 0,
        }
    }

    /// `None`: the drone's directory holds no record.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the record as a whole. Durable: after a loss of power a record that is half there would hide a drone.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        serde_json::to_writer_pretty(&mut file, self).map_err(io::Error::from)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(parent)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process.json");
        assert_eq!(Record::load(&path).unwrap(), None);
        let facts = std::sync::Arc::default();
        let spec = DroneSpec { id: "d1".into(), user: "u1".into(), session: Some("s1".into()), facts };
        let mut record = Record::new(spec, "/w".into(), "http://127.0.0.1:1");
        record.process = Some(Identity { pid: 7, start_time: 9, boot_id: "b".into() });
        record.save(&path).unwrap();
        record.restarts = 2;
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap(), Some(record));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_broken_record_is_an_error_and_not_an_unknown_drone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process.json");
        std::fs::write(&path, "{").unwrap();
        assert!(Record::load(&path).is_err());
    }
}

//! The journal of a turn: what an agent has done, on disk before it takes effect.
//!
//! A file of records, each `length + CRC + JSON`. Whatever instant the process dies at, the file opens again at the last
//! record that was written whole: a torn tail is cut off. One writer, which the workspace's claim sees to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use self::record::Record;
use crate::workspace::durable;

pub mod prune;
pub mod record;

/// Of each record: length of the JSON, then its CRC-32, both little-endian.
const HEADER: usize = 8;
/// A length beyond this is garbage, not a record.
const MOST: u32 = 256 * 1024 * 1024;

/// An open journal, at its end.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// None: the file is made by the first record.
    file: Option<File>,
    /// Where the last whole record ends.
    length: u64,
    /// How many records there are.
    count: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("failed to {what} the journal {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to write a record as JSON")]
    Encode(#[source] serde_json::Error),
}

impl Journal {
    /// Opens the journal at `path` and reads its records; one that is not there is made by the first record. A torn tail
    /// is cut.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        let fail =
            |what: &'static str| move |source| JournalError::Io { what, path: path.to_owned(), source };
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self { path: path.to_owned(), file: None, length: 0, count: 0 }, Vec::new()));
            }
            Err(error) => return Err(fail("open")(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail("read"))?;
        let (records, length) = decode(&bytes);
        if length < bytes.len() {
            tracing::info!(journal = %path.display(), bytes = bytes.len() - length, "cut a torn tail off the journal");
            file.set_len(length as u64).map_err(fail("cut"))?;
            file.sync_all().map_err(fail("sync"))?;
        }
        let journal =
            Self { path: path.to_owned(), file: Some(file), length: length as u64, count: records.len() };
        Ok((journal, records))
    }

    /// The number of records, which is the place of the next one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Writes records and syncs them: when this returns they survive anything. On failure none of them is there.
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        for record in records {
            encode(record, &mut bytes)?;
        }
        if let Err(source) = self.write(&bytes) {
            // What was written in part must not stand between this record and the next one; the next open would cut it
            // as well, and with it all that follows.
            if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_len(self.length)) {
                tracing::error!(journal = %self.path.display(), %error, "failed to take back half a record");
            }
            return Err(JournalError::Io { what: "write", path: self.path.clone(), source });
        }
        self.length += bytes.len() as u64;
        self.count += records.len();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let new = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
                none.insert(new)
            }
        };
        file.seek(SeekFrom::Start(self.length))?;
        file.write_all(bytes)?;
        file.sync_data()?;
        if self.length == 0 {
            // Its name as well; after its content, with which most file systems have written the name already.
            durable::sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }
}

/// Reads the records of a journal that is not written any more. Missing: none.
pub fn read(path: &Path) -> Result<Vec<Record>, JournalError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(decode(&bytes).0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(JournalError::Io { what: "read", path: path.to_owned(), source }),
    }
}

fn encode(record: &Record, into: &mut Vec<u8>) -> Result<(), JournalError> {
    let start = into.len();
    into.extend_from_slice(&[0; HEADER]);
    serde_json::to_writer(&mut *into, record).map_err(JournalError::Encode)?;
    let json = &into[start + HEADER..];
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MOST).ok_or_else(|| {
        JournalError::Encode(serde::ser::Error::custom("the record is too large for the journal"))
    })?;
    let crc = crc32fast::hash(json);
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    into[start + 4..start + HEADER].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// All whole records from the start, and where the last of them ends.
fn decode(bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((record, length)) = decode_one(&bytes[at..]) {
        records.push(record);
        at += length;
    }
    (records, at)
}

fn decode_one(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let json = rest.get(..length)?;
    // A tail of zeros, as some file systems leave it after a loss of power, has a matching CRC and no JSON.
    if crc32fast::hash(json) != u32::from_le_bytes(*crc) {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, HEADER + length))
}

#[cfg(test)]
mod tests;

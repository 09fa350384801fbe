//! A file's content as a whole: read with its hash, replaced only while the hash is the expected one.
//!
//! The new content is written elsewhere, synced and renamed over the old one, so a reader sees the one or the other.
//! Between the last look and the rename lie some microseconds in which a foreign writer's change would be lost; no
//! file system offers a rename that depends on content.

use std::io::{self, Read, Write};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt};
use sha2::{Digest, Sha256};

use super::{Inside, OWN, PathError, Root, classify};

/// A file that was read whole.
pub struct Content {
    pub bytes: Vec<u8>,
    /// In lower case hex.
    pub sha256: String,
}

/// Why a file's content could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{path} has {size} bytes; the limit is {limit}")]
    TooLarge { path: String, size: u64, limit: u64 },
    #[error("{path} is not what it was when it was read")]
    Changed { path: String },
}

/// Reads a file whole; none when it is not there.
pub fn read(root: &Root, inside: &Inside, limit: u64) -> Result<Option<Content>, ContentError> {
    let (file, metadata) = match root.open_file(inside) {
        Ok(open) => open,
        Err(PathError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let too_large = |size| ContentError::TooLarge { path: inside.show(), size, limit };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| PathError::Io {
        attempt: "read",
        path: inside.show(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    let sha256 = sha256_hex(&bytes);
    Ok(Some(Content { bytes, sha256 }))
}

/// Replaces a file, or creates it with its directories, if it still has the expected hash (none: is not there).
/// Permissions are kept.
pub fn replace(
    root: &Root,
    workspace: &Path,
    inside: &Inside,
    content: &[u8],
    expected: Option<&str>,
) -> Result<(), ContentError> {
    let path = inside.as_path();
    let failed = |attempt| move |source| classify(attempt, &inside.show(), source);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        root.dir().create_dir_all(parent).map_err(failed("create the directory of"))?;
    }
    let scratch = Scratch::open(workspace, root)?;
    scratch.write(content).map_err(failed("write"))?;
    if let Ok(metadata) = root.dir().metadata(path) {
        scratch
            .dir
            .set_permissions(&scratch.name, metadata.permissions())
            .map_err(failed("keep the permissions of"))?;
    }
    if hash(root, inside)?.as_deref() != expected {
        return Err(ContentError::Changed { path: inside.show() });
    }
    scratch.dir.rename(&scratch.name, root.dir(), path).map_err(failed("replace"))?;
    Ok(())
}

/// The hash of a file of whatever size; none when it is not there.
pub fn hash(root: &Root, inside: &Inside) -> Result<Option<String>, PathError> {
    let mut file = match root.open_file(inside) {
        Ok((file, _)) => file,
        Err(PathError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(Some(hex(&hash.finalize()))),
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(PathError::Io { attempt: "read", path: inside.show(), source }),
        }
    }
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        text
    })
}

/// The file that becomes the new one. It is removed unless it was renamed.
struct Scratch {
    dir: Dir,
    name: String,
}

impl Scratch {
    /// In the drone's own directory where that lies on the project's file system, so that a crash leaves nothing
    /// behind in the project; else in the project root.
    fn open(workspace: &Path, root: &Root) -> Result<Self, PathError> {
        let own = workspace.join(OWN).join("tmp");
        let name = format!("write-{}", ulid::Ulid::generate());
        let failed = |source| PathError::Io { attempt: "open", path: own.display().to_string(), source };
        std::fs::create_dir_all(&own).map_err(failed)?;
        let dir = Dir::open_ambient_dir(&own, ambient_authority()).map_err(failed)?;
        if device(&dir) == device(root.dir()) {
            return Ok(Self { dir, name });
        }
        let dir = root.dir().try_clone().map_err(failed)?;
        Ok(Self { dir, name: format!(".{name}") })
    }

    fn write(&self, content: &[u8]) -> io::Result<()> {
        let mut file = self.dir.create(&self.name)?;
        file.write_all(content)?;
        file.sync_all()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a rename, which is the usual case, there is nothing to remove.
        let _gone = self.dir.remove_file(&self.name);
    }
}

fn device(dir: &Dir) -> Option<u64> {
    dir.dir_metadata().ok().map(|metadata| metadata.dev())
}

//! The sub-command `git-credential` that git calls when it needs a name and a password: it asks the drone, which asks
//! the hub. So no secret is ever in a file or an environment.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the drone listens.
pub const SOCKET_VARIABLE: &str = "GADGET_GIT_CREDENTIAL";

/// The drone answers sooner; it has a limit of its own for the hub.
const PATIENCE: Duration = Duration::from_secs(30);
const LARGEST: u64 = 16 * 1024;

/// Why git gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("{SOCKET_VARIABLE} is not set: git was not started by a drone")]
    NoSocket,
    #[error("failed to ask the drone at {path} for a credential")]
    Ask { path: PathBuf, source: io::Error },
    #[error("failed to speak with git")]
    Git { source: io::Error },
}

/// Answers git, see gitcredentials(7). `operation` is `get`, `store` or `erase`; only the first has an answer, as the
/// hub keeps the credentials.
pub fn main(operation: &str) -> Result<(), HelperError> {
    if operation != "get" {
        return Ok(());
    }
    let path = env::var_os(SOCKET_VARIABLE).map(PathBuf::from).ok_or(HelperError::NoSocket)?;
    let mut question = Vec::new();
    io::stdin().take(LARGEST).read_to_end(&mut question).map_err(|source| HelperError::Git { source })?;
    let answer = ask(&path, &question).map_err(|source| HelperError::Ask { path, source })?;
    io::stdout().write_all(&answer).map_err(|source| HelperError::Git { source })
}

fn ask(path: &Path, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = short_path(path, |path| UnixStream::connect(path))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(question)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Gives a short name for a path: that of a socket is at most 107 bytes long, a workspace's may be longer.
pub(super) fn short_path<T>(path: &Path, use_it: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = File::open(directory)?;
    use_it(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}

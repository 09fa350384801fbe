//! The person's own look into the project: file tree, reading, writing, for the IDE.
//!
//! Paths come from a browser and stay inside the project root, see [`crate::path`]. The repository itself and the
//! drone's own directory are not shown. Whether the person may write now is for the caller to know.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::error::{Code, Refusal};
use protocol::ide::{
    FileReadAnswer, FileReadRequest, FileTreeAnswer, FileTreeRequest, FileWriteAnswer, FileWriteRequest,
};
use protocol::value::Encoding;

use crate::path::content::{self, Content, ContentError, sha256_hex};
use crate::path::{Inside, OWN, PathError, Root};

mod tree;

/// The largest file that is read or written.
pub const LARGEST: u64 = 768 * 1024;
/// What one event may carry of a file, in the form that travels. An event has at most 1 MiB, with what is around.
const LARGEST_ENCODED: usize = 1024 * 1024 - 16 * 1024;

/// Lists a directory, and on request what lies below it. Long lists come in pages.
pub async fn tree(root: PathBuf, request: FileTreeRequest) -> Result<FileTreeAnswer, Refusal> {
    blocking(move || tree::list(&Root::open(&root)?, &request)).await
}

/// Reads a file whole, as text where it is text.
pub async fn read(root: PathBuf, request: FileReadRequest) -> Result<FileReadAnswer, Refusal> {
    blocking(move || read_now(&root, &request)).await
}

/// Replaces a file that is still what the editor had read, or creates one that is not there.
pub async fn write(
    workspace: PathBuf,
    root: PathBuf,
    request: FileWriteRequest,
) -> Result<FileWriteAnswer, Refusal> {
    blocking(move || write_now(&workspace, &root, &request)).await
}

fn read_now(root: &Path, request: &FileReadRequest) -> Result<FileReadAnswer, Refusal> {
    let root = Root::open(root)?;
    let inside = visible(&root, &request.path)?;
    let found = content::read(&root, &inside, LARGEST)?;
    let Content { bytes, sha256 } =
        found.ok_or_else(|| Refusal::from(PathError::NotFound { path: request.path.clone() }))?;
    let size = bytes.len() as u64;
    let (content, encoding) = match String::from_utf8(bytes) {
        Ok(text) => (text, Encoding::Utf8),
        Err(error) => (BASE64.encode(error.as_bytes()), Encoding::Base64),
    };
    if encoded_length(&content) > LARGEST_ENCODED {
        let message = format!("{} has {size} bytes, too many for one message in its encoding", request.path);
        return Err(Refusal::new(Code::TooLarge, message));
    }
    Ok(FileReadAnswer {
        content: Some(content),
        encoding: Some(encoding),
        sha256: Some(sha256),
        size: Some(size),
        error: None,
        code: None,
    })
}

fn write_now(workspace: &Path, root: &Path, request: &FileWriteRequest) -> Result<FileWriteAnswer, Refusal> {
    let FileWriteRequest { path, content, encoding, expected_sha256 } = request;
    let bytes = match encoding.unwrap_or(Encoding::Utf8) {
        Encoding::Utf8 => content.clone().into_bytes(),
        Encoding::Base64 => BASE64
            .decode(content)
            .map_err(|error| Refusal::new(Code::Invalid, format!("the content is no base64: {error}")))?,
    };
    if bytes.len() as u64 > LARGEST {
        let message = format!("the content has {} bytes; the limit is {LARGEST}", bytes.len());
        return Err(Refusal::new(Code::TooLarge, message));
    }
    let root = Root::open(root)?;
    let inside = visible(&root, path)?;
    if inside.as_path().as_os_str().is_empty() {
        return Err(PathError::NotAFile { path: path.clone() }.into());
    }
    let expected = expected_sha256.as_ref().map(|hash| hash.to_ascii_lowercase());
    let now = content::hash(&root, &inside)?;
    if now != expected {
        return Err(changed(path, now.is_some(), expected.is_some()));
    }
    content::replace(&root, workspace, &inside, &bytes, expected.as_deref())?;
    Ok(FileWriteAnswer { sha256: Some(sha256_hex(&bytes)), error: None, code: None })
}

/// Resolves a path that the tree would show, but for its depth.
fn visible(root: &Root, path: &str) -> Result<Inside, Refusal> {
    let inside = root.resolve(path)?;
    if is_hidden(&inside) {
        return Err(PathError::Reserved { path: path.to_owned() }.into());
    }
    Ok(inside)
}

/// The repository itself, also that of a submodule, and the drone's directory.
fn is_hidden(inside: &Inside) -> bool {
    inside.has_component(".git") || inside.has_component(OWN)
}

fn changed(path: &str, is_there: bool, was_there: bool) -> Refusal {
    let message = match (is_there, was_there) {
        (true, false) => format!("{path} is there already: read it first"),
        (false, _) => format!("{path} is not there any more"),
        (true, true) => format!("{path} has changed since it was read: read it again"),
    };
    Refusal::new(Code::FileChanged, message)
}

/// How long a text is inside a JSON message.
fn encoded_length(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a file request broke off");
        Err(Refusal::new(Code::Internal, "the request broke off"))
    })
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Path(error) => error.into(),
            ContentError::TooLarge { .. } => Self::new(Code::TooLarge, error.to_string()),
            ContentError::Changed { .. } => Self::new(Code::FileChanged, error.to_string()),
        }
    }
}

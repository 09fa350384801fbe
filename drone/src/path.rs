//! The project root as the only part of the disk that file tools and file requests can reach.
//!
//! A path comes from a model or from a browser. It is resolved by `cap-std`, which walks it from an open directory and
//! never leaves that directory, whatever `..`, absolute paths and symbolic links say, and also when links are swapped
//! while it walks. `.gadget` is the drone's own and out of bounds even where it lies inside the root.

use std::io;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata};
use protocol::error::{Code, Refusal};

use crate::tool::ToolError;

pub mod content;

/// The directory of the drone's own files, at the top of a workspace.
pub const OWN: &str = ".gadget";

/// Why a path cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error("{path} leads out of the project")]
    Escape { path: String },
    #[error("{path} belongs to the drone and is no part of the project")]
    Reserved { path: String },
    #[error("{path} is not a path: {why}")]
    Invalid { path: String, why: &'static str },
    #[error("there is no {path}")]
    NotFound { path: String },
    #[error("{path} is a symbolic link that points nowhere")]
    BrokenLink { path: String },
    #[error("{path} is not a regular file")]
    NotAFile { path: String },
    #[error("{path} is not a directory")]
    NotADirectory { path: String },
    #[error("failed to {attempt} {path}: {source}")]
    Io { attempt: &'static str, path: String, source: io::Error },
}

/// A place below the root that was inside when it was resolved: relative, without `..`, with links followed. It may
/// not exist yet. The root itself is the empty path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inside(PathBuf);

/// An open project root.
pub struct Root {
    dir: Dir,
    /// As it was named, and as it really is: absolute paths below either are taken.
    names: [PathBuf; 2],
}

impl Inside {
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// For the file system calls that want a name for the root as well.
    fn name(&self) -> &Path {
        if self.0.as_os_str().is_empty() { Path::new(".") } else { &self.0 }
    }

    /// Whether a component has this name.
    pub fn has_component(&self, name: &str) -> bool {
        self.0.components().any(|component| component.as_os_str() == name)
    }

    /// For people and models; the root is `.`.
    pub fn show(&self) -> String {
        self.name().display().to_string()
    }
}

impl Root {
    pub fn open(root: &Path) -> Result<Self, PathError> {
        let failed = |attempt, source| PathError::Io { attempt, path: root.display().to_string(), source };
        let dir = Dir::open_ambient_dir(root, ambient_authority())
            .map_err(|source| failed("open the directory", source))?;
        let real = root.canonicalize().map_err(|source| failed("resolve", source))?;
        Ok(Self { dir, names: [root.to_owned(), real] })
    }

    /// Where the root really is.
    pub fn real(&self) -> &Path {
        &self.names[1]
    }

    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The absolute name of a place, for what can only be done by name.
    pub fn absolute(&self, inside: &Inside) -> PathBuf {
        self.real().join(&inside.0)
    }

    /// Finds out what a path means. It need not exist, but everything on the way that exists is inside.
    pub fn resolve(&self, text: &str) -> Result<Inside, PathError> {
        let path = || text.to_owned();
        if text.contains('\0') {
            return Err(PathError::Invalid {
                path: text.replace('\0', "\\0"),
                why: "it contains a zero byte",
            });
        }
        let relative = self.relative(text).ok_or_else(|| PathError::Escape { path: path() })?;
        if is_reserved(&relative) {
            return Err(PathError::Reserved { path: path() });
        }
        let (existing, missing) = self.deepest(&relative, text)?;
        if missing.components().any(|component| component == Component::ParentDir) {
            return Err(PathError::NotFound { path: path() });
        }
        let real = match self.dir.canonicalize(&existing) {
            Ok(real) => real,
            Err(source) => return Err(classify("resolve", text, source)),
        };
        let inside: PathBuf =
            real.components().chain(missing.components()).filter(|c| *c != Component::CurDir).collect();
        if is_reserved(&inside) {
            return Err(PathError::Reserved { path: path() });
        }
        Ok(Inside(inside))
    }

    /// Resolves a path that must exist.
    pub fn resolve_existing(&self, text: &str) -> Result<(Inside, Metadata), PathError> {
        let inside = self.resolve(text)?;
        let metadata =
            self.dir.metadata(inside.name()).map_err(|source| classify("look at", text, source))?;
        Ok((inside, metadata))
    }

    /// Opens a regular file for reading. Pipes and devices are refused before they can block.
    pub fn open_file(&self, inside: &Inside) -> Result<(File, Metadata), PathError> {
        let path = inside.show();
        let metadata =
            self.dir.metadata(inside.name()).map_err(|source| classify("look at", &path, source))?;
        if !metadata.is_file() {
            return Err(PathError::NotAFile { path });
        }
        let file = self.dir.open(inside.name()).map_err(|source| classify("open", &path, source))?;
        Ok((file, metadata))
    }

    /// Opens a directory.
    pub fn open_dir(&self, inside: &Inside) -> Result<Dir, PathError> {
        let path = inside.show();
        let metadata =
            self.dir.metadata(inside.name()).map_err(|source| classify("look at", &path, source))?;
        if !metadata.is_dir() {
            return Err(PathError::NotADirectory { path });
        }
        self.dir.open_dir(inside.name()).map_err(|source| classify("open", &path, source))
    }

    /// The path below the root that a text names, not yet resolved; none when it is an absolute path elsewhere.
    fn relative(&self, text: &str) -> Option<PathBuf> {
        let path = Path::new(text);
        let below = if path.is_absolute() {
            self.names.iter().find_map(|name| path.strip_prefix(name).ok())?
        } else {
            path
        };
        Some(below.components().filter(|component| *component != Component::CurDir).collect())
    }

    /// Splits a path into the longest leading part that exists and the rest.
    fn deepest(&self, relative: &Path, text: &str) -> Result<(PathBuf, PathBuf), PathError> {
        let components: Vec<Component<'_>> = relative.components().collect();
        for kept in (0..=components.len()).rev() {
            let mut existing: PathBuf = components[..kept].iter().collect();
            if kept == 0 {
                existing.push(".");
            }
            let whole = kept == components.len();
            match self.dir.metadata(&existing) {
                Ok(metadata) if whole || metadata.is_dir() => {
                    return Ok((existing, components[kept..].iter().collect()));
                }
                Ok(_) => return Err(PathError::NotADirectory { path: existing.display().to_string() }),
                Err(error) if is_missing(&error) => {
                    if self.dir.symlink_metadata(&existing).is_ok_and(|metadata| metadata.is_symlink()) {
                        return Err(PathError::BrokenLink { path: existing.display().to_string() });
                    }
                }
                Err(error) => return Err(classify("look at", text, error)),
            }
        }
        Err(PathError::NotFound { path: text.to_owned() })
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_reserved(relative: &Path) -> bool {
    relative.components().next().is_some_and(|first| first.as_os_str() == OWN)
}

/// Tells an attempted escape, which `cap-std` reports without any system error, from what the disk says.
fn classify(attempt: &'static str, path: &str, source: io::Error) -> PathError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => PathError::Escape { path },
        io::ErrorKind::NotFound => PathError::NotFound { path },
        io::ErrorKind::NotADirectory => PathError::NotADirectory { path },
        _ => PathError::Io { attempt, path, source },
    }
}

impl From<PathError> for ToolError {
    fn from(error: PathError) -> Self {
        let (code, hint) = match &error {
            PathError::Escape { .. } => {
                ("PATH_ESCAPE", "Only files below the project root can be used; give a path relative to it.")
            }
            PathError::Reserved { .. } => ("PATH_ESCAPE", "Use files of the project only."),
            PathError::Invalid { .. } => ("INVALID_PARAMETER", "Give a path relative to the project root."),
            PathError::NotFound { .. } => ("NOT_FOUND", "Look for the right path with `glob` or `list`."),
            PathError::BrokenLink { .. } => ("NOT_FOUND", "Use the path of a real file."),
            PathError::NotAFile { .. } => ("NOT_A_FILE", "See what a directory holds with `list`."),
            PathError::NotADirectory { .. } => ("NOT_A_DIRECTORY", "Look for the right path with `list`."),
            PathError::Io { .. } => ("IO", "Try again, or tell the user what the file system says."),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        let code = match &error {
            PathError::Escape { .. } | PathError::Reserved { .. } => Code::PathEscape,
            PathError::Invalid { .. } => Code::Invalid,
            PathError::NotFound { .. } | PathError::BrokenLink { .. } => Code::NotFound,
            PathError::NotAFile { .. } | PathError::NotADirectory { .. } => Code::NotAFile,
            PathError::Io { .. } => Code::Io,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests;

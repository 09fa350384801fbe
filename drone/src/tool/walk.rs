//! Which files the looking tools see: those of the project that git would, besides what is hidden by design; and the
//! spill files of long results.

use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};

use super::output::spill_directory;
use super::{ToolContext, ToolError};
use crate::path::{Inside, OWN, PathError, Root};

/// Resolves a path that a tool may read.
pub(crate) fn readable(context: &ToolContext, path: &str) -> Result<(Root, Inside), ToolError> {
    let spills = spill_directory(&context.workspace);
    if Path::new(path).starts_with(&spills) {
        let root = Root::open(&spills)?;
        let inside = root.resolve(path)?;
        return Ok((root, inside));
    }
    let root = Root::open(&context.project_root)?;
    let inside = root.resolve(path)?;
    Ok((root, inside))
}

/// Files below a place, sorted by path, as the project's ignore files say; a place that is ignored itself was asked for
/// and is looked into. Links are not followed.
pub(crate) struct Files<'a> {
    context: &'a ToolContext,
    base: PathBuf,
    walk: ignore::Walk,
}

impl<'a> Files<'a> {
    pub(crate) fn below(context: &'a ToolContext, path: &str) -> Result<Self, ToolError> {
        let (root, inside) = readable(context, path)?;
        let (base, start) = (root.real().to_owned(), root.absolute(&inside));
        if !start.exists() {
            return Err(PathError::NotFound { path: path.to_owned() }.into());
        }
        // From the project root on, so that its ignore files count and those above it do not.
        let from = if is_ignored(&base, &start) { start.clone() } else { base.clone() };
        let walk = walker(&from)
            .filter_entry(move |entry| {
                let path = entry.path();
                !is_hidden(entry) && (path.starts_with(&start) || start.starts_with(path))
            })
            .build();
        Ok(Self { context, base, walk })
    }

    /// A path as the model gives and gets it.
    pub(crate) fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.base).unwrap_or(path)
    }
}

impl Iterator for Files<'_> {
    type Item = Result<PathBuf, ToolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.context.cancel.is_cancelled() {
                return Some(Err(ToolError::cancelled()));
            }
            match self.walk.next()? {
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => {
                    return Some(Ok(entry.into_path()));
                }
                // A directory that cannot be read hides what is in it, as with every such tool.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn walker(from: &Path) -> WalkBuilder {
    let mut walker = WalkBuilder::new(from);
    walker
        .hidden(false)
        .parents(false)
        .follow_links(false)
        .require_git(false)
        .git_global(false)
        .sort_by_file_path(Ord::cmp);
    walker
}

/// Whether a walk from the root would not come by this place.
fn is_ignored(base: &Path, start: &Path) -> bool {
    let target = start.to_owned();
    let mut walk = walker(base).filter_entry(move |entry| target.starts_with(entry.path())).build();
    !walk.any(|entry| entry.is_ok_and(|entry| entry.path() == start))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && (entry.file_name() == ".git" || entry.file_name() == OWN)
}

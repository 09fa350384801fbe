//! Old journals go, so that a workspace that lives for years does not fill up with them. The hub has the turns.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Removes the journals of all but the `keep` turns that were written last. The files of one turn, its sub-agents' with
/// it, go together; those of `current` stay.
pub fn prune(directory: &Path, keep: usize, current: &str) -> io::Result<()> {
    let mut turns: BTreeMap<String, (SystemTime, Vec<PathBuf>)> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let turn = name.split('.').next().unwrap_or(&name);
        if turn == current {
            continue;
        }
        let written = entry.metadata()?.modified()?;
        let (newest, files) = turns.entry(turn.to_owned()).or_insert((written, Vec::new()));
        *newest = written.max(*newest);
        files.push(entry.path());
    }
    let mut by_age: Vec<(SystemTime, Vec<PathBuf>)> = turns.into_values().collect();
    by_age.sort_unstable();
    let surplus = by_age.len().saturating_sub(keep);
    for file in by_age.into_iter().take(surplus).flat_map(|(_, files)| files) {
        fs::remove_file(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_turns_go_with_their_sub_agents_and_the_current_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["current", "old", "old.3", "new", "newest", "newest.1"];
        for (age, name) in (0..).zip(files) {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age)).unwrap();
        }
        prune(dir.path(), 2, "current").unwrap();
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["current", "new", "newest", "newest.1"]);
    }
}

//! The conversation before a turn. What the drone has told the model once it keeps, so that a turn costs the same at the
//! end of a long session as at its start; what does not fit the model is not even read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::drone::ContextTurn;
use protocol::ids::TurnId;

use super::history::{self, Room};
use super::{is_safe_id, journal_path};
use crate::journal::record::Body;
use crate::journal::{self, JournalError};
use crate::model::Message;
use crate::workspace::Paths;

/// One turn's messages.
pub(super) type Messages = Arc<[Message]>;

/// The earlier turns of the conversation that was last gone on with, no more than fit its model. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Memory(
    // A lock because turns read on threads of their own; never over an await.
    Arc<Mutex<HashMap<TurnId, Messages>>>,
);

/// How many of the oldest turns are not needed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Omitted {
    /// As many as do not fit.
    ToFit(Room),
    /// So many, as was decided when the turn began.
    Known(usize),
}

/// The earlier turns, oldest first; those that are left out are empty.
pub(super) struct Earlier {
    pub turns: Vec<Messages>,
    pub omitted: usize,
}

impl Memory {
    /// What is known of `turns`, and the journals for the rest of what is needed.
    pub(super) fn recall(
        &self,
        paths: &Paths,
        turns: &[ContextTurn],
        omitted: Omitted,
    ) -> Result<Earlier, JournalError> {
        let mut known = self.0.lock().clone();
        let (mut kept, mut found) = (HashMap::new(), vec![Messages::default(); turns.len()]);
        let (least, mut room) = match omitted {
            Omitted::ToFit(room) => (0, Some(room)),
            Omitted::Known(omitted) => (omitted.min(turns.len()), None),
        };
        let mut omitted = turns.len();
        for (place, turn) in turns.iter().enumerate().skip(least).rev() {
            let (messages, is_final) = match known.remove(&turn.turn_id) {
                Some(messages) => (messages, true),
                None => read(paths, turn)?,
            };
            if room.as_mut().is_some_and(|room| !room.takes(&messages)) {
                break;
            }
            if is_final {
                kept.insert(turn.turn_id.clone(), messages.clone());
            }
            found[place] = messages;
            omitted = place;
        }
        *self.0.lock() = kept;
        Ok(Earlier { turns: found, omitted })
    }

    /// Keeps a turn that is over, for the one after it.
    pub(super) fn keep(&self, turn: TurnId, messages: Vec<Message>) {
        self.0.lock().insert(turn, messages.into());
    }
}

/// A turn's messages, and whether they stay as they are.
fn read(paths: &Paths, turn: &ContextTurn) -> Result<(Messages, bool), JournalError> {
    let path = is_safe_id(&turn.turn_id).then(|| journal_path(paths, &turn.turn_id, None));
    let records = path.as_deref().map(read_journal).transpose()?.unwrap_or_default();
    let is_closed = records.iter().any(|body| matches!(body, Body::TurnClose { .. }));
    Ok(match history::from_journal(&records, turn.status) {
        Some(messages) => (messages.into(), is_closed),
        None => (history::from_stored(turn).into(), true),
    })
}

fn read_journal(path: &Path) -> Result<Vec<Body>, JournalError> {
    Ok(journal::read(path)?.into_iter().map(|record| record.body).collect())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use protocol::document::Block;
    use protocol::value::ChatTurnStatus;

    use super::*;
    use crate::journal::Journal;
    use crate::journal::record::{Opening, Record};
    use crate::model::{Completion, Stop};

    fn workspace() -> (tempfile::TempDir, Paths) {
        let directory = tempfile::tempdir().unwrap();
        let workspace = crate::workspace::Workspace::open(directory.path()).unwrap();
        (directory, workspace.paths().clone())
    }

    fn context(turn: &str) -> ContextTurn {
        let said = Block::Responding { created_at: Timestamp::UNIX_EPOCH, content: "as stored".to_owned() };
        ContextTurn {
            turn_id: turn.into(),
            status: ChatTurnStatus::Finished,
            prompt: format!("prompt {turn}"),
            blocks: vec![said],
        }
    }

    /// Journals a turn that said `text`.
    fn journal(paths: &Paths, turn: &str, text: &str) {
        let opening = Opening {
            turn_id: turn.into(),
            chat_session_id: "s".into(),
            attempt: 1,
            first_seq: 1,
            system: String::new(),
            prompt: format!("prompt {turn}"),
            omitted: 0,
        };
        let completion = Completion { text: text.to_owned(), stop: Stop::End, ..Completion::default() };
        let bodies = [
            Body::TurnOpen(opening),
            Body::Assistant { completion, text: None, usage: None },
            Body::TurnClose { status: ChatTurnStatus::Finished, message: None, complete: None },
        ];
        let record = |body| Record { generation: 1, at: Timestamp::UNIX_EPOCH, body };
        let (mut journal, _) = Journal::open(&journal_path(paths, &turn.into(), None)).unwrap();
        journal.append(&bodies.map(record)).unwrap();
    }

    fn recall(memory: &Memory, paths: &Paths, turns: &[&str], window: u64) -> (Vec<String>, usize) {
        let turns: Vec<ContextTurn> = turns.iter().map(|turn| context(turn)).collect();
        let omitted = Omitted::ToFit(Room::new(0, Some(window)));
        let Earlier { turns, omitted } = memory.recall(paths, &turns, omitted).unwrap();
        let last = |turn: Messages| match turn.last() {
            Some(Message::Assistant { text, .. }) => text.clone(),
            _ => String::new(),
        };
        (turns.into_iter().map(last).collect(), omitted)
    }

    #[test]
    fn a_turn_is_read_once_and_one_that_ran_elsewhere_is_told_as_the_hub_has_it() {
        let (_directory, paths) = workspace();
        let memory = Memory::default();
        journal(&paths, "one", "first");
        let expected = (vec!["first".to_owned(), "as stored".to_owned()], 0);
        assert_eq!(recall(&memory, &paths, &["one", "elsewhere"], 100_000), expected);
        std::fs::remove_dir_all(paths.journals()).unwrap();
        assert_eq!(recall(&memory, &paths, &["one", "elsewhere"], 100_000), expected);
    }

    #[test]
    fn what_does_not_fit_is_not_read_and_not_kept() {
        let (_directory, paths) = workspace();
        let memory = Memory::default();
        std::fs::create_dir(journal_path(&paths, &"old".into(), None)).unwrap();
        journal(&paths, "long", &"x".repeat(40_000));
        journal(&paths, "new", "newest");
        let expected = (vec![String::new(), String::new(), "newest".to_owned()], 2);
        assert_eq!(recall(&memory, &paths, &["old", "long", "new"], 4_000), expected);
        assert_eq!(memory.0.lock().keys().map(TurnId::as_str).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn another_conversation_takes_the_place_of_the_one_before() {
        let (_directory, paths) = workspace();
        let memory = Memory::default();
        journal(&paths, "one", "first");
        recall(&memory, &paths, &["one"], 100_000);
        recall(&memory, &paths, &["two"], 100_000);
        assert_eq!(memory.0.lock().keys().map(TurnId::as_str).collect::<Vec<_>>(), ["two"]);
    }
}

//! A first-in-first-out file for events that do not fit into memory.
//!
//! Not synced and without a name: it outlives nothing. After a crash the journal says what the hub lacks.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use protocol::event::RawEvent;

use super::queue::Numbered;

#[derive(Debug)]
pub(super) struct Spill {
    directory: PathBuf,
    /// Made when it is first needed.
    file: Option<File>,
    /// Number and length of the events in the file, in order.
    index: VecDeque<(u64, usize)>,
    /// Where the first of them begins.
    start: u64,
    /// Where the next one goes.
    end: u64,
    /// The file failed once: memory alone is used from then on.
    is_broken: bool,
}

impl Spill {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, file: None, index: VecDeque::new(), start: 0, end: 0, is_broken: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How much of the disk is taken.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Gives the event back when the file cannot take it.
    pub(super) fn push(&mut self, numbered: Numbered) -> Result<(), Numbered> {
        if self.is_broken {
            return Err(numbered);
        }
        match self.write(&numbered) {
            Ok(length) => {
                self.index.push_back((numbered.seq, length));
                self.end += length as u64;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "failed to put events that wait for the hub on disk; memory has to do");
                self.is_broken = true;
                Err(numbered)
            }
        }
    }

    /// Takes the oldest event out, for good, with its number.
    pub(super) fn pop(&mut self) -> Option<(u64, io::Result<RawEvent>)> {
        let (seq, length) = self.index.pop_front()?;
        let event = self.read(length);
        self.start += length as u64;
        if self.index.is_empty() {
            self.start = 0;
            self.end = 0;
            if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_len(0)) {
                tracing::debug!(%error, "failed to shorten a file; what comes next is written over it");
            }
        }
        Some((seq, event))
    }

    fn write(&mut self, numbered: &Numbered) -> io::Result<usize> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.directory)?),
        };
        let text = serde_json::to_vec(&numbered.event)?;
        file.write_all_at(&text, self.end)?;
        Ok(text.len())
    }

    fn read(&self, length: usize) -> io::Result<RawEvent> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut text = vec![0; length];
        file.read_exact_at(&mut text, self.start)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

//! Puts tool calls together from the pieces in which endpoints stream them.
//!
//! Endpoints disagree about how a piece says which call it belongs to: by index, by id, by both or by neither; some use
//! index 0 for all calls, some number a call's first piece differently from its rest, some repeat id and name with each
//! piece. The rules, strongest first:
//!
//! 1. A known id decides, whatever the index says.
//! 2. A new id never joins a call that has an id: it begins a call, or names one that had only its index so far.
//! 3. No id, but a name that the newest call at that index cannot mean any more: a new call.
//! 4. No id: the newest call that claimed the index, else the call that was opened last.
//! 5. A call needs a name or an id to begin.

use serde::de::IgnoredAny;

use super::fault::Fault;
use super::{Call, ModelEvent};

/// More calls in one answer are no answer but a model that runs in circles.
const MAX_CALLS: usize = 256;
/// No tool has such a long name: it would not fit into what tells of the call.
const LONGEST_NAME: usize = 128;
/// Some gateways keep a thought's signature in the id.
const LONGEST_ID: usize = 16 * 1024;

/// What one frame says of one call. Empty texts are the same as absent ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piece<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) arguments: Arguments<'a>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Arguments<'a> {
    #[default]
    None,
    /// A further piece of JSON text.
    Piece(&'a str),
    /// All of them.
    Whole(&'a str),
}

impl<'a> Arguments<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::None => "",
            Self::Piece(text) | Self::Whole(text) => text,
        }
    }
}

#[derive(Debug)]
struct Slot {
    /// What the endpoint calls it.
    endpoint_id: Option<String>,
    /// What we call it from its first event on: the endpoint's id, or one made up.
    id: String,
    /// Empty until it is known.
    name: String,
    index: Option<u64>,
    arguments: String,
}

/// The calls of one answer, in the order in which they began.
#[derive(Debug)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    /// Makes made-up ids different between answers.
    id_prefix: String,
    /// Bytes of all arguments so far.
    size: usize,
}

impl Calls {
    pub(super) fn new(id_prefix: String) -> Self {
        Self { slots: Vec::new(), id_prefix, size: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn push(&mut self, piece: Piece<'_>, events: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        let piece = Piece {
            index: piece.index,
            id: piece.id.filter(|id| !id.is_empty()),
            name: piece.name.filter(|name| !name.is_empty()),
            arguments: piece.arguments,
        };
        if piece.name.is_some_and(|name| name.len() > LONGEST_NAME) {
            return Err(unreadable("a tool call with a name that no tool has"));
        }
        if piece.id.is_some_and(|id| id.len() > LONGEST_ID) {
            return Err(unreadable("a tool call with an id beyond all measure"));
        }
        let Some(at) = self.slot_of(&piece) else {
            if piece.arguments.text().trim().is_empty() {
                return Ok(());
            }
            return Err(unreadable("arguments of a tool call that never began"));
        };
        if self.slots.len() > MAX_CALLS {
            return Err(unreadable("more tool calls than any answer has"));
        }
        let slot = &mut self.slots[at];
        if is_repetition(slot, &piece) {
            return Ok(());
        }
        if slot.name.is_empty()
            && let Some(name) = piece.name
        {
            name.clone_into(&mut slot.name);
            events.push(ModelEvent::CallStarted { index: at, id: slot.id.clone(), name: name.to_owned() });
            if !slot.arguments.is_empty() {
                events.push(ModelEvent::CallArguments { index: at, delta: slot.arguments.clone() });
            }
        }
        let text = piece.arguments.text();
        self.size += text.len();
        slot.arguments.push_str(text);
        if !slot.name.is_empty() && !text.is_empty() {
            events.push(ModelEvent::CallArguments { index: at, delta: text.to_owned() });
        }
        Ok(())
    }

    /// The finished calls. No arguments at all means an empty object.
    pub(super) fn finish(self) -> Result<Vec<Call>, Fault> {
        self.slots
            .into_iter()
            .map(|Slot { endpoint_id: _, id, name, index: _, mut arguments }| {
                if name.is_empty() {
                    return Err(unreadable("a tool call without a name"));
                }
                if arguments.trim().is_empty() {
                    "{}".clone_into(&mut arguments);
                }
                Ok(Call { id, name, arguments })
            })
            .collect()
    }

    /// Finds or opens the slot that a piece belongs to.
    fn slot_of(&mut self, piece: &Piece<'_>) -> Option<usize> {
        let found = match piece.id {
            Some(id) => match self.newest(|slot| slot.endpoint_id.as_deref() == Some(id)) {
                Some(at) if begins_another(&self.slots[at], piece) => None,
                Some(at) => Some(at),
                None => self.unnamed_slot_for(piece, id),
            },
            None => self
                .newest(|slot| piece.index.is_some() && slot.index == piece.index)
                .or_else(|| {
                    self.slots.len().checked_sub(1).filter(|_| piece.name.is_none() || piece.index.is_none())
                })
                .filter(|at| !begins_another(&self.slots[*at], piece)),
        };
        found.or_else(|| self.open(piece))
    }

    /// A slot without an id of the endpoint's own that a new id may turn out to mean.
    fn unnamed_slot_for(&mut self, piece: &Piece<'_>, id: &str) -> Option<usize> {
        let at = match piece.index {
            Some(_) => self.newest(|slot| slot.index == piece.index)?,
            None => self.slots.len().checked_sub(1)?,
        };
        let slot = &mut self.slots[at];
        let may_join = slot.endpoint_id.is_none() && (slot.name.is_empty() || piece.name.is_none());
        may_join.then(|| slot.endpoint_id = Some(id.to_owned()))?;
        Some(at)
    }

    fn open(&mut self, piece: &Piece<'_>) -> Option<usize> {
        if piece.id.is_none() && piece.name.is_none() {
            return None;
        }
        let at = self.slots.len();
        let is_free = |id: &&str| self.slots.iter().all(|slot| slot.id != **id);
        let id =
            piece.id.filter(is_free).map_or_else(|| format!("call_{}_{at}", self.id_prefix), str::to_owned);
        self.slots.push(Slot {
            endpoint_id: piece.id.map(str::to_owned),
            id,
            name: String::new(),
            index: piece.index,
            arguments: String::new(),
        });
        Some(at)
    }

    fn newest(&self, is_meant: impl Fn(&Slot) -> bool) -> Option<usize> {
        self.slots.iter().rposition(is_meant)
    }
}

/// Whether a piece that would go to the slot by id or index must mean another call: it has a name, and the slot is
/// another tool's or has all its arguments already.
fn begins_another(slot: &Slot, piece: &Piece<'_>) -> bool {
    let Some(name) = piece.name else { return false };
    if slot.name.is_empty() {
        return false;
    }
    let adds_to_whole = is_whole(&slot.arguments) && !piece.arguments.text().trim().is_empty();
    match piece.id {
        // The id of a whole call again: an endpoint that gives all its calls one id, or one that repeats itself.
        Some(_) => {
            let is_another_tool = slot.name != name && is_whole(&slot.arguments);
            (is_another_tool || adds_to_whole) && !is_repetition(slot, piece)
        }
        None => slot.name != name || matches!(piece.arguments, Arguments::Whole(_)) || adds_to_whole,
    }
}

/// Whether the piece says again what the slot holds: a frame that was sent twice.
fn is_repetition(slot: &Slot, piece: &Piece<'_>) -> bool {
    piece.id.is_some()
        && piece.name == Some(&slot.name)
        && slot.arguments == piece.arguments.text()
        && is_whole(&slot.arguments)
}

/// Arguments are an object; one that has ended cannot go on.
fn is_whole(arguments: &str) -> bool {
    arguments.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
}

fn unreadable(message: &str) -> Fault {
    Fault::Frame { message: message.to_owned() }
}

#[cfg(test)]
mod tests;

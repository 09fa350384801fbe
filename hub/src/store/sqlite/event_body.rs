//! Turn events as rows: consecutive ones of an append share a row, their arguments are kept as the text they came in.

use jiff::Timestamp;
use protocol::event::{EventName, Notes, RawEvent};
use protocol::ids::TurnId;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::{Fault, Outcome};
use crate::store::EventRecord;

/// A row is closed after so many events or bytes: reading one event must not mean reading thousands.
const EVENTS_PER_ROW: u64 = 512;
const BYTES_PER_ROW: usize = 64 * 1024;

/// A row of `turn_events` without its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventRow {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) turn: TurnId,
    pub(super) attempt: u32,
    pub(super) body: String,
}

/// Packs events into rows. A row holds consecutive numbers of one attempt of one turn.
pub(super) fn pack(events: &[EventRecord]) -> Outcome<Vec<EventRow>> {
    let mut rows: Vec<EventRow> = Vec::new();
    for event in events {
        match rows.last_mut() {
            Some(row) if row.takes(event) => {
                row.last_seq = event.seq;
                row.body.push(',');
                write_event(&mut row.body, event)?;
            }
            open => {
                if let Some(row) = open {
                    row.body.push(']');
                }
                let mut body = String::with_capacity(64 + event.event.args.get().len());
                body.push('[');
                write_event(&mut body, event)?;
                rows.push(EventRow {
                    first_seq: event.seq,
                    last_seq: event.seq,
                    turn: event.turn.clone(),
                    attempt: event.attempt,
                    body,
                });
            }
        }
    }
    if let Some(row) = rows.last_mut() {
        row.body.push(']');
    }
    Ok(rows)
}

impl EventRow {
    fn takes(&self, event: &EventRecord) -> bool {
        event.seq == self.last_seq + 1
            && event.attempt == self.attempt
            && event.turn == self.turn
            && event.seq - self.first_seq < EVENTS_PER_ROW
            && self.body.len() < BYTES_PER_ROW
    }

    /// The events again, in order.
    pub(super) fn unpack(&self) -> Outcome<Vec<EventRecord>> {
        let entries: Vec<Entry<'_>> = serde_json::from_str(&self.body)?;
        let record = |(seq, Entry(at, name, args, notes)): (u64, Entry<'_>)| {
            Ok(EventRecord {
                seq,
                turn: self.turn.clone(),
                attempt: self.attempt,
                at: Timestamp::from_nanosecond(at.into()).map_err(Fault::Time)?,
                event: RawEvent { name, args: args.to_owned(), notes },
            })
        };
        (self.first_seq..).zip(entries).map(record).collect()
    }
}

/// Time in nanoseconds, name, arguments, notes.
#[derive(Deserialize)]
struct Entry<'a>(i64, EventName, #[serde(borrow)] &'a RawValue, Notes);

fn write_event(body: &mut String, record: &EventRecord) -> Outcome<()> {
    use std::fmt::Write as _;
    let EventRecord { seq: _, turn: _, attempt: _, at, event: RawEvent { name, args, notes } } = record;
    // Writing to a String does not fail.
    let _ = write!(body, "[{},\"{}\",", at.as_nanosecond(), name.as_str());
    body.push_str(args.get());
    if *notes == Notes::default() {
        body.push_str(",{}]");
    } else {
        body.push(',');
        body.push_str(&serde_json::to_string(notes)?);
        body.push(']');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::value::ChatTurnStatus;

    fn any_event() -> impl Strategy<Value = (RawEvent, i64)> {
        let notes = prop_oneof![
            3 => Just(Notes::default()),
            1 => Just(Notes { is_error: true, unknown_outcome: false, status: Some(ChatTurnStatus::Aborted) }),
        ];
        let name = proptest::sample::select(EventName::ALL);
        ("\\PC{0,40}", name, notes, 0..i64::MAX).prop_map(|(text, name, notes, at)| {
            let args = serde_json::value::to_raw_value(&[text]).unwrap();
            (RawEvent { name, args, notes }, at)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn events_come_out_of_their_rows_as_they_went_in(
            events in proptest::collection::vec(any_event(), 0..40),
            breaks in proptest::collection::vec(0_u8..10, 40),
            first in 1_u64..1000,
        ) {
            let (mut seq, mut turn, mut attempt) = (first, 0, 1);
            let mut records = Vec::new();
            for ((event, at), kind) in events.into_iter().zip(breaks) {
                match kind {
                    0 => seq += 3,
                    1 => turn += 1,
                    2 => attempt += 1,
                    _ => {}
                }
                let at = Timestamp::from_nanosecond(at.into()).unwrap();
                records.push(EventRecord { seq, turn: format!("t{turn}").into(), attempt, at, event });
                seq += 1;
            }
            let rows = pack(&records).unwrap();
            let unpacked: Vec<_> = rows.iter().flat_map(|row| row.unpack().unwrap()).collect();
            prop_assert_eq!(unpacked, records);
            for row in rows {
                prop_assert_eq!(row.unpack().unwrap().last().unwrap().seq, row.last_seq);
            }
        }
    }

    #[test]
    fn a_row_is_closed_before_it_becomes_large() {
        let event = |seq| EventRecord {
            seq,
            turn: "t".into(),
            attempt: 1,
            at: Timestamp::UNIX_EPOCH,
            event: RawEvent {
                name: EventName::Response,
                args: serde_json::value::to_raw_value(&["x".repeat(1024)]).unwrap(),
                notes: Notes::default(),
            },
        };
        let rows = pack(&(1..=200).map(event).collect::<Vec<_>>()).unwrap();
        assert!(rows.len() >= 3);
        assert!(rows.iter().all(|row| row.body.len() <= BYTES_PER_ROW + 2048));
    }
}

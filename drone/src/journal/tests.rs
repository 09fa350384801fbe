use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;
use protocol::value::ChatTurnStatus;

use super::record::Body;
use super::*;
use crate::model::{Call, Completion, Stop};
use crate::tool::Outcome;

fn record(body: Body) -> Record {
    Record { generation: 3, at: Timestamp::UNIX_EPOCH, body }
}

fn sample(texts: &[String]) -> Vec<Record> {
    let mut records = Vec::new();
    for (call, text) in texts.iter().enumerate() {
        records.push(record(Body::Assistant {
            completion: Completion {
                text: text.clone(),
                calls: vec![Call { id: "c".into(), name: "read".into(), arguments: text.clone() }],
                stop: Stop::ToolCalls,
                ..Completion::default()
            },
            text: None,
            usage: Some(4),
        }));
        let outcome = Outcome { text: text.clone(), is_error: false, unknown_outcome: false, data: None };
        records.push(record(Body::Result { call, outcome, started: Some(1), ended: 2 }));
    }
    records.push(record(Body::TurnClose {
        status: ChatTurnStatus::Finished,
        message: None,
        complete: Some(9),
    }));
    records
}

#[test]
fn records_are_found_again_in_order_also_after_more_are_added() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let records = sample(&["one".to_owned(), "two".to_owned()]);
    let (mut journal, found) = Journal::open(&path).unwrap();
    assert_eq!(found, []);
    journal.append(&records[..2]).unwrap();
    drop(journal);
    let (mut journal, found) = Journal::open(&path).unwrap();
    assert_eq!(found, records[..2]);
    journal.append(&records[2..]).unwrap();
    assert_eq!(journal.count(), records.len());
    assert_eq!(read(&path).unwrap(), records);
}

#[test]
fn a_tail_of_zeros_is_not_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let records = sample(&["one".to_owned()]);
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.append(&records).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&[0; 64]).unwrap();
    let (_, found) = Journal::open(&path).unwrap();
    assert_eq!(found, records);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn cut_at_any_byte_a_journal_opens_at_the_same_state_or_an_earlier_one_and_can_be_written_on(
        texts in prop::collection::vec(".{0,40}", 1..4),
        share in 0.0..=1.0_f64,
        flip in prop::option::of(any::<u8>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let records = sample(&texts);
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&records).unwrap();
        drop(journal);
        let mut bytes = fs::read(&path).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a place in a small file")]
        let cut = (bytes.len() as f64 * share) as usize;
        bytes.truncate(cut);
        // The last byte on disk may be garbage as well.
        if let (Some(flip), Some(last)) = (flip, bytes.last_mut()) {
            *last ^= flip;
        }
        fs::write(&path, &bytes).unwrap();
        let (mut journal, found) = Journal::open(&path).unwrap();
        prop_assert!(found.len() <= records.len());
        prop_assert_eq!(&found[..], &records[..found.len()]);
        journal.append(&records[found.len()..]).unwrap();
        drop(journal);
        prop_assert_eq!(read(&path).unwrap(), records);
    }
}

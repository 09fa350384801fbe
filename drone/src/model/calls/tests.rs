use proptest::prelude::*;

use super::*;

fn piece<'a>(index: Option<u64>, id: &'a str, name: &'a str, arguments: &'a str) -> Piece<'a> {
    Piece { index, id: Some(id), name: Some(name), arguments: Arguments::Piece(arguments) }
}

fn whole<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Piece<'a> {
    Piece { index: None, id: Some(id), name: Some(name), arguments: Arguments::Whole(arguments) }
}

/// The calls that the pieces make, and whether the events told the same.
fn put_together(pieces: &[Piece<'_>]) -> Vec<(String, String, String)> {
    let mut calls = Calls::new("x".to_owned());
    let mut events = Vec::new();
    for piece in pieces {
        calls.push(*piece, &mut events).unwrap();
    }
    let calls = calls.finish().unwrap();
    let mut told: Vec<(String, String, String)> = Vec::new();
    for event in events {
        match event {
            ModelEvent::CallStarted { index, id, name } => {
                assert_eq!(index, told.len());
                told.push((id, name, String::new()));
            }
            ModelEvent::CallArguments { index, delta } => told[index].2.push_str(&delta),
            other => panic!("{other:?}"),
        }
    }
    let calls: Vec<_> = calls.into_iter().map(|call| (call.id, call.name, call.arguments)).collect();
    for (call, told) in calls.iter().zip(&told) {
        assert_eq!((&call.0, &call.1), (&told.0, &told.1));
        assert!(call.2 == told.2 || (call.2 == "{}" && told.2.is_empty()), "{call:?} was told as {told:?}");
    }
    assert_eq!(calls.len(), told.len());
    calls
}

fn calls(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    expected.iter().map(|(id, name, text)| ((*id).into(), (*name).into(), (*text).into())).collect()
}

const TWO: &[(&str, &str, &str)] = &[("a", "read", "{\"path\":\"x\"}"), ("b", "grep", "{\"pattern\":\"y\"}")];

#[test]
fn interleaved_pieces_go_to_the_call_at_their_index() {
    let made = put_together(&[
        piece(Some(0), "a", "read", ""),
        piece(Some(1), "b", "grep", ""),
        piece(Some(0), "", "", "{\"path\""),
        piece(Some(1), "", "", "{\"pattern\""),
        piece(Some(0), "", "", ":\"x\"}"),
        piece(Some(1), "", "", ":\"y\"}"),
    ]);
    assert_eq!(made, calls(TWO));
}

#[test]
fn a_known_id_wins_over_the_index() {
    let made = put_together(&[
        piece(Some(0), "a", "read", "{\"path\":"),
        piece(Some(0), "b", "grep", "{\"pattern\":"),
        piece(Some(0), "a", "", "\"x\"}"),
        piece(Some(0), "b", "", "\"y\"}"),
    ]);
    assert_eq!(made, calls(TWO));
}

#[test]
fn an_index_that_is_used_again_with_a_new_id_is_a_new_call() {
    let made = put_together(&[
        piece(Some(0), "a", "read", "{\"path\":\"x\"}"),
        piece(Some(0), "b", "grep", "{\"pattern\":"),
        piece(Some(0), "", "", "\"y\"}"),
    ]);
    assert_eq!(made, calls(TWO));
}

#[test]
fn pieces_numbered_otherwise_than_their_call_go_to_the_open_call() {
    let made = put_together(&[
        piece(Some(0), "a", "read", ""),
        piece(Some(1), "", "", "{\"path\":\"x\"}"),
        piece(Some(1), "b", "grep", ""),
        piece(Some(2), "", "", "{\"pattern\":\"y\"}"),
    ]);
    assert_eq!(made, calls(TWO));
}

#[test]
fn calls_without_any_index_follow_each_other() {
    let made = put_together(&[
        piece(None, "a", "read", "{\"path\":"),
        piece(None, "", "", "\"x\"}"),
        piece(None, "b", "grep", "{\"pattern\":"),
        piece(None, "", "", "\"y\"}"),
    ]);
    assert_eq!(made, calls(TWO));
}

#[test]
fn id_and_name_repeated_with_each_piece_are_one_call() {
    let made = put_together(&[
        piece(Some(0), "a", "read", "{\"path\":"),
        piece(Some(0), "a", "read", "\"x\"}"),
        piece(Some(1), "b", "grep", "{\"pattern\":\"y\"}"),
    ]);
    assert_eq!(made, calls(TWO));
}

#[test]
fn a_frame_that_is_sent_twice_counts_once() {
    let made = put_together(&[
        piece(Some(0), "a", "read", "{\"path\":\"x\"}"),
        piece(Some(0), "a", "read", "{\"path\":\"x\"}"),
        whole("b", "grep", "{\"pattern\":\"y\"}"),
        whole("b", "grep", "{\"pattern\":\"y\"}"),
    ]);
    assert_eq!(made, calls(TWO));
}

#[test]
fn whole_calls_without_ids_get_different_ones() {
    let made = put_together(&[
        whole("", "read", "{\"path\":\"x\"}"),
        whole("", "read", "{\"path\":\"x\"}"),
        whole("", "list", "{}"),
    ]);
    let same = "{\"path\":\"x\"}";
    assert_eq!(
        made,
        calls(&[("call_x_0", "read", same), ("call_x_1", "read", same), ("call_x_2", "list", "{}")])
    );
}

#[test]
fn one_id_for_all_calls_still_gives_two_calls() {
    let made = put_together(&[
        piece(Some(0), "same", "read", "{\"path\":\"x\"}"),
        piece(Some(0), "same", "grep", "{\"pattern\":\"y\"}"),
        piece(Some(0), "same", "grep", "{\"pattern\":\"z\"}"),
    ]);
    assert_eq!(
        made,
        calls(&[
            ("same", "read", "{\"path\":\"x\"}"),
            ("call_x_1", "grep", "{\"pattern\":\"y\"}"),
            ("call_x_2", "grep", "{\"pattern\":\"z\"}"),
        ])
    );
}

#[test]
fn another_name_at_the_same_index_is_another_call() {
    let made = put_together(&[
        piece(Some(0), "", "read", "{\"path\":\"x\"}"),
        piece(Some(0), "", "grep", "{\"pattern\":\"y\"}"),
    ]);
    assert_eq!(made[0].2, "{\"path\":\"x\"}");
    assert_eq!(made[1].2, "{\"pattern\":\"y\"}");
}

#[test]
fn an_id_or_a_name_may_come_late() {
    let made = put_together(&[
        piece(Some(0), "a", "", "{\"path\":"),
        piece(Some(0), "a", "read", "\"x\"}"),
        piece(Some(1), "", "grep", "{\"pattern\":"),
        piece(Some(1), "b", "", "\"y\"}"),
    ]);
    let grep = ("call_x_1", "grep", "{\"pattern\":\"y\"}");
    assert_eq!(made, calls(&[TWO[0], grep]));
}

#[test]
fn a_call_without_arguments_gets_an_empty_object() {
    assert_eq!(put_together(&[piece(Some(0), "a", "list", "")]), calls(&[("a", "list", "{}")]));
}

#[test]
fn arguments_that_belong_to_no_call_are_a_fault() {
    let mut calls = Calls::new(String::new());
    assert!(calls.push(piece(Some(0), "", "", ""), &mut Vec::new()).is_ok());
    let fault = calls.push(piece(Some(0), "", "", "{}"), &mut Vec::new()).unwrap_err();
    assert!(matches!(fault, Fault::Frame { .. }));
}

#[test]
fn a_call_that_never_gets_a_name_is_a_fault() {
    let mut calls = Calls::new(String::new());
    calls.push(piece(Some(0), "a", "", "{}"), &mut Vec::new()).unwrap();
    assert!(matches!(calls.finish(), Err(Fault::Frame { .. })));
}

/// How an endpoint says which call a piece belongs to.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Id and name first, then the index alone.
    ByIndex,
    /// The id with each piece; the index says nothing.
    ById,
    /// Id, name and index with each piece.
    Everything,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn calls_stay_apart_however_their_pieces_are_mixed(
        manner in prop::sample::select(vec![Manner::ByIndex, Manner::ById, Manner::Everything]),
        values in prop::collection::vec("[a-z\"{}\\\\ä😀 ]{0,20}", 1..5),
        size in 1_usize..8,
        turns in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let ids: Vec<String> = (0..values.len()).map(|nth| format!("id{nth}")).collect();
        let arguments: Vec<String> =
            values.iter().map(|value| serde_json::json!({ "value": value }).to_string()).collect();
        let mut pieces: Vec<Vec<String>> = arguments
            .iter()
            .map(|text| {
                let characters: Vec<char> = text.chars().collect();
                characters.chunks(size).rev().map(|piece| piece.iter().collect()).collect()
            })
            .collect();
        let mut calls = Calls::new(String::new());
        let mut events = Vec::new();
        for (nth, id) in ids.iter().enumerate() {
            let index = if matches!(manner, Manner::ById) { Some(0) } else { Some(nth as u64) };
            let head = Piece { index, id: Some(id), name: Some("read"), arguments: Arguments::None };
            calls.push(head, &mut events).unwrap();
        }
        let mut turns = turns.iter().cycle();
        while let Some(nth) = {
            let open: Vec<usize> = (0..pieces.len()).filter(|nth| !pieces[*nth].is_empty()).collect();
            turns.next().filter(|_| !open.is_empty()).map(|turn| open[turn.index(open.len())])
        } {
            let text = pieces[nth].pop().unwrap();
            let (index, id, name) = match manner {
                Manner::ByIndex => (Some(nth as u64), None, None),
                Manner::ById => (Some(0), Some(ids[nth].as_str()), None),
                Manner::Everything => (Some(nth as u64), Some(ids[nth].as_str()), Some("read")),
            };
            calls.push(Piece { index, id, name, arguments: Arguments::Piece(&text) }, &mut events).unwrap();
        }
        let made: Vec<_> = calls.finish().unwrap().into_iter().map(|call| (call.id, call.arguments)).collect();
        prop_assert_eq!(made, ids.into_iter().zip(arguments).collect::<Vec<_>>());
    }
}

#[test]
fn names_and_ids_beyond_all_measure_are_refused() {
    let pushed = |id: &str, name: &str| {
        Calls::new("x".to_owned()).push(piece(Some(0), id, name, "{}"), &mut Vec::new()).is_ok()
    };
    assert!(pushed("a", &"n".repeat(LONGEST_NAME)));
    assert!(!pushed("a", &"n".repeat(LONGEST_NAME + 1)));
    assert!(pushed(&"i".repeat(LONGEST_ID), "read"));
    assert!(!pushed(&"i".repeat(LONGEST_ID + 1), "read"));
}

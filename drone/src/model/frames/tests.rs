use proptest::prelude::*;

use super::*;

fn split(framing: Framing, pieces: &[&[u8]]) -> Vec<String> {
    let mut frames = Frames::new(framing);
    let mut out = Vec::new();
    for piece in pieces {
        frames.push(piece, &mut out).unwrap();
    }
    frames.finish(&mut out);
    out.into_iter().filter(|frame| !frame.data.is_empty()).map(|frame| frame.data).collect()
}

#[test]
fn comments_and_unknown_fields_are_no_frames() {
    let body = b": hello\nevent: x\nid: 1\nretry: 5\ndata: a\n\n:\n\n";
    assert_eq!(split(Framing::Sse, &[body]), ["a"]);
}

#[test]
fn several_data_lines_are_one_frame() {
    assert_eq!(split(Framing::Sse, &[b"data: a\ndata:b\ndata:  c\n\n"]), ["a\nb\n c"]);
}

#[test]
fn every_kind_of_line_end_is_understood() {
    for body in ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r"] {
        assert_eq!(split(Framing::Sse, &[body.as_bytes()]), ["a", "b"], "{body:?}");
    }
}

#[test]
fn a_carriage_return_and_its_line_feed_may_come_apart() {
    assert_eq!(split(Framing::Sse, &[b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\n"]), ["a", "b"]);
}

#[test]
fn a_byte_order_mark_at_the_start_is_skipped() {
    assert_eq!(split(Framing::Sse, &[b"\xef\xbb", b"\xbfdata: a\n\n"]), ["a"]);
}

#[test]
fn a_bare_json_line_in_an_event_stream_is_a_frame() {
    assert_eq!(split(Framing::Sse, &[b"data: a\n\n{\"error\":1}\n"]), ["a", "{\"error\":1}"]);
}

#[test]
fn a_body_that_is_one_document_is_one_frame_however_it_is_broken_into_lines() {
    for body in ["{\"a\":1}", "{\n  \"a\": 1\n}\n", "\n{\"a\":\r\n1}"] {
        let frames = split(Framing::Sse, &[body.as_bytes()]);
        assert_eq!(frames.len(), 1, "{body:?}: {frames:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&frames[0]).unwrap()["a"], 1);
    }
}

#[test]
fn what_the_end_of_the_body_cuts_is_marked() {
    let mut frames = Frames::new(Framing::Sse);
    let mut out = Vec::new();
    frames.push(b"data: whole\n\ndata: cu", &mut out).unwrap();
    frames.finish(&mut out);
    let expected = [("whole", false), ("cu", true)];
    assert_eq!(out, expected.map(|(data, is_cut)| Frame { data: data.to_owned(), is_cut }),);
}

#[test]
fn blank_lines_between_json_lines_are_no_frames() {
    assert_eq!(split(Framing::Lines, &[b"{}\n\n\r\n{\"a\":1}\r\n"]), ["{}", "{\"a\":1}"]);
}

#[test]
fn an_endless_frame_is_refused_before_it_fills_the_memory() {
    let mut frames = Frames::new(Framing::Lines);
    let piece = vec![b'x'; 1024 * 1024];
    let fault = (0..17).find_map(|_| frames.push(&piece, &mut Vec::new()).err());
    assert!(matches!(fault, Some(Fault::Frame { .. })), "{fault:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_same_bytes_give_the_same_frames_however_they_are_split(
        lines in prop::collection::vec("(data: |data:|: |event: |)[a-zäß€😀{}\"]{0,12}", 0..20),
        newline in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut body = String::new();
        for line in &lines {
            body.push_str(line);
            body.push_str(newline);
            if line.len() % 3 == 0 {
                body.push_str(newline);
            }
        }
        let body = body.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        for framing in [Framing::Sse, Framing::Lines] {
            let whole = split(framing, &[body]);
            prop_assert_eq!(&split(framing, &pieces), &whole);
            prop_assert_eq!(&split(framing, &bytes), &whole);
        }
    }
}

use super::*;

fn page(text: &str, offset: u64, limit: u64, chunk: usize) -> Result<String, ToolError> {
    let plan = Plan { path: "x".into(), offset, limit };
    let mut page = Page::new(&plan);
    for chunk in text.as_bytes().chunks(chunk) {
        page.take(chunk);
    }
    page.end_of_file();
    page.finish(&plan, true)
}

#[test]
fn lines_have_their_numbers_however_the_file_is_cut_into_chunks() {
    for chunk in 1..12 {
        assert_eq!(page("one\n\nthree", 1, 10, chunk).unwrap(), "     1\tone\n     2\t\n     3\tthree\n");
        assert_eq!(
            page("one\ntwo\nthree\n", 2, 1, chunk).unwrap(),
            "     2\ttwo\n[lines 2 to 2 of 3; go on with offset 3]"
        );
    }
}

#[test]
fn an_empty_file_and_an_offset_beyond_the_end_are_said() {
    assert_eq!(page("", 1, 10, 8).unwrap(), "[the file is empty]");
    let error = page("one\n", 5, 10, 8).unwrap_err();
    assert_eq!((error.code.as_str(), error.parameter.as_deref()), ("INVALID_PARAMETER", Some("offset")));
}

#[test]
fn a_long_line_is_cut_and_its_length_told() {
    let shown = page(&format!("{}\nnext\n", "x".repeat(5000)), 1, 10, 700).unwrap();
    assert!(shown.contains("x [… 3000 more bytes]\n     2\tnext\n"), "{}", &shown[shown.len() - 60..]);
}

#[test]
fn a_page_ends_before_it_gets_too_large_and_the_next_goes_on_there() {
    let text = format!("{}\n", "y".repeat(999)).repeat(200);
    let shown = page(&text, 1, 2000, 4096).unwrap();
    assert!(shown.len() < BYTES + 2000);
    let next: u64 = shown.rsplit("offset ").next().unwrap().trim_end_matches(']').parse().unwrap();
    assert!(page(&text, next, 2000, 4096).unwrap().starts_with(&format!("{next:>6}\tyyy")));
}

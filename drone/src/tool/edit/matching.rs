//! Finds the text that an edit replaces. Exact matches only: a guess that hits the wrong place damages a file and
//! reports success. A miss is answered with what is probably wrong.

use std::borrow::Cow;

use crate::tool::ToolError;

/// A text with its replacements made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) text: String,
    pub(crate) count: usize,
}

/// Replaces `old` by `new`. In a file with CR LF line ends both are taken to have them too.
pub(crate) fn replace(text: &str, old: &str, new: &str, all: bool) -> Result<Replaced, ToolError> {
    if old.is_empty() {
        return Err(ToolError::new("INVALID_PARAMETER", "`old` is empty")
            .about("old")
            .hint("Give the text to replace; to make a new file use `write`."));
    }
    let (old, new) = line_ends(text, old, new);
    if old == new {
        return Err(ToolError::new("INVALID_PARAMETER", "`old` and `new` are the same")
            .about("new")
            .hint("Nothing would change. Give the text that shall stand there afterwards."));
    }
    let places: Vec<usize> = text.match_indices(&*old).map(|(at, _)| at).collect();
    match places.len() {
        0 => Err(no_match(text, &old)),
        1 => Ok(Replaced { text: text.replacen(&*old, &new, 1), count: 1 }),
        count if all => Ok(Replaced { text: text.replace(&*old, &new), count }),
        count => Err(ambiguous(text, &places, count)),
    }
}

/// Models write line feeds. Where the file has CR LF throughout, a text without any CR means CR LF.
fn line_ends<'a>(text: &str, old: &'a str, new: &'a str) -> (Cow<'a, str>, Cow<'a, str>) {
    let lines = text.matches('\n').count();
    let crlf = lines > 0 && text.matches("\r\n").count() == lines;
    if crlf && !old.contains('\r') && !new.contains('\r') {
        (old.replace('\n', "\r\n").into(), new.replace('\n', "\r\n").into())
    } else {
        (old.into(), new.into())
    }
}

fn ambiguous(text: &str, places: &[usize], count: usize) -> ToolError {
    let lines: Vec<String> = places.iter().take(10).map(|at| line_of(text, *at).to_string()).collect();
    let more = if count > 10 { ", …" } else { "" };
    ToolError::new(
        "AMBIGUOUS_MATCH",
        format!("`old` is in the file {count} times, at lines {}{more}", lines.join(", ")),
    )
    .about("old")
    .hint("Add lines before or after until it is unique, or set `replace_all`.")
}

fn no_match(text: &str, old: &str) -> ToolError {
    ToolError::new("NO_MATCH", "`old` is not in the file").about("old").hint(advice(text, old))
}

/// What is probably wrong with a text that is not in the file.
fn advice(text: &str, old: &str) -> String {
    if let Some(bare) = without_line_numbers(old)
        && text.contains(&bare)
    {
        return "Leave out the line numbers that `read` puts before each line.".into();
    }
    if let Some((first, found)) = apart_from_blanks(text, old) {
        return format!(
            "Only blanks differ from what begins at line {first}, which is exactly:\n{found}\nTake that as `old`."
        );
    }
    let Some(longest) =
        old.lines().map(str::trim).max_by_key(|line| line.len()).filter(|line| !line.is_empty())
    else {
        return "Read the file again and copy the text from it.".into();
    };
    let places: Vec<String> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains(longest))
        .map(|(at, _)| (at + 1).to_string())
        .collect();
    if places.is_empty() {
        "None of its longest line is in the file. Read the file again; another file may be meant.".into()
    } else {
        let places = places.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        format!("Its longest line is at line {places}, but the lines around it differ. Read that part again.")
    }
}

/// The text without `read`'s line numbers, when each line has one.
fn without_line_numbers(old: &str) -> Option<String> {
    let lines: Option<Vec<&str>> = old
        .lines()
        .map(|line| {
            let (number, rest) = line.split_once('\t')?;
            number.trim().parse::<u64>().ok().map(|_| rest)
        })
        .collect();
    Some(lines?.join("\n"))
}

/// The place that equals `old` when blanks at both ends of lines are ignored: its first line's number and its text.
/// None when there is no such place or more than one.
fn apart_from_blanks(text: &str, old: &str) -> Option<(usize, String)> {
    let wanted: Vec<&str> = old.trim().lines().map(str::trim).collect();
    let lines: Vec<&str> = text.lines().collect();
    let trimmed: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let mut places = trimmed.windows(wanted.len().max(1)).enumerate().filter(|(_, window)| *window == wanted);
    let (at, _) = places.next()?;
    if places.next().is_some() {
        return None;
    }
    Some((at + 1, lines[at..at + wanted.len()].join("\n")))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<Replaced, ToolError>) -> String {
        result.unwrap().text
    }

    fn hint(result: Result<Replaced, ToolError>) -> (String, String) {
        let error = result.unwrap_err();
        (error.code, error.recovery_hint.unwrap())
    }

    #[test]
    fn one_occurrence_is_replaced() {
        assert_eq!(text(replace("a b c", "b", "x", false)), "a x c");
        assert_eq!(text(replace("a\nb\n", "a\nb", "", false)), "\n");
    }

    #[test]
    fn several_occurrences_need_replace_all() {
        let error = replace("b\nb\na\nb", "b", "x", false).unwrap_err();
        assert_eq!(error.code, "AMBIGUOUS_MATCH");
        assert!(error.message.contains("3 times, at lines 1, 2, 4"), "{}", error.message);
        assert_eq!(replace("b b", "b", "x", true), Ok(Replaced { text: "x x".into(), count: 2 }));
    }

    #[test]
    fn windows_line_ends_are_kept() {
        assert_eq!(text(replace("a\r\nb\r\nc\r\n", "a\nb", "x\ny", false)), "x\r\ny\r\nc\r\n");
        assert_eq!(replace("a\r\nb\nc", "a\nb", "x", false).unwrap_err().code, "NO_MATCH");
    }

    #[test]
    fn a_miss_says_what_is_probably_wrong() {
        let file = "fn main() {\n    run();\n    stop();\n}\n";
        let cases = [
            ("     2\t    run();\n     3\t    stop();", "line numbers"),
            ("run();\nstop();", "begins at line 2, which is exactly:\n    run();\n    stop();"),
            ("    run();\n    go();", "longest line is at line 2"),
            ("something else", "another file"),
            ("\n\n\n\n\n\n\n", "Read the file again"),
        ];
        for (old, expected) in cases {
            let (code, hint) = hint(replace(file, old, "x", false));
            assert_eq!(code, "NO_MATCH");
            assert!(hint.contains(expected), "{old:?} gave {hint:?}");
        }
    }

    #[test]
    fn an_edit_that_changes_nothing_is_refused() {
        assert_eq!(replace("a", "", "b", false).unwrap_err().code, "INVALID_PARAMETER");
        assert_eq!(replace("a", "a", "a", false).unwrap_err().code, "INVALID_PARAMETER");
    }
}

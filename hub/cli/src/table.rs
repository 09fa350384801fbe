//! Lists as aligned columns. Pure.

use crate::console::{Paint, Style};

/// One line for each row, under a heading. The last column is as wide as it likes.
pub(crate) fn table<const N: usize>(style: Style, heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, widest) in cells.into_iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widest - width(cell) + 2));
        }
        line.trim_end().to_owned()
    };
    let mut text = style.paint(Paint::Dim, &line(heading));
    text.push('\n');
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
        text.push('\n');
    }
    text
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["1".to_owned(), "short".to_owned()], ["23456".to_owned(), "ä".to_owned()]];
        let text = table(Style::Plain, ["ID", "NAME"], &rows);
        assert_eq!(text, "ID     NAME\n1      short\n23456  ä\n");
    }
}

//! Owns raw rows as pages show them: as text with the values of one field marked, or as hexadecimal digits where they are
//! no text; never more of a row than a few kilobytes.

use std::fmt::Write;
use std::ops::Range;

use askama::filters::Safe;

use super::escape::escaped;
use super::html::Html;
use crate::sources::ReadableRow;

/// The most bytes of a row that a page shows.
pub(crate) const SHOWN: usize = 4 << 10;
/// What is shown in front of a value that lies further behind.
const BEFORE: usize = 1 << 10;

/// A raw row, or the part of it with the first of its values.
pub(crate) fn marked(raw: &[u8], row: &ReadableRow<'_>) -> Html {
    let shown = match &row.text {
        Some(text) => window(text.len(), &row.values, |at| text.floor_char_boundary(at)),
        None => window(raw.len(), &row.values, |at| at),
    };
    let length = row.text.as_ref().map_or(raw.len(), |text| text.len());
    let piece = |span: Range<usize>| match &row.text {
        Some(text) => text.get(span).map(escaped).unwrap_or_default(),
        None => raw.get(span).map(hex).unwrap_or_default(),
    };
    let mut html = String::new();
    if shown.start > 0 {
        html.push('…');
    }
    let mut at = shown.start;
    for value in &row.values {
        let (start, end) = (value.start.max(at), value.end.min(shown.end));
        if start > end || value.start >= shown.end && !value.is_empty() {
            continue;
        }
        html.push_str(&piece(at..start));
        let class = if start == end { " class=\"empty\"" } else { "" };
        // Writing into a string does not fail.
        let _ = write!(html, "<mark{class}>{}</mark>", piece(start..end));
        at = end;
    }
    html.push_str(&piece(at..shown.end));
    if shown.end < length {
        html.push('…');
    }
    Safe(html)
}

/// What is shown of so many bytes.
fn window(
    length: usize,
    values: &[Range<usize>],
    boundary: impl Fn(usize) -> usize,
) -> Range<usize> {
    let first = values.first().map_or(0, |value| value.start);
    let start = match first + BEFORE <= SHOWN {
        true => 0,
        false => boundary(first - BEFORE),
    };
    start..boundary((start + SHOWN).min(length))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x} ");
    }
    text
}

/// The values as one text, as they stand in the row; `None` when there is none, or when it is not known.
pub(crate) fn value(raw: &[u8], row: &ReadableRow<'_>) -> Option<String> {
    let values = row.values.iter().map(|span| match &row.text {
        Some(text) => text.get(span.clone()).unwrap_or_default().to_owned(),
        None => raw.get(span.clone()).map(hex).unwrap_or_default().trim_end().to_owned(),
    });
    let values: Vec<String> = values.collect();
    (!values.is_empty()).then(|| values.join(" · "))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn row(text: &str, value: impl Into<Option<Range<usize>>>) -> ReadableRow<'_> {
        let values = value.into().into_iter().collect();
        ReadableRow { text: Some(Cow::Borrowed(text)), encoding: None, values }
    }

    #[test]
    fn what_is_marked_is_text_like_the_rest() {
        let text = "1,<b>\u{202e},\0";
        let html = marked(text.as_bytes(), &row(text, 2..8)).to_string();
        assert_eq!(html, "1,<mark>&lt;b&gt;⟨U+202E⟩</mark>,⟨00⟩");
        let html = marked(b"1,,2", &row("1,,2", 2..2)).to_string();
        assert_eq!(html, "1,<mark class=\"empty\"></mark>,2");
        assert_eq!(marked(b"a", &row("a", None)).to_string(), "a");
    }

    #[test]
    fn bytes_that_are_no_text_are_digits() {
        let raw = [b'a', 0xff, b','];
        let values = Some(0..2).into_iter().collect();
        let html = marked(&raw, &ReadableRow { text: None, encoding: None, values }).to_string();
        assert_eq!(html, "<mark>61 ff </mark>2c ");
    }

    #[test]
    fn of_a_long_row_the_part_with_the_value_is_shown() {
        let text = format!("{}ä<x>{}", "ü".repeat(10_000), "y".repeat(10_000));
        let at = text.find('<').unwrap();
        let html = marked(text.as_bytes(), &row(&text, at..at + 3)).to_string();
        assert!(html.starts_with('…') && html.ends_with('…'), "{html}");
        assert!(html.contains("ä<mark>&lt;x&gt;</mark>y"), "{html}");
        assert!(html.len() < SHOWN + 100, "{}", html.len());
        let whole = marked(text.as_bytes(), &row(&text, 0..text.len())).to_string();
        assert!(whole.starts_with("<mark>ü") && whole.ends_with("</mark>…"), "{whole}");
    }
}

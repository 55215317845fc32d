//! Owns what holds for the rows of any bytes in any dialect, to be checked by property tests and by
//! the fuzz targets: above all the documented grammar a second time, one byte after the other.
//!
//! Built for tests and for fuzzing only. It panics where the two differ.

use super::dialect::{Dialect, LineEnd};
use super::grammar::{Blank, Field, FieldKind, Grammar, NoCloseMemo};
use super::params::{CsvParams, StrayQuotes};
use super::sniff::{self, Known};
use crate::sources::SourceError;
use crate::sources::files::format::{Doubts, Memo};

/// Checks the grammar of `params` with `table`, the rows of a file of so many `columns`. The bytes
/// arrive `steps` at a time, over and over.
///
/// # Errors
/// When a parameter is invalid.
///
/// # Panics
/// When rows do not follow each other from the first byte to the last, end elsewhere than the
/// documented grammar says, depend on the steps, or are cut into fields in another way.
pub fn check(
    params: &CsvParams,
    columns: usize,
    table: &[u8],
    steps: &[usize],
) -> Result<(), SourceError> {
    params.validate()?;
    let known = Known { located: &|_| (0, true), columns: None, doubts: Doubts::default() };
    let dialect = sniff::decide(params, &known, table, true)?.dialect;
    let grammar = Grammar::new(&dialect, Blank::of(columns), params.max_row_bytes);
    let found = spans(&grammar, table, &[table.len()]);
    assert_eq!(found, spans(&grammar, table, steps), "rows depend on how the bytes arrive");
    let (mut at, mut fields) = (0, Vec::new());
    for (row, next) in found {
        let (end, unclosed) = row_end(&table[at..], &dialect, grammar.max_row());
        assert_eq!(row, at + end, "the row at {at} ends elsewhere");
        let content = grammar.content(&table[at..next]);
        grammar.fields(content, &mut fields);
        check_fields(content, &fields);
        if content.len() <= grammar.max_row() {
            let unterminated = fields.iter().any(|field| field.kind == FieldKind::Unclosed);
            assert_eq!(
                unterminated, unclosed,
                "the row at {at} is cut in another way than it is split"
            );
        }
        at = next;
    }
    assert_eq!(at, table.len(), "bytes are lost behind the last row");
    Ok(())
}

/// Fields follow each other within the row.
fn check_fields(row: &[u8], fields: &[Field]) {
    let mut behind = 0;
    for field in fields {
        let (start, end) = (field.start as usize, field.end as usize);
        assert!(behind <= start && start <= end && end <= row.len(), "{field:?} behind {behind}");
        behind = end;
    }
}

/// Where the row at the start of `text` ends, and whether a quote in it does not close: the
/// documented grammar, one byte at a time.
pub(super) fn row_end(text: &[u8], dialect: &Dialect, max_row: usize) -> (usize, bool) {
    let Some(quote) = dialect.quote else { return (line_end(text, dialect), false) };
    let byte = |at: usize| text.get(at).map(|b| *b as char);
    let unclosed = (line_end(text, dialect), true);
    let spaces = dialect.spaces_before_quotes && !dialect.delimiter.starts_with(' ');
    let mut at = if text.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    let mut fresh = true;
    while at < text.len() {
        if fresh && byte(at) == Some(quote) {
            let opened = at;
            let mut strayed = false;
            at += 1;
            loop {
                if at >= text.len().min(max_row) {
                    return unclosed;
                }
                let next = byte(at + 1);
                let special = next.is_some() && (next == dialect.quote || next == dialect.escape);
                if byte(at) == dialect.escape && special {
                    at += 2;
                    continue;
                }
                if strayed && line_break(text, at, dialect).is_some() {
                    return unclosed;
                }
                let keeps = dialect.stray_quotes == StrayQuotes::Keep;
                if byte(at) == dialect.quote {
                    if !keeps || ends_field(text, at + 1, dialect) {
                        break;
                    }
                    strayed = true;
                }
                at += 1;
            }
            at += 1;
            let lines_apart = (opened..at).any(|at| line_break(text, at, dialect).is_some());
            if lines_apart && !ends_field(text, at, dialect) {
                return unclosed;
            }
            fresh = false;
        } else if let Some(length) = line_break(text, at, dialect) {
            return (at + length, false);
        } else if text[at..].starts_with(dialect.delimiter.as_bytes()) {
            at += dialect.delimiter.len();
            fresh = true;
        } else {
            fresh = fresh && spaces && text[at] == b' ';
            at += 1;
        }
    }
    (text.len(), false)
}

/// Length of the line end at `at`, the CR in front of a LF not counted where only LF ends lines.
fn line_break(text: &[u8], at: usize, dialect: &Dialect) -> Option<usize> {
    match (&text[at..], dialect.line_end) {
        ([b'\r', b'\n', ..], LineEnd::Any) => Some(2),
        ([b'\r', ..], LineEnd::Any) | ([b'\n', ..], _) => Some(1),
        _ => None,
    }
}

/// Whether a field can end at `at`.
fn ends_field(text: &[u8], at: usize, dialect: &Dialect) -> bool {
    let rest = &text[at..];
    let returns = rest.iter().take_while(|byte| **byte == b'\r').count();
    rest.starts_with(dialect.delimiter.as_bytes())
        || matches!(rest.get(returns), None | Some(b'\n'))
        || returns > 0 && dialect.line_end == LineEnd::Any
}

/// Behind the first line, in which an escape takes the meaning of what is behind it where there are no quotes.
fn line_end(text: &[u8], dialect: &Dialect) -> usize {
    let escape = dialect.escape.filter(|_| dialect.quote.is_none());
    let mut at = 0;
    while at < text.len() {
        if escape == Some(text[at] as char) {
            at += if text[at + 1..].starts_with(b"\r\n") { 3 } else { 2 };
        } else if let Some(length) = line_break(text, at, dialect) {
            return at + length;
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Cuts a text of which ever more becomes known, as the stream does: where each row ends, and where
/// the next begins.
pub(super) fn spans(grammar: &Grammar, text: &[u8], steps: &[usize]) -> Vec<(usize, usize)> {
    let mut memo = NoCloseMemo::default();
    let mut steps = steps.iter().cycle();
    let (mut at, mut seen, mut found) = (0, 0, Vec::new());
    while at < text.len() {
        let complete = seen == text.len();
        let span = match &text[at..seen.max(at)] {
            [] => None,
            rest => grammar.span(rest, complete, &mut memo),
        };
        match span {
            Some(span) => {
                memo.advance(span.next);
                found.push((at + span.row, at + span.next));
                at += span.next;
            }
            None => seen = (seen + steps.next().map_or(1, |step| (*step).max(1))).min(text.len()),
        }
    }
    found
}

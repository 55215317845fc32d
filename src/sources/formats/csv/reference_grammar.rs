//! Owns what holds for the rows of any bytes in any dialect, to be checked by property tests and by
//! the fuzz targets: above all the documented grammar a second time, one byte after the other.
//!
//! Built for tests and for fuzzing only. It panics where the two differ.

use super::dialect::{Dialect, LineEnd};
use super::grammar::{Field, FieldKind, Grammar, NoCloseMemo};
use super::params::{CsvParams, StrayQuotes};
use super::sniff;
use crate::sources::SourceError;
use crate::sources::files::format::Memo;

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
    let dialect = sniff::decide(params, table, true)?;
    let grammar = Grammar::new(&dialect, columns, params.max_row_bytes);
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
    let newline = if dialect.line_end == LineEnd::Lf { b'\n' } else { b'\r' };
    let byte = |at: usize| text.get(at).map(|b| *b as char);
    let first_line = text.iter().position(|b| *b == newline).map_or(text.len(), |at| at + 1);
    let ends_field = |at: usize| {
        at == text.len()
            || text[at] == newline
            || text[at..].starts_with(dialect.delimiter.as_bytes())
            || newline == b'\n' && text[at..].starts_with(b"\r\n")
    };
    let (mut at, mut fresh) = (0, true);
    while at < text.len() {
        if fresh && dialect.quote.is_some() && byte(at) == dialect.quote {
            let opened = at;
            at += 1;
            loop {
                if at >= text.len().min(max_row) {
                    return (first_line, true);
                }
                let next = byte(at + 1);
                let special = next.is_some() && (next == dialect.quote || next == dialect.escape);
                if byte(at) == dialect.escape && special {
                    at += 2;
                    continue;
                }
                let keeps = dialect.stray_quotes == StrayQuotes::Keep;
                if byte(at) == dialect.quote && (!keeps || ends_field(at + 1)) {
                    break;
                }
                at += 1;
            }
            at += 1;
            if text[opened..at].contains(&newline) && !ends_field(at) {
                return (first_line, true);
            }
            fresh = false;
        } else if text[at] == newline {
            return (at + 1, false);
        } else if text[at..].starts_with(dialect.delimiter.as_bytes()) {
            at += dialect.delimiter.len();
            fresh = true;
        } else {
            at += 1;
            fresh = false;
        }
    }
    (text.len(), false)
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

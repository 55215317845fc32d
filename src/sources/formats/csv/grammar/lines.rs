//! Owns where lines end and which of them are blank.

use memchr::{memchr, memchr2, memchr3, memrchr, memrchr2};

use super::{Grammar, NoCloseMemo};
use crate::sources::files::format::LineBreaks;

/// What there is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// What was looked for, so long.
    Length(usize),
    /// Something else.
    Other,
    /// More bytes are needed.
    Unknown,
}

impl Grammar {
    /// Length of the line end at `at`.
    pub(super) fn line_end_at(&self, text: &[u8], at: usize, complete: bool) -> Found {
        match (text.get(at), self.breaks) {
            (Some(b'\n'), _) => Found::Length(1),
            (Some(b'\r'), LineBreaks::Any) => match text.get(at + 1) {
                Some(b'\n') => Found::Length(2),
                None if !complete => Found::Unknown,
                _ => Found::Length(1),
            },
            (Some(b'\r'), LineBreaks::Lf) => {
                let returns = text[at..].iter().take_while(|byte| **byte == b'\r').count();
                match text.get(at + returns) {
                    Some(b'\n') => Found::Length(returns + 1),
                    // At the end of a file it is the rest of a line end.
                    None if complete => Found::Length(returns),
                    None => Found::Unknown,
                    Some(_) => Found::Other,
                }
            }
            (Some(_), _) => Found::Other,
            (None, _) if complete => Found::Other,
            (None, _) => Found::Unknown,
        }
    }

    /// Where the next byte is that can end a line, or a quote.
    pub(super) fn quote_or_break(&self, quote: u8, text: &[u8]) -> Option<usize> {
        match self.breaks {
            LineBreaks::Lf => memchr2(quote, b'\n', text),
            LineBreaks::Any => memchr3(quote, b'\n', b'\r', text),
        }
    }

    /// Where the next byte is that can end a line.
    pub(super) fn line_break(&self, text: &[u8]) -> Option<usize> {
        match self.breaks {
            LineBreaks::Lf => memchr(b'\n', text),
            LineBreaks::Any => memchr2(b'\n', b'\r', text),
        }
    }

    /// Where the last byte is that can end a line.
    pub(super) fn last_line_break(&self, text: &[u8]) -> Option<usize> {
        match self.breaks {
            LineBreaks::Lf => memrchr(b'\n', text),
            LineBreaks::Any => memrchr2(b'\n', b'\r', text),
        }
    }

    /// Behind the line end whose first byte, as [`Grammar::line_break`] finds it, is at `at`.
    pub(super) fn behind_break(&self, text: &[u8], at: usize, complete: bool) -> Option<usize> {
        if text[at] == b'\n' {
            return Some(at + 1);
        }
        match text.get(at + 1) {
            Some(b'\n') => Some(at + 2),
            None if !complete => None,
            _ => Some(at + 1),
        }
    }

    /// Behind the first line of `text`.
    pub fn first_line(&self, text: &[u8], complete: bool) -> Option<usize> {
        let mut from = 0;
        loop {
            let Some(found) = self.line_break(&text[from..]) else {
                return complete.then_some(text.len());
            };
            let at = from + found;
            match self.bare_escape() {
                Some(escape) if is_escaped(text, at, escape) => {
                    from = self.behind_break(text, at, complete)?;
                }
                _ => return self.behind_break(text, at, complete),
            }
        }
    }

    /// Length of the blank lines at the start of `text`.
    pub fn blank_lines(&self, text: &[u8], complete: bool) -> Option<usize> {
        if self.blank.empty_is_row {
            return Some(0);
        }
        let mut at = 0;
        loop {
            match self.line_end_at(text, at, complete) {
                Found::Length(length) => at += length,
                Found::Unknown => return None,
                Found::Other => match self.no_row(&text[at..], complete) {
                    Found::Length(length) => at += length,
                    Found::Unknown => return None,
                    Found::Other => return Some(at),
                },
            }
        }
    }

    /// Length of the lines at the start of `text`, the end of the last not counted, if they have something on them and are
    /// no rows.
    fn no_row(&self, text: &[u8], complete: bool) -> Found {
        match self.header_at(text, complete) {
            Found::Other => {}
            found => return found,
        }
        match self.names_at(text, complete) {
            Found::Other => {}
            found => return found,
        }
        if self.blank.delimiters && text.first() == self.delimiter.first() {
            let length = self.delimiters_at_start(text);
            let rest = &text[length..];
            if length > 0 && (rest.is_empty() || rest[0] == b'\r' || rest[0] == b'\n') {
                return self.ended_at(text, length, complete);
            }
            if !complete && self.delimiter.starts_with(rest) {
                return Found::Unknown;
            }
        }
        Found::Other
    }

    /// The length, if a line ends there.
    pub(super) fn ended_at(&self, text: &[u8], length: usize, complete: bool) -> Found {
        match self.line_end_at(text, length, complete) {
            Found::Length(_) => Found::Length(length),
            Found::Other if length == text.len() => Found::Length(length),
            other => other,
        }
    }

    fn delimiters_at_start(&self, text: &[u8]) -> usize {
        text.chunks_exact(self.delimiter.len())
            .take_while(|chunk| **chunk == *self.delimiter)
            .count()
            * self.delimiter.len()
    }

    /// The row without its line end and the blank lines behind it.
    pub fn content<'a>(&self, span: &'a [u8]) -> &'a [u8] {
        if self.blank.empty_is_row {
            return self.without_line_end(span);
        }
        let mut row = without_breaks(span);
        // Where the row ends is looked for again only in the rare case that there is more than line ends behind it.
        if self.ends_in_no_row(row) {
            let end = self.row_end(span, true, &mut NoCloseMemo::default());
            row = without_breaks(&span[..end.unwrap_or(span.len())]);
        }
        match self.bare_escape() {
            Some(escape) => with_escaped_break(span, row, escape),
            None => row,
        }
    }

    /// Without its line end, where each is that of a row.
    fn without_line_end<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        let short = match row {
            [rest @ .., b'\n'] => rest,
            rest => rest,
        };
        let ended = short.len() < row.len();
        match short {
            [rest @ .., b'\r'] if self.breaks == LineBreaks::Any => rest,
            _ if self.breaks == LineBreaks::Any => short,
            [.., b'\r'] => {
                let returns = short.iter().rev().take_while(|byte| **byte == b'\r').count();
                &short[..short.len() - returns]
            }
            _ if ended => short,
            _ => row,
        }
    }

    /// Whether the last of several lines is no row, or looks so.
    fn ends_in_no_row(&self, row: &[u8]) -> bool {
        let ends = |rest: &[u8]| rest.last().is_some_and(|last| self.breaks.is_end(*last));
        if self.blank.delimiters && row.ends_with(&self.delimiter) {
            let mut rest = row;
            while let Some(shorter) = rest.strip_suffix(&*self.delimiter) {
                rest = shorter;
            }
            if ends(rest) {
                return true;
            }
        }
        self.ends_like_header(row) || self.ends_like_names(row)
    }
}

/// Without the line ends behind it.
pub(super) fn without_breaks(row: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b'\r' | b'\n');
    &row[..row.iter().rposition(is_text).map_or(0, |last| last + 1)]
}

/// The row with the line end behind it if that is escaped, and belongs to it.
fn with_escaped_break<'a>(span: &'a [u8], row: &'a [u8], escape: u8) -> &'a [u8] {
    match &span[row.len()..] {
        [b'\r', b'\n', ..] if is_escaped(span, row.len(), escape) => &span[..row.len() + 2],
        [_, ..] if is_escaped(span, row.len(), escape) => &span[..row.len() + 1],
        _ => row,
    }
}

/// Whether the byte at `at` has an odd number of escapes in front of it; those of `\r\n` are in front of `\r`.
pub(super) fn is_escaped(text: &[u8], at: usize, escape: u8) -> bool {
    let before = &text[..at];
    let before =
        if text[at] == b'\n' { before.strip_suffix(b"\r").unwrap_or(before) } else { before };
    let escapes = before.iter().rev().take_while(|byte| **byte == escape).count();
    escapes % 2 == 1
}

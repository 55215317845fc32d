//! Owns the grammar of rows: where a row ends, where its fields are. One function decides where a
//! quoted field closes, so that cutting a file into rows and cutting a row into fields
//! cannot disagree. Bytes only; must not know encodings, headers or what makes a row acceptable.
//!
//! The grammar. A quote opens a field only as the first byte of the field. Inside, an escape takes
//! the special meaning from a quote or from another escape behind it and is text before anything
//! else. The next quote closes the field; text behind it belongs to the field and is a *stray*
//! defect. With stray quotes kept, only a quote in front of a delimiter, a line end or the end of
//! the file closes it. A line end outside quotes ends the row; the blank lines behind it belong to
//! the row's span, so that spans follow each other without a gap.
//!
//! A quoted field that does not close within the row limit or before the end of the file, or only
//! lines later at a quote that text follows (the next opening quote, that is), is *unclosed*: its row ends at the row's first line end, wherever that is, and reading goes on
//! behind it. Cutting the row into fields then ends within quotes, which is how it is recognized.

use memchr::{memchr, memchr2, memmem};

use super::dialect::{Dialect, LineEnd};
use super::params::StrayQuotes;
use crate::sources::files::format::{Memo, RecordSpan};

/// The most fields of a row, so that a row of nothing but delimiters does not cost twelve times its
/// size in memory. PostgreSQL's own tables end at 1,600 columns.
pub(super) const MAX_FIELDS: usize = 1 << 16;

/// A compiled dialect.
#[derive(Debug)]
pub(super) struct Grammar {
    delimiter: Box<[u8]>,
    finder: memmem::Finder<'static>,
    quote: Option<u8>,
    escape: Option<u8>,
    newline: u8,
    keep_stray: bool,
    skip_blank: bool,
    max_row: usize,
}

/// A field within a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// First byte, the opening quote not counted.
    pub start: u32,
    /// Behind the last byte, the closing quote not counted.
    pub end: u32,
    /// What is special about it.
    pub kind: FieldKind,
}

/// What is special about a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// No quotes.
    Plain,
    /// In quotes, its bytes are its text.
    Quoted,
    /// In quotes, with escapes still to be resolved.
    Escaped,
    /// A quote where the grammar has no place for one.
    Stray,
    /// The quotes do not close.
    Unclosed,
}

/// What is known not to close: no field that opens at or behind `from` closes before `until`.
/// Saves reading the same megabytes for every row behind an unclosed quote.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCloseMemo {
    from: usize,
    until: usize,
}

/// Where a quoted field closes.
enum Close {
    /// At this quote; whether escapes were passed.
    At(usize, bool),
    /// Nowhere.
    Never,
    /// Not before this offset; more bytes are needed to say more.
    NotBefore(usize),
}

impl Memo for NoCloseMemo {
    fn advance(&mut self, by: usize) {
        self.from = self.from.saturating_sub(by);
        self.until = self.until.saturating_sub(by);
    }
}

impl NoCloseMemo {
    fn learn(&mut self, opened: usize, until: usize) {
        if opened < self.from || self.until <= opened {
            self.from = opened;
        }
        self.until = until;
    }
}

impl Grammar {
    /// Compiles a dialect. `columns` is the number of columns: in a table of one column a blank
    /// line is a row whose only cell is empty.
    pub fn new(dialect: &Dialect, columns: usize, max_row: u64) -> Self {
        Self {
            delimiter: dialect.delimiter.as_bytes().into(),
            finder: memmem::Finder::new(dialect.delimiter.as_bytes()).into_owned(),
            quote: dialect.quote.map(|c| c as u8),
            escape: dialect.escape.map(|c| c as u8),
            newline: match dialect.line_end {
                LineEnd::Lf => b'\n',
                LineEnd::Cr => b'\r',
            },
            keep_stray: dialect.stray_quotes == StrayQuotes::Keep,
            skip_blank: columns != 1,
            max_row: usize::try_from(max_row).unwrap_or(usize::MAX),
        }
    }

    /// The byte that ends lines.
    pub fn newline(&self) -> u8 {
        self.newline
    }

    /// The most bytes a row may have, its line end not counted.
    pub fn max_row(&self) -> usize {
        self.max_row
    }

    /// The span of the row at the start of `text`, which is not empty. `complete` says that
    /// nothing follows `text`; otherwise `None` means that more bytes are needed.
    pub fn span(&self, text: &[u8], complete: bool, memo: &mut NoCloseMemo) -> Option<RecordSpan> {
        let row = self.row_end(text, complete, memo)?;
        let next = row + self.blank_lines(&text[row..], complete)?;
        Some(RecordSpan { row, next })
    }

    /// Length of the blank lines at the start of `text`.
    pub fn blank_lines(&self, text: &[u8], complete: bool) -> Option<usize> {
        if !self.skip_blank {
            return Some(0);
        }
        let mut at = 0;
        loop {
            match (self.line_end_at(text, at), &text[at..]) {
                (Some(length), _) => at += length,
                (None, [] | [b'\r']) if !complete => return None,
                (None, _) => return Some(at),
            }
        }
    }

    /// The row without its line end and the blank lines behind it.
    pub fn content<'a>(&self, span: &'a [u8]) -> &'a [u8] {
        let mut row = span;
        while let [rest @ .., last] = row {
            if *last != self.newline {
                break;
            }
            row = match rest {
                [rest @ .., b'\r'] if self.newline == b'\n' => rest,
                _ => rest,
            };
            if !self.skip_blank {
                break;
            }
        }
        row
    }

    /// Length of the line end at `at`, if there is one.
    fn line_end_at(&self, text: &[u8], at: usize) -> Option<usize> {
        match text.get(at)? {
            b if *b == self.newline => Some(1),
            b'\r' if text.get(at + 1) == Some(&b'\n') => (self.newline == b'\n').then_some(2),
            _ => None,
        }
    }

    fn row_end(&self, text: &[u8], complete: bool, memo: &mut NoCloseMemo) -> Option<usize> {
        let Some(quote) = self.quote else { return self.first_line(text, complete) };
        let (mut at, mut field) = (0, 0);
        loop {
            let Some(found) = memchr2(quote, self.newline, &text[at..]) else {
                return complete.then_some(text.len());
            };
            at += found;
            if text[at] == self.newline {
                return Some(at + 1);
            }
            if !self.starts_field(text, at, &mut field) {
                at += 1;
                continue;
            }
            let opened = at;
            match self.close(text, opened + 1, complete, opened, *memo) {
                Close::At(quote, _) if quote < self.max_row => {
                    if self.belongs_to_another(text, opened, quote, complete)? {
                        return self.first_line(text, complete);
                    }
                    at = quote + 1;
                    field = at;
                }
                Close::At(quote, _) => {
                    memo.learn(opened, quote);
                    return self.first_line(text, complete);
                }
                Close::NotBefore(offset) if offset < self.max_row => {
                    memo.learn(opened, offset);
                    return None;
                }
                Close::NotBefore(offset) => {
                    memo.learn(opened, offset);
                    return self.first_line(text, complete);
                }
                Close::Never => {
                    memo.learn(opened, text.len());
                    return self.first_line(text, complete);
                }
            }
        }
    }

    /// Whether the quote that would close the field opened at `opened` is rather the one that opens
    /// another field further down: lines apart, and text follows it. `None` when more bytes are
    /// needed.
    fn belongs_to_another(
        &self,
        text: &[u8],
        opened: usize,
        quote: usize,
        complete: bool,
    ) -> Option<bool> {
        if self.ends_field(text, quote + 1, complete)? {
            return Some(false);
        }
        Some(memchr(self.newline, &text[opened..quote]).is_some())
    }

    fn first_line(&self, text: &[u8], complete: bool) -> Option<usize> {
        match memchr(self.newline, text) {
            Some(at) => Some(at + 1),
            None => complete.then_some(text.len()),
        }
    }

    /// Whether a field starts at `at`, where there is a quote. `known` is a place outside quotes
    /// that is known to be the start of a row or to follow a closing quote, and moves along.
    fn starts_field(&self, text: &[u8], at: usize, known: &mut usize) -> bool {
        if let [delimiter] = *self.delimiter {
            return at == 0 || text[at - 1] == delimiter;
        }
        // `a||||"` has two ways to see `||` in front of the quote; fields are cut from the left.
        let mut start = *known == 0;
        while let Some(found) = self.finder.find(&text[*known..at]) {
            *known += found + self.delimiter.len();
            start = true;
        }
        start && *known == at
    }

    /// Finds the quote that closes the field opened at `opened`, from `at` on.
    fn close(
        &self,
        text: &[u8],
        mut at: usize,
        complete: bool,
        opened: usize,
        memo: NoCloseMemo,
    ) -> Close {
        let Some(quote) = self.quote else { return Close::Never };
        let separate_escape = self.escape.filter(|escape| *escape != quote);
        let mut escaped = false;
        loop {
            // Behind the run of quotes that the field opens with, it reads on as any other field
            // that is open there: what is known of that one holds for this one.
            if opened >= memo.from && at < memo.until && text.get(at) != Some(&quote) {
                at = memo.until.min(text.len());
            }
            let found = match separate_escape {
                Some(escape) => memchr2(quote, escape, &text[at..]),
                None => find(quote, &text[at..]),
            };
            let Some(found) = found else {
                return if complete { Close::Never } else { Close::NotBefore(text.len()) };
            };
            at += found;
            let next = text.get(at + 1).copied();
            if next.is_none() && !complete {
                return Close::NotBefore(at);
            }
            let takes_next = self.escape == Some(text[at]) && next.is_some();
            if takes_next && (next == Some(quote) || next == self.escape) {
                escaped = true;
                at += 2;
            } else if text[at] != quote {
                at += 1;
            } else if !self.keep_stray {
                return Close::At(at, escaped);
            } else {
                match self.ends_field(text, at + 1, complete) {
                    Some(true) => return Close::At(at, escaped),
                    Some(false) => at += 1,
                    None => return Close::NotBefore(at),
                }
            }
        }
    }

    /// Whether a field can end at `at`; `None` when more bytes are needed.
    fn ends_field(&self, text: &[u8], at: usize, complete: bool) -> Option<bool> {
        let rest = &text[at..];
        if rest.starts_with(&self.delimiter) || self.line_end_at(text, at).is_some() {
            return Some(true);
        }
        if rest.len() < self.delimiter.len().max(2) && !complete {
            return None;
        }
        Some(rest.is_empty())
    }

    /// Cuts a row, as [`Grammar::content`] gives it, into its fields; behind [`MAX_FIELDS`] and one
    /// more it stops.
    pub fn fields(&self, row: &[u8], out: &mut Vec<Field>) {
        self.first_fields(row, MAX_FIELDS + 1, out);
    }

    /// Cuts the first fields of a row, `most` of them.
    pub fn first_fields(&self, row: &[u8], most: usize, out: &mut Vec<Field>) {
        out.clear();
        let mut at = 0;
        loop {
            let (field, end) = self.field(row, at);
            out.push(field);
            if end >= row.len() || out.len() >= most {
                return;
            }
            at = end + self.delimiter.len();
        }
    }

    /// The field that starts at `start`, and the offset of the delimiter behind it.
    fn field(&self, row: &[u8], start: usize) -> (Field, usize) {
        let field =
            |start: usize, end: usize, kind| Field { start: start as u32, end: end as u32, kind };
        if self.quote.is_none() || row.get(start).copied() != self.quote {
            let (end, stray) = self.unquoted_end(row, start);
            let stray = stray && !self.keep_stray;
            let kind = if stray { FieldKind::Stray } else { FieldKind::Plain };
            return (field(start, end, kind), end);
        }
        match self.close(row, start + 1, true, start, NoCloseMemo::default()) {
            Close::At(quote, escaped) => {
                let behind = quote + 1;
                if behind == row.len() || row[behind..].starts_with(&self.delimiter) {
                    let kind = if escaped { FieldKind::Escaped } else { FieldKind::Quoted };
                    return (field(start + 1, quote, kind), behind);
                }
                let (end, _) = self.unquoted_end(row, behind);
                (field(start, end, FieldKind::Stray), end)
            }
            Close::Never | Close::NotBefore(_) => {
                (field(start + 1, row.len(), FieldKind::Unclosed), row.len())
            }
        }
    }

    /// Whether a field of a row opens with a quote that does not close where the field ends: where
    /// the fields behind it are is then a guess.
    pub fn is_unterminated(&self, row: &[u8], field: &Field) -> bool {
        match field.kind {
            FieldKind::Unclosed => true,
            FieldKind::Stray => row.get(field.start as usize).copied() == self.quote,
            FieldKind::Plain | FieldKind::Quoted | FieldKind::Escaped => false,
        }
    }

    /// Where the delimiter behind unquoted text is, and whether a quote comes before.
    fn unquoted_end(&self, row: &[u8], start: usize) -> (usize, bool) {
        let text = &row[start..];
        let [delimiter] = *self.delimiter else {
            let end = self.finder.find(text).unwrap_or(text.len());
            let stray = self.quote.is_some_and(|quote| memchr(quote, &text[..end]).is_some());
            return (start + end, stray);
        };
        let quote = self.quote.unwrap_or(delimiter);
        match memchr2(delimiter, quote, text) {
            None => (row.len(), false),
            Some(at) if text[at] == delimiter => (start + at, false),
            Some(at) => {
                let end = memchr(delimiter, &text[at..]).map_or(text.len(), |more| at + more);
                (start + end, true)
            }
        }
    }

    /// Appends the text of an [`FieldKind::Escaped`] field to `out`.
    pub fn unescape(&self, mut text: &str, out: &mut String) {
        let (Some(quote), Some(escape)) = (self.quote, self.escape) else {
            out.push_str(text);
            return;
        };
        while let Some(at) = find(escape, text.as_bytes()) {
            let next = text.as_bytes().get(at + 1).copied();
            let escapes = next == Some(quote) || next == Some(escape);
            let (before, rest) = text.split_at(at + 1);
            if escapes {
                let (escaped, rest) = rest.split_at(1);
                out.push_str(&before[..at]);
                out.push_str(escaped);
                text = rest;
            } else {
                out.push_str(before);
                text = rest;
            }
        }
        out.push_str(text);
    }
}

/// `memchr` for bytes that are likely to be near: the quotes of JSON within quotes are a few bytes
/// apart, where calling it costs more than looking.
/// Source: Mycroft's test for a zero byte, in Anderson, "Bit Twiddling Hacks".
fn find(byte: u8, text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    if let Some(near) = text.first_chunk() {
        let zero_where_equal = u64::from_le_bytes(*near) ^ (ONES * u64::from(byte));
        let found = zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGHS;
        if found != 0 {
            return Some(found.trailing_zeros() as usize / 8);
        }
    }
    memchr(byte, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_bytes_is_found_near_and_far() {
        for length in 0..40 {
            for at in 0..length {
                let mut text = vec![b'"' + 1; length];
                text[at] = b'"';
                assert_eq!(find(b'"', &text), Some(at));
                text[at..].fill(b'"');
                assert_eq!(find(b'"', &text), Some(at));
            }
            assert_eq!(find(b'"', &vec![0xa2; length]), None);
        }
    }
}

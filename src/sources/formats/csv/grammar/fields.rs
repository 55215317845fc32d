//! Owns where the fields of a row are.

use memchr::{memchr, memchr2};

use super::rows::Close;
use super::{Field, FieldKind, Grammar, MARK, MAX_FIELDS, NoCloseMemo};
use crate::sources::formats::csv::params::StrayQuotes;

impl Grammar {
    /// Cuts a row, as [`Grammar::content`] gives it, into its fields; behind [`MAX_FIELDS`] and one
    /// more it stops.
    pub fn fields(&self, row: &[u8], out: &mut Vec<Field>) {
        self.first_fields(row, MAX_FIELDS + 1, out);
    }

    /// Cuts the first fields of a row, `most` of them.
    pub fn first_fields(&self, row: &[u8], most: usize, out: &mut Vec<Field>) {
        out.clear();
        let mut at = if row.starts_with(MARK) { MARK.len() } else { 0 };
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
        let Some(start) = self.opening_quote(row, start) else {
            if let Some(escape) = self.bare_escape() {
                let (end, escaped) = self.escaped_end(row, start, escape);
                let kind = if escaped { FieldKind::Escaped } else { FieldKind::Plain };
                return (field(start, end, kind), end);
            }
            let (end, stray) = self.unquoted_end(row, start);
            let stray = stray && self.stray == StrayQuotes::Quarantine;
            let kind = if stray { FieldKind::Stray } else { FieldKind::Plain };
            return (field(start, end, kind), end);
        };
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
            Close::Never | Close::Torn | Close::NotBefore(_) => {
                (field(start + 1, row.len(), FieldKind::Unclosed), row.len())
            }
        }
    }

    /// Where the quote is that opens the field at `start`.
    fn opening_quote(&self, row: &[u8], start: usize) -> Option<usize> {
        let quote = self.quote?;
        if row.get(start) == Some(&quote) {
            return Some(start);
        }
        if !self.spaces {
            return None;
        }
        let spaces = row.get(start..)?.iter().take_while(|byte| **byte == b' ').count();
        (row.get(start + spaces) == Some(&quote)).then_some(start + spaces)
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

    /// Whether there is a delimiter in a text.
    pub fn has_delimiter(&self, text: &[u8]) -> bool {
        self.finder.find(text).is_some()
    }

    /// How many delimiters there are in a text.
    pub fn delimiters_within(&self, text: &[u8]) -> usize {
        self.finder.find_iter(text).count()
    }

    /// Where the delimiter behind text is that no escape stands in front of, and whether one does before.
    fn escaped_end(&self, row: &[u8], start: usize, escape: u8) -> (usize, bool) {
        let (mut at, mut escaped) = (start, false);
        while at < row.len() {
            if row[at] == escape {
                escaped = true;
                at += 2;
            } else if row[at..].starts_with(&self.delimiter) {
                return (at, escaped);
            } else {
                at += 1;
            }
        }
        (row.len(), escaped)
    }
}

//! Owns where the names of a header come again between rows, written otherwise: see [`HeaderNames`].

use memchr::{memchr, memchr2};

use super::lines::Found;
use super::{Field, Grammar, NoCloseMemo};
use crate::sources::formats::csv::header_names::{HeaderNames, NamesOfRow, Order};

/// The most bytes of a row that is compared: twice those of a header that is.
const MOST: usize = 128 << 10;

impl Grammar {
    /// Length of the header at the start of `text`, the end of its last line not counted.
    pub(super) fn names_at(&self, text: &[u8], complete: bool) -> Found {
        let Some(names) = &self.blank.names else { return Found::Other };
        if !self.may_begin_names(names, text, complete) {
            return Found::Other;
        }
        let mut found = names.ways().map(|rows| self.rows_at(names, rows, text, complete));
        found.find(|found| *found != Found::Other).unwrap_or(Found::Other)
    }

    /// Whether the first cell may be a name.
    fn may_begin_names(&self, names: &HeaderNames, text: &[u8], complete: bool) -> bool {
        let text = &text[..text.len().min(MOST)];
        let line = memchr2(b'\n', b'\r', text);
        let cell = self.finder.find(&text[..line.unwrap_or(text.len())]).or(line);
        let Some(cell) = cell.map(|end| &text[..end]) else {
            return !complete || names.may_have(text);
        };
        // Of a cell in quotes that may be a part only.
        let quotes = self.quote.map_or(0, |quote| memchr::memchr_iter(quote, cell).count());
        let escape = self.escape.filter(|escape| Some(*escape) != self.quote);
        quotes % 2 == 1
            || escape.is_some_and(|escape| memchr(escape, cell).is_some())
            || names.may_have(cell)
    }

    /// Length of these rows at the start of `text`.
    fn rows_at(
        &self,
        names: &HeaderNames,
        rows: &[NamesOfRow],
        text: &[u8],
        complete: bool,
    ) -> Found {
        let (mut at, mut fields) = (0, Vec::new());
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                match self.line_ends_at(&text[at..], complete) {
                    Found::Length(length) => at += length,
                    found => return found,
                }
            }
            let rest = &text[at..];
            let near = &rest[..rest.len().min(MOST)];
            let is_all = complete && near.len() == rest.len();
            let Some(end) = self.row_end(near, is_all, &mut NoCloseMemo::default()) else {
                return if rest.len() > MOST { Found::Other } else { Found::Unknown };
            };
            let content = super::lines::without_breaks(&near[..end]);
            let one_line = !names.take_several_lines();
            if one_line && self.line_break(content).is_some()
                || self.order(names, row, content, &mut fields) != Some(Order::Same)
            {
                return Found::Other;
            }
            at += content.len();
        }
        self.ended_at(text, at, complete)
    }

    /// How the names of a row of a header stand in these bytes.
    pub fn order(
        &self,
        names: &HeaderNames,
        row: &NamesOfRow,
        content: &[u8],
        fields: &mut Vec<Field>,
    ) -> Option<Order> {
        self.fields(content, fields);
        let text = |field: &Field| names.text(&content[field.start as usize..field.end as usize]);
        row.order(fields.iter().map(text))
    }

    /// Whether the last of several lines is the last of a header, or looks so.
    pub(super) fn ends_like_names(&self, rows: &[u8]) -> bool {
        let Some(names) = &self.blank.names else { return false };
        let Some(end) = self.last_line_break(rows) else { return false };
        names.take_several_lines() || self.may_begin_names(names, &rows[end + 1..], true)
    }
}

//! Owns a row of CSV as people read it: its text, and where the value of a column is, found by the grammar of its file.

use std::borrow::Cow;

use encoding_rs::UTF_8;

use super::row::CsvReader;
use crate::domain::field_name;
use crate::sources::ReadableRow;

impl CsvReader {
    /// A row as it came, good or not, and the value of the field that has this name in defects.
    pub(super) fn readable<'r>(&self, raw: &'r [u8], field: &str) -> ReadableRow<'r> {
        let encoding = self.encoding();
        let text = if encoding == UTF_8 || raw.is_ascii() {
            std::str::from_utf8(raw).ok().map(Cow::Borrowed)
        } else {
            let mut decoded = String::new();
            self.decode(raw, &mut decoded).is_some().then_some(Cow::Owned(decoded))
        };
        let row = text.as_deref().map_or(raw, str::as_bytes);
        let mut fields = Vec::new();
        let value = self.column_of(field).and_then(|column| {
            self.grammar.first_fields(row, column + 1, &mut fields);
            // Behind a quote that closes too early or never, the fields are unknown.
            let (value, before) = fields.get(..=column)?.split_last()?;
            let known = !before.iter().any(|field| self.grammar.is_unterminated(row, field));
            known.then_some(value.start as usize..value.end as usize)
        });
        ReadableRow {
            text,
            encoding: Some(encoding.name()).filter(|_| encoding != UTF_8),
            values: value.into_iter().collect(),
        }
    }

    /// The column that defects call so: by its name, by the first of the names that the job file has for it, or by its
    /// number when it has no name.
    fn column_of(&self, field: &str) -> Option<usize> {
        let named = || self.columns().iter().position(|column| column == field);
        let located = || {
            let mut labels = self.labels().iter().zip(self.located());
            let is_it = |label: &Option<String>| {
                label.as_deref().is_some_and(|label| field_name::kept(label) == field)
            };
            labels.find_map(|(label, column)| column.filter(|_| is_it(label)))
        };
        let numbered = || {
            let number: usize = field.strip_prefix("column ")?.parse().ok()?;
            number.checked_sub(1).filter(|column| *column >= self.columns().len())
        };
        named().or_else(located).or_else(numbered)
    }
}

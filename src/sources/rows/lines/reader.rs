//! Owns lines of JSON as rows: where each ends, and what it holds.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use memchr::memchr;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, ReasonCode};
use crate::domain::shape::Shape;
use crate::domain::text;
use crate::sources::SourceError;
use crate::sources::files::Wanted;
use crate::sources::files::format::{LineBreaks, RecordSpan, RowReader, ShapeBuilder};
use crate::sources::rows::json::{self, JsonRow, JsonRowReader};
use crate::sources::rows::path;
use crate::values::field::{Locator, RowPart};

/// Length of the blank lines at the start of `text`: of nothing but white space.
pub fn blank_lines(text: &[u8], complete: bool) -> Option<usize> {
    let solid = text.iter().position(|byte| !byte.is_ascii_whitespace());
    match solid {
        Some(solid) => Some(text[..solid].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)),
        None => complete.then_some(text.len()),
    }
}

/// Reads the lines of a file.
#[derive(Debug)]
pub struct LinesReader {
    pub(super) rows: JsonRowReader,
    /// The same for the parts of the key only.
    keys: JsonRowReader,
    /// The top-level fields that these are in; `None` when nobody can tell.
    key_fields: Option<BTreeSet<String>>,
    max_row: usize,
    /// The name of the table with the parameters.
    table: &'static str,
    /// What the file was transcoded from.
    transcoded: Option<String>,
    /// A row with every field that rows have, where the file says so.
    pub(super) described: Option<Value>,
    /// The top-level fields that may hold no value but a word of why there is none; see [`NO_VALUE`].
    marked: Vec<String>,
}

/// The only key of an object in place of a value: behind it stands what the cell of a spreadsheet shows instead.
pub const NO_VALUE: &str = "no value";

/// How lines are read.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    /// The name of the table with the parameters.
    pub table: &'static str,
    /// Lines of more bytes are set aside.
    pub max_row_bytes: u64,
    /// What the file was transcoded from.
    pub transcoded: Option<&'a str>,
    /// Whether values may be none, as [`NO_VALUE`] says.
    pub marked: bool,
    /// The members that say where a row stands in its file, if it is not its number.
    pub place: &'static [&'static str],
}

/// The record that was read last.
#[derive(Debug, Default)]
pub struct Record(Value);

impl LinesReader {
    /// Reads lines for the locators of a mapping.
    ///
    /// # Errors
    /// When one is a column, or no JSONPath.
    pub fn new(lines: &Lines<'_>, wanted: &[Wanted]) -> Result<Self, SourceError> {
        let all: Vec<Locator> = wanted.iter().map(|wanted| wanted.locator.clone()).collect();
        let of_key = |wanted: &Wanted| match wanted.key {
            true => wanted.locator.clone(),
            false => Locator::Nowhere,
        };
        let keys: Vec<Locator> = wanted.iter().map(of_key).collect();
        Ok(Self {
            rows: JsonRowReader::new(&all)?.placed_by(lines.place),
            keys: JsonRowReader::new(&keys)?.placed_by(lines.place),
            key_fields: key_fields(&keys, lines.place),
            max_row: usize::try_from(lines.max_row_bytes).unwrap_or(usize::MAX),
            table: lines.table,
            transcoded: lines.transcoded.map(str::to_owned),
            described: None,
            marked: match lines.marked {
                true => all.iter().filter_map(top_field).collect(),
                false => Vec::new(),
            },
        })
    }

    /// A line as a record.
    pub(super) fn record(&self, content: &[u8]) -> Result<Value, Defect> {
        if content.len() > self.max_row {
            let message = format!(
                "the line has {} bytes, the limit is {}; look for a missing line end or raise \
                 {}.max_row_bytes",
                content.len(),
                self.max_row,
                self.table
            );
            return Err(Defect::without_value(None, ReasonCode::RowTooLong, message));
        }
        json::record(std::str::from_utf8(content).map_err(|error| {
            let message = self.no_text(content, error.valid_up_to());
            Defect::without_value(None, ReasonCode::InvalidEncoding, message)
        })?)
    }

    fn no_text(&self, content: &[u8], at: usize) -> String {
        if let Some(from) = &self.transcoded {
            return format!(
                "the line is not {from} at byte {}, counted in UTF-8; if the file has another encoding, name it in \
                 {}.encoding",
                at + 1,
                self.table
            );
        }
        format!(
            "the line is not UTF-8: byte {} of it is 0x{:02X}; JSON is UTF-8 unless the job file names another encoding in \
             {}.encoding, such as \"windows-1252\" or \"shift_jis\"",
            at + 1,
            content.get(at).copied().unwrap_or_default(),
            self.table
        )
    }

    /// What is wrong with values that are none.
    fn no_values(&self, record: &Value) -> Vec<Defect> {
        let defect = |field: &String| {
            let shown = record.get(field)?.as_object()?.get(NO_VALUE)?.as_str()?;
            let message = match shown.strip_prefix('=') {
                Some(formula) => format!(
                    "the cell holds the formula `={}` without a result: open the file in a spreadsheet program and save \
                     it there",
                    text::cut(formula, text::MAX_QUOTED)
                ),
                None => format!(
                    "the cell holds the error {shown}; correct it, or name it in {}.null_values if it means no value",
                    self.table
                ),
            };
            let (field, found) =
                (Some(field.clone()), Some(text::cut(shown, text::MAX_QUOTED).into_owned()));
            Some(Defect { field, reason: ReasonCode::ErrorCell, message, found })
        };
        let mut defects: Vec<Defect> = Vec::new();
        for defect in self.marked.iter().filter_map(defect) {
            if !defects.contains(&defect) {
                defects.push(defect);
            }
        }
        defects
    }
}

/// The top-level fields that the parts of a key are in; `None` when nobody can tell.
fn key_fields(keys: &[Locator], place: &[&str]) -> Option<BTreeSet<String>> {
    let mut fields = BTreeSet::new();
    for key in keys {
        match key {
            Locator::Nowhere | Locator::Whole(RowPart::File) => {}
            Locator::Whole(RowPart::Number) => {
                fields.extend(place.iter().map(|name| (*name).to_owned()));
            }
            key => {
                fields.insert(top_field(key)?);
            }
        }
    }
    Some(fields)
}

/// The top-level field that a locator leads into.
pub(super) fn top_field(locator: &Locator) -> Option<String> {
    match locator {
        Locator::Named(name) => Some(name.clone()),
        Locator::Path(name) if !name.starts_with('$') => Some(name.clone()),
        Locator::Path(text) => match path::Path::parse(text) {
            Ok(path::Path::Keys(keys)) => keys.into_iter().next(),
            Ok(path::Path::Query(_)) | Err(_) => None,
        },
        Locator::Column(_) | Locator::Whole(_) | Locator::Nowhere => None,
    }
}

impl RowReader for LinesReader {
    type Row<'a> = JsonRow<'a>;
    type Buffer = Record;
    type Memo = ();
    type Shape = LinesShape;

    fn line_breaks(&self) -> LineBreaks {
        LineBreaks::Lf
    }

    fn next_row(&self, text: &[u8], complete: bool, _: &mut ()) -> Option<RecordSpan> {
        let Some(end) = memchr(b'\n', text) else {
            return complete.then_some(RecordSpan { row: text.len(), next: text.len() });
        };
        let row = end + 1;
        Some(RecordSpan { row, next: row + blank_lines(&text[row..], complete)? })
    }

    fn content<'t>(&self, span: &'t [u8]) -> &'t [u8] {
        let line = &span[..memchr(b'\n', span).unwrap_or(span.len())];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn read<'a>(
        &'a self,
        content: &'a [u8],
        buffer: &'a mut Record,
    ) -> Result<JsonRow<'a>, Vec<Defect>> {
        buffer.0 = self.record(content).map_err(|defect| vec![defect])?;
        if !self.marked.is_empty() {
            let defects = self.no_values(&buffer.0);
            if !defects.is_empty() {
                return Err(defects);
            }
        }
        Ok(self.rows.row(&buffer.0))
    }

    fn read_key<'a>(&'a self, content: &'a [u8], buffer: &'a mut Record) -> Option<JsonRow<'a>> {
        buffer.0 = match &self.key_fields {
            Some(names) => {
                let mut members = serde_json::Deserializer::from_slice(content);
                Value::Object(Members(names).deserialize(&mut members).ok()?)
            }
            None => serde_json::from_slice(content).ok()?,
        };
        Some(self.keys.row(&buffer.0))
    }

    fn shape(&self, file_id: i64) -> LinesShape {
        LinesShape { raw_ref: RawRef::File(file_id).to_string(), shape: Shape::default() }
    }
}

/// The members of an object with these keys; nothing is kept of the others.
struct Members<'n>(&'n BTreeSet<String>);

impl<'t> DeserializeSeed<'t> for Members<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Members<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = Map::new();
        while let Some(key) = members.next_key::<Cow<'t, str>>()? {
            if self.0.contains(key.as_ref()) {
                found.insert(key.into_owned(), members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Looks at all good rows of a chunk: JSON says its types, and a field may be in few rows.
#[derive(Debug)]
pub struct LinesShape {
    raw_ref: String,
    shape: Shape,
}

impl ShapeBuilder<LinesReader> for LinesShape {
    fn is_open(&self) -> bool {
        true
    }

    fn row(&mut self, reader: &LinesReader, content: &[u8], number: i64, _: &mut Record) {
        if let Ok(record) = reader.record(content) {
            json::observe(&mut self.shape, &record, &self.raw_ref, number);
        }
    }

    fn finish(self, _: &LinesReader) -> Shape {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::row::Row;

    #[test]
    fn a_row_of_a_workbook_stands_in_its_sheet() {
        let lines = Lines {
            table: "xlsx",
            max_row_bytes: 1 << 10,
            transcoded: None,
            marked: true,
            place: &["_sheet", "_row"],
        };
        let number = Locator::Whole(RowPart::Number);
        let wanted = [Wanted { locator: number, needed: true, key: true }];
        let reader = LinesReader::new(&lines, &wanted).unwrap();
        let mut record = Record::default();
        let row = br##"{"a":{"no value":"#DIV/0!"},"_sheet":"Prices","_row":17}"##;
        let key = reader.read_key(row, &mut record).unwrap();
        assert_eq!(key.place().as_deref(), Some("Prices!17"));
        let content = |row: &[u8]| reader.read(row, &mut Record::default()).unwrap().content();
        let one = content(br#"{"a":1,"_sheet":"Prices","_row":17}"#);
        assert!(one.is_some());
        assert_eq!(content(br#"{"a":1,"_sheet":"Other","_row":9}"#), one);
    }
}

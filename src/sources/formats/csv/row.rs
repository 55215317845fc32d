//! Owns one row: its bytes to the cells that a mapping sees, or to everything that is wrong with
//! it. No allocation per good row.

use encoding_rs::Encoding;

use super::grammar::{Field, FieldKind, Grammar, MAX_FIELDS};
use super::header;
use super::layout::CsvLayout;
use super::params::RaggedRows;
use super::type_inference;
use crate::domain::field_name;
use crate::domain::reject::{Defect, MAX_DEFECTS, ReasonCode};
use crate::domain::shape::FieldType;
use crate::domain::text::quoted;
use crate::sources::files::Wanted;
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::row::{Cell, Row};

/// How many fields a row may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Any number: the header itself.
    Any,
    /// As many as there are columns.
    Exact,
    /// At most as many as there are columns.
    Padded,
}

/// Everything needed to read the rows of one file.
#[derive(Debug)]
pub struct CsvReader {
    /// The grammar of its dialect.
    pub(super) grammar: Grammar,
    encoding: &'static Encoding,
    /// The names as they are kept.
    columns: Vec<String>,
    width: Width,
    /// The column of each locator.
    located: Vec<Option<usize>>,
    /// The columns up to the last that is part of the key.
    key_columns: usize,
    null_values: Vec<String>,
    /// Whether a name of the header has a lone CR in it.
    lone_return: bool,
}

/// Memory that rows are read into, one after another.
#[derive(Debug, Default)]
pub struct RowBuffer {
    fields: Vec<Field>,
    decoded: String,
    unescaped: String,
}

/// A good row.
pub struct CsvRow<'a> {
    reader: &'a CsvReader,
    fields: &'a [Field],
    text: &'a str,
    unescaped: &'a str,
}

impl CsvReader {
    /// A reader of the header's rows, which are of any width.
    pub(super) fn of_header(layout: &CsvLayout) -> Result<Self, SourceError> {
        let mut reader = Self::new("", layout, &[], Vec::new())?;
        reader.width = Width::Any;
        Ok(reader)
    }

    /// A reader of rows under `layout`, for the locators of a mapping.
    ///
    /// # Errors
    /// When a needed column is absent, or another version wrote the layout.
    pub(super) fn new(
        file: &str,
        layout: &CsvLayout,
        wanted: &[Wanted],
        null_values: Vec<String>,
    ) -> Result<Self, SourceError> {
        let encoding = Encoding::for_label(layout.encoding.as_bytes()).ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::InvalidConfig,
                format!("unknown encoding {:?}", layout.encoding),
            )
        })?;
        // A file without anything in it has no columns to find.
        let wanted = if layout.columns.is_empty() { &[] } else { wanted };
        let located = header::resolve(file, &layout.columns, wanted)?;
        let lone = |name: &String| name.replace("\r\n", "").contains('\r');
        let key = wanted.iter().zip(&located).filter(|(wanted, _)| wanted.key);
        let key_columns = key.filter_map(|(_, column)| *column).max().map_or(1, |last| last + 1);
        Ok(Self {
            grammar: Grammar::new(&layout.dialect, layout.columns.len(), layout.max_row_bytes),
            encoding,
            located,
            key_columns,
            columns: layout.columns.iter().map(|c| field_name::kept(c).into_owned()).collect(),
            width: match layout.ragged_rows {
                RaggedRows::Quarantine => Width::Exact,
                RaggedRows::Pad => Width::Padded,
            },
            null_values,
            lone_return: layout.columns.iter().any(lone),
        })
    }

    /// Whether a name of the header has a lone CR in it: its lines may end in that.
    pub fn has_lone_return(&self) -> bool {
        self.lone_return
    }

    /// Reads a row, given as [`Grammar::content`] gives it.
    ///
    /// # Errors
    /// Everything that is wrong with it; at least one defect.
    pub fn read<'a>(
        &'a self,
        raw: &'a [u8],
        buffer: &'a mut RowBuffer,
    ) -> Result<CsvRow<'a>, Vec<Defect>> {
        if raw.len() > self.grammar.max_row() {
            return Err(vec![self.too_long(raw)]);
        }
        let RowBuffer { fields, decoded, unescaped } = buffer;
        let text = self.decode(raw, decoded);
        let bytes = text.map_or(raw, str::as_bytes);
        self.grammar.fields(bytes, fields);
        match text {
            Some(text) if self.is_good(text, fields) => {
                self.resolve_escapes(text, fields, unescaped);
                Ok(CsvRow { reader: self, fields, text, unescaped })
            }
            _ => Err(self.defects(bytes, text.is_some(), fields)),
        }
    }

    /// Reads a row as far as its key goes, good or not behind it; `None` when not even that can be
    /// read. It costs a fraction of reading the row.
    pub fn read_key<'a>(&'a self, raw: &'a [u8], buffer: &'a mut RowBuffer) -> Option<CsvRow<'a>> {
        let RowBuffer { fields, decoded, unescaped } = buffer;
        let text = if self.encoding == encoding_rs::UTF_8 {
            self.grammar.first_fields(raw, self.key_columns, fields);
            let end = fields.last().map_or(0, |field| field.end as usize);
            std::str::from_utf8(&raw[..end]).ok()?
        } else {
            let text = self.decode(raw, decoded)?;
            self.grammar.first_fields(text.as_bytes(), self.key_columns, fields);
            text
        };
        self.resolve_escapes(text, fields, unescaped);
        Some(CsvRow { reader: self, fields, text, unescaped })
    }

    fn decode<'a>(&self, raw: &'a [u8], decoded: &'a mut String) -> Option<&'a str> {
        if self.encoding == encoding_rs::UTF_8 || raw.is_ascii() {
            return std::str::from_utf8(raw).ok();
        }
        let mut decoder = self.encoding.new_decoder_without_bom_handling();
        decoded.clear();
        decoded.reserve(decoder.max_utf8_buffer_length_without_replacement(raw.len())?);
        let (result, _) = decoder.decode_to_string_without_replacement(raw, decoded, true);
        matches!(result, encoding_rs::DecoderResult::InputEmpty).then_some(decoded.as_str())
    }

    fn is_good(&self, text: &str, fields: &[Field]) -> bool {
        let bad = |field: &Field| matches!(field.kind, FieldKind::Stray | FieldKind::Unclosed);
        self.fits(fields.len())
            && !fields.iter().any(bad)
            && memchr::memchr(0, text.as_bytes()).is_none()
    }

    fn fits(&self, fields: usize) -> bool {
        match self.width {
            Width::Any => fields <= MAX_FIELDS,
            Width::Exact => fields == self.columns.len(),
            Width::Padded => fields <= self.columns.len(),
        }
    }

    /// Puts the text of fields with escapes aside and points the fields at it.
    fn resolve_escapes(&self, text: &str, fields: &mut [Field], unescaped: &mut String) {
        unescaped.clear();
        for field in fields.iter_mut().filter(|field| field.kind == FieldKind::Escaped) {
            let start = unescaped.len();
            self.grammar.unescape(slice(text, field), unescaped);
            field.start = start as u32;
            field.end = unescaped.len() as u32;
        }
    }

    fn defects(&self, bytes: &[u8], decodes: bool, fields: &[Field]) -> Vec<Defect> {
        let mut found = Vec::new();
        // Behind a quote that closes too early or never, the fields are unknown.
        let unterminated =
            fields.iter().position(|field| self.grammar.is_unterminated(bytes, field));
        if unterminated.is_none() && !self.fits(fields.len()) {
            found.push(self.wrong_field_count(fields.len()));
        }
        for (index, field) in fields.iter().enumerate() {
            if found.len() >= MAX_DEFECTS {
                break;
            }
            let known = unterminated.is_none_or(|unterminated| index <= unterminated);
            let kind = if known { field.kind } else { FieldKind::Plain };
            let cell = &bytes[field.start as usize..field.end as usize];
            self.defects_of_field(index, kind, cell, decodes, &mut found);
        }
        found
    }

    fn defects_of_field(
        &self,
        index: usize,
        kind: FieldKind,
        cell: &[u8],
        row_decodes: bool,
        found: &mut Vec<Defect>,
    ) {
        let mut add = |reason, message: String| {
            found.push(Defect::without_value(Some(self.name(index)), reason, message));
        };
        match kind {
            FieldKind::Unclosed => add(ReasonCode::UnclosedQuote, self.unclosed(index)),
            FieldKind::Stray => add(ReasonCode::StrayQuote, self.stray(index)),
            FieldKind::Plain | FieldKind::Quoted | FieldKind::Escaped => {}
        }
        if !row_decodes && let Some(at) = self.invalid_at(cell) {
            add(ReasonCode::InvalidEncoding, self.invalid_encoding(index, cell, at));
        }
        if memchr::memchr(0, cell).is_some() {
            let name = quoted(&self.name(index));
            let message = format!("column {name} contains U+0000, which no text may; remove it");
            add(ReasonCode::NulCharacter, message);
        }
    }

    /// Offset of the first byte that is no text in the encoding.
    fn invalid_at(&self, cell: &[u8]) -> Option<usize> {
        if self.encoding == encoding_rs::UTF_8 {
            return std::str::from_utf8(cell).err().map(|error| error.valid_up_to());
        }
        let encoding = self.encoding;
        let bad = |byte: &u8| {
            let bytes = [*byte];
            encoding.decode_without_bom_handling_and_without_replacement(&bytes).is_none()
        };
        cell.iter().position(bad)
    }

    /// The names of the columns, as they are kept.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The name of a column, or its number when the header has none.
    fn name(&self, index: usize) -> String {
        self.columns.get(index).cloned().unwrap_or_else(|| format!("column {}", index + 1))
    }

    fn too_long(&self, raw: &[u8]) -> Defect {
        let message = format!(
            "the row has {} bytes, the limit is {}; look for a missing line end or raise \
             csv.max_row_bytes",
            raw.len(),
            self.grammar.max_row()
        );
        Defect::without_value(None, ReasonCode::RowTooLong, message)
    }

    fn unclosed(&self, index: usize) -> String {
        format!(
            "the quote that opens column {} never closes; close it, or set csv.quote = \"none\" \
             if quotes mean nothing in this file",
            quoted(&self.name(index))
        )
    }

    fn stray(&self, index: usize) -> String {
        format!(
            "column {} has a quote where none is allowed; quote the field and mark the quotes in \
             it, or set csv.stray_quotes = \"keep\"",
            quoted(&self.name(index))
        )
    }

    fn invalid_encoding(&self, index: usize, cell: &[u8], at: usize) -> String {
        format!(
            "column {} is not {}: byte {} of it is 0x{:02X}; if the file has another encoding, \
             name it in csv.encoding, for example \"windows-1252\"",
            quoted(&self.name(index)),
            self.encoding.name(),
            at + 1,
            cell.get(at).copied().unwrap_or_default()
        )
    }

    fn wrong_field_count(&self, found: usize) -> Defect {
        let expected = self.columns.len();
        if self.width == Width::Any {
            let message = format!("the row has more than {MAX_FIELDS} fields");
            return Defect::without_value(None, ReasonCode::WrongFieldCount, message);
        }
        let hint = match self.columns.get(found) {
            Some(first) => format!(
                "the first without a value is {}; add the missing fields, or set \
                 csv.ragged_rows = \"pad\"",
                quoted(first)
            ),
            None => format!(
                "there is no column for field {}; look for a delimiter that should be in quotes",
                expected + 1
            ),
        };
        let message = format!("the row has {found} fields, the header {expected}: {hint}");
        Defect::without_value(None, ReasonCode::WrongFieldCount, message)
    }
}

impl<'a> CsvRow<'a> {
    /// The text of a column; `None` when the row is too short to have it.
    pub fn text(&self, column: usize) -> Option<&'a str> {
        let field = self.fields.get(column)?;
        let text = if field.kind == FieldKind::Escaped { self.unescaped } else { self.text };
        Some(slice(text, field))
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Visits every column that the row has, from 0, with the type its text looks like; `None` is
    /// null.
    pub fn visit(&self, mut visit: impl FnMut(usize, Option<FieldType>)) {
        for index in 0..self.reader.columns.len() {
            match self.value(index) {
                Cell::Text(text) => visit(index, Some(type_inference::classify(text))),
                Cell::Null => visit(index, None),
                Cell::Missing | Cell::Json(_) => {}
            }
        }
    }

    fn value(&self, column: usize) -> Cell<'a> {
        match self.text(column) {
            None => Cell::Missing,
            Some(text) if self.reader.null_values.iter().any(|null| null == text) => Cell::Null,
            Some(text) => Cell::Text(text),
        }
    }
}

impl Row for CsvRow<'_> {
    fn cell(&self, locator: usize) -> Cell<'_> {
        match self.reader.located.get(locator) {
            Some(Some(column)) => self.value(*column),
            Some(None) | None => Cell::Missing,
        }
    }

    fn typed(&self) -> bool {
        false
    }

    fn visit_fields(&self, visit: &mut dyn FnMut(&str, Option<FieldType>)) {
        self.visit(|column, kind| visit(&self.reader.columns[column], kind));
    }
}

/// Fields are cut at characters of valid text, so the slice is always there.
fn slice<'a>(text: &'a str, field: &Field) -> &'a str {
    text.get(field.start as usize..field.end as usize).unwrap_or_default()
}

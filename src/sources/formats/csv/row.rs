//! Owns one row: its bytes to the cells that a mapping sees, or to everything that is wrong with
//! it. No allocation per good row.

use std::collections::HashMap;

use encoding_rs::Encoding;

use super::grammar::{Field, FieldKind, Grammar, MARK, MAX_FIELDS};
use super::header;
use super::header_names::HeaderNames;
use super::layout::{CsvLayout, Extra};
use super::params::RaggedRows;
use super::type_inference;
use crate::domain::field_name;
use crate::domain::reject::{Defect, MAX_DEFECTS, ReasonCode};
use crate::domain::shape::FieldType;
use crate::domain::text::quoted;
use crate::sources::SourceError;
use crate::sources::files::Wanted;
use crate::sources::files::columns;
use crate::values::content::RowContent;
use crate::values::field::{Locator, RowPart};
use crate::values::row::{Cell, Row};

/// How many fields a row may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Any number: the header itself.
    Any,
    /// So many at least, and what becomes of those behind the last column.
    From(usize, Extra),
}

/// Everything needed to read the rows of one file.
#[derive(Debug)]
pub struct CsvReader {
    /// The grammar of its dialect.
    pub(super) grammar: Grammar,
    encoding: &'static Encoding,
    /// The names of its headers.
    names: Option<HeaderNames>,
    /// Those that may be rows as well.
    doubtful_names: Option<HeaderNames>,
    /// What it was transcoded from.
    transcoded: Option<String>,
    /// The names as they are kept.
    columns: Vec<String>,
    width: Width,
    /// The column of each locator, …
    located: Vec<Option<usize>>,
    /// … and what it is called in defects.
    labels: Vec<Option<String>>,
    /// Whether a locator is a part of the key, which is read without what cannot be seen.
    of_key: Vec<bool>,
    /// The columns up to the last that is part of the key.
    key_columns: usize,
    /// The columns that are parts of the key.
    in_key: Vec<usize>,
    /// The columns in the order of their names, where keys are made of all of them, with the names that go into these.
    by_name: Vec<(String, usize)>,
    null_values: Vec<String>,
    /// Whether `\N` is no value: escapes without quotes are how databases write text.
    backslash_n_is_null: bool,
    /// How rows are cut where a CR alone ends lines, if that was decided from the start of the file.
    pub(super) any: Option<Grammar>,
}

/// What MySQL and PostgreSQL write for null in files whose escape is a backslash and that have no quotes.
const NULL: &str = "\\N";

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
        let encoding = layout.encoding()?;
        // A file without anything in it has no columns to find.
        let wanted = if layout.columns.is_empty() { &[] } else { wanted };
        let located = header::resolve(file, &layout.columns, wanted)?;
        let key = wanted.iter().zip(&located).filter(|(wanted, _)| wanted.key);
        let in_key: Vec<usize> = key.filter_map(|(_, column)| *column).collect();
        let key_columns = in_key.iter().max().map_or(1, |last| last + 1);
        let kept: Vec<String> =
            layout.columns.iter().map(|name| field_name::kept(name).into_owned()).collect();
        let columns = columns::distinct(&kept);
        let all = Locator::Whole(RowPart::Content);
        let by_content = wanted.iter().any(|wanted| wanted.locator == all);
        let key_columns = if by_content { columns.len() } else { key_columns };
        let by_name = if by_content { names_in_keys(&columns) } else { Vec::new() };
        Ok(Self {
            grammar: layout.grammar(encoding),
            encoding,
            names: layout.names(encoding),
            doubtful_names: layout.doubtful_names(encoding),
            transcoded: layout.transcoded.clone(),
            located,
            labels: wanted.iter().map(|w| w.locator.label().map(str::to_owned)).collect(),
            of_key: wanted.iter().map(|wanted| wanted.key).collect(),
            key_columns,
            in_key,
            by_name,
            columns,
            width: match layout.ragged_rows {
                RaggedRows::Quarantine => {
                    Width::From(layout.named_columns.unwrap_or(kept.len()), layout.extra)
                }
                RaggedRows::Pad => Width::From(0, layout.extra),
            },
            null_values,
            backslash_n_is_null: layout.dialect.quote.is_none()
                && layout.dialect.escape == Some('\\'),
            any: layout.any_line_ends(encoding),
        })
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
        self.drop_extra(bytes, fields);
        match text {
            Some(text) if self.is_good(text, fields) => {
                self.resolve_escapes(text, fields, unescaped);
                Ok(CsvRow { reader: self, fields, text, unescaped })
            }
            _ => Err(self.defects(bytes, text.is_some(), fields)),
        }
    }

    /// Whether a row, and what lies between it and the next one, meant the same in earlier layouts.
    pub(super) fn meant_the_same(&self, content: &[u8], gap: &[u8]) -> bool {
        let plain_gap = !gap.windows(2).any(|two| two == b"\r\r")
            && gap.iter().all(|byte| matches!(byte, b'\n' | b'\r'));
        let quote = self.grammar.quote();
        let mut fields = Vec::new();
        self.grammar.fields(content, &mut fields);
        let kept_quote = |field: &Field| {
            let text = &content[field.start as usize..field.end as usize];
            field.kind == FieldKind::Plain
                && quote.is_some_and(|quote| memchr::memchr(quote, text).is_some())
        };
        let invisible = |text: &str| text.contains(header::is_invisible);
        plain_gap
            && !fields.iter().any(kept_quote)
            && (content.is_ascii() || !std::str::from_utf8(content).is_ok_and(invisible))
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

    pub(super) fn decode<'a>(&self, raw: &'a [u8], decoded: &'a mut String) -> Option<&'a str> {
        if self.encoding == encoding_rs::UTF_8 || raw.is_ascii() {
            return std::str::from_utf8(raw).ok();
        }
        // A mark of UTF-8 between files that were put together is no text in any encoding.
        let raw = raw.strip_prefix(MARK).unwrap_or(raw);
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
            Width::From(least, _) => fields >= least && fields <= self.columns.len(),
        }
    }

    /// Drops the fields behind the last column, as the layout says.
    fn drop_extra(&self, row: &[u8], fields: &mut Vec<Field>) {
        let columns = self.columns.len();
        let Width::From(_, extra) = self.width else { return };
        if extra == Extra::Quarantine || fields.len() <= columns {
            return;
        }
        // Behind a quote that closes too early or never, the fields are unknown.
        let known = !fields[..columns].iter().any(|field| self.grammar.is_unterminated(row, field));
        let empty = fields[columns..].iter().all(|field| field.start == field.end);
        if known && (empty || extra == Extra::Drop) {
            fields.truncate(columns);
        }
    }

    /// Puts the text of fields with escapes aside and points the fields at it.
    fn resolve_escapes(&self, text: &str, fields: &mut [Field], unescaped: &mut String) {
        unescaped.clear();
        for field in fields.iter_mut().filter(|field| field.kind == FieldKind::Escaped) {
            let start = unescaped.len();
            let written = slice(text, field);
            if self.backslash_n_is_null && written == NULL {
                // It is none only as it is written: an escaped backslash in front of N is text.
                field.kind = FieldKind::Plain;
                continue;
            }
            self.grammar.unescape(written, unescaped);
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
        if found.is_empty() {
            // It is in what is dropped.
            let (reason, what) = match decodes {
                true => (ReasonCode::NulCharacter, "contains U+0000, which no text may"),
                false => (ReasonCode::InvalidEncoding, "is no text in the encoding of the file"),
            };
            let message = format!("what stands behind the last column {what}");
            found.push(Defect::without_value(None, reason, message));
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

    /// The names of headers that may come again.
    pub(super) fn names(&self) -> Option<&HeaderNames> {
        self.names.as_ref()
    }

    /// The names of headers that may be rows as well.
    pub(super) fn doubtful_names(&self) -> Option<&HeaderNames> {
        self.doubtful_names.as_ref()
    }

    /// The names of the columns, as they are kept.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How rows are encoded.
    pub(super) fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    /// What each locator is called in defects.
    pub(super) fn labels(&self) -> &[Option<String>] {
        &self.labels
    }

    /// The column of each locator.
    pub(super) fn located(&self) -> &[Option<usize>] {
        &self.located
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
        if let Some(from) = &self.transcoded {
            return format!(
                "column {} is not {from}, behind {at} bytes of it, counted in UTF-8; if the file has another encoding, \
                 name it in csv.encoding",
                quoted(&self.name(index))
            );
        }
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
                "there is no column for field {}; look for a delimiter that should be in quotes, or set \
                 csv.extra_fields = \"drop\" or \"keep\"",
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

    /// Whether a part of the key has something at its ends that cannot be seen, and is read without it.
    pub(super) fn has_trimmed_key(&self) -> bool {
        let trimmed = |text: &str| header::visible_name(text).len() != text.len();
        self.reader.in_key.iter().any(|column| self.text(*column).is_some_and(trimmed))
    }

    fn is_plain(&self, column: usize) -> bool {
        self.fields.get(column).is_some_and(|field| field.kind == FieldKind::Plain)
    }

    fn value(&self, column: usize) -> Cell<'a> {
        match self.text(column) {
            None => Cell::Missing,
            Some(text) if self.reader.null_values.iter().any(|null| null == text) => Cell::Null,
            Some(NULL) if self.reader.backslash_n_is_null && self.is_plain(column) => Cell::Null,
            Some(text) => Cell::Text(text),
        }
    }
}

impl Row for CsvRow<'_> {
    fn cell(&self, locator: usize) -> Cell<'_> {
        match self.reader.located.get(locator) {
            Some(Some(column)) => match self.value(*column) {
                Cell::Text(text) if self.reader.of_key[locator] => {
                    Cell::Text(header::visible_name(text))
                }
                value => value,
            },
            Some(None) | None => Cell::Missing,
        }
    }

    fn typed(&self) -> bool {
        false
    }

    fn content(&self) -> Option<RowContent> {
        let cells =
            self.reader.by_name.iter().filter_map(|(name, at)| {
                Some((name.as_str(), header::visible_name(self.text(*at)?)))
            });
        RowContent::of_texts(cells)
    }

    fn visit_fields(&self, visit: &mut dyn FnMut(&str, Option<FieldType>)) {
        self.visit(|column, kind| visit(&self.reader.columns[column], kind));
    }
}

/// The columns in the order of the names that go into keys: as columns are compared, so that they may be written otherwise;
/// but as they stand there where only that tells them apart.
fn names_in_keys(columns: &[String]) -> Vec<(String, usize)> {
    let plain: Vec<String> = columns.iter().map(|name| columns::fold(name)).collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    plain.iter().for_each(|name| *times.entry(name).or_default() += 1);
    let names = plain.iter().zip(columns).enumerate().map(|(at, (plain, name))| {
        let name = if times.get(plain.as_str()) == Some(&1) { plain } else { name };
        (name.clone(), at)
    });
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// Fields are cut at characters of valid text, so the slice is always there.
fn slice<'a>(text: &'a str, field: &Field) -> &'a str {
    text.get(field.start as usize..field.end as usize).unwrap_or_default()
}

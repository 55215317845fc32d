//! The kind `jsonl`: files with a JSON object on each line, as JSON Lines and NDJSON are.
//!
//! A row ends where its line ends, whatever is wrong with it, so a broken line costs no other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use memchr::memchr;
use schemars::JsonSchema;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::file::Layout;
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, ReasonCode};
use crate::domain::shape::Shape;
use crate::job_file::Inspection;
use crate::sources::files::format::{
    Alike, Doubts, Head, LineBreaks, MAX_ROW_BYTES, RecordSpan, RowFormat, RowReader, ShapeBuilder,
    Survey, Surveyed,
};
use crate::sources::files::location::ParamProblem;
use crate::sources::files::{Wanted, first_bytes};
use crate::sources::rows::json::{self, JsonRow, JsonRowReader};
use crate::sources::rows::{inspect, path, segments};
use crate::sources::{AbsentColumn, FirstRow, SourceError, SourceErrorKind};
use crate::values::field::Locator;
use crate::values::row::{Cell, Row};

/// Bytes of a file that are looked at to see that it is one.
const SAMPLE: usize = 64 << 10;
/// Rows in which a key that was meant is looked for.
const LOOKED_THROUGH: usize = 5;

/// How JSON Lines are read. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlParams {
    /// Lines of more bytes are set aside. A file with a line that is longer than this and than 64 MiB
    /// is not read.
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_row_bytes: u64,
    /// Bytes after which a file is cut at the next line, to be read in parallel.
    #[schemars(range(min = 1))]
    pub chunk_size: u64,
}

impl Default for JsonlParams {
    fn default() -> Self {
        Self { max_row_bytes: 64 << 20, chunk_size: 4 << 20 }
    }
}

/// How a file was read, and which of the mapped fields any of its rows has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonlLayout {
    max_row_bytes: u64,
    chunk_size: u64,
    /// The fields, as the job file of then names them; `None` of a file without a good row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    present: Option<BTreeSet<String>>,
    /// What may have been meant by some of the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    meant: BTreeMap<String, String>,
}

impl JsonlLayout {
    fn store(&self) -> Result<Layout, SourceError> {
        serde_json::to_value(self).map(Layout).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Internal,
                format!("the layout of a file cannot be stored: {error}"),
            )
        })
    }

    fn load(layout: &Layout) -> Result<Self, SourceError> {
        Self::deserialize(&layout.0).map_err(|error| {
            let message = format!(
                "the stored layout of a file of JSON Lines is not one of this version of kasparro \
                 ({error})"
            );
            SourceError::new(SourceErrorKind::InvalidState, message)
                .advise("run the source with mode = full")
        })
    }

    /// What decides how bytes become rows.
    fn cut(&self) -> (u64, u64) {
        (self.max_row_bytes, self.chunk_size)
    }
}

/// JSON Lines.
#[derive(Debug)]
pub struct Jsonl {
    params: JsonlParams,
    wanted: Vec<Wanted>,
}

impl RowFormat for Jsonl {
    const NAME: &'static str = "jsonl";
    const ENDLESS_ROW: &'static str = "is this a file of JSON Lines, with an object on each line? If it \
                                       is, raise jsonl.max_row_bytes";

    type Params = JsonlParams;
    type Reader = JsonlReader;
    type Survey = JsonlSurvey;

    fn inspect_fields(job: &mut Inspection<'_>) {
        inspect::fields(job);
    }

    fn problems(params: &JsonlParams) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if params.chunk_size == 0 {
            problems.push(ParamProblem::of("chunk_size", "must be at least 1 byte"));
        }
        if !(1..=MAX_ROW_BYTES).contains(&params.max_row_bytes) {
            let message = format!("must be 1 to {MAX_ROW_BYTES}");
            problems.push(ParamProblem::of("max_row_bytes", message));
        }
        problems
    }

    fn new(params: JsonlParams, wanted: Vec<Wanted>) -> Result<Self, SourceError> {
        if let Some(problem) = Self::problems(&params).into_iter().next() {
            return Err(problem.of_table(Self::NAME));
        }
        let format = Self { params, wanted };
        JsonlReader::new(&format.params, &format.wanted)?;
        Ok(format)
    }

    fn made(&self, layout: &Layout) -> bool {
        let made = self.layout();
        JsonlLayout::load(layout).is_ok_and(|layout| layout.cut() == made.cut())
    }

    fn cuts_alike(known: &Layout, now: &Layout) -> Alike {
        let load = |layout| JsonlLayout::load(layout).ok();
        match load(known).zip(load(now)) {
            Some((known, now)) if known.cut() == now.cut() => Alike::Yes,
            _ => Alike::No,
        }
    }

    fn max_row_bytes(&self) -> u64 {
        self.params.max_row_bytes
    }

    fn chunk_size(&self) -> u64 {
        self.params.chunk_size
    }

    fn head(
        &self,
        file: &str,
        text: &[u8],
        complete: bool,
        _: Doubts,
    ) -> Result<Option<Head>, SourceError> {
        if !complete && text.len() < SAMPLE {
            return Ok(None);
        }
        let mark = first_bytes::byte_order_mark(file, text, "JSON Lines")?;
        let Some(blank) = blank_lines(&text[mark..], complete) else { return Ok(None) };
        let first_row = mark + blank;
        if let Some((what, advice)) = other_json(&text[first_row..], complete) {
            let message = format!("{file} {what}");
            return Err(SourceError::new(SourceErrorKind::InvalidFile, message).advise(advice));
        }
        Ok(Some(Head { layout: self.layout().store()?, header_end: mark, first_row }))
    }

    fn reader(&self, _: &str, layout: &Layout) -> Result<JsonlReader, SourceError> {
        let (max_row_bytes, chunk_size) = JsonlLayout::load(layout)?.cut();
        JsonlReader::new(&JsonlParams { max_row_bytes, chunk_size }, &self.wanted)
    }

    fn survey(&self, _: &JsonlReader) -> JsonlSurvey {
        JsonlSurvey::new(&self.wanted)
    }

    fn absent(&self, layout: &Layout, _: Option<u32>) -> Option<Vec<AbsentColumn>> {
        let layout = JsonlLayout::load(layout).ok()?;
        let present = layout.present?;
        let labels: BTreeSet<&str> =
            self.wanted.iter().filter_map(|wanted| wanted.locator.label()).collect();
        let absent = labels.into_iter().filter(|label| !present.contains(*label));
        let absent = absent.map(|label| AbsentColumn {
            column: label.to_owned(),
            nearest: layout.meant.get(label).cloned(),
            unreached: false,
        });
        Some(absent.collect())
    }
}

impl Jsonl {
    fn layout(&self) -> JsonlLayout {
        let JsonlParams { max_row_bytes, chunk_size } = self.params;
        JsonlLayout { max_row_bytes, chunk_size, present: None, meant: BTreeMap::new() }
    }
}

/// Length of the blank lines at the start of `text`: of nothing but white space.
fn blank_lines(text: &[u8], complete: bool) -> Option<usize> {
    let solid = text.iter().position(|byte| !byte.is_ascii_whitespace());
    match solid {
        Some(solid) => Some(text[..solid].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)),
        None => complete.then_some(text.len()),
    }
}

/// The first line, and the beginning of the next that is not blank; `None` where more bytes are needed.
fn first_lines(text: &[u8], complete: bool) -> (&[u8], Option<u8>) {
    match memchr(b'\n', text) {
        Some(end) => (&text[..end], text[end..].trim_ascii_start().first().copied()),
        None if complete => (text, None),
        None => (&[], None),
    }
}

/// What a text is that is JSON and no JSON Lines, and what to do.
fn other_json(text: &[u8], complete: bool) -> Option<(&'static str, &'static str)> {
    let (line, next) = first_lines(text, complete);
    let start = text.trim_ascii_start().first().copied()?;
    let whole = serde_json::from_slice::<IgnoredAny>(line);
    let is_cut = || whole.as_ref().is_err_and(serde_json::Error::is_eof);
    match (start, next) {
        (b'[', Some(b'[')) if whole.is_ok() => Some((
            "has a list on each line, and rows are objects",
            "give each value its name, for example with `jq -c '{id: .[0], name: .[1]}'`",
        )),
        (b'[', _) => Some((
            "is one JSON document, a list, and not JSON Lines, which have an object on each line",
            "convert it first, for example with `jq -c '.[]'` (jq 1.7 or later: earlier ones round long \
             numbers)",
        )),
        (b'{', Some(b'"' | b'}')) if is_cut() => Some((
            "is one JSON document over several lines, and not JSON Lines, which have an object on each \
             line",
            "convert it first, for example with `jq -c .`, or `jq -c '.items[]'` for the list under a key",
        )),
        (b'{', _) if whole.is_err() && has_lone_returns(line) => Some((
            "has lines that end in CR",
            "convert them first, for example with `tr '\\r' '\\n'`",
        )),
        _ => None,
    }
}

/// Whether objects follow each other in a line with a CR between them.
fn has_lone_returns(line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b'\r').map(<[u8]>::trim_ascii);
    let is_object = |part: &[u8]| part.starts_with(b"{") && part.ends_with(b"}");
    parts.next().is_some_and(is_object) && parts.next().is_some_and(is_object)
}

/// Reads the lines of a file.
#[derive(Debug)]
pub struct JsonlReader {
    rows: JsonRowReader,
    /// The same for the parts of the key only.
    keys: JsonRowReader,
    /// The top-level fields that these are in; `None` when nobody can tell.
    key_fields: Option<BTreeSet<String>>,
    max_row: usize,
}

/// The record that was read last.
#[derive(Debug, Default)]
pub struct Record(Value);

impl JsonlReader {
    fn new(params: &JsonlParams, wanted: &[Wanted]) -> Result<Self, SourceError> {
        let all: Vec<Locator> = wanted.iter().map(|wanted| wanted.locator.clone()).collect();
        let of_key = |wanted: &Wanted| match wanted.key {
            true => wanted.locator.clone(),
            false => Locator::Nowhere,
        };
        let keys: Vec<Locator> = wanted.iter().map(of_key).collect();
        Ok(Self {
            rows: JsonRowReader::new(&all)?,
            keys: JsonRowReader::new(&keys)?,
            key_fields: keys
                .iter()
                .filter(|key| **key != Locator::Nowhere)
                .map(top_field)
                .collect(),
            max_row: usize::try_from(params.max_row_bytes).unwrap_or(usize::MAX),
        })
    }

    /// A line as a record.
    fn record(&self, content: &[u8]) -> Result<Value, Defect> {
        if content.len() > self.max_row {
            let message = format!(
                "the line has {} bytes, the limit is {}; look for a missing line end or raise \
                 jsonl.max_row_bytes",
                content.len(),
                self.max_row
            );
            return Err(Defect::without_value(None, ReasonCode::RowTooLong, message));
        }
        json::record(std::str::from_utf8(content).map_err(|error| {
            let at = error.valid_up_to();
            let message = format!(
                "the line is not UTF-8: byte {} of it is 0x{:02X}; JSON is UTF-8, so convert the file, \
                 for example with `iconv -f windows-1252 -t UTF-8`",
                at + 1,
                content.get(at).copied().unwrap_or_default()
            );
            Defect::without_value(None, ReasonCode::InvalidEncoding, message)
        })?)
    }
}

/// The top-level field that a locator leads into.
fn top_field(locator: &Locator) -> Option<String> {
    match locator {
        Locator::Named(name) => Some(name.clone()),
        Locator::Path(name) if !name.starts_with('$') => Some(name.clone()),
        Locator::Path(text) => match path::Path::parse(text) {
            Ok(path::Path::Keys(keys)) => keys.into_iter().next(),
            Ok(path::Path::Query(_)) | Err(_) => None,
        },
        Locator::Column(_) | Locator::Nowhere => None,
    }
}

impl RowReader for JsonlReader {
    type Row<'a> = JsonRow<'a>;
    type Buffer = Record;
    type Memo = ();
    type Shape = JsonlShape;

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
        Ok(self.rows.row(&buffer.0))
    }

    fn read_key<'a>(&'a self, content: &'a [u8], buffer: &'a mut Record) -> Option<JsonRow<'a>> {
        buffer.0 = match &self.key_fields {
            Some(names) => {
                let mut text = serde_json::Deserializer::from_slice(content);
                Value::Object(Members(names).deserialize(&mut text).ok()?)
            }
            None => serde_json::from_slice(content).ok()?,
        };
        Some(self.keys.row(&buffer.0))
    }

    fn shape(&self, file_id: i64) -> JsonlShape {
        JsonlShape { raw_ref: RawRef::File(file_id).to_string(), shape: Shape::default() }
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
pub struct JsonlShape {
    raw_ref: String,
    shape: Shape,
}

impl ShapeBuilder<JsonlReader> for JsonlShape {
    fn is_open(&self) -> bool {
        true
    }

    fn row(&mut self, reader: &JsonlReader, content: &[u8], number: i64, _: &mut Record) {
        if let Ok(record) = reader.record(content) {
            json::observe(&mut self.shape, &record, &self.raw_ref, number);
        }
    }

    fn finish(self, _: &JsonlReader) -> Shape {
        self.shape
    }
}

/// Looks for the mapped fields that no row has.
#[derive(Debug)]
pub struct JsonlSurvey {
    /// Their numbers and names.
    absent: Vec<(usize, String)>,
    present: BTreeSet<String>,
    meant: BTreeMap<String, String>,
    looked_through: usize,
}

impl JsonlSurvey {
    fn new(wanted: &[Wanted]) -> Self {
        let labels = wanted.iter().map(|wanted| wanted.locator.label());
        let labels = labels.enumerate().filter_map(|(at, label)| Some((at, label?.to_owned())));
        Self {
            absent: labels.collect(),
            present: BTreeSet::new(),
            meant: BTreeMap::new(),
            looked_through: 0,
        }
    }

    /// Looks through a row for the fields that none had so far.
    fn look(&mut self, reader: &JsonlReader, record: &Value) {
        let row = reader.rows.row(record);
        let Self { absent, present, .. } = self;
        absent.retain(|(at, label)| {
            let is_absent = row.cell(*at) == Cell::Missing;
            if !is_absent {
                present.insert(label.clone());
            }
            is_absent
        });
        if self.looked_through < LOOKED_THROUGH {
            self.looked_through += 1;
            for (_, label) in &self.absent {
                let path = match label.starts_with('$') {
                    true => Cow::Borrowed(label.as_str()),
                    false => Cow::Owned(format!("$['{label}']")),
                };
                if let Some(meant) = segments::meant(&path, record) {
                    let plain = meant.strip_prefix("$.").filter(|_| !label.starts_with('$'));
                    let meant = plain.unwrap_or(&meant).to_owned();
                    self.meant.entry(label.clone()).or_insert(meant);
                }
            }
        }
    }
}

impl Survey<JsonlReader> for JsonlSurvey {
    fn row(
        &mut self,
        reader: &JsonlReader,
        content: &[u8],
        _: &[u8],
        buffer: &mut Record,
        visit: &mut dyn FnMut(&dyn Row),
    ) {
        if !self.absent.is_empty()
            && let Ok(record) = reader.record(content)
        {
            self.look(reader, &record);
        }
        if let Some(row) = reader.read_key(content, buffer) {
            visit(&row);
        }
    }

    fn known_end(&mut self) {}

    fn met(&self) -> Option<&BTreeSet<String>> {
        Some(&self.present)
    }

    fn finish(self, _: &str, _: i64, layout: Layout) -> Result<Surveyed, SourceError> {
        let mut layout = JsonlLayout::load(&layout)?;
        // Of a file without a good row nobody can tell.
        if self.looked_through > 0 {
            let absent: BTreeSet<String> =
                self.absent.into_iter().map(|(_, label)| label).collect();
            layout.meant = self.meant;
            layout.meant.retain(|label, _| absent.contains(label));
            layout.present = Some(self.present);
        }
        Ok(Surveyed { layout: layout.store()?, widths: None, first_row: FirstRow::Data })
    }
}

#[cfg(test)]
#[path = "jsonl_tests.rs"]
mod tests;

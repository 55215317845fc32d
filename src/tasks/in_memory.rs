//! Owns reading a source without writing anything: a few slices of it, to show them, or all of them, to compare
//! their records with those that are expected.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::Utc;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgPool;

use super::run_parents::{self, ParentsInMemory};
use crate::db::{self, parents};
use crate::domain::file::{ChosenRows, CommittedFile, FileStamp, Layout};
use crate::domain::file_note::{self, FileNote};
use crate::domain::parent::WhichParents;
use crate::domain::raw::RawRef;
use crate::domain::record::{self, ColumnType, RecordView};
use crate::domain::run::{Mode, RunId};
use crate::domain::shape::Shape;
use crate::domain::slice::SliceId;
use crate::job_file::Definition;
use crate::mapping::{Mapped, Mapping};
use crate::sources::{
    Access, BlockRows, ChunkPosition, FilePlan, Finding, Parents, Plan, PlanRequest, Position,
    RawRows, RawSlice, SignsOfLife, SliceContent, SliceRequest, Source, SourceError,
    SourceErrorKind, StreamedChunk, TokenStore,
};

/// How a source is read.
#[derive(Debug, Clone)]
pub struct HowToRead {
    /// Where API pages come from.
    pub access: Access,
    /// Where tokens of login servers are kept.
    pub tokens: Arc<dyn TokenStore>,
    /// The most slices; `None`: all.
    pub most_slices: Option<usize>,
    /// Whether the source says what it finds.
    pub examine: bool,
    /// Where records are that others ask for, if there is a database.
    pub pool: Option<PgPool>,
}

/// What was read.
#[derive(Debug, Default, Serialize)]
pub struct ReadInMemory {
    /// The slices, in order.
    pub slices: Vec<SliceSeen>,
    /// The records, in order; one of a key may come again.
    pub records: Vec<RecordSeen>,
    /// The rows that would be set aside.
    pub set_aside: Vec<RowSeen>,
    /// What the source found.
    pub findings: Vec<Finding>,
    /// The fields, with how often each type was seen in them.
    pub fields: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// What there is to say of the whole.
    pub remarks: Vec<String>,
    /// Whether there is more to read.
    pub more: bool,
    /// Why no more could be read, where the source was to say what it finds.
    pub failure: Option<String>,
}

/// A slice that was read.
#[derive(Debug, Serialize)]
pub struct SliceSeen {
    /// The address or the file.
    pub from: String,
    /// Its rows, good and bad.
    pub rows: i64,
    /// Its bytes.
    pub bytes: u64,
}

/// A record as the table would have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordSeen {
    /// Its key.
    pub external_id: String,
    /// Its filled columns.
    #[serde(flatten)]
    pub columns: Map<String, Value>,
}

/// A row that would be set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowSeen {
    /// The address or the file that it is in.
    pub from: String,
    /// Its number there, from 1.
    pub row: i64,
    /// What is wrong with it.
    pub defects: Vec<String>,
}

/// Reads a source and maps what it gives. Writes nothing.
///
/// # Errors
/// When it cannot be read; where it is examined only if nothing can be asked for.
pub async fn read(
    definition: &Definition,
    source: &Arc<dyn Source>,
    how: &HowToRead,
) -> Result<ReadInMemory, SourceError> {
    refuse_what_only_runs_read(&**source)?;
    let request = PlanRequest {
        run: RunId(0),
        now: Utc::now(),
        mode: Mode::Full,
        access: how.access,
        state: Value::Null,
        state_of: None,
        files: BTreeMap::new(),
        broken_off: None,
        unreadable: BTreeMap::new(),
    };
    let plan = source.clone().plan(request).await?;
    let mut reading = Reading {
        mapping: Mapping::new(definition, None),
        source: source.clone(),
        read: ReadInMemory::default(),
        shape: Shape::default(),
        pages: Vec::new(),
        files: Vec::new(),
        layouts: Vec::new(),
    };
    let parents = reading.parents(definition, how, &plan).await?;
    let lanes = parents.as_ref().map(|parents| parents.lanes());
    let has_parents = |slice: SliceId| lanes.is_none_or(|lanes| (slice.lane() as usize) < lanes);
    let (mut to_read, names) = reading.slices_of(definition, plan);
    to_read.retain(|slice, _| has_parents(*slice));
    let most = how.most_slices.unwrap_or(usize::MAX);
    while let Some((slice, position)) = to_read.pop_first() {
        if reading.read.slices.len() >= most {
            reading.read.more = true;
            break;
        }
        let file = match &position {
            Position::Chunk(chunk) => Some((chunk.file_id, chunk.layout.clone())),
            Position::Own(_) => None,
        };
        let request = SliceRequest {
            slice,
            position,
            access: how.access,
            tokens: how.tokens.clone(),
            examine: how.examine,
            watched_keys: None,
            known_pages: None,
            parents: parents.clone().map(|parents| parents as Arc<dyn Parents>),
            stored: None,
            last_attempt: false,
            signs: SignsOfLife::default(),
        };
        let mut reader = source.clone().read(request);
        loop {
            let content = match reader.next().await {
                Err(error) if how.examine => {
                    reading.read.failure = Some(error.to_string());
                    reading.read.findings.extend_from_slice(error.findings());
                    return Ok(reading.finish());
                }
                content => content?,
            };
            let goes_on = content.continues_at.is_some();
            let next = content.next.iter().filter(|next| has_parents(next.slice));
            to_read.extend(next.map(|next| (next.slice, Position::Own(next.position.clone()))));
            reading.see(content, file.as_ref(), &names)?;
            if !goes_on {
                break;
            }
            if reading.read.slices.len() >= most {
                reading.read.more = true;
                break;
            }
        }
    }
    Ok(reading.finish())
}

/// Refuses a source that nothing but a run that loads it can read.
pub(super) fn refuse_what_only_runs_read(source: &dyn Source) -> Result<(), SourceError> {
    match source.profile().only_by_runs {
        None => Ok(()),
        Some(why) => Err(SourceError::new(SourceErrorKind::InvalidConfig, why)
            .advise("`kasparro run SOURCE` reads it")),
    }
}

/// What is being read.
struct Reading {
    mapping: Mapping,
    source: Arc<dyn Source>,
    read: ReadInMemory,
    shape: Shape,
    /// The keys of each document.
    pages: Vec<HashSet<String>>,
    /// What there is to say of files that were read as streams, or were not.
    files: Vec<FileNote>,
    /// How these are read.
    layouts: Vec<(Layout, Vec<String>)>,
}

impl Reading {
    /// The parents of a plan: as many as are looked at.
    async fn parents(
        &mut self,
        definition: &Definition,
        how: &HowToRead,
        plan: &Plan,
    ) -> Result<Option<Arc<ParentsInMemory>>, SourceError> {
        let Some(planned) = &plan.parents else { return Ok(None) };
        let most = how
            .most_slices
            .map_or(i64::MAX, |most| (most as i64 + 1).saturating_mul(i64::from(planned.per_lane)));
        let parents = match (&planned.which, &how.pool) {
            (WhichParents::These(parents), _) => parents.clone(),
            (WhichParents::Records(_), Some(pool)) => {
                let source = definition.source.as_str();
                let found = parents::first_due(pool, source, planned, most).await;
                found.map_err(|error| {
                    let kind = SourceErrorKind::Engine(db::failure_class(&error));
                    SourceError::new(kind, "the parents cannot be read").caused_by(error)
                })?
            }
            (WhichParents::Records(records), None) => {
                let message = format!(
                    "the recording has none of the records of {} that it asks for",
                    records.source
                );
                return Err(SourceError::new(SourceErrorKind::BadRecording, message)
                    .advise("run the source once with `--record`"));
            }
        };
        let none_yet = run_parents::none_yet(planned, parents.len() as i64);
        self.read.remarks.extend(none_yet.map(|remark| remark.text));
        let parents = ParentsInMemory::of(parents, planned);
        self.read.remarks.extend(parents.left_out.clone().map(|remark| remark.text));
        Ok(Some(Arc::new(parents)))
    }

    /// The slices of a plan, and what its files are called. None of them is kept, so none has a number.
    fn slices_of(
        &mut self,
        definition: &Definition,
        plan: Plan,
    ) -> (BTreeMap<SliceId, Position>, BTreeMap<i64, String>) {
        self.read.remarks.extend(plan.remarks.into_iter().map(|remark| remark.text));
        let own = plan.slices.into_iter().map(|next| (next.slice, Position::Own(next.position)));
        let mut to_read: BTreeMap<_, _> = own.collect();
        let mut names = BTreeMap::new();
        let mut layouts: Vec<(Layout, Vec<String>)> = Vec::new();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for (found, file) in plan.files.into_iter().zip(1..) {
            let (FilePlan::Whole(scan) | FilePlan::Appended(scan)) = found.plan else { continue };
            let (file_id, path) = (-file, definition.base_dir().join(&found.url));
            match layouts.iter_mut().find(|(layout, _)| *layout == scan.layout) {
                Some((_, files)) => files.push(found.url.clone()),
                None => layouts.push((scan.layout.clone(), vec![found.url.clone()])),
            }
            names.insert(file_id, found.url);
            let stamp = FileStamp { size: scan.size, modified: scan.modified };
            for chunk in scan.chunks {
                let (path, layout) = (path.clone(), scan.layout.clone());
                let position = ChunkPosition { file_id, path, layout, stamp, chunk };
                let number = numbers.entry(found.lane).or_default();
                let slice = SliceId::new(found.lane, *number);
                *number += 1;
                to_read.insert(slice, Position::Chunk(position));
            }
        }
        self.read.findings.extend(layouts.iter().map(|(layout, files)| of_layout(layout, files)));
        (to_read, names)
    }

    fn see(
        &mut self,
        content: SliceContent,
        file: Option<&(i64, Layout)>,
        names: &BTreeMap<i64, String>,
    ) -> Result<(), SourceError> {
        let SliceContent { raw, bytes, rows, shape, notes, next, .. } = content;
        self.shape.merge(&shape);
        let mut out = Mapped::default();
        let from = match (&raw, file) {
            (RawSlice::Document(document), _) => {
                let rows = RawRows::Document { text: &document.text, context: &document.context };
                self.source.map(
                    rows,
                    RawRef::Page(document.hash.into()),
                    &self.mapping,
                    &mut out,
                )?;
                document.url.clone()
            }
            (RawSlice::Nothing, _) => {
                self.files.extend(notes.files);
                return Ok(());
            }
            (RawSlice::Streamed(_), _) => {
                self.files.extend(notes.files);
                return self.see_streamed(raw);
            }
            (RawSlice::Blocks { blocks, .. }, file) => {
                let unknown = (0, Layout::new(Value::Null));
                let (file_id, layout) = file.unwrap_or(&unknown);
                let name = names.get(file_id).cloned().unwrap_or_default();
                let file = &CommittedFile::in_keys(&name, None);
                for block in blocks {
                    let chosen = &ChosenRows::All;
                    let rows = RawRows::Block(BlockRows { file, block, layout, chosen });
                    self.source.map(rows, RawRef::File(*file_id), &self.mapping, &mut out)?;
                }
                name
            }
        };
        if matches!(raw, RawSlice::Document(_)) {
            let keys = out.records.iter().map(|record| record.external_id().to_owned());
            self.see_keys(keys.collect());
        }
        self.add(out, &from);
        for finding in notes.findings {
            // What holds of two pages is said once.
            if !self.read.findings.contains(&finding) {
                self.read.findings.push(finding);
            }
        }
        self.read.remarks.extend(notes.more.filter(|_| next.is_empty()));
        self.read.remarks.extend(notes.complaint.map(|said| format!("the answer says {said}")));
        self.read.slices.push(SliceSeen { from, rows, bytes });
        Ok(())
    }

    /// Maps chunks of files that are read as streams.
    fn see_streamed(&mut self, raw: RawSlice) -> Result<(), SourceError> {
        let RawSlice::Streamed(chunks) = raw else { return Ok(()) };
        for StreamedChunk { file, chunk, blocks, rows, shape, .. } in chunks {
            self.shape.merge(&shape);
            let from = CommittedFile::name(&file.name, file.member.as_deref());
            if chunk.index == 0 {
                match self.layouts.iter_mut().find(|(layout, _)| *layout == file.layout) {
                    Some((_, files)) => files.push(from.clone()),
                    None => self.layouts.push((file.layout.clone(), vec![from.clone()])),
                }
            }
            let in_keys = &CommittedFile::in_keys(&file.name, file.member.as_deref());
            let (layout, mut out) = (&file.layout, Mapped::default());
            for block in &blocks {
                let chosen = &ChosenRows::All;
                let rows = RawRows::Block(BlockRows { file: in_keys, block, layout, chosen });
                self.source.map(rows, RawRef::File(0), &self.mapping, &mut out)?;
            }
            self.add(out, &from);
            self.read.slices.push(SliceSeen { from, rows, bytes: chunk.end - chunk.start });
        }
        Ok(())
    }

    /// Adds what was mapped.
    fn add(&mut self, out: Mapped, from: &str) {
        self.read.records.extend(out.records.iter().map(seen));
        self.read.set_aside.extend(out.rejects.iter().map(|(_, reject)| RowSeen {
            from: from.to_owned(),
            row: reject.raw_row,
            defects: reject.defects.iter().map(|defect| defect.message.clone()).collect(),
        }));
    }

    /// Notes the keys of a page, and says which came before.
    fn see_keys(&mut self, keys: HashSet<String>) {
        for (number, before) in (1..).zip(&self.pages) {
            let again = keys.intersection(before).count();
            if again > 0 {
                let text = format!(
                    "page {} repeats {again} of the {} keys of page {number}: the order of the records moves, or the \
                     paginator's parameters mean something else to the API",
                    self.pages.len() + 1,
                    before.len()
                );
                self.read.findings.push(Finding::suspicious("pages", text));
            }
        }
        self.pages.push(keys);
    }

    fn finish(self) -> ReadInMemory {
        let Self { mut read, shape, files, layouts, .. } = self;
        read.remarks.extend(file_note::remarks(&files).into_iter().map(|remark| remark.text));
        read.findings.extend(layouts.iter().map(|(layout, files)| of_layout(layout, files)));
        for (name, field) in shape.fields {
            let types = field.types.iter().map(|(kind, seen)| (kind.as_str(), seen.count));
            let mut types: BTreeMap<_, _> = types.collect();
            if field.nulls > 0 {
                types.insert("null", field.nulls);
            }
            read.fields.insert(name, types);
        }
        read
    }
}

/// What a layout has for kasparro alone.
const INNER: &[&str] =
    &["declared", "described", "chunk_size", "max_row_bytes", "revision", "doubts", "notes"];

/// How files are read.
fn of_layout(layout: &Layout, files: &[String]) -> Finding {
    fn parts(value: &Map<String, Value>, out: &mut Vec<String>) {
        for (name, value) in value.iter().filter(|(name, _)| !INNER.contains(&name.as_str())) {
            match value {
                Value::Null => {}
                Value::Object(inner) => parts(inner, out),
                Value::Array(items) => out.push(format!("{} {name}", items.len())),
                other => out.push(format!("{name} = {other}")),
            }
        }
    }
    let mut shown = Vec::new();
    parts(layout.value().as_object().unwrap_or(&Map::new()), &mut shown);
    let which = match files {
        [file] => file.clone(),
        [first, ..] => format!("{first} and {} more", files.len() - 1),
        [] => String::new(),
    };
    Finding::note("layout", format!("{which}: {}", shown.join(", ")))
}

/// A record with all its filled columns.
fn seen(record: RecordView<'_>) -> RecordSeen {
    let columns = record.values().filter_map(|(column, value)| {
        let value = match (value?, column.kind) {
            (record::Value::Text(json), ColumnType::Json) => serde_json::from_str(json).ok()?,
            (record::Value::Text(text), _) => Value::from(text),
            (record::Value::Time(micros), _) => {
                Value::from(chrono::DateTime::from_timestamp_micros(micros)?.to_rfc3339())
            }
        };
        Some((column.name.to_owned(), value))
    });
    RecordSeen { external_id: record.external_id().to_owned(), columns: columns.collect() }
}

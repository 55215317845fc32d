//! Owns the only task of a dry run: it goes through all that the run would read, maps it and
//! compares it with the table, and writes nothing but the run's own counters and samples.
//!
//! Rows count as if those before them had been written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::content_keys::OtherColumns;
use super::guard::{self, still_missing};
use super::mapper::{Mapper, NamedLayout};
use super::plan_run;
use super::read_slice::{self, SliceResult, in_a_circle, own, wait_for_token};
use super::run_parents::ParentsInMemory;
use super::snapshot_schema::{Complaints, LeadingNowhere, absent_fields, new_fields};
use super::unchanged_pages::PagesOfBatch;
use super::unique::{self, EarlierValues};
use super::{
    Effects, Task, TaskContext, TaskError, chains, deletions, emptied, in_memory, plan_replay,
    repeated,
};
use crate::db::unified_records::{self, Pending, Record};
use crate::db::{Transaction, field_presence, parents, replay, run_tasks, schemas, totals};
use crate::domain::chain_end::ChainEnd;
use crate::domain::counters::Counters;
use crate::domain::failure::FailureClass;
use crate::domain::field_name;
use crate::domain::file::{ChosenRows, CommittedFile, FileStamp};
use crate::domain::file_note::{self, FileNote};
use crate::domain::forecast::Forecast;
use crate::domain::hash::ContentHash;
use crate::domain::presence::{Gaps, Reads};
use crate::domain::raw::RawRef;
use crate::domain::reason_tally::ReasonTally;
use crate::domain::record::{self, ColumnType, RecordView};
use crate::domain::reject::Reject;
use crate::domain::remark::Remark;
use crate::domain::repeated_keys::RepeatedKeys;
use crate::domain::run::{Mode, RunId};
use crate::domain::sample::{Sample, SampleChange, SampleDefect, Samples};
use crate::domain::schema::Schema;
use crate::domain::shape::Shape;
use crate::domain::slice::SliceId;
use crate::domain::task::{Rows, TaskPayload};
use crate::domain::text;
use crate::mapping::Before;
use crate::mapping::contract::{Gone, Guarded};
use crate::sources::{
    ChunkPosition, Document, FilePlan, FoundFile, Met, Parents, Plan, Position, Profile, RawSlice,
    SliceContent, SliceRequest, StreamedChunk,
};

/// What the task leaves in the ledger.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Shown {
    samples: Vec<Sample>,
    /// Why rows would be set aside.
    #[serde(default)]
    set_aside: ReasonTally,
    #[serde(default)]
    remarks: Vec<Remark>,
    /// What would become of rows that are set aside, if it was a replay.
    #[serde(default)]
    forecast: Forecast,
}

/// The samples of a dry run; none before it has ended.
///
/// # Errors
/// Database errors.
pub async fn shown(executor: impl PgExecutor<'_>, run: RunId) -> Result<Vec<Sample>, sqlx::Error> {
    Ok(left(executor, run).await?.samples)
}

/// What a dry run of a replay forecasts of rows that are set aside; `None` before it has ended, and when that is not kept
/// any more.
///
/// # Errors
/// Database errors.
pub async fn forecast(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Option<(Forecast, Vec<Sample>)>, sqlx::Error> {
    let left = kept(executor, run).await?;
    Ok(left.map(|shown| (shown.forecast, shown.samples)))
}

/// What a dry run found worth saying.
pub(super) async fn remarks(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Vec<Remark>, sqlx::Error> {
    Ok(left(executor, run).await?.remarks)
}

async fn left(executor: impl PgExecutor<'_>, run: RunId) -> Result<Shown, sqlx::Error> {
    Ok(kept(executor, run).await?.unwrap_or_default())
}

async fn kept(executor: impl PgExecutor<'_>, run: RunId) -> Result<Option<Shown>, sqlx::Error> {
    let key = TaskPayload::PlanRun {}.key();
    let result = run_tasks::result(executor, run, &key).await?;
    let shown = result.map(serde_json::from_value).transpose();
    shown.map_err(|e| sqlx::Error::Decode(e.into()))
}

pub(super) struct DryRun;

impl Task for DryRun {
    type Gathered = (Counters, Shown);

    async fn gather(&mut self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        if context.mode != Mode::Replay {
            in_memory::refuse_what_only_runs_read(&*context.source.source)?;
        }
        let schema = schemas::accepted_for(&context.pool, context.run).await?;
        let mut trial = Trial::new(context, schema);
        match context.mode {
            Mode::Replay => trial.replay().await?,
            Mode::Incremental | Mode::Full => trial.read(plan_run::plan(context).await?).await?,
        }
        let known = schemas::current(&context.pool, &context.source_name).await?;
        let new = new_fields(known.as_ref(), &trial.shape);
        let others = OtherColumns::of(&context.source.definition, known.as_ref(), &trial.shape);
        if context.mode != Mode::Replay {
            let records = totals::records(&context.pool, &context.source_name).await?;
            let (source, counters) = (&context.source_name, &trial.counters);
            trial.remarks.extend(others.remark(source, context.run, counters, records));
        }
        let reads = context.source.source.profile().reads;
        let known = known.map(|known| known.accepted).filter(|_| reads == Reads::News);
        let had = field_presence::get(&context.pool, &context.source_name).await?;
        let (definition, nowhere) = (&context.source.definition, &trial.leading_nowhere);
        trial.remarks.extend(chains::of_all(std::mem::take(&mut trial.ends)));
        trial.remarks.extend(trial.complaints.remark());
        trial.remarks.extend(file_note::remarks(&trial.files));
        let absent = absent_fields(definition, &trial.shape, nowhere, known.as_ref(), &had, reads);
        trial.remarks.extend(absent);
        let reads = emptied::reads(&*context.source.source, context.mode);
        trial.gaps.known_before = trial.counters.unchanged.unsigned_abs();
        trial.remarks.extend(emptied::remark(definition, &had, &trial.gaps, reads, &new));
        if context.mode != Mode::Replay {
            let reads = context.source.source.profile().reads;
            trial.remarks.extend(guard::remark(trial.kept_out, reads));
        }
        let exact = trial.counters.slices <= 1;
        trial.remarks.extend(repeated::of(&trial.repeated, exact, &trial.names));
        trial.remarks.extend(repeated::of_equal(definition, trial.equal, exact));
        trial.remarks.extend(trial.earlier_values.remark());
        let samples = trial.samples.shown();
        let (set_aside, forecast) = (trial.set_aside, trial.forecast);
        let shown = Shown { samples, set_aside, remarks: trial.remarks, forecast };
        Ok((trial.counters, shown))
    }

    async fn store(
        &mut self,
        _context: &TaskContext,
        _transaction: &mut PgConnection,
        (counters, shown): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let result = serde_json::to_value(&shown)
            .map_err(|error| TaskError::Inconsistent(error.to_string()))?;
        Ok(Effects { counters, result: Some(result), ..Effects::default() })
    }
}

/// What was gone through so far.
struct Trial<'a> {
    context: &'a TaskContext,
    schema: Option<Schema>,
    mapper: Mapper,
    pending: Pending,
    /// Which records have values that no other may have, as batches before would have left it.
    earlier_values: EarlierValues,
    /// Which runs have read the payloads that are compared next.
    read_by: HashMap<String, i64>,
    counters: Counters,
    samples: Samples,
    set_aside: ReasonTally,
    /// What would become of rows that are set aside, …
    forecast: Forecast,
    /// … and the pages that were looked at for that.
    forecast_pages: HashSet<String>,
    /// How many rows would be kept out since they have lost a field.
    kept_out: u64,
    remarks: Vec<Remark>,
    shape: Shape,
    leading_nowhere: LeadingNowhere,
    gaps: Gaps,
    complaints: Complaints,
    repeated: RepeatedKeys,
    equal: i64,
    /// What payloads are called.
    names: HashMap<String, String>,
    /// How chains ended.
    ends: Vec<ChainEnd>,
    /// What slices of a lane have that no other may have.
    met: HashMap<(u32, ContentHash), String>,
    /// What there is to say of files that were read as streams.
    files: Vec<FileNote>,
    /// The number of the file that was read last, by the slice that it begins with.
    last_file: (Option<SliceId>, i64),
}

/// The most parents that are looked at: they are held in memory.
const MOST_PARENTS: i64 = 100_000;
/// The most bytes of documents that wait until it is known whether a field is gone.
const MOST_WAITING: usize = 64 << 20;

/// Documents that are not mapped yet.
#[derive(Default)]
struct Waiting {
    documents: Vec<Document>,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, document: Document) {
        self.bytes += document.text.len();
        self.documents.push(document);
    }
}

impl<'a> Trial<'a> {
    fn new(context: &'a TaskContext, schema: Option<Schema>) -> Self {
        let (known, gone) = (schema.as_ref(), Gone::default());
        let pages = PagesOfBatch::none(context, known, &gone);
        let mapper = Mapper::new(&context.source, known, Rows::All, pages, &gone, false);
        Self {
            context,
            mapper,
            schema,
            pending: Pending::default(),
            earlier_values: EarlierValues::default(),
            read_by: HashMap::new(),
            counters: Counters::default(),
            samples: Samples::default(),
            set_aside: ReasonTally::default(),
            forecast: Forecast::default(),
            forecast_pages: HashSet::new(),
            kept_out: 0,
            remarks: Vec::new(),
            shape: Shape::default(),
            leading_nowhere: LeadingNowhere::default(),
            gaps: Gaps::default(),
            complaints: Complaints::default(),
            repeated: RepeatedKeys::default(),
            equal: 0,
            names: HashMap::new(),
            ends: Vec::new(),
            met: HashMap::new(),
            files: Vec::new(),
            // Behind those that were planned.
            last_file: (None, i64::MIN / 2),
        }
    }

    async fn replay(&mut self) -> Result<(), TaskError> {
        let context = self.context;
        let range = plan_replay::find(context).await?;
        let normalizing = context.chunks.normalizing();
        let slices = replay::slices(&context.pool, &context.source_name, range).await?;
        for slice in slices {
            let read = SliceResult::from_value(slice.result.clone())?;
            self.see(&read.shape, read.leading_nowhere, read.meant);
            let bytes = slice.bytes.unsigned_abs();
            self.read_by = deletions::read_by(context, std::slice::from_ref(&slice));
            self.mapper.slices(context, &normalizing, vec![slice]).await?;
            self.compare(bytes, None).await?;
        }
        Ok(())
    }

    /// Reads one slice after the other, as they count.
    async fn read(&mut self, plan: Plan) -> Result<(), TaskError> {
        let context = self.context;
        let profile = context.source.source.profile();
        self.pending = Pending::for_keys(plan.repeats.clone());
        self.earlier_values = EarlierValues::for_keys(plan.repeats.clone());
        // As in a run: documents wait as long as a field that every record had may come yet.
        let mut missing = guard::guarded(context).await?;
        let mut waiting = Waiting::default();
        let parents = self.parents(&plan).await?;
        let lanes = parents.as_ref().map(|parents| parents.lanes());
        let has_parents =
            |slice: SliceId| lanes.is_none_or(|lanes| (slice.lane() as usize) < lanes);
        let mut to_read = self.slices_of(plan);
        to_read.retain(|slice, _| has_parents(*slice));
        while let Some((slice, position)) = to_read.pop_first() {
            let parents = parents.clone().map(|parents| parents as Arc<dyn Parents>);
            let request = match position {
                Position::Own(position) => {
                    SliceRequest { parents, ..own(context, slice, position) }
                }
                Position::Chunk(_) => SliceRequest {
                    slice,
                    position,
                    access: context.access,
                    tokens: context.tokens.clone(),
                    examine: false,
                    watched_keys: None,
                    known_pages: None,
                    parents: None,
                    stored: None,
                    last_attempt: false,
                    signs: context.signs.clone(),
                },
            };
            let file = match &request.position {
                Position::Chunk(chunk) => {
                    let name = self.names.get(&RawRef::File(chunk.file_id).to_string());
                    let name = CommittedFile::in_keys(name.map_or("", String::as_str), None);
                    let layout = chunk.layout.clone();
                    Some((chunk.file_id, Arc::new(NamedLayout { name, layout })))
                }
                Position::Own(_) => None,
            };
            let mut reader = context.source.source.clone().read(request);
            loop {
                wait_here(context, &profile).await?;
                let content = reader.next().await?;
                missing = still_missing(missing, &read_slice::looked(context, &content));
                let SliceContent { raw, bytes, shape, next, continues_at, notes, .. } = content;
                self.note_chain(slice, content.end, content.met)?;
                let (nowhere, meant) = read_slice::paths(context, notes.leading_nowhere);
                self.see(&shape, nowhere, meant);
                let is_last = next.is_empty() && continues_at.is_none();
                let more = notes.more.filter(|_| is_last);
                self.remarks.extend(more.map(Remark::degrading));
                self.complaints.add(notes.complaint);
                self.files.extend(notes.files);
                let next = next.into_iter().filter(|next| has_parents(next.slice));
                to_read.extend(next.map(|next| (next.slice, Position::Own(next.position))));
                match (raw, &file) {
                    (RawSlice::Document(document), _) => waiting.add(document),
                    (RawSlice::Blocks { blocks, .. }, Some((file_id, file))) => {
                        let (raw, rows) = (RawRef::File(*file_id), Arc::new(ChosenRows::All));
                        self.mapper.blocks(blocks, file.clone(), raw, rows).await?;
                        self.compare(bytes, Some(&file.name)).await?;
                    }
                    (RawSlice::Nothing, _) => {}
                    (RawSlice::Streamed(chunks), _) => self.compare_streamed(chunks).await?,
                    (RawSlice::Blocks { .. }, _) => {
                        let text = "the source gave rows of a file that nobody asked for";
                        return Err(TaskError::Inconsistent(text.into()));
                    }
                }
                if missing.missing.is_empty() || waiting.bytes > MOST_WAITING {
                    missing = Guarded::default();
                    self.compare_documents(&mut waiting).await?;
                }
                if continues_at.is_none() {
                    break;
                }
            }
        }
        if !waiting.documents.is_empty() {
            self.set_gone(missing.gone());
            self.compare_documents(&mut waiting).await?;
        }
        Ok(())
    }

    /// The parents of a plan, none of which is kept.
    async fn parents(&mut self, plan: &Plan) -> Result<Option<Arc<ParentsInMemory>>, TaskError> {
        let Some(planned) = &plan.parents else { return Ok(None) };
        let (pool, source) = (&self.context.pool, &self.context.source_name);
        let mut parents = parents::first_due(pool, source, planned, MOST_PARENTS + 1).await?;
        if parents.len() as i64 > MOST_PARENTS {
            parents.truncate(MOST_PARENTS as usize);
            let text = format!("only the first {MOST_PARENTS} parents are looked at");
            self.remarks.push(Remark::note(text));
        }
        let parents = ParentsInMemory::of(parents, planned);
        self.remarks.extend(parents.left_out.clone());
        Ok(Some(Arc::new(parents)))
    }

    /// Notes how a chain ended, and that no slice of a lane has what another had.
    fn note_chain(
        &mut self,
        slice: SliceId,
        end: Option<ChainEnd>,
        met: Option<Met>,
    ) -> Result<(), TaskError> {
        self.ends.extend(end);
        let Some(Met { name, hashes }) = met else { return Ok(()) };
        for hash in hashes {
            if let Some(other) = self.met.insert((slice.lane(), hash), name.clone()) {
                return Err(in_a_circle(&name, &other).into());
            }
        }
        Ok(())
    }

    /// Compares chunks of files that are read as streams. None of them is kept, so none has a number of its own.
    async fn compare_streamed(&mut self, chunks: Vec<StreamedChunk>) -> Result<(), TaskError> {
        for StreamedChunk { file, chunk, blocks, shape, .. } in chunks {
            if self.last_file.0 != Some(file.begins) {
                self.last_file = (Some(file.begins), self.last_file.1 - 1);
            }
            let raw = RawRef::File(self.last_file.1);
            self.names.insert(raw.to_string(), file.name.clone());
            self.see(&shape, Vec::new(), BTreeMap::new());
            let name = CommittedFile::in_keys(&file.name, file.member.as_deref());
            let named = Arc::new(NamedLayout { name, layout: file.layout });
            self.mapper.blocks(blocks, named, raw, Arc::new(ChosenRows::All)).await?;
            self.compare(chunk.end - chunk.start, Some(&file.name)).await?;
        }
        Ok(())
    }

    async fn compare_documents(&mut self, waiting: &mut Waiting) -> Result<(), TaskError> {
        for Document { text, hash, url, context, .. } in std::mem::take(waiting).documents {
            let bytes = text.len() as u64;
            self.mapper.page(hash.into(), text, context).await?;
            self.compare(bytes, Some(&url)).await?;
        }
        Ok(())
    }

    /// From now on, rows that lack one of these fields stay out.
    fn set_gone(&mut self, gone: Gone) {
        if !gone.is_empty() {
            let schema = self.schema.as_ref();
            let pages = PagesOfBatch::none(self.context, schema, &gone);
            self.mapper = Mapper::new(&self.context.source, schema, Rows::All, pages, &gone, false);
        }
    }

    fn see(&mut self, shape: &Shape, nowhere: Vec<String>, meant: BTreeMap<String, String>) {
        self.shape.merge(shape);
        self.leading_nowhere.add(shape, nowhere, meant);
    }

    /// The slices of a plan. None of its files is kept, so none has a number of its own.
    fn slices_of(&mut self, plan: Plan) -> BTreeMap<SliceId, Position> {
        self.remarks.extend(plan.remarks);
        let own = plan.slices.into_iter().map(|next| (next.slice, Position::Own(next.position)));
        let mut to_read: BTreeMap<_, _> = own.collect();
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let base = self.context.source.definition.base_dir();
        for (FoundFile { lane, url, plan, .. }, file) in plan.files.into_iter().zip(1..) {
            let (FilePlan::Whole(scan) | FilePlan::Appended(scan)) = plan else { continue };
            let (file_id, path) = (-file, base.join(&url));
            self.names.insert(RawRef::File(file_id).to_string(), url);
            let stamp = FileStamp { size: scan.size, modified: scan.modified };
            for chunk in scan.chunks {
                let (path, layout) = (path.clone(), scan.layout.clone());
                let position = ChunkPosition { file_id, path, layout, stamp, chunk };
                let number = numbers.entry(lane).or_default();
                let slice = SliceId::new(lane, *number);
                *number += 1;
                to_read.insert(slice, Position::Chunk(position));
            }
        }
        to_read
    }

    /// Compares what was mapped since the last time with the table. `payload` is where it came from,
    /// when it is not kept.
    async fn compare(&mut self, bytes: u64, payload: Option<&str>) -> Result<(), TaskError> {
        let mapped = std::mem::take(&mut self.mapper.mapped);
        self.kept_out += mapped.kept_out;
        self.gaps.merge(&mapped.gaps_since(&self.context.source.definition, &Before::default()));
        let source = &self.context.source_name;
        let still_deleted =
            deletions::still_deleted(self.context, &mapped.records, &self.read_by).await?;
        let earlier = Some(&mut self.earlier_values);
        let found = unique::conflicts(self.context, &mapped, &still_deleted, earlier).await?;
        let not_unique = unique::of_rows(&mapped, &found);
        // Only for settings that end with it.
        let mut transaction = Transaction::begin(&self.context.pool).await?;
        let compared = unified_records::compare(
            &mut transaction,
            source,
            self.context.run,
            &mapped.records,
            &mut self.pending,
            repeated::compared(self.context),
            (&still_deleted, &not_unique.records),
        )
        .await?;
        self.repeated.merge(compared.counts.repeated.clone());
        self.equal += compared.counts.equal;
        self.counters += Counters {
            slices: 1,
            bytes: bytes as i64,
            rows_read: (mapped.records.len() + mapped.rejects.len()) as i64,
            inserted: compared.counts.inserted,
            updated: compared.counts.updated,
            unchanged: compared.counts.unchanged,
            quarantined: (mapped.rejects.len() + not_unique.records.len()) as i64,
        };
        for row in &compared.set_back {
            self.samples.set_back(mapped.records.get(*row).external_id());
        }
        let written =
            [(SampleChange::Updated, &compared.changed), (SampleChange::Inserted, &compared.new)];
        for (change, rows) in written {
            for row in rows {
                if !self.samples.wants(change) {
                    break;
                }
                let record = mapped.records.get(*row);
                let key = record.external_id();
                let before = unified_records::get(&mut *transaction, source, key).await?;
                self.samples.add(written_row(change, record, before, payload));
            }
        }
        self.set_aside.merge(mapped.reasons_from(0));
        let not_unique = not_unique.rejects;
        self.set_aside.merge(ReasonTally::of(not_unique.iter().map(|(_, reject)| reject)));
        let evaluated = std::mem::take(&mut self.mapper.evaluated);
        let rejects = mapped.rejects.iter().chain(not_unique.iter().cloned());
        let forecast = (&mut self.forecast_pages, &mut self.forecast);
        evaluated.forecast(&mut transaction, source, rejects, forecast).await?;
        self.show_rejects(mapped.rejects.iter().chain(not_unique), payload);
        Ok(transaction.rollback().await?)
    }

    fn show_rejects(
        &mut self,
        rejects: impl Iterator<Item = (RawRef, Reject)>,
        payload: Option<&str>,
    ) {
        for (raw, reject) in rejects {
            if !self.samples.wants(SampleChange::Quarantined) {
                return;
            }
            self.samples.add(rejected_row(raw, &reject, payload));
        }
    }
}

/// A dry run is one task: given back to the queue it would begin anew.
async fn wait_here(context: &TaskContext, profile: &Profile) -> Result<(), TaskError> {
    while let Err(error) = wait_for_token(context, profile).await {
        match error.class() {
            FailureClass::NotYet(delay) => tokio::time::sleep(delay).await,
            _ => return Err(error),
        }
    }
    Ok(())
}

fn written_row(
    change: SampleChange,
    record: RecordView<'_>,
    before: Option<Record>,
    payload: Option<&str>,
) -> Sample {
    Sample {
        change,
        external_id: Some(record.external_id().to_owned()),
        payload: payload.map_or_else(|| record.raw().to_string(), str::to_owned),
        row: record.raw_row(),
        before: before.map(|record| content(record.into_values())),
        after: Some(new_content(record)),
        defects: Vec::new(),
    }
}

fn rejected_row(raw: RawRef, reject: &Reject, payload: Option<&str>) -> Sample {
    let defects = reject.defects.iter().map(|defect| SampleDefect {
        field: defect.field.as_deref().map(|field| field_name::kept(field).into_owned()),
        reason: defect.reason.as_str().to_owned(),
        message: text::cut(&defect.message, SHOWN).into_owned(),
    });
    Sample {
        change: SampleChange::Quarantined,
        external_id: None,
        payload: payload.map_or_else(|| raw.to_string(), str::to_owned),
        row: reject.raw_row,
        before: None,
        after: None,
        defects: defects.collect(),
    }
}

fn new_content(record: RecordView<'_>) -> Value {
    let values = record.values().filter_map(|(column, value)| {
        let value = match (value?, column.kind) {
            (record::Value::Text(json), ColumnType::Json) => serde_json::from_str(json).ok()?,
            (record::Value::Text(text), _) => Value::from(text),
            (record::Value::Time(micros), _) => {
                Value::from(chrono::DateTime::from_timestamp_micros(micros)?.to_rfc3339())
            }
        };
        Some((column.name, value))
    });
    content(values)
}

/// The most bytes of a value that a sample shows: it is kept with the run, and shown with others.
const SHOWN: usize = 4 << 10;

/// The filled columns, each value cut at [`SHOWN`] bytes.
fn content(values: impl Iterator<Item = (&'static str, Value)>) -> Value {
    let shown = values.map(|(name, value)| {
        let shown = match value {
            Value::String(text) => text::cut(&text, SHOWN).into(),
            value => {
                let json = value.to_string();
                if json.len() > SHOWN { text::cut(&json, SHOWN).into() } else { value }
            }
        };
        (name.to_owned(), shown)
    });
    Value::Object(shown.collect())
}

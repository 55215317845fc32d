//! Owns reading slices, whatever the source and its kind of task: what was read goes to the raw tables, and
//! what there is to know of it to the ledger. A task may read several slices, one after the other, each of
//! which is committed on its own.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use humantime_serde::re::humantime::format_duration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use super::chunk_cache::ChunkRows;
use super::error::Patience;
use super::guard::{self, Looked, LookedAt};
use super::known_pages::KeptPages;
use super::run_parents::{self, KeptParents};
use super::stored_bytes::KeptBytes;
use super::{Effects, SourceInUse, StoredSlice, TaskContext, TaskError};
use crate::db::rate_limits::{Limit, NoToken};
use crate::db::raw_api_data::{self, Known, RawPage};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::{
    Transaction, page_validators, rate_limits, run_chains, run_pages, streamed_files,
    unreadable_files,
};
use crate::domain::chain_end::ChainEnd;
use crate::domain::counters::Counters;
use crate::domain::file::FileStamp;
use crate::domain::file_note::FileNote;
use crate::domain::hash::StoredHash;
use crate::domain::known_page::KnownPage;
use crate::domain::raw::RawRef;
use crate::domain::row_numbers;
use crate::domain::run::Mode;
use crate::domain::shape::Shape;
use crate::domain::slice::SliceId;
use crate::domain::task::{PlannedChunk, TaskPayload};
use crate::mapping::contract::Guarded;
use crate::sources::{
    Access, Document, FailedParents, KnownPages, LedNowhere, Met, NextSlice, Position, Profile,
    RateState, RawSlice, SliceContent, SliceNotes, SliceReader, SliceRequest, SourceError,
    SourceErrorKind, StreamedChunk,
};

/// How often an API may tell a task to come later, for each attempt that the task has.
const WAITS_PER_ATTEMPT: u32 = 10;

/// What is left in the ledger of a slice that was read: where its rows are, and what they look like.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SliceResult {
    /// Where its rows are; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    pub shape: Shape,
    /// Numbers of the rows whose keys occur in other rows of the run as well, where only those must
    /// be applied in order.
    #[serde(default, with = "row_numbers", skip_serializing_if = "Vec::is_empty")]
    pub repeated: Vec<i64>,
    /// The message when an API has pages that no task will fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
    /// What an API's response says is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
    /// The paths of the mapping that lead into fields of the page and led nowhere in any record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leading_nowhere: Vec<String>,
    /// The paths that may have been meant by some of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meant: BTreeMap<String, String>,
    /// How the chain ended that this slice is the last of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<ChainEnd>,
    /// How far the source has been read, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Value>,
    /// What there is to say of files that were read as streams, or were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileNote>,
    /// The guarded fields that no record of the slice, and of those in front of it that were read before,
    /// has.
    #[serde(flatten)]
    pub missing: Guarded,
}

impl SliceResult {
    pub fn to_value(&self) -> Result<Value, TaskError> {
        serde_json::to_value(self).map_err(|error| TaskError::Inconsistent(error.to_string()))
    }

    pub fn from_value(value: Value) -> Result<Self, TaskError> {
        serde_json::from_value(value)
            .map_err(|error| TaskError::Inconsistent(format!("result of a reading task: {error}")))
    }
}

/// The slices that a task reads.
pub(super) struct Slices {
    /// The slice that is read next.
    slice: SliceId,
    reader: Option<Box<dyn SliceReader>>,
}

/// A slice that was read, ready to be stored.
pub(super) struct Gathered {
    pub content: SliceContent,
    /// What is known of a document.
    known: Option<Known>,
    missing: Guarded,
}

impl Slices {
    /// The first of them.
    pub fn from(slice: i64) -> Self {
        Self { slice: SliceId::of_ledger(slice), reader: None }
    }

    /// Reads the next slice; `position` is asked for where the first begins.
    pub async fn gather(
        &mut self,
        context: &TaskContext,
        request: impl FnOnce(SliceId) -> SliceRequest,
    ) -> Result<Gathered, TaskError> {
        let profile = context.source.source.profile();
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                // What comes of one request may be many slices.
                wait_for_token(context, &profile).await?;
                none.insert(context.source.source.clone().read(request(self.slice)))
            }
        };
        let content = match reader.next().await {
            Ok(content) => {
                correct(context, &profile, content.notes.rate).await?;
                content
            }
            Err(error) => return Err(failed(context, &profile, error).await?),
        };
        let known = match &content.raw {
            RawSlice::Document(document) => {
                let source = &context.source_name;
                let page = raw_page(source, document, content.rows);
                let mut connection = context.pool.acquire().await?;
                Some(raw_api_data::known(&mut connection, &page).await?)
            }
            RawSlice::Nothing | RawSlice::Streamed(_) | RawSlice::Blocks { .. } => None,
        };
        let looked = || looked(context, &content);
        let missing = guard::missing_so_far(context, self.slice.to_ledger(), looked).await?;
        Ok(Gathered { content, known, missing })
    }

    /// Stores what a source names in its own words.
    pub async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        gathered: Gathered,
    ) -> Result<Effects, TaskError> {
        let Gathered { mut content, known, missing } = gathered;
        let (source, run, files) = (&context.source_name, context.run, &content.notes.files);
        unreadable_files::note(transaction, source, run, files).await?;
        if let Some(end) = &content.end {
            run_chains::insert(transaction, context.run, self.slice, end).await?;
        }
        let effects = match (mem::take(&mut content.raw), known) {
            (RawSlice::Document(document), Some(known)) => {
                let kept = (document, known);
                self.store_page(context, transaction, kept, content, missing).await?
            }
            (RawSlice::Streamed(chunks), _) if !chunks.is_empty() => {
                self.store_streamed(context, transaction, chunks, content, missing).await?
            }
            (RawSlice::Nothing | RawSlice::Streamed(_), _) => {
                self.nothing(context, content, missing)?
            }
            (RawSlice::Document(_) | RawSlice::Blocks { .. }, _) => return Err(wrong_form()),
        };
        self.slice = self.slice.next();
        Ok(effects)
    }

    async fn store_page(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (document, known): (Document, Known),
        mut content: SliceContent,
        missing: Guarded,
    ) -> Result<Effects, TaskError> {
        let rows = content.rows;
        let page = self.store_document(context, transaction, &known, &document, rows).await?;
        let raw = RawRef::Page(page);
        content.shape.seen_in(&raw.to_string());
        if let Some(Met { name, hashes }) = &content.met {
            let other = run_pages::meet(transaction, context.run, self.slice, name, hashes).await?;
            if let Some(other) = other {
                return Err(in_a_circle(name, &other).into());
            }
        }
        content.next =
            run_parents::with_parents(context, transaction, mem::take(&mut content.next)).await?;
        let skipped = known.completed;
        let mut effects = self.effects(context, content, (Some(raw), Vec::new()), missing)?;
        effects.hold |= skipped && self.waits_for_more(context);
        Ok(effects)
    }

    /// Stores chunks of files that planning did not see. In the ledger each is a chunk like any other.
    async fn store_streamed(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        mut chunks: Vec<StreamedChunk>,
        mut content: SliceContent,
        missing: Guarded,
    ) -> Result<Effects, TaskError> {
        let (source, run) = (&context.source_name, context.run);
        let ids = register(context, transaction, &chunks).await?;
        let blocks: Vec<_> = chunks
            .iter_mut()
            .zip(&ids)
            .map(|(chunk, id)| {
                let id = ChunkId { file_id: *id, chunk: chunk.chunk.index };
                (id, mem::take(&mut chunk.blocks))
            })
            .collect();
        let blocks: Vec<_> = blocks.iter().map(|(id, blocks)| (*id, blocks.as_slice())).collect();
        raw_csv_blocks::store(transaction, source, run, &blocks).await?;
        let mut read = Vec::with_capacity(chunks.len());
        let last = chunks.len() - 1;
        for (number, (of_file, file_id)) in chunks.into_iter().zip(ids).enumerate() {
            let StreamedChunk { chunk, rows, mut shape, .. } = of_file;
            let raw = RawRef::File(file_id);
            shape.seen_in(&raw.to_string());
            let (bytes, missing) = (chunk.end - chunk.start, missing.clone());
            // What there is to say of all of them the first one says, and the last one what follows.
            let mut notes = SliceNotes::default();
            if number == 0 {
                notes = mem::take(&mut content.notes);
            }
            let mut part = SliceContent {
                raw: RawSlice::Nothing,
                bytes,
                rows,
                shape,
                notes,
                ..SliceContent::default()
            };
            if number == last {
                part.next = mem::take(&mut content.next);
                part.continues_at = content.continues_at.take();
                part.end = content.end.take();
                part.watermark = content.watermark.take();
            }
            let stamp = FileStamp { size: chunk.end, modified: UNIX_EPOCH };
            let chunk = PlannedChunk { file_id, stamp, chunk };
            let task = TaskPayload::of_chunk(self.slice.to_ledger(), chunk);
            let effects = self.effects(context, part, (Some(raw), Vec::new()), missing)?;
            if number == last {
                let Effects { counters, result, follow_ups, hold, continues_at, .. } = effects;
                read.push(StoredSlice { task, counters, result });
                return Ok(Effects { read, follow_ups, hold, continues_at, ..Effects::default() });
            }
            read.push(StoredSlice { task, counters: effects.counters, result: effects.result });
            self.slice = self.slice.next();
        }
        Err(wrong_form())
    }

    /// What a slice leaves that has no rows.
    fn nothing(
        &self,
        context: &TaskContext,
        content: SliceContent,
        missing: Guarded,
    ) -> Result<Effects, TaskError> {
        let is_told = content.watermark.is_some() || !content.notes.files.is_empty();
        let mut effects = self.effects(context, content, (None, Vec::new()), missing)?;
        effects.counters = Counters::default();
        effects.result = effects.result.filter(|_| is_told);
        Ok(effects)
    }

    /// The rows of a chunk, which are to be stored, and what storing them leaves.
    pub fn chunk(
        &mut self,
        context: &TaskContext,
        gathered: Gathered,
        file_id: i64,
    ) -> Result<(ChunkRows, Effects), TaskError> {
        let Gathered { mut content, missing, .. } = gathered;
        let RawSlice::Blocks { blocks, watched, watched_rows } = mem::take(&mut content.raw) else {
            return Err(wrong_form());
        };
        let effects =
            self.effects(context, content, (Some(RawRef::File(file_id)), watched), missing)?;
        Ok((ChunkRows { blocks, repeated: watched_rows }, effects))
    }

    /// What a slice leaves whose rows are kept there. Some of them have keys that are repeated.
    fn effects(
        &self,
        context: &TaskContext,
        content: SliceContent,
        (raw, repeated): (Option<RawRef>, Vec<i64>),
        missing: Guarded,
    ) -> Result<Effects, TaskError> {
        let counters = Counters {
            slices: 1,
            bytes: i64::try_from(content.bytes).unwrap_or(i64::MAX),
            rows_read: content.rows,
            ..Counters::default()
        };
        let (leading_nowhere, meant) = paths(context, content.notes.leading_nowhere);
        let hold = !missing.missing.is_empty();
        // Only where nothing follows can there be more than is read.
        let goes_on = content.next.iter().any(|next| next.slice.lane() == self.slice.lane());
        let is_last = !goes_on && content.continues_at.is_none();
        let result = SliceResult {
            raw: raw.map(|raw| raw.to_string()),
            shape: content.shape,
            repeated,
            more: content.notes.more.filter(|_| is_last),
            complaint: content.notes.complaint,
            leading_nowhere,
            meant,
            end: content.end,
            watermark: content.watermark,
            files: content.notes.files,
            missing,
        };
        let follow_ups = self.named(content.next)?;
        let continues_at =
            content.continues_at.map(|position| (self.slice.next().to_ledger(), position));
        Ok(Effects {
            counters,
            result: Some(result.to_value()?),
            follow_ups,
            hold,
            continues_at,
            ..Effects::default()
        })
    }

    /// The tasks that read the slices which this one names: behind it, so that what is in front of every open
    /// slice is complete.
    fn named(&self, next: Vec<NextSlice>) -> Result<Vec<TaskPayload>, TaskError> {
        let task = |NextSlice { slice, position }| {
            if slice <= self.slice {
                let text = format!("slice {:?} names {slice:?}, in front of it", self.slice);
                return Err(TaskError::Inconsistent(text));
            }
            Ok(task_of(NextSlice { slice, position }))
        };
        next.into_iter().map(task).collect()
    }

    async fn store_document(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        known: &Known,
        document: &Document,
        records: i64,
    ) -> Result<StoredHash, TaskError> {
        let page = raw_page(&context.source_name, document, records);
        let slice = self.slice.to_ledger();
        let kept = raw_api_data::store(transaction, &page, known, context.run, slice).await?;
        if let Some(validators) = document.validators.clone() {
            let (source, config) = (&context.source_name, context.config_hash);
            let known = KnownPage { validators: *validators, page: kept };
            let (request, run) = (document.request, context.run);
            page_validators::store(transaction, source, config, request, &known, run).await?;
        }
        Ok(kept)
    }

    /// Whether a slice that is likely to be skipped waits until there are as many as a batch takes: such a
    /// slice by itself is less work than a task.
    fn waits_for_more(&self, context: &TaskContext) -> bool {
        let most = context.source.source.profile().slices_per_batch;
        (self.slice.to_ledger() + 1) % most.max(1) != 0
    }
}

fn wrong_form() -> TaskError {
    let text = "the source gave rows of another form than its task reads";
    TaskError::Inconsistent(text.into())
}

/// The ids of the files that chunks are of, and what is known of those that end.
async fn register(
    context: &TaskContext,
    transaction: &mut PgConnection,
    chunks: &[StreamedChunk],
) -> Result<Vec<i64>, TaskError> {
    let (source, run) = (&context.source_name, context.run);
    let whole = |chunk: &StreamedChunk| chunk.chunk.index == 0 && chunk.end.is_some();
    let files: Vec<_> = chunks.iter().filter(|chunk| whole(chunk)).collect();
    let files: Vec<_> = files
        .iter()
        .filter_map(|chunk| chunk.end.as_ref().map(|known| (&chunk.file, known)))
        .collect();
    let mut added = streamed_files::add_whole(transaction, source, run, &files).await?.into_iter();
    let mut ids = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        if let (true, Some(id)) = (whole(chunk), added.as_slice().first()) {
            ids.push(*id);
            added.next();
            continue;
        }
        let id = streamed_files::register(transaction, source, run, &chunk.file).await?;
        if let Some(known) = &chunk.end {
            streamed_files::end(transaction, id, known).await?;
        }
        ids.push(id);
    }
    Ok(ids)
}

/// The tasks that read what comes behind a slice that could not be read, where that is known.
pub(super) fn behind_a_failure(
    source: &SourceInUse,
    payload: &Value,
    error: &TaskError,
) -> Vec<TaskPayload> {
    let (TaskError::Request { error, .. } | TaskError::Source(error)) = error else {
        return Vec::new();
    };
    match TaskPayload::deserialize(payload) {
        Ok(TaskPayload::FetchPage { slice, position }) if error.kind.is_of_a_part() => {
            let next = source.source.behind_a_failure(&position, SliceId::of_ledger(slice));
            next.into_iter().map(task_of).collect()
        }
        _ => Vec::new(),
    }
}

/// The task that reads a slice.
pub(super) fn task_of(NextSlice { slice, position }: NextSlice) -> TaskPayload {
    TaskPayload::FetchPage { slice: slice.to_ledger(), position }
}

/// Whose fault it is that a task of parents has failed, and what is read in place of what it has left.
pub(super) fn beside_failed_parents(
    source: &SourceInUse,
    payload: &Value,
    error: &TaskError,
) -> FailedParents {
    let (TaskError::Request { error, .. } | TaskError::Source(error)) = error else {
        return FailedParents::NotAtFault;
    };
    match TaskPayload::deserialize(payload) {
        Ok(TaskPayload::FetchPage { slice, position }) => {
            source.source.beside_failed_parents(&position, SliceId::of_ledger(slice), error.kind)
        }
        _ => FailedParents::NotAtFault,
    }
}

/// A slice has what another of its lane had.
pub(super) fn in_a_circle(name: &str, other: &str) -> SourceError {
    let message = format!("the source repeats itself: {name} is {other} again");
    SourceError::new(SourceErrorKind::RepeatedPage, message).advise(
        "the API may lead in a circle, not know a parameter of `rest_api.paginator`, or have a list that moves while \
         it is read: see whether it can be sorted by something that does not change",
    )
}

/// A document as it is kept.
fn raw_page<'a>(source: &'a str, document: &'a Document, records: i64) -> RawPage<'a> {
    RawPage {
        source,
        request: document.request,
        url: &document.url,
        status: document.status,
        records,
        context: &document.context,
        body: &document.text,
        hash: document.hash,
    }
}

/// Locators as job files write them, and the paths that may have been meant by them.
pub(super) fn paths(
    context: &TaskContext,
    nowhere: Vec<LedNowhere>,
) -> (Vec<String>, BTreeMap<String, String>) {
    let all = context.source.definition.locators();
    let mut paths = Vec::with_capacity(nowhere.len());
    let mut meant = BTreeMap::new();
    for led in nowhere {
        let Some(path) = all.get(led.locator).and_then(|locator| locator.label()) else { continue };
        paths.push(path.to_owned());
        meant.extend(led.meant.map(|other| (path.to_owned(), other)));
    }
    (paths, meant)
}

/// The key of the bucket that the requests of a source draw from: the one that the job file names, or its own.
fn bucket(context: &TaskContext, profile: &Profile) -> String {
    match &profile.rate_limit {
        Some(limit) => limit.key.clone(),
        None => format!("source:{}", context.source_name),
    }
}

/// Whether requests are made at all.
fn makes_requests(context: &TaskContext, profile: &Profile) -> bool {
    profile.max_block.is_some() && context.access != Access::Offline
}

/// Takes a token of the shared bucket, unless no request is made.
pub(super) async fn wait_for_token(
    context: &TaskContext,
    profile: &Profile,
) -> Result<(), TaskError> {
    if !makes_requests(context, profile) {
        return Ok(());
    }
    let key = bucket(context, profile);
    let limit = profile.rate_limit.as_ref();
    let limit = limit.map(|limit| Limit { requests: limit.requests, per: limit.per });
    let mut transaction = Transaction::begin(&context.pool).await?;
    let taken = rate_limits::take(&mut *transaction, &key, limit).await?;
    transaction.commit().await?;
    match taken {
        Ok(()) => Ok(()),
        Err(NoToken { delay, blocked: true })
            if profile.max_block.is_some_and(|longest| delay > longest) =>
        {
            let wait = format_duration(Duration::from_secs(delay.as_secs()));
            let longest = format_duration(profile.max_block.unwrap_or_default());
            let message = format!(
                "the API has said that there is no request left for {wait}, longer than \
                 `rest_api.retry.max_retry_after` = \"{longest}\" allows"
            );
            let advice =
                format!("`kasparro rate-limits` shows the bucket {key:?}, and can unblock it");
            Err(SourceError::new(SourceErrorKind::WaitTooLong, message).advise(advice).into())
        }
        Err(NoToken { delay, .. }) => Err(TaskError::RateLimited { key, delay }),
    }
}

/// Corrects the shared bucket by what an answer said, good or not.
async fn correct(
    context: &TaskContext,
    profile: &Profile,
    rate: RateState,
) -> Result<(), TaskError> {
    let Some(remaining) = rate.remaining.filter(|_| makes_requests(context, profile)) else {
        return Ok(());
    };
    let key = bucket(context, profile);
    let mut transaction = Transaction::begin(&context.pool).await?;
    rate_limits::correct(&mut *transaction, &key, remaining, rate.reset).await?;
    Ok(transaction.commit().await?)
}

/// What it means that a slice cannot be read. One worker that is told to wait tells all that share the
/// bucket.
async fn failed(
    context: &TaskContext,
    profile: &Profile,
    error: SourceError,
) -> Result<TaskError, TaskError> {
    correct(context, profile, error.rate()).await?;
    if let SourceErrorKind::RateLimited(delay) = error.kind
        && makes_requests(context, profile)
    {
        let key = bucket(context, profile);
        let mut transaction = Transaction::begin(&context.pool).await?;
        rate_limits::block(&mut *transaction, &key, delay).await?;
        transaction.commit().await?;
    }
    Ok(match profile.max_attempts {
        // Not an answer that asks to come later: it has a time limit of its own.
        _ if matches!(error.kind, SourceErrorKind::NotReady { .. }) => error.into(),
        Some(of_source) => {
            let max = error.max_attempts(of_source);
            let max_attempts = i32::try_from(max).unwrap_or(i32::MAX);
            let max_waits = i32::try_from(of_source.saturating_mul(WAITS_PER_ATTEMPT));
            let patience = profile
                .max_wait
                .map(|max_wait| Patience { max_waits: max_waits.unwrap_or(i32::MAX), max_wait });
            TaskError::Request { error, max_attempts, patience }
        }
        None => error.into(),
    })
}

/// What the guard looks at of a slice.
pub(super) fn looked<'c>(context: &TaskContext, content: &'c SliceContent) -> Looked<'c> {
    let all = context.source.definition.locators();
    let paths = |led: &[LedNowhere]| {
        led.iter().filter_map(|led| Some(all.get(led.locator)?.label()?.to_owned())).collect()
    };
    let nowhere = paths(&content.notes.leading_nowhere);
    let records = content.rows.unsigned_abs().saturating_sub(content.notes.deleted);
    let all = LookedAt { shape: &content.shape, nowhere, records };
    let news = content.news.as_ref().map(|news| {
        let nowhere = paths(&news.leading_nowhere);
        LookedAt { shape: &news.shape, nowhere, records: news.records }
    });
    Looked { all, news }
}

/// The request for a slice in the source's own words.
pub(super) fn own(context: &TaskContext, slice: SliceId, position: Value) -> SliceRequest {
    SliceRequest {
        slice,
        position: Position::Own(position),
        access: context.access,
        tokens: context.tokens.clone(),
        examine: false,
        watched_keys: None,
        // A full run is to see for itself, and a recording is to be whole.
        known_pages: (context.mode == Mode::Incremental && context.access == Access::Network)
            .then(|| Arc::new(KeptPages::of(context)) as Arc<dyn KnownPages>),
        parents: Some(Arc::new(KeptParents::of(context))),
        stored: Some(Arc::new(KeptBytes::of(context))),
        last_attempt: false,
        signs: context.signs.clone(),
    }
}

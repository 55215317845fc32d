//! Owns skipping API pages: which pages of a batch need not be normalized, because everything
//! they say is in the table already, and which ones join them.
//!
//! Batches of API pages follow each other in the order of their slices, and a source has one run at
//! a time, so what is found unchanged before a batch is unchanged until the batch writes.
//! Must not know how a body is mapped.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{TaskContext, TaskError};
use crate::db::run_tasks::ReadSlice;
use crate::db::schemas;
use crate::db::unchanged_pages::{self, UnchangedPage};
use crate::domain::bloom_filter;
use crate::domain::counters::Counters;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::presence::Gaps;
use crate::domain::raw::RawRef;
use crate::domain::reason_tally::ReasonTally;
use crate::domain::record::{RecordBatch, RecordView};
use crate::domain::run::{Mode, RunId};
use crate::domain::schema::Schema;
use crate::job_file::Definition;
use crate::mapping::contract::Gone;
use crate::mapping::{Before, Mapped, Mapping};
/// The pages of a batch.
#[derive(Debug)]
pub(super) struct PagesOfBatch {
    mapping: ContentHash,
    /// What was unchanged before the batch.
    unchanged: HashMap<StoredHash, UnchangedPage>,
    skipped: Vec<i64>,
    skipped_keys: Vec<u64>,
    counters: Counters,
    reasons: ReasonTally,
    gaps: Gaps,
    normalized: Vec<NormalizedPage>,
    normalized_keys: HashSet<u64>,
}

/// A page that was mapped; its records are those of the batch from `first` on.
#[derive(Debug)]
struct NormalizedPage {
    first: usize,
    page: UnchangedPage,
    /// Whether it was measured as all pages of the batch are.
    measured: bool,
}

fn key_hash(record: RecordView<'_>) -> u64 {
    bloom_filter::key_hash(record.external_id())
}

impl PagesOfBatch {
    /// Pages of which none is skipped.
    pub fn none(context: &TaskContext, schema: Option<&Schema>, gone: &Gone) -> Self {
        Self {
            mapping: Mapping::hash(&context.source.definition, schema, gone),
            unchanged: HashMap::new(),
            skipped: Vec::new(),
            skipped_keys: Vec::new(),
            counters: Counters::default(),
            reasons: ReasonTally::default(),
            gaps: Gaps::default(),
            normalized: Vec::new(),
            normalized_keys: HashSet::new(),
        }
    }

    /// Looks up which of the slices are unchanged pages; a full run wants none of them.
    pub async fn look_up(
        context: &TaskContext,
        slices: &[ReadSlice],
        schema: Option<&Schema>,
        gone: &Gone,
    ) -> Result<Self, TaskError> {
        let none = Self::none(context, schema, gone);
        let mapping = none.mapping;
        let pages: Vec<_> = slices.iter().filter_map(page_of).collect();
        let unchanged = match context.mode {
            Mode::Incremental if !pages.is_empty() => {
                unchanged_pages::among(&context.pool, &context.source_name, mapping, &pages).await?
            }
            Mode::Incremental | Mode::Full | Mode::Replay => Vec::new(),
        };
        let unchanged = unchanged.into_iter().map(|page| (page.hash, page)).collect();
        Ok(Self { unchanged, ..none })
    }

    /// Whether nothing has to be done about a page, the next in the batch: it was unchanged before
    /// the batch, and no page that the batch has normalized up to here has one of its keys.
    pub fn skip(&mut self, slice: i64, page: StoredHash) -> bool {
        let Some(unchanged) = self.unchanged.get(&page) else { return false };
        if unchanged.keys.iter().any(|key| self.normalized_keys.contains(key)) {
            return false;
        }
        self.counters.unchanged += unchanged.keys.len() as i64;
        self.counters.quarantined += unchanged.quarantined;
        self.reasons.merge(unchanged.reasons.clone());
        self.gaps.merge(&unchanged.gaps);
        self.skipped.push(slice);
        self.skipped_keys.extend(&unchanged.keys);
        true
    }

    /// Notes a page that was mapped; `before` is what there was before it. One that was not `measured` as the pages of
    /// the batch are is unchanged for none that is.
    pub fn normalized(
        &mut self,
        (hash, measured): (StoredHash, bool),
        before: &Before,
        all: &Mapped,
        definition: &Definition,
    ) {
        let records = before.records..all.records.len();
        let page = UnchangedPage {
            hash,
            keys: records.map(|at| key_hash(all.records.get(at))).collect(),
            quarantined: (all.rejects.len() - before.rejects) as i64,
            reasons: all.reasons_from(before.rejects),
            gaps: all.gaps_since(definition, before),
        };
        self.normalized_keys.extend(&page.keys);
        self.normalized.push(NormalizedPage { first: before.records, page, measured });
    }

    /// What the pages that were skipped count.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The slices that were skipped, and why rows of theirs were set aside.
    pub fn skipped(&self) -> (&[i64], &ReasonTally) {
        (&self.skipped, &self.reasons)
    }

    /// The hashes of the keys that the pages have which were skipped.
    pub fn skipped_keys(&self) -> &[u64] {
        &self.skipped_keys
    }

    /// Whether there were pages and none of them was normalized.
    pub fn were_all_passed_over(&self) -> bool {
        !self.skipped.is_empty() && self.normalized.is_empty()
    }

    /// What the records of the pages lack that were skipped.
    pub fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// Records what the batch did: `changed` are the records whose keys had another content.
    pub async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        records: &RecordBatch,
        changed: &[usize],
    ) -> Result<(), TaskError> {
        if self.normalized.is_empty() {
            return Ok(());
        }
        let (source, run) = (&context.source_name, context.run);
        let mut changed: Vec<_> = changed.iter().map(|at| key_hash(records.get(*at))).collect();
        changed.sort_unstable();
        unchanged_pages::remove_changed(transaction, source, &changed).await?;
        let unchanged = self.unchanged_by(records);
        unchanged_pages::insert(transaction, source, self.mapping, run, &unchanged).await?;
        Ok(())
    }

    /// The normalized pages, each once, that say of each of their keys what the batch says last:
    /// these are in the table.
    fn unchanged_by(&self, records: &RecordBatch) -> Vec<&UnchangedPage> {
        let last: HashMap<&str, ContentHash> =
            records.iter().map(|record| (record.external_id(), record.content_hash())).collect();
        let stands = |at: usize| {
            let record = records.get(at);
            last.get(record.external_id()) == Some(&record.content_hash())
        };
        let mut seen = HashSet::new();
        let measured = self.normalized.iter().filter(|normalized| normalized.measured);
        let unchanged = measured.filter(|NormalizedPage { first, page, .. }| {
            (*first..*first + page.keys.len()).all(stands) && seen.insert(page.hash)
        });
        unchanged.map(|normalized| &normalized.page).collect()
    }
}

/// At the end of a complete run of an API: forgets the pages that it did not read, and carries over those
/// that it normalized before there was a schema.
///
/// The first version of a schema is what the run has seen. So no row of the run lacks what every row has,
/// or has a name or a type that the schema does not know: measured by it, a record is the same record.
/// Only of a row that was set aside something else could become, a value that is discarded for example.
pub(super) async fn finish(
    transaction: &mut PgConnection,
    source: &str,
    run: RunId,
    definition: &Definition,
) -> Result<(), sqlx::Error> {
    unchanged_pages::forget_unread(&mut *transaction, source, run).await?;
    if schemas::accepted_for(&mut *transaction, run).await?.is_some() {
        return Ok(());
    }
    let Some(first) = schemas::current(&mut *transaction, source).await? else { return Ok(()) };
    let mapping = |schema| Mapping::hash(definition, schema, &Gone::default());
    let (before, now) = (mapping(None), mapping(Some(&first.accepted)));
    if before != now {
        unchanged_pages::carry_over(transaction, source, before, now).await?;
    }
    Ok(())
}

/// The page that a reading task stored, if it read one.
fn page_of(slice: &ReadSlice) -> Option<StoredHash> {
    match slice.result.get("raw")?.as_str()?.parse() {
        Ok(RawRef::Page(hash)) => Some(hash),
        Ok(RawRef::File(_)) | Err(_) => None,
    }
}

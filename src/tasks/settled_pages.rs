//! Owns passing over API pages: which pages of a batch need not be normalized, because everything
//! they say stands in the table already, and which ones join them.
//!
//! Batches of API pages follow each other in the order of their slices, and a source has one run at
//! a time, so what is found settled before a batch is settled until the batch writes.
//! Must not know how a body is mapped.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{TaskContext, TaskError};
use crate::db::run_tasks::ReadSlice;
use crate::db::settled_pages::{self, SettledPage};
use crate::domain::counters::Counters;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::key_sieve;
use crate::domain::presence::Gaps;
use crate::domain::raw::RawRef;
use crate::domain::reason_tally::ReasonTally;
use crate::domain::record::{RecordBatch, RecordView};
use crate::domain::run::Mode;
use crate::domain::schema::Schema;
use crate::job_file::Definition;
use crate::mapping::contract::Gone;
use crate::mapping::{Before, Mapped, Mapping};

/// The pages of a batch.
#[derive(Debug)]
pub(super) struct PagesOfBatch {
    mapping: ContentHash,
    /// What was settled before the batch.
    settled: HashMap<StoredHash, SettledPage>,
    passed_over: Vec<i64>,
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
    page: SettledPage,
}

fn key_hash(record: RecordView<'_>) -> u64 {
    key_sieve::key_hash(record.external_id())
}

impl PagesOfBatch {
    /// Pages of which none is passed over.
    pub fn none(context: &TaskContext, schema: Option<&Schema>, gone: &Gone) -> Self {
        Self {
            mapping: Mapping::hash(&context.source.definition, schema, gone),
            settled: HashMap::new(),
            passed_over: Vec::new(),
            counters: Counters::default(),
            reasons: ReasonTally::default(),
            gaps: Gaps::default(),
            normalized: Vec::new(),
            normalized_keys: HashSet::new(),
        }
    }

    /// Looks up which of the slices are settled pages; a full run wants none of them.
    pub async fn look_up(
        context: &TaskContext,
        slices: &[ReadSlice],
        schema: Option<&Schema>,
        gone: &Gone,
    ) -> Result<Self, TaskError> {
        let none = Self::none(context, schema, gone);
        let mapping = none.mapping;
        let pages: Vec<_> = slices.iter().filter_map(page_of).collect();
        let settled = match context.mode {
            Mode::Incremental if !pages.is_empty() => {
                settled_pages::among(&context.pool, &context.source_name, mapping, &pages).await?
            }
            Mode::Incremental | Mode::Full | Mode::Replay => Vec::new(),
        };
        let settled = settled.into_iter().map(|page| (page.hash, page)).collect();
        Ok(Self { settled, ..none })
    }

    /// Whether nothing has to be done about a page, the next in the batch: it was settled before
    /// the batch, and no page that the batch has normalized up to here has one of its keys.
    pub fn pass_over(&mut self, slice: i64, page: StoredHash) -> bool {
        let Some(settled) = self.settled.get(&page) else { return false };
        if settled.keys.iter().any(|key| self.normalized_keys.contains(key)) {
            return false;
        }
        self.counters.unchanged += settled.keys.len() as i64;
        self.counters.quarantined += settled.quarantined;
        self.reasons.merge(settled.reasons.clone());
        self.gaps.merge(&settled.gaps);
        self.passed_over.push(slice);
        true
    }

    /// Notes a page that was mapped; `before` is what there was before it.
    pub fn normalized(
        &mut self,
        hash: StoredHash,
        before: &Before,
        all: &Mapped,
        definition: &Definition,
    ) {
        let records = before.records..all.records.len();
        let page = SettledPage {
            hash,
            keys: records.map(|at| key_hash(all.records.get(at))).collect(),
            quarantined: (all.rejects.len() - before.rejects) as i64,
            reasons: all.reasons_from(before.rejects),
            gaps: all.gaps_since(definition, before),
        };
        self.normalized_keys.extend(&page.keys);
        self.normalized.push(NormalizedPage { first: before.records, page });
    }

    /// What the pages that were passed over count.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The slices that were passed over, and why rows of theirs were set aside.
    pub fn passed_over(&self) -> (&[i64], &ReasonTally) {
        (&self.passed_over, &self.reasons)
    }

    /// What the records of the pages lack that were passed over.
    pub fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// Books what the batch did: `changed` are the records whose keys had another content.
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
        settled_pages::unsettle(transaction, source, &changed).await?;
        let settled = self.settled_by(records);
        settled_pages::settle(transaction, source, self.mapping, run, &settled).await?;
        Ok(())
    }

    /// The normalized pages, each once, that say of each of their keys what the batch says last:
    /// these stand in the table.
    fn settled_by(&self, records: &RecordBatch) -> Vec<&SettledPage> {
        let last: HashMap<&str, ContentHash> =
            records.iter().map(|record| (record.external_id(), record.content_hash())).collect();
        let stands = |at: usize| {
            let record = records.get(at);
            last.get(record.external_id()) == Some(&record.content_hash())
        };
        let mut seen = HashSet::new();
        let settled = self.normalized.iter().filter(|NormalizedPage { first, page }| {
            (*first..*first + page.keys.len()).all(stands) && seen.insert(page.hash)
        });
        settled.map(|normalized| &normalized.page).collect()
    }
}

/// The page that a reading task stored, if it read one.
fn page_of(slice: &ReadSlice) -> Option<StoredHash> {
    match slice.result.get("raw")?.as_str()?.parse() {
        Ok(RawRef::Page(hash)) => Some(hash),
        Ok(RawRef::File(_)) | Err(_) => None,
    }
}

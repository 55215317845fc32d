//! Owns the task that turns the raw rows of consecutive slices into records.

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::chunk_cache::Normalizing;
use super::mapper::Mapper;
use super::memory::InMemory;
use super::unchanged_pages::PagesOfBatch;
use super::{
    Effects, Task, TaskContext, TaskError, deletions, guard, repeated, run_parents, unique,
};
use crate::db::missing_records::SeenKeys;
use crate::db::run_tasks::ReadSlice;
use crate::db::unified_records::{Expect, StillDeleted};
use crate::db::{quarantined_rows, run_tasks, schemas, unified_records};
use crate::domain::bloom_filter::key_hash;
use crate::domain::counters::Counters;
use crate::domain::presence::Gaps;
use crate::domain::reason_tally::ReasonTally;
use crate::domain::repeated_keys::RepeatedKeys;
use crate::domain::run::Mode;
use crate::domain::task::Rows;
use crate::mapping::contract::Gone;
use crate::mapping::{Before, Mapped, NotUnique};

/// What a batch leaves in the ledger.
#[derive(Debug, Default, Serialize)]
struct BatchResult {
    /// The slices that were skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<i64>,
    /// Why rows were set aside.
    #[serde(skip_serializing_if = "ReasonTally::is_empty")]
    set_aside: ReasonTally,
    /// What the records lack.
    #[serde(skip_serializing_if = "Gaps::is_empty")]
    gaps: Gaps,
    /// The keys whose rows overwrote each other.
    #[serde(skip_serializing_if = "RepeatedKeys::is_empty")]
    repeated: RepeatedKeys,
    /// How many rows were kept out since they lack what is gone from all of them.
    #[serde(skip_serializing_if = "is_zero")]
    kept_out: u64,
    /// How many rows say what one in front of them says, where keys are made of all that rows hold.
    #[serde(skip_serializing_if = "is_zero")]
    equal: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl BatchResult {
    /// The stored form; `None` when there is nothing to say.
    fn to_value(&self) -> Result<Option<Value>, TaskError> {
        let value = serde_json::to_value(self)
            .map_err(|error| TaskError::Inconsistent(error.to_string()))?;
        Ok(Some(value).filter(|value| *value != json!({})))
    }
}

pub(super) struct NormalizeBatch {
    pub first_slice: i64,
    pub last_slice: i64,
    pub rows: Rows,
}

impl Task for NormalizeBatch {
    type Gathered = (Mapper, StillDeleted, Normalizing, InMemory);

    async fn gather(&mut self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        let normalizing = context.chunks.normalizing();
        let (first, last) = (self.first_slice, self.last_slice);
        let slices = run_tasks::read_slices(&context.pool, context.run, first, last).await?;
        let memory = context.memory.hold(self.bytes(&slices)).await;
        let read_by = deletions::read_by(context, &slices);
        let mut mapper = self.map(context, &normalizing, slices, NotUnique::new()).await?;
        let records = &mapper.mapped.records;
        let mut still_deleted = deletions::still_deleted(context, records, &read_by).await?;
        let not_unique = unique::conflicts(context, &mapper.mapped, &still_deleted, None).await?;
        if !not_unique.is_empty() {
            drop(mapper);
            let slices = run_tasks::read_slices(&context.pool, context.run, first, last).await?;
            mapper = self.map(context, &normalizing, slices, not_unique).await?;
            let records = &mapper.mapped.records;
            still_deleted = deletions::still_deleted(context, records, &read_by).await?;
        }
        Ok((mapper, still_deleted, normalizing, memory))
    }

    async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (mapper, still_deleted, _normalizing, _memory): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let Mapper { mapped, pages, evaluated, lanes, .. } = mapper;
        let source = &context.source_name;
        let expect = self.expect(context);
        let upserted = unified_records::upsert(
            transaction,
            source,
            context.run,
            &mapped.records,
            expect,
            repeated::compared(context),
            &still_deleted,
        )
        .await?;
        unique::store(context, transaction, &mapped, &still_deleted).await?;
        pages.store(context, transaction, &mapped.records, &upserted.changed).await?;
        if let Some(rejected) = &mapped.rejected_keys {
            let keys = || keys_of_lanes(&mapped, rejected, &lanes);
            run_parents::note_keys(context, transaction, self.first_slice, keys).await?;
            let seen = seen_keys(&mapped, rejected, &pages);
            deletions::note_seen(context, transaction, (self.first_slice, self.rows), seen).await?;
        }
        let kept_out = mapped.kept_out;
        if kept_out == 0 {
            let slices = (self.first_slice, self.last_slice);
            run_parents::note_done(context, transaction, slices).await?;
        }
        // Last: who writes quarantine keeps the other batches of the source from it until he commits.
        evaluated.update_status(transaction, source, &mapped.rejects).await?;
        quarantined_rows::store(transaction, source, context.run, &mapped.rejects).await?;
        let mut counters = Counters {
            inserted: upserted.inserted,
            updated: upserted.updated,
            unchanged: upserted.unchanged,
            quarantined: mapped.rejects.len() as i64,
            ..Counters::default()
        };
        counters += pages.counters();
        if context.mode == Mode::Replay && context.source.source.profile().rows_by_job_file {
            counters.rows_read = counters.evaluated();
        }
        let (skipped, reasons) = pages.skipped();
        let mut set_aside = mapped.reasons_from(0);
        set_aside.merge(reasons.clone());
        let mut gaps = mapped.gaps_since(&context.source.definition, &Before::default());
        gaps.merge(pages.gaps());
        let (skipped, repeated) = (skipped.to_vec(), upserted.repeated);
        let by_content = context.source.definition.external_id.is_content();
        let equal = if by_content { upserted.equal.unsigned_abs() } else { 0 };
        let left = BatchResult { skipped, set_aside, gaps, repeated, kept_out, equal };
        // Where nothing changes, what is read next waits for its neighbours.
        let hold = pages.were_all_passed_over();
        Ok(Effects { counters, result: left.to_value()?, hold, ..Effects::default() })
    }
}

/// The sorted keys of each lane of the batch.
fn keys_of_lanes(
    mapped: &Mapped,
    rejected: &[u64],
    lanes: &[(u32, usize, usize)],
) -> Vec<(u32, Vec<u64>)> {
    let mut of_lanes: Vec<(u32, Vec<u64>)> = Vec::new();
    let (mut record, mut reject) = (0, 0);
    for (lane, records, rejects) in lanes {
        if of_lanes.last().is_none_or(|(last, _)| last != lane) {
            of_lanes.push((*lane, Vec::new()));
        }
        let Some((_, keys)) = of_lanes.last_mut() else { continue };
        let of_slice = (record..*records).map(|at| key_hash(mapped.records.get(at).external_id()));
        keys.extend(of_slice.chain(rejected[reject..*rejects].iter().copied()));
        (record, reject) = (*records, *rejects);
    }
    for (_, keys) in &mut of_lanes {
        keys.sort_unstable();
        keys.dedup();
    }
    of_lanes.retain(|(_, keys)| !keys.is_empty());
    of_lanes
}

/// The keys of the batch. Of pages that were skipped it is not known whose the quarantined rows are.
fn seen_keys(mapped: &Mapped, rejected: &[u64], pages: &PagesOfBatch) -> SeenKeys {
    let records = mapped.records.iter().map(|record| key_hash(record.external_id()));
    let known = rejected.iter().chain(pages.skipped_keys()).copied();
    let without_key = (mapped.rejects.len() - rejected.len()) as i64 + pages.counters().quarantined;
    SeenKeys { keys: records.chain(known).collect(), repeats: 0, without_key }
}

impl NormalizeBatch {
    /// Maps the slices; rows with values that other records have are set aside.
    async fn map(
        &self,
        context: &TaskContext,
        normalizing: &Normalizing,
        slices: Vec<ReadSlice>,
        not_unique: NotUnique,
    ) -> Result<Mapper, TaskError> {
        let schema = schemas::accepted_for(&context.pool, context.run).await?;
        // What a replay keeps out, its slices say.
        let gone = match context.mode {
            Mode::Incremental | Mode::Full => guard::gone(context).await?,
            Mode::Replay => Gone::default(),
        };
        // Whether a value is free may have changed though the page has not.
        let pages = match context.source.definition.has_unique() {
            true => PagesOfBatch::none(context, schema.as_ref(), &gone),
            false => PagesOfBatch::look_up(context, &slices, schema.as_ref(), &gone).await?,
        };
        let keys = deletions::are_keys_noted(context);
        let mapper = Mapper::new(&context.source, schema.as_ref(), self.rows, pages, &gone, keys);
        let mut mapper = mapper.setting_aside(not_unique);
        mapper.slices(context, normalizing, slices).await?;
        Ok(mapper)
    }

    /// The bytes that are worked on. Of rows with repeated keys there are few, but they are read by the block.
    fn bytes(&self, slices: &[ReadSlice]) -> usize {
        let bytes = slices.iter().map(|slice| usize::try_from(slice.bytes).unwrap_or_default());
        match self.rows {
            Rows::All | Rows::Single => bytes.sum(),
            Rows::Repeated => bytes.max().unwrap_or_default(),
        }
    }

    /// Repeated keys meet each other in the table; the others meet nothing if it was empty.
    fn expect(&self, context: &TaskContext) -> Expect {
        match self.rows {
            Rows::All | Rows::Single if context.from_empty => Expect::NewKeys,
            Rows::All | Rows::Single | Rows::Repeated => Expect::Anything,
        }
    }
}

//! Owns the first task of a run: what there is to read, cut into reading tasks.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;
use sqlx::PgConnection;

use super::batches::together;
use super::planned::{FILES_AT_ONCE, Planned, PlannedFile};
use super::{Effects, Task, TaskContext, TaskError, plan_replay, position, run_parents, unique};
use crate::db::source_files::{self, FileVersion};
use crate::db::{
    backfill_checkpoints, checkpoints, clock, run_repeated_keys, runs, totals, unchanged_pages,
    unified_records, unreadable_files,
};
use crate::domain::bloom_filter::KeyOrder;
use crate::domain::file::FileStamp;
use crate::domain::presence::Reads;
use crate::domain::remark::Remark;
use crate::domain::run::{Mode, ReadRange, RunRange};
use crate::domain::slice::SliceId;
use crate::domain::task::{Chunk, PlannedChunk, TaskPayload};
use crate::sources::{FilePlan, FoundFile, Plan, PlanRequest, Profile};

pub(super) struct PlanRun;

/// What planning found.
pub(super) enum Found {
    /// What the source says is to be read.
    Plan(Box<Plan>),
    /// Nothing: what these runs have read is normalized again.
    Replay(RunRange, Vec<Remark>),
}

impl Task for PlanRun {
    type Gathered = Found;

    async fn gather(&mut self, context: &TaskContext) -> Result<Found, TaskError> {
        if context.mode == Mode::Replay {
            let range = plan_replay::find(context).await?;
            return Ok(Found::Replay(range, plan_replay::remarks(context, range).await?));
        }
        plan(context).await.map(|plan| Found::Plan(Box::new(plan)))
    }

    async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        found: Found,
    ) -> Result<Effects, TaskError> {
        let shared = unique::keep_fields(context, transaction).await?;
        let mut plan = match found {
            Found::Plan(plan) => *plan,
            Found::Replay(range, mut remarks) => {
                remarks.extend(shared);
                return plan_replay::store(context, transaction, range, remarks).await;
            }
        };
        let source = &context.source_name;
        plan.remarks.extend(shared);
        let reads = context.source.source.profile().reads;
        let from_empty = match (&plan.order, reads) {
            // Keys that come back are rare there, and found where they do.
            (KeyOrder::Ordered, Reads::Again) => {
                totals::records(&mut *transaction, source).await? == 0
            }
            // Most keys come back: the table has them by then.
            (KeyOrder::Ordered, Reads::News) => false,
            _ => !unified_records::any(&mut *transaction, source).await?,
        };
        run_repeated_keys::store(transaction, context.run, &plan.order, from_empty).await?;
        if reads == Reads::News {
            // The source may have been an API before.
            unchanged_pages::forget(transaction, source).await?;
        }
        if let Some(range) = runs::range(&mut *transaction, context.run).await? {
            widen(context, transaction, &range).await?;
        }
        if plan.restarts {
            position::note_restart(context, transaction).await?;
        }
        if let Some(found) = &plan.found {
            let names: Vec<&str> = found.names.iter().map(String::as_str).collect();
            let gone = &found.gone_members;
            source_files::note_found(transaction, source, &names, gone, context.run).await?;
        }
        unreadable_files::keep_only(transaction, source, &plan.still_unreadable).await?;
        run_parents::keep(context, transaction, &mut plan).await?;
        store_plan(context, transaction, plan).await
    }
}

/// Notes that a backfill reads what no run may have read before: what a full run does not ask for is not missing. The
/// checkpoint stays where it is.
async fn widen(
    context: &TaskContext,
    transaction: &mut PgConnection,
    range: &ReadRange,
) -> Result<(), TaskError> {
    let source = &context.source_name;
    let known = checkpoints::get(&mut *transaction, source).await?;
    let (state, run) = known.map_or((Value::Null, context.run), |known| (known.state, known.run));
    let widened = context.source.source.widened(&state, range);
    if widened != state {
        let records = totals::records(&mut *transaction, source).await?;
        checkpoints::advance(transaction, source, records, &widened, run).await?;
    }
    Ok(())
}

/// What the source says is to be read, given what earlier runs have read.
pub(super) async fn plan(context: &TaskContext) -> Result<Plan, TaskError> {
    let source = &context.source_name;
    let range = runs::range(&context.pool, context.run).await?;
    let checkpoint = match &range {
        Some(range) => backfill_checkpoints::get(&context.pool, source, range).await?,
        None => {
            checkpoints::get(&context.pool, source).await?.map(|known| (known.state, known.run))
        }
    };
    let (state, state_of) = match checkpoint {
        Some((state, run)) => (state, Some(run)),
        None => Default::default(),
    };
    let request = PlanRequest {
        run: context.run,
        now: clock::now(&context.pool).await?,
        mode: context.mode,
        access: context.access,
        state,
        state_of,
        files: source_files::committed(&context.pool, source).await?,
        broken_off: runs::last_broken_off(&context.pool, source).await?,
        unreadable: unreadable_files::known(&context.pool, source).await?,
    };
    let source = context.source.source.clone();
    Ok(match range {
        Some(range) => source.plan_range(request, range).await?,
        None => source.plan(request).await?,
    })
}

async fn store_plan(
    context: &TaskContext,
    transaction: &mut PgConnection,
    plan: Plan,
) -> Result<Effects, TaskError> {
    let mut planned = Planned {
        remarks: plan.remarks,
        everything: plan.everything,
        landed: plan.landed,
        others: !plan.files.is_empty(),
        ..Planned::default()
    };
    let own = plan.slices.into_iter().map(|next| TaskPayload::FetchPage {
        slice: next.slice.to_ledger(),
        position: next.position,
    });
    let mut follow_ups: Vec<_> = own.collect();
    let mut ids = register(context, transaction, &plan.files).await?.into_iter();
    // Files come in the order of their lanes.
    let mut lanes: BTreeMap<u32, Vec<PlannedChunk>> = BTreeMap::new();
    for file in plan.files {
        let (scan, file_id, before) = match (&file.plan, &file.committed) {
            (FilePlan::Unchanged { modified, hash, layout, etag }, Some(committed)) => {
                let mut known = committed.known.clone();
                if known.modified != *modified || layout.is_some() || hash.is_some() {
                    known.etag = etag.clone();
                    known.layout = layout.clone().unwrap_or(known.layout);
                    known.modified = *modified;
                    known.hash = hash.map_or(known.hash, Into::into);
                    planned.files.push(PlannedFile::touched(committed.id, known));
                }
                continue;
            }
            (FilePlan::Appended(scan), Some(committed)) => (scan, committed.id, Some(committed)),
            (FilePlan::Whole(scan), _) => match ids.next() {
                Some(id) => (scan, id, None),
                None => {
                    let text = format!("{}: not registered", file.url);
                    return Err(TaskError::Inconsistent(text));
                }
            },
            (FilePlan::Landed, _) => {
                let text = format!("{}: is read as a stream, and was planned", file.url);
                return Err(TaskError::Inconsistent(text));
            }
            (FilePlan::Unchanged { .. } | FilePlan::Appended(_), None) => {
                let text = format!("{}: planned as known, but it is not", file.url);
                return Err(TaskError::Inconsistent(text));
            }
        };
        planned.files.push(PlannedFile::of_scan(file_id, before.map(Arc::as_ref), scan));
        let stamp = FileStamp { size: scan.size, modified: scan.modified };
        let of_file = |chunk: &Chunk| PlannedChunk { file_id, stamp, chunk: *chunk };
        lanes.entry(file.lane).or_default().extend(scan.chunks.iter().map(of_file));
    }
    let profile = context.source.source.profile();
    for (lane, chunks) in lanes {
        let first = SliceId::new(lane, 0).to_ledger();
        follow_ups.extend(reading_tasks(&chunks, first, &profile));
    }
    Ok(Effects { result: Some(planned.to_value()?), follow_ups, ..Effects::default() })
}

/// The tasks that read chunks, of which the first becomes this slice: those that are small together have one task.
fn reading_tasks(chunks: &[PlannedChunk], first: i64, profile: &Profile) -> Vec<TaskPayload> {
    let sizes = chunks.iter().map(|PlannedChunk { chunk, .. }| {
        i64::try_from(chunk.end.saturating_sub(chunk.start)).unwrap_or(i64::MAX)
    });
    let groups = together((first..).zip(sizes), profile.slices_per_batch, profile.bytes_per_batch);
    let task = |slices: RangeInclusive<i64>| {
        let of = |slice: i64| (slice - first) as usize;
        match &chunks[of(*slices.start())..=of(*slices.end())] {
            [chunk] => TaskPayload::of_chunk(*slices.start(), *chunk),
            chunks => TaskPayload::ParseSmallChunks {
                first_slice: *slices.start(),
                chunks: chunks.to_vec(),
            },
        }
    };
    groups.into_iter().map(task).collect()
}

/// The ids of the files that are read from their start, in their order.
async fn register(
    context: &TaskContext,
    transaction: &mut PgConnection,
    files: &[FoundFile],
) -> Result<Vec<i64>, TaskError> {
    let mut ids = Vec::with_capacity(files.len());
    for files in files.chunks(FILES_AT_ONCE) {
        let versions: Vec<_> = files.iter().filter_map(read_whole).collect();
        let source = &context.source_name;
        ids.extend(source_files::register(transaction, source, &versions, context.run).await?);
    }
    Ok(ids)
}

fn read_whole(file: &FoundFile) -> Option<FileVersion<'_>> {
    match &file.plan {
        FilePlan::Whole(scan) => Some(FileVersion {
            url: &file.url,
            size: scan.size,
            modified: scan.modified,
            hashes: scan.hashes,
            layout: &scan.layout,
        }),
        FilePlan::Unchanged { .. } | FilePlan::Appended(_) | FilePlan::Landed => None,
    }
}

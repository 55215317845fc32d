//! Owns what becomes of records that their source does not show any more: found out when a run has read all of it,
//! and marked as deleted unless they are too many.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use super::planned::Planned;
use super::{SourceInUse, TaskContext, TaskError, met_twice};
use crate::db::missing_records::{self, ComparedKeys, SeenKeys};
use crate::db::run_tasks::ReadSlice;
use crate::db::runs::Run;
use crate::db::unified_records::StillDeleted;
use crate::db::{parent_keys, run_tasks, unchanged_pages, unified_records};
use crate::domain::number::grouped;
use crate::domain::record::RecordBatch;
use crate::domain::remark::Remark;
use crate::domain::run::{Mode, RunId, RunStatus};
use crate::domain::task::Rows;
use crate::job_file::policy::{Missing, MissingAction};

/// Whether a run of this job file notes which keys it sees.
pub(super) fn are_keys_noted(context: &TaskContext) -> bool {
    let of_source = context.mode != Mode::Replay;
    of_source && context.source.definition.missing.action == MissingAction::Tombstone
        || met_twice::is_looked_for(&context.source.source.profile(), context.mode)
}

/// Which runs have read the payloads of a batch, by their names, where that is not the run itself and counts for records
/// that are marked as deleted: rows that say themselves what is deleted say so in their order.
pub(super) fn read_by(context: &TaskContext, slices: &[ReadSlice]) -> HashMap<String, i64> {
    if context.mode != Mode::Replay || context.source.source.profile().tells_deletions {
        return HashMap::new();
    }
    let mut runs = HashMap::new();
    for slice in slices {
        let (raw, run) = (&slice.result["raw"], &slice.result["read_by"]);
        if let (Some(raw), Some(run)) = (raw.as_str(), run.as_i64()) {
            let last = runs.entry(raw.to_owned()).or_insert(run);
            *last = run.max(*last);
        }
    }
    runs
}

/// The records of a batch that were marked as deleted after their rows were read.
pub(super) async fn still_deleted(
    context: &TaskContext,
    records: &RecordBatch,
    read_by: &HashMap<String, i64>,
) -> Result<StillDeleted, TaskError> {
    if read_by.is_empty() || records.is_empty() {
        return Ok(StillDeleted::default());
    }
    let runs = records.iter().map(|record| read_by.get(&record.raw().to_string()).copied());
    let runs: Vec<i64> = runs.map(Option::unwrap_or_default).collect();
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for (record, run) in records.iter().zip(&runs) {
        let first = first.entry(record.external_id()).or_insert(*run);
        *first = (*run).min(*first);
    }
    let (keys, firsts): (Vec<_>, Vec<_>) = first.into_iter().unzip();
    let (pool, source) = (&context.pool, &context.source_name);
    let marked_by = unified_records::deleted_since(pool, source, &keys, &firsts).await?;
    let mut still =
        StillDeleted { keys: marked_by.keys().cloned().collect(), ..Default::default() };
    for (at, (record, run)) in records.iter().zip(runs).enumerate() {
        let key = record.external_id();
        match marked_by.get(key) {
            Some(marked_by) if run <= *marked_by => {
                still.rows.insert(at);
            }
            _ => {
                still.keys.remove(key);
            }
        }
    }
    Ok(still)
}

/// Notes the keys that a batch has seen.
pub(super) async fn note_seen(
    context: &TaskContext,
    transaction: &mut PgConnection,
    batch: (i64, Rows),
    mut seen: SeenKeys,
) -> Result<(), TaskError> {
    let rows = seen.keys.len();
    seen.keys.sort_unstable();
    seen.keys.dedup();
    seen.repeats = (rows - seen.keys.len()) as i64;
    let source = &context.source_name;
    Ok(missing_records::note_seen(transaction, source, context.run, batch, &seen).await?)
}

/// What there is to say of records that a run which ended like that has not seen. Marks them as deleted if the
/// run has read everything and they are not too many.
pub(super) async fn find(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    planned: &Planned,
    status: RunStatus,
    met_twice: bool,
) -> Result<Option<Remark>, TaskError> {
    let missing = &source.definition.missing;
    let looked_for = missing.action == MissingAction::Tombstone && !run.dry_run;
    if !looked_for || status == RunStatus::Failed {
        // A failed run may be retried, and goes on with what it has seen.
        return Ok(None);
    }
    let complete = planned.everything
        && run.mode != Mode::Replay
        && matches!(status, RunStatus::Success | RunStatus::SuccessWithDuplicates);
    // Whatever leads from page to page: what moves meanwhile may be met on none of them.
    let profile = source.source.profile();
    // Nor may what moves from one parent to another that was read before.
    let may_shift = profile.may_shift
        || profile.parents.is_some()
        || profile.pages && run_tasks::is_any_lane_of_several(&mut *transaction, run.id).await?;
    // First, since what they have lost is missing as well, and is marked without waiting for another run.
    let of_parents = match status {
        RunStatus::Success | RunStatus::SuccessWithDuplicates if run.mode != Mode::Replay => {
            of_parents(transaction, run, source, complete).await?
        }
        _ => None,
    };
    let remark = match complete {
        // One that is met twice has moved over another, or stands in its place.
        true if may_shift && met_twice => Some(Remark::note(
            "keys were met more than once on the pages, which may have moved while they were read: no record \
             counts as missing",
        )),
        true => compare(transaction, run, missing, may_shift, of_parents.is_some()).await?,
        false => None,
    };
    Ok(match (of_parents, remark) {
        // What is held back of parents is among all that is.
        (Some(one), Some(other)) if one.degrades && other.degrades => Some(other),
        (Some(one), Some(other)) => Some(Remark {
            text: format!("{}; {}", one.text, other.text),
            degrades: one.degrades || other.degrades,
        }),
        (one, other) => one.or(other),
    })
}

/// What there is to say of the children of parents that are deleted, and of those that a parent had and has no more.
/// Of a `complete` run what is missing from all of them together is looked for besides.
async fn of_parents(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    complete: bool,
) -> Result<Option<Remark>, TaskError> {
    let (name, profile) = (&run.source, source.source.profile());
    let parents = profile.parents.filter(|parents| parents.one_each);
    let Some((of, _)) = parents.and_then(|parents| parents.records) else { return Ok(None) };
    let losses = parent_keys::losses(&mut *transaction, name, &of).await?;
    if !losses.parents && !losses.children {
        return Ok(None);
    }
    let missing = &source.definition.missing;
    let at_once = missing.after_sweeps.get() == 1
        && !complete
        && !profile.may_shift
        && !missing_records::any_without_key(&mut *transaction, name).await?;
    if !at_once {
        // A full run finds them.
        parent_keys::forget_stale(transaction, name).await?;
    }
    let lost = parent_keys::lost(transaction, (name, &of), at_once).await?;
    let found = match lost.is_empty() {
        true => ComparedKeys::default(),
        false => missing_records::note_lost(transaction, name, run.id, &lost).await?,
    };
    if let Some(limit) = too_many(missing, found.missing, found.records) {
        missing_records::hold_back(transaction, name, missing_records::ENOUGH_RUNS).await?;
        return Ok(Some(Remark::degrading(format!(
            "{} of {} records are those of parents that are gone or have them no more, more than {limit} of \
             `[missing]` allows: none of them is marked as deleted. If they are gone indeed, `kasparro runs \
             accept-deletions {}` marks them",
            shown(found.missing),
            shown(found.records),
            run.id
        ))));
    }
    mark(transaction, name, run.id, missing_records::ENOUGH_RUNS).await?;
    parent_keys::forget_lost(transaction, name, &of).await?;
    Ok((found.missing > 0).then(|| {
        Remark::note(format!(
            "{} marked as deleted, since their parents are gone or have them no more",
            records(found.missing)
        ))
    }))
}

/// `besides` says that there is something to say of parents already.
async fn compare(
    transaction: &mut PgConnection,
    run: &Run,
    missing: &Missing,
    may_shift: bool,
    besides: bool,
) -> Result<Option<Remark>, TaskError> {
    let name = &run.source;
    let (keys, without_key) = missing_records::count_seen(&mut *transaction, name, run.id).await?;
    if without_key > 0 {
        return Ok(Some(Remark::note(format!(
            "{} of the quarantined rows have no key that can be read: whose they are is unknown, so no record \
             counts as missing",
            grouped(without_key.unsigned_abs())
        ))));
    }
    let parts = missing_records::parts(keys);
    let mut all = ComparedKeys::default();
    for part in 0..parts {
        let part = (part, parts);
        let seen = missing_records::seen(transaction, name, run.id, part).await?;
        let found = missing_records::compare(transaction, name, run.id, part, &seen).await?;
        all.records += found.records;
        all.missing += found.missing;
    }
    // Where one record goes and another comes while pages are read, a third is not met.
    let after_sweeps = match may_shift {
        true => missing.after_sweeps.get().max(2),
        false => missing.after_sweeps.get(),
    };
    let runs = i32::from(after_sweeps);
    let due = missing_records::due(transaction, name, run.id, runs).await?;
    if let Some(limit) = too_many(missing, due, all.records) {
        missing_records::hold_back(transaction, name, runs).await?;
        return Ok(Some(Remark::degrading(format!(
            "{} of {} records are missing, more than {limit} of `[missing]` allows: none of them is marked as \
             deleted. If they are gone indeed, `kasparro runs accept-deletions {}` marks them",
            shown(due),
            shown(all.records),
            run.id
        ))));
    }
    mark(transaction, name, run.id, runs).await?;
    let waiting = all.missing - due;
    let besides = if besides { " besides" } else { "" };
    Ok(match (due, waiting) {
        (0, 0) => None,
        (due, 0) => Some(Remark::note(format!("{}{besides} marked as deleted", records(due)))),
        (due, waiting) => Some(Remark::note(format!(
            "{}{besides} missing, {} marked as deleted; the others are, once {} complete runs in a row lack them",
            records(due + waiting),
            shown(due),
            after_sweeps
        ))),
    })
}

/// The limit that so many deletions at once exceed.
fn too_many(missing: &Missing, due: i64, records: i64) -> Option<String> {
    let Missing { max_ratio, max_rows, .. } = missing;
    match max_rows {
        Some(most) if due.unsigned_abs() > *most => Some(format!("max_rows = {most}")),
        _ if due as f64 > max_ratio * records as f64 => Some(format!("max_ratio = {max_ratio}")),
        _ => None,
    }
}

/// Marks the records that are due, and answers how many.
pub(super) async fn mark(
    transaction: &mut PgConnection,
    source: &str,
    run: RunId,
    runs: i32,
) -> Result<usize, sqlx::Error> {
    let marked = missing_records::mark_deleted(transaction, source, run, runs).await?;
    // A page that showed them may come back as it was.
    unchanged_pages::remove_changed(transaction, source, &marked).await?;
    Ok(marked.len())
}

fn shown(number: i64) -> String {
    grouped(number.unsigned_abs())
}

fn records(number: i64) -> String {
    let one = if number == 1 { "" } else { "s" };
    format!("{} record{one}", shown(number))
}

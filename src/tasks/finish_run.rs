//! Owns the end of a run: its status, its checkpoint, its share of the totals.

use serde_json::json;
use sqlx::PgConnection;

use super::plan_run::{Planned, PlannedFile};
use super::{SourceInUse, TaskError};
use crate::db::runs::books::{self, Books};
use crate::db::runs::{self, Run};
use crate::db::{checkpoints, quarantined_rows, run_tasks, settled_pages, source_files, totals};
use crate::definition::policy::Checks;
use crate::domain::run::{Mode, RunId, RunStatus};
use crate::domain::task::TaskPayload;
use crate::sources::Source;

/// Ends a run whose tasks have all settled. The checkpoint moves only if none of them died.
pub(super) async fn finish_run(
    transaction: &mut PgConnection,
    id: RunId,
    books: Books,
    source: Option<&SourceInUse>,
) -> Result<(), TaskError> {
    books::close(transaction, id, books).await?;
    let run = runs::get(&mut *transaction, id)
        .await?
        .ok_or_else(|| TaskError::Inconsistent(format!("run {id} is gone")))?;
    let checks = source.map(|s| s.definition.checks).unwrap_or_default();
    let planned = match run.dry_run {
        true => Planned::default(),
        false => planned(transaction, id).await?,
    };
    let anything_new = run.counters.slices > 0 || planned.files.iter().any(|file| file.read);
    let (status, reason) = conclude(&run, &checks, anything_new);
    if !run.dry_run {
        totals::add_run(transaction, &run.source, status, &run.counters).await?;
        if let (0, Some(source)) = (run.dead_tasks, source) {
            commit_position(transaction, &run, source, &planned).await?;
        }
    }
    runs::finish(transaction, id, status, reason.as_deref()).await?;
    tracing::info!(
        run_id = id.0,
        source = run.source,
        status = status.as_str(),
        rows_read = run.counters.rows_read,
        inserted = run.counters.inserted,
        updated = run.counters.updated,
        unchanged = run.counters.unchanged,
        quarantined = run.counters.quarantined,
        "run finished"
    );
    Ok(())
}

/// What the plan of a run left in the ledger; nothing when planning itself failed.
async fn planned(transaction: &mut PgConnection, id: RunId) -> Result<Planned, TaskError> {
    let key = TaskPayload::PlanRun {}.key();
    match run_tasks::result(&mut *transaction, id, &key).await? {
        Some(result) => serde_json::from_value(result)
            .map_err(|error| TaskError::Inconsistent(format!("plan of run {id}: {error}"))),
        None => Ok(Planned::default()),
    }
}

fn conclude(run: &Run, checks: &Checks, anything_new: bool) -> (RunStatus, Option<String>) {
    let counters = &run.counters;
    if run.dead_tasks > 0 {
        return (RunStatus::Failed, None);
    }
    if !anything_new {
        return (RunStatus::Success, Some("nothing new".to_owned()));
    }
    if let Some(min) = checks.min_rows.filter(|min| (counters.rows_read as u64) < *min) {
        let reason = format!("{} rows read, at least {min} expected", counters.rows_read);
        return (RunStatus::Degraded, Some(reason));
    }
    let ratio = counters.quarantined as f64 / counters.rows_read.max(1) as f64;
    if let Some(max) = checks.max_quarantine_ratio.filter(|max| ratio > *max) {
        let reason = format!(
            "{} of {} rows quarantined, more than the share of {max} that the job file allows",
            counters.quarantined, counters.rows_read
        );
        return (RunStatus::Degraded, Some(reason));
    }
    if counters.unchanged > 0 {
        (RunStatus::SuccessWithDuplicates, None)
    } else {
        (RunStatus::Success, None)
    }
}

async fn commit_position(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    planned: &Planned,
) -> Result<(), TaskError> {
    if run.mode == Mode::Replay {
        return commit_records(transaction, run).await;
    }
    for file in &planned.files {
        commit_file(transaction, run, source, file).await?;
    }
    if let Source::Pages(_) = &source.source {
        settled_pages::forget_unread(transaction, &run.source, run.id).await?;
    }
    let records = totals::records(&mut *transaction, &run.source).await?;
    let state = json!({ "files": planned.files.iter().map(|f| f.file_id).collect::<Vec<_>>() });
    checkpoints::advance(transaction, &run.source, records, &state, run.id).await?;
    Ok(())
}

/// A replay moves nobody's position; what the checkpoint says of the records is renewed.
async fn commit_records(transaction: &mut PgConnection, run: &Run) -> Result<(), TaskError> {
    if let Some(checkpoint) = checkpoints::get(&mut *transaction, &run.source).await? {
        let records = totals::records(&mut *transaction, &run.source).await?;
        checkpoints::advance(transaction, &run.source, records, &checkpoint.state, run.id).await?;
    }
    Ok(())
}

async fn commit_file(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    file: &PlannedFile,
) -> Result<(), TaskError> {
    let hash = source.definition.hash;
    let known = file.known();
    source_files::commit(transaction, file.file_id, &known, file.appended, hash, run.id).await?;
    if file.read && !file.appended {
        quarantined_rows::supersede(transaction, &run.source, file.file_id).await?;
    }
    Ok(())
}

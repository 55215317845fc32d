//! Owns what people do to a run in `etl_runs` and `run_tasks`: cancelling it, letting it go on after
//! a pause, trying its failed tasks again.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::run_tasks::parse;
use super::runs::progress::{self, RunProgress};
use super::runs::{self, Run};
use crate::domain::bloom_filter::SliceOrder;
use crate::domain::counters::Counters;
use crate::domain::run::RunId;
use crate::domain::task::TaskKind;

/// A run, its row locked until the transaction ends: nothing of it completes meanwhile.
///
/// # Errors
/// Database errors.
pub async fn lock(connection: &mut PgConnection, id: RunId) -> Result<Option<Run>, sqlx::Error> {
    sqlx::query_scalar!("select id from etl_runs where id = $1 for no key update", id.0)
        .fetch_optional(&mut *connection)
        .await?;
    runs::get(connection, id).await
}

/// Ends the open tasks of a run, which will not start or not commit, and returns them. Each gets
/// a sequence number behind those of the run.
///
/// # Errors
/// Database errors.
pub async fn cancel_open_tasks(
    connection: &mut PgConnection,
    id: RunId,
    sequence: i64,
) -> Result<Vec<(String, TaskKind)>, sqlx::Error> {
    let rows = sqlx::query!(
        "update run_tasks set
            state = 'cancelled', done_at = now(), next_attempt_at = null, last_sequence = open.number
         from (
            select task_key, $2 + row_number() over (order by task_key) as number
            from run_tasks where run_id = $1 and state = 'open'
         ) as open
         where run_id = $1 and run_tasks.task_key = open.task_key
         returning run_tasks.task_key, kind",
        id.0,
        sequence,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.task_key, parse(&row.kind)?))).collect()
}

/// A task that has not completed, by its key, and when it is tried again if that was postponed.
pub type WaitingTask = (String, TaskKind, Option<DateTime<Utc>>);

/// Takes the time of a pause that ends now off the age of a run's open tasks, and returns them.
///
/// # Errors
/// Database errors.
pub async fn take_off_pause(
    connection: &mut PgConnection,
    id: RunId,
    paused_at: DateTime<Utc>,
) -> Result<Vec<WaitingTask>, sqlx::Error> {
    // The run's row first, as everywhere.
    sqlx::query!("update etl_runs set last_progress_at = now() where id = $1", id.0)
        .execute(&mut *connection)
        .await?;
    let rows = sqlx::query!(
        "update run_tasks set opened_at = opened_at + (now() - least(greatest(opened_at, $2), now()))
         where run_id = $1 and state = 'open'
         returning task_key, kind, next_attempt_at",
        id.0,
        paused_at,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kind = parse(&row.kind)?;
            Ok((row.task_key, kind, row.next_attempt_at))
        })
        .collect()
}

/// The newest run of the source that was begun after this one and may have changed something.
///
/// # Errors
/// Database errors.
pub async fn later(connection: &mut PgConnection, run: &Run) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select max(id) from etl_runs where source = $1 and id > $2 and not dry_run",
        run.source,
        run.id.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(id.map(RunId))
}

/// What a retry did to the ledger.
#[derive(Debug, Default)]
pub struct Reopened {
    /// Tasks that had failed and are open.
    pub opened: Vec<(String, TaskKind)>,
    /// Tasks that are not in the ledger any more, because they are planned again when it is their
    /// turn.
    pub withdrawn: Vec<(String, TaskKind)>,
    /// What the withdrawn ones had done.
    pub counters: Counters,
}

/// Opens the failed tasks of a run, and withdraws the batches that must follow them in order.
///
/// # Errors
/// Database errors.
pub async fn reopen(
    connection: &mut PgConnection,
    id: RunId,
    order: SliceOrder,
) -> Result<Reopened, sqlx::Error> {
    let mut reopened = Reopened::default();
    // The batches that follow each other in order.
    let chained = match order {
        SliceOrder::Distinct => None,
        SliceOrder::Split => Some("repeated"),
        SliceOrder::Ordered => Some("all"),
    };
    if let Some(rows) = chained {
        withdraw_batches(connection, id, rows, &mut reopened).await?;
    }
    let opened = sqlx::query!(
        "update run_tasks set state = 'open', attempt = 0, attempts_before = 0,
                times_told_to_wait = 0, told_to_wait_seconds = 0, worker = null, error = null, error_kind = null,
                done_at = null, next_attempt_at = null, opened_at = now(), last_sequence = null
         where run_id = $1 and state = 'failed' returning task_key, kind",
        id.0,
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in opened {
        reopened.opened.push((row.task_key, parse(&row.kind)?));
    }
    if reopened.opened_reading() > 0 {
        // Planned again when everything has been read.
        let withdrawn = sqlx::query!(
            "delete from run_tasks where run_id = $1 and role = 'snapshot'
             returning task_key, kind",
            id.0,
        )
        .fetch_all(connection)
        .await?;
        for row in withdrawn {
            reopened.opened.retain(|(key, _)| *key != row.task_key);
            reopened.withdrawn.push((row.task_key, parse(&row.kind)?));
        }
    }
    Ok(reopened)
}

async fn withdraw_batches(
    connection: &mut PgConnection,
    id: RunId,
    rows: &str,
    reopened: &mut Reopened,
) -> Result<(), sqlx::Error> {
    let withdrawn = sqlx::query!(
        "with first_failed as (
            select min(first_slice) as slice from run_tasks
            where run_id = $1 and state = 'failed'
              and (role = 'read'
                   or (role = 'normalize' and payload ->> 'rows' = $2))
         ),
         withdrawn as (
            delete from run_tasks using first_failed
            where run_id = $1 and role = 'normalize' and payload ->> 'rows' = $2
              and last_slice >= first_failed.slice
            returning task_key, kind, inserted, updated, unchanged, quarantined, first_slice
         ),
         -- Those that are planned in their place see the same keys, and may begin with other slices.
         unseen as (
            delete from seen_keys as s using withdrawn as w
            where s.source = (select source from etl_runs where id = $1) and s.run_id = $1
              and s.first_slice = w.first_slice and s.rows = $2
         )
         select task_key, kind, inserted, updated, unchanged, quarantined from withdrawn",
        id.0,
        rows,
    )
    .fetch_all(connection)
    .await?;
    for row in withdrawn {
        reopened.withdrawn.push((row.task_key, parse(&row.kind)?));
        reopened.counters += Counters {
            inserted: row.inserted,
            updated: row.updated,
            unchanged: row.unchanged,
            quarantined: row.quarantined,
            ..Counters::default()
        };
    }
    Ok(())
}

impl Reopened {
    fn opened_reading(&self) -> usize {
        self.opened.iter().filter(|(_, kind)| kind.role().reads()).count()
    }
}

/// Makes a run active again, with `planned` more tasks than were opened. What its withdrawn tasks had
/// inserted is remembered: these rows are met as known ones when they are applied again, and have been
/// inserted by this run all the same.
///
/// # Errors
/// Database errors.
pub async fn reopen_run(
    connection: &mut PgConnection,
    run: &Run,
    reopened: &Reopened,
    planned: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set
            status = 'running', finished_at = null, error = null, stop_reason = null
         where id = $1",
        run.id.0,
    )
    .execute(&mut *connection)
    .await?;
    let mut progress = RunProgress {
        sequence: run.sequence,
        tasks: run.tasks - reopened.withdrawn.len() as i32 + planned,
        open: reopened.opened.len() as i32 + planned,
        open_reading: reopened.opened_reading() as i32,
        failed: 0,
        counters: run.counters,
        inserted_before: reopened.counters.inserted,
    };
    progress.counters -= reopened.counters;
    progress::append(connection, run.id, &progress).await?;
    progress::copy_to_run(connection, run.id, &progress).await
}

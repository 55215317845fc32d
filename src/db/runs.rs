//! Owns `etl_runs`: beginning a run, its counters, its end, and reading runs back.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::domain::counters::Counters;
use crate::domain::key_sieve::SliceOrder;
use crate::domain::raw::ContentHash;
use crate::domain::run::{Mode, RunId, RunRange, RunStatus, Trigger};
use crate::domain::words::UnknownWord;

/// A run to begin.
#[derive(Debug, Clone)]
pub struct NewRun<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// How much to read.
    pub mode: Mode,
    /// Who asked.
    pub trigger: Trigger,
    /// Where API pages come from: `network`, `record` or `offline`.
    pub access: &'a str,
    /// Equal keys of one source are one run.
    pub idempotency_key: Option<&'a str>,
    /// The definition's hash.
    pub config_hash: ContentHash,
    /// What a replay normalizes again; `None` for other modes.
    pub replay: Option<RunRange>,
    /// Whether it only shows what it would do.
    pub dry_run: bool,
}

/// A row of `etl_runs`.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Name of the source.
    pub source: String,
    /// Where it stands.
    pub status: RunStatus,
    /// How much it reads.
    pub mode: Mode,
    /// Who asked for it.
    pub trigger: Trigger,
    /// Where API pages come from.
    pub access: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When its first task was planned.
    pub started_at: Option<DateTime<Utc>>,
    /// When its last task settled.
    pub finished_at: Option<DateTime<Utc>>,
    /// Tasks that have not settled.
    pub open_tasks: i32,
    /// Tasks that died.
    pub dead_tasks: i32,
    /// What it did so far.
    pub counters: Counters,
    /// The first failure, for people.
    pub error: Option<String>,
    /// Why it ended as it did, when that is no failure.
    pub stop_reason: Option<String>,
    /// The definition it runs with.
    pub config_hash: ContentHash,
    /// What a replay normalizes again.
    pub replay: Option<RunRange>,
    /// Whether it only shows what it would do: its counters are those of a run that would.
    pub dry_run: bool,
    /// Tasks known so far, those that have settled included.
    pub tasks: i32,
    /// How often a task of it settled or a try of one ended.
    pub moves: i64,
    /// When that happened last, or the run began, was retried or resumed.
    pub moved_at: DateTime<Utc>,
    /// Whether nothing moves though something could: see the view `stalled_runs`.
    pub stalled: bool,
}

impl Run {
    /// Tasks that have settled.
    pub fn settled_tasks(&self) -> i32 {
        self.tasks - self.open_tasks
    }
}

/// The columns as they come from the database.
pub(super) struct RunRow {
    id: i64,
    source: String,
    status: String,
    mode: String,
    trigger: String,
    access: String,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    open_tasks: i32,
    dead_tasks: i32,
    slices: i64,
    bytes: i64,
    rows_read: i64,
    inserted: i64,
    updated: i64,
    unchanged: i64,
    quarantined: i64,
    error: Option<String>,
    stop_reason: Option<String>,
    config_hash: Vec<u8>,
    replay_from: Option<i64>,
    replay_to: Option<i64>,
    dry_run: bool,
    tasks: i32,
    moves: i64,
    moved_at: DateTime<Utc>,
    stalled: bool,
}

impl TryFrom<RunRow> for Run {
    type Error = sqlx::Error;

    fn try_from(row: RunRow) -> Result<Self, sqlx::Error> {
        let decode = |error: crate::domain::words::UnknownWord| sqlx::Error::Decode(error.into());
        Ok(Self {
            id: RunId(row.id),
            source: row.source,
            status: row.status.parse().map_err(decode)?,
            mode: row.mode.parse().map_err(decode)?,
            trigger: row.trigger.parse().map_err(decode)?,
            access: row.access,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            open_tasks: row.open_tasks,
            dead_tasks: row.dead_tasks,
            counters: Counters {
                slices: row.slices,
                bytes: row.bytes,
                rows_read: row.rows_read,
                inserted: row.inserted,
                updated: row.updated,
                unchanged: row.unchanged,
                quarantined: row.quarantined,
            },
            error: row.error,
            stop_reason: row.stop_reason,
            config_hash: ContentHash::from_bytes(&row.config_hash)
                .ok_or_else(|| sqlx::Error::Decode("config_hash is not 16 bytes".into()))?,
            replay: row
                .replay_from
                .zip(row.replay_to)
                .map(|(from, to)| RunRange { from: RunId(from), to: RunId(to) }),
            dry_run: row.dry_run,
            tasks: row.tasks,
            moves: row.moves,
            moved_at: row.moved_at,
            stalled: row.stalled,
        })
    }
}

/// Inserts a run, with its planning task as the one that is open, unless the source has an active one or the idempotency key is used.
///
/// `None`: one of the two stands in the way; ask [`by_idempotency_key`] and [`active`] which.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    run: &NewRun<'_>,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "insert into etl_runs (source, mode, trigger, access, idempotency_key, config_hash,
                               replay_from, replay_to, dry_run,
                               schema_version, open_tasks, open_reading_tasks)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9,
                 (select max(version) from schema_snapshots where source = $1), 1, 1)
         on conflict do nothing
         returning id",
        run.source,
        run.mode.as_str(),
        run.trigger.as_str(),
        run.access,
        run.idempotency_key,
        &run.config_hash.to_bytes()[..],
        run.replay.map(|range| range.from.0),
        run.replay.map(|range| range.to.0),
        run.dry_run,
    )
    .fetch_optional(connection)
    .await?;
    Ok(id.map(RunId))
}

/// The run that used an idempotency key.
///
/// # Errors
/// Database errors.
pub async fn by_idempotency_key(
    executor: impl PgExecutor<'_>,
    source: &str,
    key: &str,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select id from etl_runs where source = $1 and idempotency_key = $2",
        source,
        key,
    )
    .fetch_optional(executor)
    .await?;
    Ok(id.map(RunId))
}

/// The active run of a source.
///
/// # Errors
/// Database errors.
pub async fn active(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select id from etl_runs where source = $1 and status in ('queued', 'running')",
        source,
    )
    .fetch_optional(executor)
    .await?;
    Ok(id.map(RunId))
}

/// One run.
///
/// # Errors
/// Database errors.
pub async fn get(executor: impl PgExecutor<'_>, id: RunId) -> Result<Option<Run>, sqlx::Error> {
    sqlx::query_as!(
        RunRow,
        r#"select id, source, status, mode, trigger, access, created_at, started_at, finished_at,
                open_tasks, dead_tasks, slices, bytes, rows_read, inserted, updated, unchanged,
                quarantined, error, stop_reason, config_hash, replay_from, replay_to, dry_run,
                tasks, moves, moved_at,
                exists (select from stalled_runs as s where s.id = etl_runs.id) as "stalled!"
         from etl_runs where id = $1"#,
        id.0,
    )
    .fetch_optional(executor)
    .await?
    .map(Run::try_from)
    .transpose()
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only runs of this source.
    pub source: Option<String>,
    /// Only runs with this status.
    pub status: Option<RunStatus>,
    /// Only runs older than this one: the last of the page before.
    pub before: Option<RunId>,
}

/// Runs, newest first.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    filter: &RunFilter,
    limit: i64,
) -> Result<Vec<Run>, sqlx::Error> {
    sqlx::query_as!(
        RunRow,
        r#"select id, source, status, mode, trigger, access, created_at, started_at, finished_at,
                open_tasks, dead_tasks, slices, bytes, rows_read, inserted, updated, unchanged,
                quarantined, error, stop_reason, config_hash, replay_from, replay_to, dry_run,
                tasks, moves, moved_at,
                exists (select from stalled_runs as s where s.id = etl_runs.id) as "stalled!"
         from etl_runs
         where ($1::text is null or source = $1)
           and ($2::text is null or status = $2)
           and ($3::bigint is null or id < $3)
         order by id desc
         limit $4"#,
        filter.source,
        filter.status.map(RunStatus::as_str),
        filter.before.map(|id| id.0),
        limit,
    )
    .fetch_all(executor)
    .await?
    .into_iter()
    .map(Run::try_from)
    .collect()
}

/// The newest run of each source.
///
/// # Errors
/// Database errors.
pub async fn latest_per_source(executor: impl PgExecutor<'_>) -> Result<Vec<Run>, sqlx::Error> {
    sqlx::query_as!(
        RunRow,
        r#"select distinct on (source) id, source, status, mode, trigger, access, created_at,
                started_at, finished_at, open_tasks, dead_tasks, slices, bytes, rows_read,
                inserted, updated, unchanged, quarantined, error, stop_reason, config_hash,
                replay_from, replay_to, dry_run, tasks, moves, moved_at,
                exists (select from stalled_runs as s where s.id = etl_runs.id) as "stalled!"
         from etl_runs order by source, id desc"#,
    )
    .fetch_all(executor)
    .await?
    .into_iter()
    .map(Run::try_from)
    .collect()
}

/// What a settling task changes about its run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settlement {
    /// Tasks enqueued in the same transaction.
    pub opened: i32,
    /// How many of those read the source.
    pub opened_reading: i32,
    /// Whether the settled task read the source.
    pub reading: bool,
    /// Whether it died.
    pub dead: bool,
    /// What it did.
    pub counters: Counters,
    /// How many of the rows that it inserted the run had inserted before: see
    /// [`Locked::inserted_before`].
    pub inserted_before: i64,
}

/// A run as whoever settles one of its tasks finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Where it stands.
    pub status: RunStatus,
    /// Of the tasks that have not settled, those that read the source.
    pub open_reading: i32,
    /// In which order slices must be applied.
    pub slice_order: SliceOrder,
    /// Rows that a retry applies again and that the run had inserted before.
    pub inserted_before: i64,
    /// Moves so far; the settling task's is the next.
    pub moves: i64,
}

/// What remains after a task settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Tasks that have not settled.
    pub open: i32,
    /// Of those, the ones that read the source.
    pub open_reading: i32,
}

/// Locks the run's row: whoever settles a task holds it until commit, so that "which task is
/// next" and "was this the last one" have one answer.
///
/// # Errors
/// Database errors.
pub async fn lock(connection: &mut PgConnection, id: RunId) -> Result<Locked, sqlx::Error> {
    let row = sqlx::query!(
        "select status, open_reading_tasks, key_order, inserted_before, moves from etl_runs
         where id = $1 for no key update",
        id.0,
    )
    .fetch_one(connection)
    .await?;
    let decode = |error: UnknownWord| sqlx::Error::Decode(error.into());
    Ok(Locked {
        status: row.status.parse().map_err(decode)?,
        open_reading: row.open_reading_tasks,
        slice_order: row.key_order.parse().map_err(decode)?,
        inserted_before: row.inserted_before,
        moves: row.moves,
    })
}

/// Books a settled task on its run.
///
/// # Errors
/// Database errors.
pub async fn settle(
    connection: &mut PgConnection,
    id: RunId,
    settlement: &Settlement,
    error: Option<&str>,
) -> Result<Remaining, sqlx::Error> {
    let counters = &settlement.counters;
    sqlx::query_as!(
        Remaining,
        r#"update etl_runs set
            status = case when status = 'queued' then 'running' else status end,
            started_at = coalesce(started_at, now()),
            open_tasks = open_tasks - 1 + $2,
            open_reading_tasks = open_reading_tasks - $3 + $4,
            dead_tasks = dead_tasks + $5,
            slices = slices + $6,
            bytes = bytes + $7,
            rows_read = rows_read + $8,
            inserted = inserted + $9,
            updated = updated + $10,
            unchanged = unchanged + $11,
            quarantined = quarantined + $12,
            error = coalesce(error, $13),
            inserted_before = inserted_before - $14,
            tasks = tasks + $2,
            moves = moves + 1,
            moved_at = clock_timestamp()
        where id = $1
        returning open_tasks as open, open_reading_tasks as open_reading"#,
        id.0,
        settlement.opened,
        i32::from(settlement.reading),
        settlement.opened_reading,
        i32::from(settlement.dead),
        counters.slices,
        counters.bytes,
        counters.rows_read,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.quarantined,
        error,
        settlement.inserted_before,
    )
    .fetch_one(connection)
    .await
}

/// Marks that a run's first task has begun. Its own small transaction: people see it at once.
///
/// # Errors
/// Database errors.
pub async fn mark_started(executor: impl PgExecutor<'_>, id: RunId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set status = 'running', started_at = now(), moved_at = now()
         where id = $1 and status = 'queued'",
        id.0,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Whether tasks of a run may still commit anything.
///
/// # Errors
/// Database errors.
pub async fn is_active(executor: impl PgExecutor<'_>, id: RunId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select from etl_runs where id = $1 and status in ('queued', 'running')
         ) as "active!""#,
        id.0,
    )
    .fetch_one(executor)
    .await
}

/// Whether a run of the source that began after `since` has changed records and was not finished:
/// of a key that occurs twice it may have applied the first row and not the last.
///
/// # Errors
/// Database errors.
pub async fn any_broken_off(
    executor: impl PgExecutor<'_>,
    source: &str,
    since: RunId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select from etl_runs
            where source = $1 and id > $2 and status in ('failed', 'cancelled')
              and inserted + updated > 0 and not dry_run
         ) as "broken_off!""#,
        source,
        since.0,
    )
    .fetch_one(executor)
    .await
}

/// Counts as inserted what a retry would have applied again, and did not get to.
///
/// # Errors
/// Database errors.
pub async fn keep_inserted(connection: &mut PgConnection, id: RunId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set inserted = inserted + inserted_before, inserted_before = 0
         where id = $1 and inserted_before > 0",
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a run.
///
/// # Errors
/// Database errors.
pub async fn finish(
    connection: &mut PgConnection,
    id: RunId,
    status: RunStatus,
    stop_reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set status = $2, stop_reason = $3, finished_at = clock_timestamp()
         where id = $1",
        id.0,
        status.as_str(),
        stop_reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}

//! Owns reading runs back: what `etl_runs` says of them, and the figures of this moment.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::db::stored_hash;
use crate::domain::counters::Counters;
use crate::domain::hash::StoredHash;
use crate::domain::run::{Mode, ReadRange, RunId, RunRange, RunStatus, Trigger};
use crate::domain::string_enum::UnknownVariant;

/// A run, with its figures of this moment.
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
    /// When its last task completed.
    pub finished_at: Option<DateTime<Utc>>,
    /// Tasks that have not completed.
    pub open_tasks: i32,
    /// Tasks that failed.
    pub failed_tasks: i32,
    /// What it did so far.
    pub counters: Counters,
    /// The first failure, for people.
    pub error: Option<String>,
    /// Why it ended as it did, when that is no failure, and what it set aside.
    pub stop_reason: Option<String>,
    /// The definition it runs with.
    pub config_hash: StoredHash,
    /// What a replay normalizes again.
    pub replay: Option<RunRange>,
    /// Whether it only shows what it would do: its counters are those of a run that would.
    pub dry_run: bool,
    /// What it reads, if it is a backfill.
    pub range: Option<ReadRange>,
    /// Tasks known so far, those that have completed included.
    pub tasks: i32,
    /// How often a task of it completed or an attempt of one ended.
    pub sequence: i64,
    /// When that happened last, or the run began, was retried or resumed.
    pub last_progress_at: DateTime<Utc>,
    /// Whether there is no progress though there could be some: see the view `runs_live`.
    pub stalled: bool,
}

impl Run {
    /// Tasks that have completed.
    pub fn completed_tasks(&self) -> i32 {
        self.tasks - self.open_tasks
    }
}

/// The columns as they come from the database.
struct RunRow {
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
    failed_tasks: i32,
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
    sequence: i64,
    last_progress_at: DateTime<Utc>,
    stalled: bool,
    read_from: Option<String>,
    read_to: Option<String>,
}

impl TryFrom<RunRow> for Run {
    type Error = sqlx::Error;

    fn try_from(row: RunRow) -> Result<Self, sqlx::Error> {
        let decode = |error: UnknownVariant| sqlx::Error::Decode(error.into());
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
            failed_tasks: row.failed_tasks,
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
            config_hash: stored_hash(&row.config_hash)?,
            replay: row
                .replay_from
                .zip(row.replay_to)
                .map(|(from, to)| RunRange { from: RunId(from), to: RunId(to) }),
            dry_run: row.dry_run,
            range: row.read_from.map(|from| ReadRange { from, to: row.read_to }),
            tasks: row.tasks,
            sequence: row.sequence,
            last_progress_at: row.last_progress_at,
            stalled: row.stalled,
        })
    }
}

/// Selects from the view `runs_live`. The query macro takes any column of a view for one that may be null.
macro_rules! select_runs {
    ($which:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            RunRow,
            r#"select id as "id!", source as "source!", status as "status!", mode as "mode!",
                trigger as "trigger!", access as "access!", created_at as "created_at!", started_at,
                finished_at, open_tasks as "open_tasks!", failed_tasks as "failed_tasks!",
                slices as "slices!", bytes as "bytes!", rows_read as "rows_read!",
                inserted as "inserted!", updated as "updated!", unchanged as "unchanged!",
                quarantined as "quarantined!", shown_error(error) as error,
                shown_error(stop_reason) as stop_reason, config_hash as "config_hash!",
                replay_from, replay_to, dry_run as "dry_run!", tasks as "tasks!",
                sequence as "sequence!", last_progress_at as "last_progress_at!", stalled as "stalled!",
                read_from, read_to
             from runs_live "# + $which
            $(, $argument)*
        )
    };
}

/// One run.
///
/// # Errors
/// Database errors.
pub async fn get(executor: impl PgExecutor<'_>, id: RunId) -> Result<Option<Run>, sqlx::Error> {
    let row = select_runs!("where id = $1", id.0).fetch_optional(executor).await?;
    row.map(Run::try_from).transpose()
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only runs of this source.
    pub source: Option<String>,
    /// Only runs of other sources than this one.
    pub not_source: Option<String>,
    /// Only runs with this status.
    pub status: Option<RunStatus>,
    /// Only runs of this mode.
    pub mode: Option<Mode>,
    /// Only runs that this started.
    pub trigger: Option<Trigger>,
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
    let rows = select_runs!(
        "where ($1::text is null or source = $1)
           and ($2::text is null or status = $2)
           and ($3::bigint is null or id < $3)
           and ($5::text is null or source <> $5)
           and ($6::text is null or mode = $6)
           and ($7::text is null or trigger = $7)
         order by id desc
         limit $4",
        filter.source,
        filter.status.map(RunStatus::as_str),
        filter.before.map(|id| id.0),
        limit,
        filter.not_source,
        filter.mode.map(Mode::as_str),
        filter.trigger.map(Trigger::as_str)
    );
    rows.fetch_all(executor).await?.into_iter().map(Run::try_from).collect()
}

/// The newest run of each source.
///
/// # Errors
/// Database errors.
pub async fn latest_per_source(executor: impl PgExecutor<'_>) -> Result<Vec<Run>, sqlx::Error> {
    let rows =
        select_runs!("where id in (select max(id) from etl_runs group by source) order by source");
    rows.fetch_all(executor).await?.into_iter().map(Run::try_from).collect()
}

/// Active runs without progress, oldest first.
///
/// # Errors
/// Database errors.
pub async fn stalled(executor: impl PgExecutor<'_>) -> Result<Vec<Run>, sqlx::Error> {
    let rows = select_runs!("where status in ('queued', 'running') and stalled order by id");
    rows.fetch_all(executor).await?.into_iter().map(Run::try_from).collect()
}

/// Active runs, oldest first.
///
/// # Errors
/// Database errors.
pub async fn under_way(executor: impl PgExecutor<'_>) -> Result<Vec<Run>, sqlx::Error> {
    let rows = select_runs!("where status in ('queued', 'running') order by id");
    rows.fetch_all(executor).await?.into_iter().map(Run::try_from).collect()
}

/// The last ended run before this one that read anything of a source.
///
/// # Errors
/// Database errors.
pub async fn last_reading(
    executor: impl PgExecutor<'_>,
    source: &str,
    before: RunId,
) -> Result<Option<Run>, sqlx::Error> {
    let row = select_runs!(
        "where id = (
            select r.id from etl_runs as r
            where r.source = $1 and r.id < $2 and r.slices > 0 and r.finished_at is not null
              and r.mode <> 'replay' and not r.dry_run
            order by r.id desc limit 1
         )",
        source,
        before.0
    );
    row.fetch_optional(executor).await?.map(Run::try_from).transpose()
}

/// The last run before this one that read any rows of a source, and how many.
///
/// # Errors
/// Database errors.
pub async fn last_with_rows(
    executor: impl PgExecutor<'_>,
    source: &str,
    before: RunId,
) -> Result<Option<(RunId, i64)>, sqlx::Error> {
    let row = sqlx::query!(
        "select id, rows_read from etl_runs
         where source = $1 and id < $2 and rows_read > 0 and finished_at is not null
           and mode <> 'replay' and not dry_run
         order by id desc limit 1",
        source,
        before.0,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| (RunId(row.id), row.rows_read)))
}

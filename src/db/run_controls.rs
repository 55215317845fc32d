//! Owns what people do to a run in `etl_runs` and `run_tasks`: cancelling it, letting it go on after
//! a pause.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::runs::{self, Run};
use crate::domain::run::RunId;
use crate::domain::task::TaskKind;

/// A run, its row locked until the transaction ends: nothing of it settles meanwhile.
///
/// # Errors
/// Database errors.
pub async fn lock(connection: &mut PgConnection, id: RunId) -> Result<Option<Run>, sqlx::Error> {
    sqlx::query_scalar!("select id from etl_runs where id = $1 for no key update", id.0)
        .fetch_optional(&mut *connection)
        .await?;
    runs::get(connection, id).await
}

/// Ends the open tasks of a run, which will not start or not commit, and answers them.
///
/// # Errors
/// Database errors.
pub async fn cancel_open_tasks(
    connection: &mut PgConnection,
    id: RunId,
) -> Result<Vec<(String, TaskKind)>, sqlx::Error> {
    let rows = sqlx::query!(
        "update run_tasks set state = 'cancelled', done_at = now(), next_attempt_at = null
         where run_id = $1 and state = 'open'
         returning task_key, kind",
        id.0,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!("update etl_runs set open_tasks = 0, open_reading_tasks = 0 where id = $1", id.0,)
        .execute(connection)
        .await?;
    rows.into_iter().map(|row| Ok((row.task_key, super::run_tasks::parse(&row.kind)?))).collect()
}

/// A task that has not settled, by its key, and when it is tried again if that was put off.
pub type WaitingTask = (String, TaskKind, Option<DateTime<Utc>>);

/// Takes the time of a pause that ends now off the age of a run's open tasks, and answers them.
///
/// # Errors
/// Database errors.
pub async fn take_off_pause(
    connection: &mut PgConnection,
    id: RunId,
    paused_at: DateTime<Utc>,
) -> Result<Vec<WaitingTask>, sqlx::Error> {
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
            let kind = super::run_tasks::parse(&row.kind)?;
            Ok((row.task_key, kind, row.next_attempt_at))
        })
        .collect()
}

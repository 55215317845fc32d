//! Owns `run_chains`: why each chain of requests of a run ended, and whether it has everything.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::run_tasks::parse;
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::run::RunId;
use crate::domain::slice::SliceId;

/// A chain that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunChain {
    /// Its last slice.
    pub slice: SliceId,
    /// How it ended.
    pub end: ChainEnd,
    /// When.
    pub ended_at: DateTime<Utc>,
}

/// Notes that a chain has ended with a slice.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    run: RunId,
    slice: SliceId,
    end: &ChainEnd,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into run_chains (run_id, slice, stop_reason, complete, note, spare)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (run_id, slice) do update set
            stop_reason = excluded.stop_reason, complete = excluded.complete, note = excluded.note,
            spare = excluded.spare, ended_at = now()",
        run.0,
        slice.to_ledger(),
        end.reason.as_str(),
        end.complete,
        end.note,
        end.spare.and_then(|spare| i64::try_from(spare).ok()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The chains of a run that have ended, those first that may lack something, then by slice; `most` at most.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    run: RunId,
    most: i64,
) -> Result<Vec<RunChain>, sqlx::Error> {
    let rows = sqlx::query!(
        "select slice, stop_reason, complete, note, spare, ended_at from run_chains
         where run_id = $1 order by complete, slice limit $2",
        run.0,
        most,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let reason: StopReason = parse(&row.stop_reason)?;
            Ok(RunChain {
                slice: SliceId::of_ledger(row.slice),
                end: ChainEnd {
                    reason,
                    complete: row.complete,
                    note: row.note,
                    spare: row.spare.map(i64::unsigned_abs),
                },
                ended_at: row.ended_at,
            })
        })
        .collect()
}

/// Notes of the only chain of a run that it may lack something, if of its records more came twice than it can
/// spare. Answers whether that is so.
///
/// # Errors
/// Database errors.
pub async fn doubt_if_short_of(
    connection: &mut PgConnection,
    run: RunId,
    repeats: i64,
    note: &str,
) -> Result<bool, sqlx::Error> {
    let doubted = sqlx::query!(
        "update run_chains set complete = false, note = $3
         where run_id = $1 and complete and spare < $2
            and 1 = (select count(*) from run_chains where run_id = $1)",
        run.0,
        repeats,
        note,
    )
    .execute(connection)
    .await?;
    Ok(doubted.rows_affected() > 0)
}

/// Notes of the chains of a lane that they may lack something.
///
/// # Errors
/// Database errors.
pub async fn doubt_lane(
    connection: &mut PgConnection,
    run: RunId,
    lane: u32,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update run_chains set complete = false, note = $4
         where run_id = $1 and complete and slice between $2::bigint * $3 and $2 * $3 + $3 - 1",
        run.0,
        i64::from(lane),
        SliceId::PER_LANE,
        note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts the chains of a run that may lack something, and notes the number with the run: the database
/// refuses to call it a success then.
///
/// # Errors
/// Database errors.
pub async fn count_incomplete(
    connection: &mut PgConnection,
    run: RunId,
) -> Result<u64, sqlx::Error> {
    let incomplete = sqlx::query_scalar!(
        r#"update etl_runs set incomplete_chains = (
            select count(*) from run_chains where run_id = $1 and not complete
         )
         where id = $1 returning incomplete_chains"#,
        run.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(incomplete.unsigned_abs())
}

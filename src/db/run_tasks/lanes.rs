//! Owns what the ledger says of lanes of slices: what was read in each, and which of them lack something.

use serde_json::Value;
use sqlx::PgExecutor;

use super::parse;
use crate::domain::run::RunId;
use crate::domain::slice::SliceId;
use crate::domain::task::TaskRole;

/// What a slice left, with its lane.
#[derive(Debug)]
pub struct LaneMark {
    /// Its lane.
    pub lane: i64,
    /// How far it has read the source.
    pub watermark: Value,
}

/// How far the slices of a run have read the source, in their order; of those that say so.
///
/// # Errors
/// Database errors.
pub async fn lane_marks(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Vec<LaneMark>, sqlx::Error> {
    sqlx::query_as!(
        LaneMark,
        r#"select first_slice / $2 as "lane!", result -> 'watermark' as "watermark!" from run_tasks
         where run_id = $1 and role = 'read' and state = 'done' and result ? 'watermark'
         order by first_slice"#,
        run.0,
        SliceId::PER_LANE,
    )
    .fetch_all(executor)
    .await
}

/// Whether a lane of a run has several slices.
///
/// # Errors
/// Database errors.
pub async fn is_any_lane_of_several(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select 1 from run_tasks where run_id = $1 and role = 'read' and state = 'done'
            group by first_slice / $2 having count(*) > 1
         ) as "any!""#,
        run.0,
        SliceId::PER_LANE,
    )
    .fetch_one(executor)
    .await
}

/// The lanes of which a slice was not read, if nothing else of the run failed; `None` if something else did.
///
/// # Errors
/// Database errors.
pub async fn broken_lanes(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Option<Vec<i64>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select distinct role, first_slice / $2 as lane from run_tasks where run_id = $1 and state <> 'done'"#,
        run.0,
        SliceId::PER_LANE,
    )
    .fetch_all(executor)
    .await?;
    let mut lanes = Vec::new();
    for row in rows {
        match (parse::<TaskRole>(&row.role)?, row.lane) {
            (TaskRole::Read, Some(lane)) => lanes.push(lane),
            _ => return Ok(None),
        }
    }
    Ok(Some(lanes))
}

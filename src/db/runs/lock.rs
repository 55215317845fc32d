//! Owns the lock on a run's row.

use sqlx::PgConnection;

use crate::domain::bloom_filter::SliceOrder;
use crate::domain::run::{RunId, RunStatus};
use crate::domain::string_enum::UnknownVariant;

/// A run as a task that completes finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Where it stands.
    pub status: RunStatus,
    /// In which order slices must be applied.
    pub slice_order: SliceOrder,
    /// Whether what `etl_runs` itself says of its figures is of more than a second ago.
    pub outdated: bool,
}

/// Locks the run's row: a task that completes holds it until commit, so that "which task is
/// next" and "was this the last one" have one answer.
///
/// # Errors
/// Database errors.
pub async fn lock(connection: &mut PgConnection, id: RunId) -> Result<Locked, sqlx::Error> {
    let row = sqlx::query!(
        r#"select status, key_order,
            last_progress_at not between clock_timestamp() - interval '1 second'
                and clock_timestamp() + interval '1 minute' as "outdated!"
         from etl_runs where id = $1 for no key update"#,
        id.0,
    )
    .fetch_one(connection)
    .await?;
    let decode = |error: UnknownVariant| sqlx::Error::Decode(error.into());
    Ok(Locked {
        status: row.status.parse().map_err(decode)?,
        slice_order: row.key_order.parse().map_err(decode)?,
        outdated: row.outdated,
    })
}

//! Owns what planning found about the keys of a run: in which order its slices must be applied
//! (`etl_runs.key_order` and `run_repeated_keys`), and whether the source had records before.

use sqlx::{PgConnection, PgExecutor};

use crate::domain::bloom_filter::KeyOrder;
use crate::domain::run::RunId;

/// Notes what planning found.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    run: RunId,
    order: &KeyOrder,
    from_empty: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set key_order = $2, from_empty = $3 where id = $1",
        run.0,
        order.slices().as_str(),
        from_empty,
    )
    .execute(&mut *connection)
    .await?;
    if let KeyOrder::Split(hashes) = order {
        let hashes: Vec<i64> = hashes.iter().map(|hash| hash.cast_signed()).collect();
        sqlx::query!(
            "insert into run_repeated_keys (run_id, hashes) values ($1, $2)",
            run.0,
            &hashes,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// The sorted hashes of the keys that occur in several rows of a run.
///
/// # Errors
/// Database errors; `RowNotFound` when planning found none.
pub async fn load(executor: impl PgExecutor<'_>, run: RunId) -> Result<Vec<u64>, sqlx::Error> {
    let hashes =
        sqlx::query_scalar!("select hashes from run_repeated_keys where run_id = $1", run.0)
            .fetch_one(executor)
            .await?;
    // Sorted as unsigned numbers when they were stored.
    Ok(hashes.into_iter().map(i64::cast_unsigned).collect())
}

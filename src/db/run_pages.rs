//! Owns `run_pages`: what the pages of a run have that no other page of their lane may have.

use sqlx::PgConnection;

use crate::domain::hash::ContentHash;
use crate::domain::run::RunId;
use crate::domain::slice::SliceId;

/// Notes what a slice has; answers the name of another slice of its lane that has something of it already.
///
/// # Errors
/// Database errors.
pub async fn meet(
    connection: &mut PgConnection,
    run: RunId,
    slice: SliceId,
    name: &str,
    hashes: &[ContentHash],
) -> Result<Option<String>, sqlx::Error> {
    let mut hashes: Vec<_> = hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect();
    hashes.sort();
    hashes.dedup();
    // What is there already stays, and is answered.
    let met = sqlx::query!(
        "insert into run_pages as p (run_id, lane, hash, slice, name)
         select $1, $2, hash, $3, $4 from unnest($5::bytea[]) as hash
         on conflict (run_id, lane, hash) do update set slice = p.slice
         returning slice, name",
        run.0,
        i64::from(slice.lane()),
        slice.to_ledger(),
        name,
        &hashes,
    )
    .fetch_all(connection)
    .await?;
    let other = met.into_iter().find(|met| met.slice != slice.to_ledger());
    Ok(other.map(|met| met.name))
}

/// Removes what is known of a run that has ended, unless it `may_go_on`, and of the runs of its source before it.
///
/// # Errors
/// Database errors.
pub async fn remove(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    may_go_on: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from run_pages where run_id in (
            select id from etl_runs
            where source = $1 and id <= $2 and not ($3 and id = $2)
            order by id desc limit 20
         )",
        source,
        run.0,
        may_go_on,
    )
    .execute(connection)
    .await?;
    Ok(())
}

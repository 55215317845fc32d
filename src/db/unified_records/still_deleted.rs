//! Owns which rows of a batch say nothing of records that were marked as deleted after they were read.

use std::collections::{HashMap, HashSet};

use sqlx::PgExecutor;

/// What of a batch was read before its records were marked as deleted, and so does not say that the source shows them again.
#[derive(Debug, Default)]
pub struct StillDeleted {
    /// The records of the batch, by their places.
    pub rows: HashSet<usize>,
    /// The keys of which it is all of them.
    pub keys: HashSet<String>,
}

/// Those of these keys whose records are marked as deleted by runs that are not earlier than the ones that read the rows,
/// with the runs that marked them.
///
/// # Errors
/// Database errors.
pub async fn deleted_since(
    executor: impl PgExecutor<'_>,
    source: &str,
    keys: &[&str],
    read_by: &[i64],
) -> Result<HashMap<String, i64>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select k.external_id as "external_id!", r.last_run_id as "marked_by!"
         from unnest($2::text[], $3::bigint[]) as k (external_id, read_by)
         join unified_records as r on r.source = $1 and r.external_id = k.external_id
         where r.deleted_at is not null and r.last_run_id >= k.read_by"#,
        source,
        keys as &[&str],
        read_by,
    );
    let rows = rows.fetch_all(executor).await?;
    Ok(rows.into_iter().map(|row| (row.external_id, row.marked_by)).collect())
}

//! Owns `unreadable_files`: files that cannot be read as they are, and need not be read again until they are others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::domain::file_note::{FileNote, UnreadableFile};
use crate::domain::run::RunId;

/// The most characters of what is wrong with a file.
const MAX_REASON: i32 = 2_000;

/// Those of a source, by their names. What was loaded of them is loaded: their runs have finished.
///
/// # Errors
/// Database errors.
pub async fn known(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<BTreeMap<String, UnreadableFile>, sqlx::Error> {
    let rows = sqlx::query!(
        "select u.url, u.seen, u.reason
         from unreadable_files as u join etl_runs as r on r.id = u.run_id
         where u.source = $1 and r.status = 'degraded'",
        source,
    );
    let rows = rows.fetch_all(executor).await?.into_iter();
    Ok(rows.map(|row| (row.url, UnreadableFile { seen: row.seen, reason: row.reason })).collect())
}

/// Notes those that a run found; of several members of an archive, what is wrong with each.
///
/// # Errors
/// Database errors.
pub async fn note(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    notes: &[FileNote],
) -> Result<(), sqlx::Error> {
    let mut files: BTreeMap<&str, (&Value, String)> = BTreeMap::new();
    for note in notes {
        let Some(seen) = &note.stays else { continue };
        match files.entry(&note.url) {
            Entry::Vacant(file) => {
                file.insert((seen, note.text.clone()));
            }
            Entry::Occupied(mut file) => {
                let (last_seen, reason) = file.get_mut();
                *last_seen = seen;
                reason.push_str("; ");
                reason.push_str(&note.text);
            }
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    let urls: Vec<&str> = files.keys().copied().collect();
    let (seen, reasons): (Vec<&Value>, Vec<String>) = files.into_values().unzip();
    sqlx::query!(
        "insert into unreadable_files as u (source, url, seen, reason, run_id)
         select $1, f.url, f.seen, left(f.reason, $6), $5
         from unnest($2::text[], $3::jsonb[], $4::text[]) as f (url, seen, reason)
         on conflict (source, url) do update set
            reason = case when u.run_id = excluded.run_id then left(u.reason || '; ' || excluded.reason, $6)
                else excluded.reason end,
            seen = excluded.seen, run_id = excluded.run_id, noted_at = now()",
        source,
        &urls as &[&str],
        &seen as &[&Value],
        &reasons,
        run.0,
        MAX_REASON,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all others than these: they are read again, or gone.
///
/// # Errors
/// Database errors.
pub async fn keep_only(
    connection: &mut PgConnection,
    source: &str,
    urls: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from unreadable_files where source = $1 and url <> all($2)", source, urls)
        .execute(connection)
        .await?;
    Ok(())
}

//! Owns the rows of `source_files` that are of files which are read as streams: no plan saw them, and each is
//! read once.

use sqlx::PgConnection;

use super::source_files::to_nanos;
use crate::domain::file::{KnownFile, StreamedFile};
use crate::domain::hash::ContentHash;
use crate::domain::run::RunId;

/// The id of a file of a run, which gets one with its first chunk. What is not known of it before its end is
/// told by [`end`].
///
/// # Errors
/// Database errors.
pub async fn register(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    file: &StreamedFile,
) -> Result<i64, sqlx::Error> {
    let begins = file.begins.to_ledger();
    let known = sqlx::query_scalar!(
        "select id from source_files where first_run_id = $1 and streamed_from = $2",
        run.0,
        begins,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    let unknown = ContentHash::of(b"");
    sqlx::query_scalar!(
        "insert into source_files
            (source, url, size, modified_ns, content_hash, layout, first_run_id, streamed_from)
         values ($1, $2, 0, 0, $3, $4, $5, $6) returning id",
        source,
        file.name,
        unknown.as_bytes(),
        file.layout.0,
        run.0,
        begins,
    )
    .fetch_one(connection)
    .await
}

/// Notes what is known of a file once its last chunk is stored.
///
/// # Errors
/// Database errors.
pub async fn end(
    connection: &mut PgConnection,
    id: i64,
    known: &KnownFile,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update source_files set
            size = $2, modified_ns = $3, content_hash = $4, layout = $5, committed_bytes = $6,
            committed_rows = $7, committed_lines = $8, committed_chunks = $9, committed_width = $10,
            updated_at = now()
         where id = $1",
        id,
        known.size as i64,
        to_nanos(known.modified),
        known.hash.as_bytes(),
        known.layout.0,
        known.end.bytes as i64,
        known.end.rows,
        known.end.lines,
        known.end.chunks,
        known.width.map(u32::cast_signed),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a run has ended well which has read files as streams.
///
/// # Errors
/// Database errors.
pub async fn commit(
    connection: &mut PgConnection,
    run: RunId,
    definition_hash: ContentHash,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update source_files set committed_run_id = $1, definition_hash = $2
         where first_run_id = $1 and streamed_from is not null",
        run.0,
        definition_hash.as_bytes(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

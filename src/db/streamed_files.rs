//! Owns the rows of `source_files` that are of files which are read as streams: no plan saw what stands in them. Those
//! that a listing showed are found again by later runs, others are read once.

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::source_files::to_nanos;
use crate::domain::file::{KnownFile, StreamedFile};
use crate::domain::file_note::SeenAgain;
use crate::domain::hash::ContentHash;
use crate::domain::run::RunId;
use crate::domain::slice::SliceId;

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
    if let Some(id) = id(&mut *connection, run, file.begins).await? {
        return Ok(id);
    }
    let unknown = ContentHash::of(b"");
    sqlx::query_scalar!(
        "insert into source_files
            (source, url, size, modified_ns, content_hash, layout, first_run_id, streamed_from, listed, member)
         values ($1, $2, 0, 0, $3, $4, $5, $6, $7, $8) returning id",
        source,
        file.name,
        unknown.as_bytes(),
        file.layout.value(),
        run.0,
        file.begins.to_ledger(),
        file.listed,
        file.member,
    )
    .fetch_one(connection)
    .await
}

/// The id of the file of a run whose first chunk became this slice, once it has one.
///
/// # Errors
/// Database errors.
pub async fn id(
    executor: impl PgExecutor<'_>,
    run: RunId,
    begins: SliceId,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from source_files where first_run_id = $1 and streamed_from = $2",
        run.0,
        begins.to_ledger(),
    )
    .fetch_optional(executor)
    .await
}

/// How many bytes are kept of the first `chunks` chunks of that file.
///
/// # Errors
/// Database errors.
pub async fn stored_bytes(
    executor: impl PgExecutor<'_>,
    run: RunId,
    begins: SliceId,
    chunks: i32,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(octet_length(b.payload)), 0)::bigint as "bytes!"
         from source_files as f
         join raw_csv_blocks as b on b.file_id = f.id and b.chunk < $3
         where f.first_run_id = $1 and f.streamed_from = $2"#,
        run.0,
        begins.to_ledger(),
        chunks,
    )
    .fetch_one(executor)
    .await
}

/// The ids of files of a run that begin and end in one part of it, in their order.
///
/// # Errors
/// Database errors.
pub async fn add_whole(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    files: &[(&StreamedFile, &KnownFile)],
) -> Result<Vec<i64>, sqlx::Error> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let (named, known): (Vec<_>, Vec<_>) = files.iter().copied().unzip();
    let names: Vec<_> = named.iter().map(|file| file.name.as_str()).collect();
    let begins: Vec<_> = named.iter().map(|file| file.begins.to_ledger()).collect();
    let listed: Vec<_> = named.iter().map(|file| file.listed.clone()).collect();
    let members: Vec<_> = named.iter().map(|file| file.member.as_deref()).collect();
    let sizes: Vec<_> = known.iter().map(|known| known.size as i64).collect();
    let modified: Vec<_> = known.iter().map(|known| to_nanos(known.modified)).collect();
    let hashes: Vec<_> = known.iter().map(|known| known.hash.as_bytes()).collect();
    let layouts: Vec<_> = known.iter().map(|known| known.layout.value().clone()).collect();
    let bytes: Vec<_> = known.iter().map(|known| known.end.bytes as i64).collect();
    let rows: Vec<_> = known.iter().map(|known| known.end.rows).collect();
    let lines: Vec<_> = known.iter().map(|known| known.end.lines).collect();
    let chunks: Vec<_> = known.iter().map(|known| known.end.chunks).collect();
    let widths: Vec<_> = known.iter().map(|known| known.width.map(u32::cast_signed)).collect();
    let etags: Vec<_> = known.iter().map(|known| known.etag.as_deref()).collect();
    let mut ids = sqlx::query_scalar!(
        "insert into source_files
            (source, first_run_id, url, streamed_from, listed, member, size, modified_ns, content_hash, layout,
             committed_bytes, committed_rows, committed_lines, committed_chunks, committed_width, etag)
         select $1, $2, url, begins, listed, member, size, modified_ns, hash, layout, bytes, rows, lines, chunks,
            width, etag
         from unnest($3::text[], $4::bigint[], $5::jsonb[], $6::text[], $7::bigint[], $8::bigint[], $9::bytea[],
                     $10::jsonb[], $11::bigint[], $12::bigint[], $13::bigint[], $14::integer[], $15::integer[],
                     $16::text[]) with ordinality
            as v (url, begins, listed, member, size, modified_ns, hash, layout, bytes, rows, lines, chunks, width,
                  etag, place)
         order by place
         returning id",
        source,
        run.0,
        &names as &[&str],
        &begins,
        &listed as &[Option<Value>],
        &members as &[Option<&str>],
        &sizes,
        &modified,
        &hashes as &[&[u8]],
        &layouts,
        &bytes,
        &rows,
        &lines,
        &chunks,
        &widths as &[Option<i32>],
        &etags as &[Option<&str>],
    )
    .fetch_all(connection)
    .await?;
    // They were numbered in the order in which they were inserted.
    ids.sort_unstable();
    match ids.len() == files.len() {
        true => Ok(ids),
        false => Err(sqlx::Error::RowNotFound),
    }
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
            etag = $11, updated_at = now()
         where id = $1",
        id,
        known.size as i64,
        to_nanos(known.modified),
        known.hash.as_bytes(),
        known.layout.value(),
        known.end.bytes as i64,
        known.end.rows,
        known.end.lines,
        known.end.chunks,
        known.width.map(u32::cast_signed),
        known.etag,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes how listings show files now whose content is what a run has read before.
///
/// # Errors
/// Database errors.
pub async fn seen_again(
    connection: &mut PgConnection,
    seen: &[SeenAgain],
) -> Result<(), sqlx::Error> {
    let ids: Vec<_> = seen.iter().map(|seen| seen.id).collect();
    let listed: Vec<_> = seen.iter().map(|seen| seen.listed.clone()).collect();
    sqlx::query!(
        "update source_files as f set listed = v.listed, updated_at = now()
         from unnest($1::bigint[], $2::jsonb[]) as v (id, listed)
         where f.id = v.id",
        &ids,
        &listed,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a run has ended well which has read files as streams, and answers those that later runs find again: the
/// ones that were read to their ends. Of a run that failed those of its first `lanes` count. Of what was `left_out` in
/// part the next run is to look at all again, and build upon nothing: the table may have values of what was read of it.
///
/// # Errors
/// Database errors.
pub async fn commit(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    definition_hash: ContentHash,
    left_out: &[&str],
    lanes: Option<u32>,
) -> Result<Vec<i64>, sqlx::Error> {
    let committed = sqlx::query!(
        r#"update source_files set committed_run_id = $1, definition_hash = $2
         where first_run_id = $1 and streamed_from < coalesce($3, 9223372036854775807) and committed_chunks > 0
         returning id, listed is not null as "is_listed!""#,
        run.0,
        definition_hash.as_bytes(),
        lanes.map(|lanes| i64::from(lanes) * SliceId::PER_LANE),
    )
    .fetch_all(&mut *connection)
    .await?;
    if !left_out.is_empty() {
        sqlx::query!(
            "update source_files set
                definition_hash = null,
                listed = listed || jsonb_build_object('file', jsonb_build_object('name', url))
             where source = $1 and url = any($2) and committed_run_id is not null and streamed_from is not null
               and listed is not null",
            source,
            left_out as &[&str],
        )
        .execute(connection)
        .await?;
    }
    let listed = committed.into_iter().filter(|file| file.is_listed);
    Ok(listed.map(|file| file.id).collect())
}

//! Owns `raw_csv_blocks`: the rows of files, byte for byte, in compressed blocks.

use futures::{Stream, TryStreamExt};
use sqlx::{PgConnection, PgExecutor};

use super::pgcopy::{SMALL, copy_in};
use crate::domain::file::{ChosenRows, RawBlock};
use crate::domain::run::RunId;

/// Which blocks of which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkId {
    /// `source_files.id`.
    pub file_id: i64,
    /// Number of the chunk within the file, from 0.
    pub chunk: i32,
}

/// Keeps the blocks of chunks, unless an earlier run of the same version kept them.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    chunks: &[(ChunkId, &[RawBlock])],
) -> Result<(), sqlx::Error> {
    let mut chunks: Vec<_> = chunks.iter().filter(|(_, blocks)| !blocks.is_empty()).collect();
    if chunks.is_empty() {
        return Ok(());
    }
    let kept = kept(&mut *connection, chunks.iter().map(|(id, _)| *id)).await?;
    chunks.retain(|(id, _)| !kept.contains(id));
    let mut blocks = Vec::new();
    for (id, of_chunk) in chunks {
        blocks.extend((0..).zip(of_chunk.iter()).map(|(number, block)| (*id, number, block)));
    }
    if blocks.is_empty() {
        return Ok(());
    }
    if blocks.iter().map(|(_, _, block)| block.held_bytes()).sum::<usize>() < SMALL {
        return store_few(connection, source, run, &blocks).await;
    }
    let statement = "copy raw_csv_blocks (file_id, chunk, block, first_row, first_line, \
                     start_offset, run_id, source, row_lengths, payload) from stdin (format binary)";
    copy_in(connection, statement, blocks, |copy, (id, number, block)| {
        copy.row(10);
        copy.bigint(Some(id.file_id));
        copy.integer(id.chunk);
        copy.integer(number);
        copy.bigint(Some(block.first_row));
        copy.bigint(Some(block.first_line));
        copy.bigint(Some(block.start as i64));
        copy.bigint(Some(run.0));
        copy.text(Some(source));
        copy.integers(row_lengths(&block.row_ends));
        copy.kept_bytes(&block.payload);
    })
    .await?;
    Ok(())
}

/// The same for blocks that are small together; each with its chunk and its number within it.
async fn store_few(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    blocks: &[(ChunkId, i32, &RawBlock)],
) -> Result<(), sqlx::Error> {
    let files: Vec<_> = blocks.iter().map(|(id, _, _)| id.file_id).collect();
    let chunks: Vec<_> = blocks.iter().map(|(id, _, _)| id.chunk).collect();
    let numbers: Vec<_> = blocks.iter().map(|(_, number, _)| *number).collect();
    let first_rows: Vec<_> = blocks.iter().map(|(_, _, block)| block.first_row).collect();
    let first_lines: Vec<_> = blocks.iter().map(|(_, _, block)| block.first_line).collect();
    let starts: Vec<_> = blocks.iter().map(|(_, _, block)| block.start as i64).collect();
    let payloads: Vec<&[u8]> = blocks.iter().map(|(_, _, block)| &*block.payload).collect();
    // An array of arrays has to be a rectangle; these are not.
    let lengths: Vec<_> = blocks.iter().map(|(_, _, block)| array_text(&block.row_ends)).collect();
    sqlx::query!(
        "insert into raw_csv_blocks (file_id, chunk, block, first_row, first_line, start_offset, run_id,
                                     source, row_lengths, payload)
         select file_id, chunk, number, first_row, first_line, start_offset, $1, $2,
            row_lengths::integer[], payload
         from unnest($3::bigint[], $4::integer[], $5::integer[], $6::bigint[], $7::bigint[],
                     $8::bigint[], $9::text[], $10::bytea[])
            as block (file_id, chunk, number, first_row, first_line, start_offset, row_lengths, payload)",
        run.0,
        source,
        &files,
        &chunks,
        &numbers,
        &first_rows,
        &first_lines,
        &starts,
        &lengths,
        &payloads as &[&[u8]],
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn array_text(row_ends: &[i32]) -> String {
    let lengths: Vec<_> = row_lengths(row_ends).map(|length| length.to_string()).collect();
    format!("{{{}}}", lengths.join(","))
}

/// Those of these chunks of which something is kept.
async fn kept(
    executor: impl PgExecutor<'_>,
    ids: impl Iterator<Item = ChunkId>,
) -> Result<Vec<ChunkId>, sqlx::Error> {
    let (files, chunks): (Vec<_>, Vec<_>) = ids.map(|id| (id.file_id, id.chunk)).unzip();
    sqlx::query_as!(
        ChunkId,
        r#"select file_id as "file_id!", chunk as "chunk!"
         from unnest($1::bigint[], $2::integer[]) as asked (file_id, chunk)
         where exists (
            select 1 from raw_csv_blocks as b
            where b.file_id = asked.file_id and b.chunk = asked.chunk
         )"#,
        &files,
        &chunks,
    )
    .fetch_all(executor)
    .await
}

/// Whether anything is kept of a file from chunk number `chunk` on.
///
/// # Errors
/// Database errors.
pub async fn any_from(executor: impl PgExecutor<'_>, id: ChunkId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from raw_csv_blocks where file_id = $1 and chunk >= $2) as "exists!""#,
        id.file_id,
        id.chunk,
    )
    .fetch_one(executor)
    .await
}

/// The blocks of a chunk that hold any of the chosen rows, in order, as they come.
pub fn load<'c>(
    executor: impl PgExecutor<'c> + 'c,
    id: ChunkId,
    rows: &ChosenRows,
) -> impl Stream<Item = Result<RawBlock, sqlx::Error>> + Send + 'c {
    let only = match rows {
        ChosenRows::Only(numbers) => Some(numbers.as_slice()),
        ChosenRows::All | ChosenRows::Without(_) => None,
    };
    let rows = sqlx::query!(
        "select first_row, first_line, start_offset, payload, row_lengths
         from raw_csv_blocks
         where file_id = $1 and chunk = $2
           and ($3::bigint[] is null or exists (
                select 1 from unnest($3) as chosen (number)
                where number between first_row and first_row + cardinality(row_lengths) - 1))
         order by block",
        id.file_id,
        id.chunk,
        only,
    )
    .fetch(executor);
    rows.map_ok(|row| RawBlock {
        first_row: row.first_row,
        first_line: row.first_line,
        start: row.start_offset as u64,
        payload: row.payload.into(),
        row_ends: row_ends(&row.row_lengths),
    })
}

/// The block of a file that holds a row, given by its number within the file; `None` when it is not kept.
///
/// # Errors
/// Database errors.
pub async fn with_row(
    executor: impl PgExecutor<'_>,
    file_id: i64,
    row: i64,
) -> Result<Option<RawBlock>, sqlx::Error> {
    let block = sqlx::query!(
        // Rows are numbered through the whole file, in the order of its blocks.
        "select first_row, first_line, start_offset, payload, row_lengths
         from raw_csv_blocks
         where file_id = $1 and first_row <= $2
         order by chunk desc, block desc
         limit 1",
        file_id,
        row,
    )
    .fetch_optional(executor)
    .await?;
    let block = block.map(|block| RawBlock {
        first_row: block.first_row,
        first_line: block.first_line,
        start: block.start_offset as u64,
        payload: block.payload.into(),
        row_ends: row_ends(&block.row_lengths),
    });
    Ok(block.filter(|block| row < block.first_row + block.row_ends.len() as i64))
}

/// Stored as lengths, which compress better than offsets.
fn row_lengths(row_ends: &[i32]) -> impl ExactSizeIterator<Item = i32> {
    let mut start = 0;
    row_ends.iter().map(move |end| end - std::mem::replace(&mut start, *end))
}

fn row_ends(row_lengths: &[i32]) -> Vec<i32> {
    let mut end = 0;
    row_lengths
        .iter()
        .map(|length| {
            end += length;
            end
        })
        .collect()
}

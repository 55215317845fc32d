//! Owns `source_files`: the versions of files that were seen, and how far each has been read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::stored_hash;
use crate::domain::file::{CommittedFile, KnownFile, Layout, Progress};
use crate::domain::file_standing::FileStanding;
use crate::domain::hash::{ContentHash, Hashes};
use crate::domain::run::RunId;

/// A version of a file as a plan found it.
#[derive(Debug, Clone)]
pub struct FileVersion<'a> {
    /// Path or address.
    pub url: &'a str,
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification.
    pub modified: SystemTime,
    /// Hashes of all bytes.
    pub hashes: Hashes,
    /// How it is read.
    pub layout: &'a Layout,
}

/// The files of a source that runs have read to their end, by [`CommittedFile::key`]: the version of each that was committed
/// last; those that it has no more included.
///
/// # Errors
/// Database errors.
pub async fn committed(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<BTreeMap<String, Arc<CommittedFile>>, sqlx::Error> {
    let mut rows = sqlx::query!(
        r#"select distinct on (url, member)
                url, member, listed, id, size, modified_ns, content_hash, layout, committed_bytes, committed_rows,
                committed_lines, committed_chunks, committed_width, etag, definition_hash,
                quarantined_rows, gone_run_id is not null as "gone!",
                exists (
                    select 1 from etl_runs as r
                    where r.id = gone_run_id and r.status in ('success', 'success_with_duplicates')
                ) as "gone_for_good!",
                committed_run_id as "run_id!",
                exists (
                    select 1 from raw_csv_blocks as b
                    where b.file_id = source_files.id and b.chunk >= committed_chunks
                ) as "rows_behind!"
         from source_files
         where source = $1 and committed_run_id is not null
           and (streamed_from is null or listed is not null)
         order by url, member, committed_run_id desc, id desc"#,
        source,
    )
    .fetch(executor);
    let mut files = BTreeMap::new();
    let mut layouts = Layouts::default();
    while let Some(row) = rows.try_next().await? {
        let known = KnownFile {
            size: row.size as u64,
            modified: from_nanos(row.modified_ns),
            hash: stored_hash(&row.content_hash)?,
            layout: layouts.shared(row.layout),
            end: Progress {
                bytes: row.committed_bytes as u64,
                rows: row.committed_rows,
                lines: row.committed_lines,
                chunks: row.committed_chunks,
            },
            width: row.committed_width.map(i32::cast_unsigned),
            etag: row.etag,
        };
        let key = CommittedFile::key(&row.url, row.member.as_deref());
        let file = CommittedFile {
            id: row.id,
            url: row.url,
            listed: row.listed,
            member: row.member,
            known,
            definition_hash: row.definition_hash.as_deref().map(stored_hash).transpose()?,
            run: RunId(row.run_id),
            quarantined: row.quarantined_rows,
            gone: row.gone,
            gone_for_good: row.gone_for_good,
            rows_behind: row.rows_behind,
        };
        files.insert(key, Arc::new(file));
    }
    Ok(files)
}

/// The layouts of many files, which are mostly a few.
#[derive(Default)]
struct Layouts(Vec<Layout>);

impl Layouts {
    /// So many are looked through for an equal one.
    const MOST: usize = 16;

    /// The same layout, shared with the files that have it too.
    fn shared(&mut self, layout: Value) -> Layout {
        if let Some(known) = self.0.iter().find(|known| *known.value() == layout) {
            return known.clone();
        }
        let layout = Layout::new(layout);
        if self.0.len() < Self::MOST {
            self.0.push(layout.clone());
        }
        layout
    }
}

/// Sets `gone_run_id` on files and on members of archives (`source_files.id`) that are no longer there, and clears it on
/// those that are. A mark of a run that was no success is renewed with this run.
///
/// # Errors
/// Database errors.
pub async fn note_found(
    connection: &mut PgConnection,
    source: &str,
    found: &[&str],
    gone_members: &[i64],
    run: RunId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update source_files as f
         set gone_run_id = case when f.url = any($2) and f.id <> all($4) then null else $3::bigint end
         where f.source = $1 and (
            (f.gone_run_id is null) <> (f.url = any($2) and f.id <> all($4))
            or f.gone_run_id is not null and not exists (
                select 1 from etl_runs as r
                where r.id = f.gone_run_id and r.status in ('success', 'success_with_duplicates')
            )
         )",
        source,
        found as &[&str],
        run.0,
        gone_members,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts the rows in quarantine of files of which a run has evaluated some: all of them, or, where only
/// rows behind a number were evaluated, those and what was counted before. It looks at nothing but what
/// is in quarantine of these files.
///
/// # Errors
/// Database errors.
pub async fn recount(
    connection: &mut PgConnection,
    source: &str,
    evaluated: &[EvaluatedFile],
) -> Result<Vec<FileStanding>, sqlx::Error> {
    let ids: Vec<i64> = evaluated.iter().map(|file| file.id).collect();
    let behind: Vec<i64> = evaluated.iter().map(|file| file.behind).collect();
    let rows: Vec<i64> = evaluated.iter().map(|file| file.rows).collect();
    sqlx::query_as!(
        FileStanding,
        r#"update source_files as f set
            quarantined_rows = case when j.behind > 0 then f.quarantined_rows else 0 end + (
                select count(distinct q.raw_row) from quarantined_rows as q
                where q.source = $1 and q.raw_ref = 'file/' || j.id and q.raw_row > j.behind
                  and q.status in ('open', 'redriven')
            )
         from unnest($2::bigint[], $3::bigint[], $4::bigint[]) as j (id, behind, rows)
         where f.id = j.id
         returning f.url, greatest(f.committed_rows, j.rows) as "rows!",
            f.quarantined_rows as quarantined, exists (
                select 1 from source_files as later
                where later.source = f.source and later.url = f.url
                  and later.member is not distinct from f.member
                  and later.committed_run_id > f.committed_run_id
            ) as "outdated!""#,
        source,
        &ids,
        &behind,
        &rows,
    )
    .fetch_all(connection)
    .await
}

/// A file whose rows a run has evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluatedFile {
    /// `source_files.id`.
    pub id: i64,
    /// Only rows behind this one.
    pub behind: i64,
    /// Rows of it that the run knows of.
    pub rows: i64,
}

/// The ids of these versions when they are read from their start: those they have already, or new ones.
/// A version that was read before keeps its raw rows; they are not stored again.
///
/// # Errors
/// Database errors.
pub async fn register(
    connection: &mut PgConnection,
    source: &str,
    versions: &[FileVersion<'_>],
    run: RunId,
) -> Result<Vec<i64>, sqlx::Error> {
    let mut ids = known(&mut *connection, source, versions).await?;
    let new: Vec<_> =
        versions.iter().zip(&ids).filter(|(_, id)| id.is_none()).map(|(new, _)| new).collect();
    let mut added = add(connection, source, &new, run).await?.into_iter();
    for id in &mut ids {
        *id = id.take().or_else(|| added.next());
    }
    match ids.into_iter().collect() {
        Some(ids) => Ok(ids),
        None => Err(sqlx::Error::RowNotFound),
    }
}

/// The ids of those that are known.
async fn known(
    connection: &mut PgConnection,
    source: &str,
    versions: &[FileVersion<'_>],
) -> Result<Vec<Option<i64>>, sqlx::Error> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let urls: Vec<_> = versions.iter().map(|version| version.url).collect();
    let hashes: Vec<_> = versions.iter().map(|version| version.hashes.content.as_bytes()).collect();
    let old: Vec<_> = versions.iter().map(|version| version.hashes.old_kind.as_bytes()).collect();
    let layouts: Vec<_> = versions.iter().map(|version| version.layout.value().clone()).collect();
    sqlx::query_scalar!(
        r#"select (
            select id from source_files as f
            where f.source = $1 and f.url = v.url and f.content_hash in (v.hash, v.old_hash)
              and f.layout = v.layout and not f.appended and f.streamed_from is null
            order by id desc limit 1
         ) as id
         from unnest($2::text[], $3::bytea[], $4::bytea[], $5::jsonb[]) with ordinality
            as v (url, hash, old_hash, layout, place)
         order by v.place"#,
        source,
        &urls as &[&str],
        &hashes as &[&[u8]],
        &old as &[&[u8]],
        &layouts,
    )
    .fetch_all(connection)
    .await
}

/// Adds versions, and answers their ids, in their order.
async fn add(
    connection: &mut PgConnection,
    source: &str,
    versions: &[&FileVersion<'_>],
    run: RunId,
) -> Result<Vec<i64>, sqlx::Error> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let urls: Vec<_> = versions.iter().map(|version| version.url).collect();
    let sizes: Vec<_> = versions.iter().map(|version| version.size as i64).collect();
    let modified: Vec<_> = versions.iter().map(|version| to_nanos(version.modified)).collect();
    let hashes: Vec<_> = versions.iter().map(|version| version.hashes.content.as_bytes()).collect();
    let layouts: Vec<_> = versions.iter().map(|version| version.layout.value().clone()).collect();
    let mut ids = sqlx::query_scalar!(
        "insert into source_files
            (source, url, size, modified_ns, content_hash, layout, first_run_id)
         select $1, url, size, modified_ns, hash, layout, $2
         from unnest($3::text[], $4::bigint[], $5::bigint[], $6::bytea[], $7::jsonb[])
            with ordinality as v (url, size, modified_ns, hash, layout, place)
         order by place
         returning id",
        source,
        run.0,
        &urls as &[&str],
        &sizes,
        &modified,
        &hashes as &[&[u8]],
        &layouts,
    )
    .fetch_all(connection)
    .await?;
    // They were numbered in the order in which they were inserted.
    ids.sort_unstable();
    Ok(ids)
}

/// A version that a run has read to its end, or of which it has seen that nothing is new.
#[derive(Debug, Clone)]
pub struct ReadVersion {
    /// `source_files.id`.
    pub id: i64,
    /// What is known of it now.
    pub known: KnownFile,
    /// Whether it has grown since it was read first.
    pub appended: bool,
}

/// Notes that a run has read versions to their ends.
///
/// # Errors
/// Database errors.
pub async fn commit(
    connection: &mut PgConnection,
    versions: &[ReadVersion],
    definition_hash: ContentHash,
    run: RunId,
) -> Result<(), sqlx::Error> {
    if versions.is_empty() {
        return Ok(());
    }
    let known = || versions.iter().map(|version| &version.known);
    let ids: Vec<_> = versions.iter().map(|version| version.id).collect();
    let sizes: Vec<_> = known().map(|known| known.size as i64).collect();
    let modified: Vec<_> = known().map(|known| to_nanos(known.modified)).collect();
    let hashes: Vec<_> = known().map(|known| known.hash.as_bytes()).collect();
    let layouts: Vec<_> = known().map(|known| known.layout.value().clone()).collect();
    let appended: Vec<_> = versions.iter().map(|version| version.appended).collect();
    let bytes: Vec<_> = known().map(|known| known.end.bytes as i64).collect();
    let rows: Vec<_> = known().map(|known| known.end.rows).collect();
    let lines: Vec<_> = known().map(|known| known.end.lines).collect();
    let chunks: Vec<_> = known().map(|known| known.end.chunks).collect();
    let widths: Vec<_> = known().map(|known| known.width.map(u32::cast_signed)).collect();
    let etags: Vec<_> = known().map(|known| known.etag.as_deref()).collect();
    sqlx::query!(
        "update source_files as f set
            size = v.size, etag = v.etag, modified_ns = v.modified_ns, content_hash = v.hash, layout = v.layout,
            appended = f.appended or v.appended, committed_bytes = v.bytes,
            committed_rows = v.rows, committed_lines = v.lines, committed_chunks = v.chunks,
            committed_width = v.width, definition_hash = $1, committed_run_id = $2, updated_at = now()
         from unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::jsonb[], $8::boolean[],
                     $9::bigint[], $10::bigint[], $11::bigint[], $12::integer[], $13::integer[], $14::text[])
            as v (id, size, modified_ns, hash, layout, appended, bytes, rows, lines, chunks, width, etag)
         where f.id = v.id",
        definition_hash.as_bytes(),
        run.0,
        &ids,
        &sizes,
        &modified,
        &hashes as &[&[u8]],
        &layouts,
        &appended,
        &bytes,
        &rows,
        &lines,
        &chunks,
        &widths as &[Option<i32>],
        &etags as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where a version is and how it is read.
#[derive(Debug, Clone)]
pub struct Location {
    /// Path or address.
    pub url: String,
    /// Which member of an archive it is.
    pub member: Option<String>,
    /// How it is read.
    pub layout: Layout,
    /// The run that saw it first.
    pub first_run: RunId,
}

impl Location {
    /// What the file is called in the keys of its rows.
    pub fn in_keys(&self) -> String {
        CommittedFile::in_keys(&self.url, self.member.as_deref())
    }
}

/// Where a version is and how it is read.
///
/// # Errors
/// Database errors; `RowNotFound` when there is no such version.
pub async fn location(executor: impl PgExecutor<'_>, id: i64) -> Result<Location, sqlx::Error> {
    let row = sqlx::query!(
        "select url, member, layout, first_run_id from source_files where id = $1",
        id
    )
    .fetch_one(executor)
    .await?;
    let first_run = RunId(row.first_run_id);
    let (url, member, layout) = (row.url, row.member, Layout::new(row.layout));
    Ok(Location { url, member, layout, first_run })
}

/// The same of several versions, by their ids; those that are not kept any more are left out.
///
/// # Errors
/// Database errors.
pub async fn locations(
    executor: impl PgExecutor<'_>,
    ids: &[i64],
) -> Result<HashMap<i64, Location>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, url, member, layout, first_run_id from source_files where id = any($1)",
        ids,
    )
    .fetch_all(executor)
    .await?;
    let located = rows.into_iter().map(|row| {
        let (layout, first_run) = (Layout::new(row.layout), RunId(row.first_run_id));
        (row.id, Location { url: row.url, member: row.member, layout, first_run })
    });
    Ok(located.collect())
}

/// Nanoseconds since 1970; files older than that or beyond the year 2262 count as of then.
pub fn to_nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// The inverse of [`to_nanos`].
pub fn from_nanos(nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos.unsigned_abs())
}

/// A file of a source, for people.
#[derive(Debug, Clone)]
pub struct ListedFile {
    /// Path or address.
    pub url: String,
    /// Size in bytes of its newest version.
    pub size: i64,
    /// The member of the archive that it is.
    pub member: Option<String>,
    /// How many of its bytes a run has read to the end.
    pub read: i64,
    /// Whether the last run that looked did not find it.
    pub is_gone: bool,
    /// Rows that a run has read of it to the end.
    pub rows: i64,
    /// The run that did; `None` while none has.
    pub run: Option<i64>,
    /// When this was noted.
    pub updated_at: DateTime<Utc>,
}

/// The paths or addresses of files by their numbers; those that are not kept any more are left out.
///
/// # Errors
/// Database errors.
pub async fn urls(
    executor: impl PgExecutor<'_>,
    ids: &[i64],
) -> Result<HashMap<i64, String>, sqlx::Error> {
    let rows = sqlx::query!("select id, url from source_files where id = any($1)", ids);
    let rows = rows.fetch_all(executor).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.url)).collect())
}

/// The newest version of each file of a source, in the order of names.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    source: &str,
    limit: i64,
) -> Result<Vec<ListedFile>, sqlx::Error> {
    sqlx::query_as!(
        ListedFile,
        r#"select distinct on (url, member) url, member, size, committed_bytes as read,
                gone_run_id is not null as "is_gone!", committed_rows as rows, committed_run_id as run, updated_at
         from source_files where source = $1 order by url, member, id desc limit $2"#,
        source,
        limit,
    )
    .fetch_all(executor)
    .await
}

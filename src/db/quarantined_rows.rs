//! Owns `quarantined_rows`: rows set aside with their reason.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::pgcopy::{SMALL, copy_in};
use super::quarantine_totals::QuarantineGroup;
use crate::domain::field_name;
use crate::domain::reject::{Fingerprint, Reject};
use crate::domain::rejects::Rejects;
use crate::domain::run::RunId;
use crate::domain::text;

/// Sets rows aside, one table row per defect. A defect that is there already is open again if it was
/// resolved, and its message comes from the current job file; the rest of it stays as it is.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    rejects: &Rejects,
) -> Result<(), sqlx::Error> {
    if rejects.is_empty() {
        return Ok(());
    }
    if let Some(few) = Few::of(source, rejects) {
        return store_few(connection, source, run, &few).await;
    }
    // Not checked at compile time: the table exists only in this session.
    sqlx::query(
        "create temporary table if not exists quarantined_rows_stage
            (like quarantined_rows including defaults) on commit delete rows",
    )
    .execute(&mut *connection)
    .await?;
    let statement = "copy quarantined_rows_stage (source, raw_ref, raw_row, field, reason, run_id, \
                     line, byte_start, byte_end, message, raw, fingerprint, external_id) \
                     from stdin (format binary)";
    copy_in(&mut *connection, statement, rejects.iter(), |copy, (raw_ref, reject)| {
        let raw_ref = raw_ref.to_string();
        for (index, defect) in reject.kinds().enumerate() {
            let field = defect.field.as_deref().map(field_name::kept);
            copy.row(13);
            copy.text(Some(source));
            copy.text(Some(&raw_ref));
            copy.bigint(Some(reject.raw_row));
            copy.text(Some(field.as_deref().unwrap_or("")));
            copy.text(Some(defect.reason.as_str()));
            copy.bigint(Some(run.0));
            copy.bigint(reject.line);
            copy.bigint(reject.byte_range.map(|(start, _)| start));
            copy.bigint(reject.byte_range.map(|(_, end)| end));
            copy.text(Some(&storable(&defect.message)));
            copy.bytes(raw_beside(&reject, index));
            let fingerprint = Fingerprint::of(source, field.as_deref(), defect.reason);
            copy.bytes(&fingerprint.to_bytes());
            copy.text(reject.key.as_deref());
        }
    })
    .await?;
    sqlx::query(
        "insert into quarantined_rows select * from quarantined_rows_stage
         on conflict (source, raw_ref, raw_row, field, reason) do update set
            status = case quarantined_rows.status when 'redriven' then 'redriven' else 'open' end,
            message = excluded.message, external_id = excluded.external_id
            where quarantined_rows.status in ('resolved', 'superseded')
               or quarantined_rows.message <> excluded.message
               or quarantined_rows.external_id is distinct from excluded.external_id",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query("truncate quarantined_rows_stage").execute(connection).await?;
    Ok(())
}

/// The same for rows that are small together.
async fn store_few(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    few: &Few,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into quarantined_rows (source, run_id, raw_ref, raw_row, field, reason, line, byte_start,
                                       byte_end, message, raw, fingerprint, external_id)
         select $1, $2, defect.*
         from unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
                     $9::bigint[], $10::text[], $11::bytea[], $12::bytea[], $13::text[]) as defect
         on conflict (source, raw_ref, raw_row, field, reason) do update set
            status = case quarantined_rows.status when 'redriven' then 'redriven' else 'open' end,
            message = excluded.message, external_id = excluded.external_id
            where quarantined_rows.status in ('resolved', 'superseded')
               or quarantined_rows.message <> excluded.message
               or quarantined_rows.external_id is distinct from excluded.external_id",
        source,
        run.0,
        &few.raw_refs,
        &few.raw_rows,
        &few.fields,
        &few.reasons as &[&str],
        &few.lines as &[Option<i64>],
        &few.starts as &[Option<i64>],
        &few.ends as &[Option<i64>],
        &few.messages,
        &few.raws,
        &few.fingerprints,
        &few.keys as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Defects, a column each.
#[derive(Default)]
struct Few {
    raw_refs: Vec<String>,
    raw_rows: Vec<i64>,
    fields: Vec<String>,
    reasons: Vec<&'static str>,
    lines: Vec<Option<i64>>,
    starts: Vec<Option<i64>>,
    ends: Vec<Option<i64>>,
    messages: Vec<String>,
    raws: Vec<Vec<u8>>,
    fingerprints: Vec<Vec<u8>>,
    keys: Vec<Option<String>>,
}

impl Few {
    /// The defects of rows that are small together; `None` when they are not.
    fn of(source: &str, rejects: &Rejects) -> Option<Self> {
        let mut few = Self::default();
        let mut bytes = 0;
        for (raw_ref, reject) in rejects.iter() {
            let raw_ref = raw_ref.to_string();
            for (index, defect) in reject.kinds().enumerate() {
                let raw = raw_beside(&reject, index);
                // What the others take is less than this.
                bytes += raw.len() + defect.message.len() + 200;
                if bytes > SMALL {
                    return None;
                }
                let field = defect.field.as_deref().map(field_name::kept);
                let fingerprint = Fingerprint::of(source, field.as_deref(), defect.reason);
                few.raw_refs.push(raw_ref.clone());
                few.raw_rows.push(reject.raw_row);
                few.fields.push(field.unwrap_or_default().into_owned());
                few.reasons.push(defect.reason.as_str());
                few.lines.push(reject.line);
                few.starts.push(reject.byte_range.map(|(start, _)| start));
                few.ends.push(reject.byte_range.map(|(_, end)| end));
                few.messages.push(storable(&defect.message).into_owned());
                few.raws.push(raw.to_vec());
                few.fingerprints.push(fingerprint.to_bytes().to_vec());
                few.keys.push(reject.key.clone());
            }
        }
        Some(few)
    }
}

/// What is kept of a row beside one of its defects: all of it beside the first only, for there may be a
/// hundred.
fn raw_beside(reject: &Reject, index: usize) -> &[u8] {
    let most = if index == 0 { reject.raw.len() } else { SHOWN as usize };
    &reject.raw[..most.min(reject.raw.len())]
}

/// Messages quote what was found; PostgreSQL's text cannot hold U+0000.
fn storable(message: &str) -> std::borrow::Cow<'_, str> {
    let message = text::cut(message, text::MAX_ERROR);
    if message.contains('\0') { message.replace('\0', "\u{fffd}").into() } else { message }
}

/// The most raw bytes of a row that [`list`] reads: a page of rows of 1 MiB each would be 1 GiB.
pub const SHOWN: i32 = 16 << 10;

/// A defect of a row set aside, for people.
#[derive(Debug, Clone)]
pub struct QuarantinedRow {
    /// Name of the source.
    pub source: String,
    /// The raw payload the row is in.
    pub raw_ref: String,
    /// The row within it.
    pub raw_row: i64,
    /// The field, empty when the row as a whole is bad.
    pub field: String,
    /// Reason code.
    pub reason: String,
    /// The run that set it aside.
    pub run_id: i64,
    /// Line in the file.
    pub line: Option<i64>,
    /// First byte in the file.
    pub byte_start: Option<i64>,
    /// Byte behind the last in the file.
    pub byte_end: Option<i64>,
    /// One sentence.
    pub message: String,
    /// The row as it came, cut at [`SHOWN`] bytes.
    pub raw: Vec<u8>,
    /// Length of the whole row as it was kept.
    pub raw_bytes: i32,
    /// Equal for rows that fail alike.
    pub fingerprint: Vec<u8>,
    /// `open`, `redriven`, `resolved` or `superseded`.
    pub status: String,
    /// When it was set aside.
    pub created_at: DateTime<Utc>,
}

/// Where a page starts: behind this defect.
#[derive(Debug, Clone, Default)]
pub struct After {
    /// See [`QuarantinedRow`].
    pub source: String,
    /// See [`QuarantinedRow`].
    pub raw_ref: String,
    /// See [`QuarantinedRow`].
    pub raw_row: i64,
    /// See [`QuarantinedRow`].
    pub field: String,
    /// See [`QuarantinedRow`].
    pub reason: String,
}

/// Which defects to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowFilter<'a> {
    /// Only of this source.
    pub source: Option<&'a str>,
    /// Only with this reason code.
    pub reason: Option<&'a str>,
    /// Only with this status.
    pub status: Option<&'a str>,
}

/// Defects in key order, behind `after`.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    filter: RowFilter<'_>,
    after: &After,
    limit: i64,
) -> Result<Vec<QuarantinedRow>, sqlx::Error> {
    sqlx::query_as!(
        QuarantinedRow,
        r#"select source, raw_ref, raw_row, field, reason, run_id, line, byte_start, byte_end,
                shown_error(message) as "message!", substring(raw for $9) as "raw!",
                octet_length(raw) as "raw_bytes!", fingerprint, status, created_at
         from quarantined_rows
         where ($1::text is null or source = $1)
           and ($2::text is null or reason = $2)
           and ($10::text is null or status = $10)
           and (source, raw_ref, raw_row, field, reason) > ($3, $4, $5, $6, $7)
         order by source, raw_ref, raw_row, field, reason
         limit $8"#,
        filter.source,
        filter.reason,
        after.source,
        after.raw_ref,
        after.raw_row,
        after.field,
        after.reason,
        limit,
        SHOWN,
        filter.status,
    )
    .fetch_all(executor)
    .await
}

/// The defects of a row, and those of rows with this key, those of the newest runs first.
///
/// # Errors
/// Database errors.
pub async fn of_record(
    executor: impl PgExecutor<'_>,
    (source, key): (&str, &str),
    (raw_ref, raw_row): (&str, i64),
    limit: i64,
) -> Result<Vec<QuarantinedRow>, sqlx::Error> {
    sqlx::query_as!(
        QuarantinedRow,
        // Two indexes, each asked by itself; the newest of both together are among the newest of each.
        r#"with of_row as (
            select raw_ref, raw_row, field, reason from quarantined_rows
            where source = $1 and raw_ref = $3 and raw_row = $4
            order by field, reason limit $5
         ), of_key as (
            select raw_ref, raw_row, field, reason from quarantined_rows
            where source = $1 and external_id = $2
            order by run_id desc limit $5
         )
         select q.source, q.raw_ref, q.raw_row, q.field, q.reason, q.run_id, q.line, q.byte_start, q.byte_end,
                shown_error(q.message) as "message!", substring(q.raw for $6) as "raw!",
                octet_length(q.raw) as "raw_bytes!", q.fingerprint, q.status, q.created_at
         from (select * from of_row union select * from of_key) as found
         join quarantined_rows as q
            on q.source = $1 and q.raw_ref = found.raw_ref and q.raw_row = found.raw_row
            and q.field = found.field and q.reason = found.reason
         order by q.run_id desc, q.raw_ref, q.raw_row, q.field, q.reason
         limit $5"#,
        source,
        key,
        raw_ref,
        raw_row,
        limit,
        SHOWN,
    )
    .fetch_all(executor)
    .await
}

/// The run that first kept a payload with a row that is still set aside, of a source and, if given,
/// with a fingerprint. Rows whose payload is gone count as of the run that set them aside.
///
/// # Errors
/// Database errors.
pub async fn first_run(
    executor: impl PgExecutor<'_>,
    source: &str,
    fingerprint: Option<&[u8]>,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select min(coalesce(f.first_run_id, p.run_id, q.run_id))
         from (
            select raw_ref, min(run_id) as run_id,
                   case when raw_ref like 'page/%' then decode(substring(raw_ref from 6), 'hex') end
                       as page_hash
            from quarantined_rows
            where source = $1 and ($2::bytea is null or fingerprint = $2)
              and status in ('open', 'redriven')
            group by raw_ref
         ) as q
         left join source_files as f on f.source = $1 and q.raw_ref = 'file/' || f.id
         left join raw_api_pages as p on p.source = $1 and p.page_hash = q.page_hash",
        source,
        fingerprint,
    )
    .fetch_one(executor)
    .await?;
    Ok(id.map(RunId))
}

/// Rows of a raw payload, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSpan {
    /// The payload.
    pub raw_ref: String,
    /// The first row, from 1.
    pub first: i64,
    /// The last row.
    pub last: i64,
}

/// What tells the defects of a source apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DefectKey {
    /// The raw payload the row is in.
    pub raw_ref: String,
    /// The row within it.
    pub raw_row: i64,
    /// The field, empty when the row as a whole is bad.
    pub field: String,
    /// Reason code.
    pub reason: String,
}

/// What became of a defect whose row was judged once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewStatus {
    /// It is there still.
    Redriven,
    /// It is gone.
    Resolved,
}

/// The defects of these rows that are open or redriven.
///
/// # Errors
/// Database errors.
pub async fn unresolved(
    connection: &mut PgConnection,
    source: &str,
    spans: &[&RowSpan],
) -> Result<Vec<DefectKey>, sqlx::Error> {
    let raw_refs: Vec<&str> = spans.iter().map(|span| span.raw_ref.as_str()).collect();
    let firsts: Vec<i64> = spans.iter().map(|span| span.first).collect();
    let lasts: Vec<i64> = spans.iter().map(|span| span.last).collect();
    sqlx::query_as!(
        DefectKey,
        "select q.raw_ref, q.raw_row, q.field, q.reason
         from unnest($2::text[], $3::bigint[], $4::bigint[]) as span (raw_ref, first, last)
         cross join lateral (
            select * from quarantined_rows
            where source = $1 and raw_ref = span.raw_ref
              and raw_row between span.first and span.last
              and status in ('open', 'redriven')
         ) as q",
        source,
        &raw_refs as &[&str],
        &firsts,
        &lasts,
    )
    .fetch_all(connection)
    .await
}

/// Says what became of defects.
///
/// # Errors
/// Database errors.
pub async fn set_status(
    connection: &mut PgConnection,
    source: &str,
    defects: &[DefectKey],
    status: NewStatus,
) -> Result<(), sqlx::Error> {
    if defects.is_empty() {
        return Ok(());
    }
    let raw_refs: Vec<&str> = defects.iter().map(|defect| defect.raw_ref.as_str()).collect();
    let rows: Vec<i64> = defects.iter().map(|defect| defect.raw_row).collect();
    let fields: Vec<&str> = defects.iter().map(|defect| defect.field.as_str()).collect();
    let reasons: Vec<&str> = defects.iter().map(|defect| defect.reason.as_str()).collect();
    sqlx::query!(
        "update quarantined_rows as q set status = $6
         from unnest($2::text[], $3::bigint[], $4::text[], $5::text[])
            as d (raw_ref, raw_row, field, reason)
         where q.source = $1 and q.raw_ref = d.raw_ref and q.raw_row = d.raw_row
           and q.field = d.field and q.reason = d.reason",
        source,
        &raw_refs as &[&str],
        &rows,
        &fields as &[&str],
        &reasons as &[&str],
        match status {
            NewStatus::Redriven => "redriven",
            NewStatus::Resolved => "resolved",
        },
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Supersedes what was set aside of other versions of files: these were read from their start, and
/// what they say counts.
///
/// # Errors
/// Database errors.
pub async fn supersede(
    connection: &mut PgConnection,
    source: &str,
    files: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update quarantined_rows set status = 'superseded'
         where source = $1 and status in ('open', 'redriven') and raw_ref in (
            select 'file/' || other.id
            from source_files as this
            join source_files as other on other.source = this.source and other.url = this.url
                and other.member is not distinct from this.member
            where this.id = any($2) and other.id <> this.id
         )",
        source,
        files,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Supersedes what was set aside of earlier versions of files that were not read to their ends: this run came as far
/// without reaching the end either, and what it says of those rows counts.
///
/// # Errors
/// Database errors.
pub async fn supersede_unfinished(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update quarantined_rows as q set status = 'superseded'
         from (
            select 'file/' || earlier.id as raw_ref, (
                select max(b.first_row + cardinality(b.row_lengths) - 1)
                from raw_csv_blocks as b where b.file_id = this.id
            ) as last_row
            from source_files as this
            join source_files as earlier on earlier.source = this.source and earlier.url = this.url
                and earlier.member is not distinct from this.member and earlier.id < this.id
            where this.source = $1 and this.first_run_id = $2
              and this.streamed_from is not null and this.committed_run_id is null
              and earlier.streamed_from is not null and earlier.committed_run_id is null
         ) as again
         where q.source = $1 and q.status in ('open', 'redriven')
           and q.raw_ref = again.raw_ref and q.raw_row <= again.last_row",
        source,
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A row of each group, as an example.
///
/// # Errors
/// Database errors.
pub async fn examples(
    executor: impl PgExecutor<'_>,
    groups: &[QuarantineGroup],
) -> Result<Vec<QuarantinedRow>, sqlx::Error> {
    let sources: Vec<String> = groups.iter().map(|group| group.source.clone()).collect();
    let fingerprints: Vec<Vec<u8>> = groups.iter().map(|group| group.fingerprint.clone()).collect();
    sqlx::query_as!(
        QuarantinedRow,
        r#"select q.source, q.raw_ref, q.raw_row, q.field, q.reason, q.run_id, q.line, q.byte_start,
                q.byte_end, shown_error(q.message) as "message!", substring(q.raw for $3) as "raw!",
                octet_length(q.raw) as "raw_bytes!", q.fingerprint, q.status, q.created_at
         from unnest($1::text[], $2::bytea[]) as t (source, fingerprint)
         cross join lateral (
            select * from quarantined_rows
            where source = t.source and fingerprint = t.fingerprint
              and status in ('open', 'redriven')
            limit 1
         ) as q"#,
        &sources,
        &fingerprints,
        SHOWN,
    )
    .fetch_all(executor)
    .await
}

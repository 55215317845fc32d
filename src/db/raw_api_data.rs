//! Owns `raw_api_pages`, what requests were answered with, and `raw_api_data`, the bodies of these pages, each
//! kept once per source.
//!
//! A body that is nested deeper than PostgreSQL's parser goes is kept as a JSON text that holds it: one
//! hostile value must not take its page with it. No page is such a text by itself, for it holds no
//! records.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::stored_hash;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::json_size::JsonSize;
use crate::domain::run::RunId;

/// The deepest nesting of a body that is kept as it is. PostgreSQL's parser goes to about 6,000 levels
/// under its usual `max_stack_depth`, and to 300 under the smallest.
const MAX_DEPTH: usize = 256;

/// A page to keep: what a request was answered with.
#[derive(Debug)]
pub struct RawPage<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Fingerprint of the request.
    pub request: ContentHash,
    /// The address asked, without secrets.
    pub url: &'a str,
    /// HTTP status.
    pub status: u16,
    /// Number of records in it.
    pub records: i64,
    /// What mapping has to know besides the body; null when nothing.
    pub context: &'a Value,
    /// JSON text, exactly as it came.
    pub body: &'a str,
    /// Hash of it.
    pub hash: ContentHash,
}

/// What is known of a page before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The hash that the page is kept under, or is to be.
    pub page: StoredHash,
    /// The hash that its body is kept under, or is to be.
    body: StoredHash,
    /// Whether the body is kept already.
    kept: bool,
    /// Whether all of it was in the table as it is now when it was normalized last. Whether it still is,
    /// under the mapping of now, is for whoever normalizes it to say.
    pub completed: bool,
}

/// Keeps a page; a body that is known to be kept already is not sent again. Answers the hash that the page
/// is kept under: another one than was known when another request was answered with the same body meanwhile.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    page: &RawPage<'_>,
    known: &Known,
    run: RunId,
    slice: i64,
) -> Result<StoredHash, sqlx::Error> {
    if !(known.kept && is_kept(&mut *connection, page.source, known.body).await?) {
        let body = kept(page.body);
        // Bound as text and cast by the server: sqlx's json types would parse and print the body.
        sqlx::query!(
            "insert into raw_api_data (source, body_hash, run_id, slice, url, status, records, body)
             values ($1, $2, $3, $4, $5, $6, $7, ($8::text)::json)
             on conflict (source, body_hash) do nothing",
            page.source,
            known.body.as_bytes(),
            run.0,
            slice,
            page.url,
            i32::from(page.status),
            page.records,
            body.as_ref(),
        )
        .execute(&mut *connection)
        .await?;
    }
    let of_both = of_request_and_body(page.request, known.body);
    for hash in [known.page, of_both] {
        let found = sqlx::query_scalar!(
            "select request_hash from raw_api_pages where source = $1 and page_hash = $2 for key share",
            page.source,
            hash.as_bytes(),
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(Some(request)) = found {
            if request == page.request.as_bytes() {
                return Ok(hash);
            }
            continue;
        }
        // A page that an earlier version read is of the request that it was read with first.
        let is_ours = sqlx::query_scalar!(
            r#"insert into raw_api_pages as p
                (source, page_hash, body_hash, request_hash, url, context, run_id, slice)
             values ($1, $2, $3, $4, $5, ($6::text)::json, $7, $8)
             on conflict (source, page_hash) do update set
                request_hash = coalesce(p.request_hash, excluded.request_hash)
             returning request_hash = $4 as "ours!""#,
            page.source,
            hash.as_bytes(),
            known.body.as_bytes(),
            page.request.as_bytes(),
            page.url,
            Some(page.context).filter(|context| !context.is_null()).map(Value::to_string),
            run.0,
            slice,
        )
        .fetch_one(&mut *connection)
        .await?;
        if is_ours {
            return Ok(hash);
        }
    }
    Ok(of_both)
}

/// What a page is kept under whose body another request was answered with before.
fn of_request_and_body(request: ContentHash, body: StoredHash) -> StoredHash {
    ContentHash::of(&[request.as_bytes(), body.as_bytes()].concat()).into()
}

/// Whether a body is kept, and stays so until the transaction ends: who removes old pages has to wait.
async fn is_kept(
    connection: &mut PgConnection,
    source: &str,
    body: StoredHash,
) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query_scalar!(
        r#"select 1 as "one!" from raw_api_data where source = $1 and body_hash = $2 for key share"#,
        source,
        body.as_bytes(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(kept.is_some())
}

/// What is known of the page that a request was answered with. Of a body that no other request was answered
/// with, the page has the hash of its body. What an earlier version has kept stays under its old hash, and so
/// do the rows that point to it; equal means byte for byte then.
///
/// # Errors
/// Database errors.
pub async fn known(
    connection: &mut PgConnection,
    page: &RawPage<'_>,
) -> Result<Known, sqlx::Error> {
    let RawPage { source, request, url, body: text, hash, .. } = *page;
    let (new, old): (StoredHash, _) = (hash.into(), StoredHash::old_kind_of(text.as_bytes()));
    let row = sqlx::query!(
        r#"select
            exists (select 1 from raw_api_data where source = $1 and body_hash = $2) as "kept!",
            (select body::text from raw_api_data where source = $1 and body_hash = $3) as old_body
         "#,
        source,
        new.as_bytes(),
        old.as_bytes(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let old_body = row.old_body.map(as_it_came).transpose()?;
    let is_old = old_body.is_some_and(|old| old == text);
    let (body, kept) = if is_old { (old, true) } else { (new, row.kept) };
    if !kept {
        return Ok(Known { page: body, body, kept, completed: false });
    }
    let of_both = of_request_and_body(request, body);
    let pages = sqlx::query!(
        r#"select
            p.page_hash, p.request_hash = $3 or (p.request_hash is null and p.url = $4) as "ours!",
            exists (
                select 1 from unchanged_pages as u
                where u.source = $1 and u.page_hash = p.page_hash
            ) as "completed!"
         from raw_api_pages as p
         where p.source = $1 and p.page_hash in ($2, $5)
         order by p.page_hash = $2 desc"#,
        source,
        body.as_bytes(),
        request.as_bytes(),
        url,
        of_both.as_bytes(),
    )
    .fetch_all(connection)
    .await?;
    let ours = pages.iter().find(|page| page.ours);
    let page = match ours {
        Some(page) => stored_hash(&page.page_hash)?,
        None if pages.is_empty() => body,
        None => of_both,
    };
    Ok(Known { page, body, kept, completed: ours.is_some_and(|page| page.completed) })
}

/// A page that is kept.
#[derive(Debug)]
pub struct KeptPage {
    /// Its body, as it came.
    pub text: String,
    /// What mapping has to know besides; null when nothing.
    pub context: Value,
    /// The run that read it first.
    pub first_run: RunId,
}

/// A page that is kept.
///
/// # Errors
/// Database errors; `RowNotFound` when there is none of that hash.
pub async fn page(
    executor: impl PgExecutor<'_>,
    source: &str,
    hash: StoredHash,
) -> Result<KeptPage, sqlx::Error> {
    let row = sqlx::query!(
        r#"select d.body::text as "body!", p.context::text as context, p.run_id
         from raw_api_pages as p join raw_api_data as d using (source, body_hash)
         where source = $1 and p.page_hash = $2"#,
        source,
        hash.as_bytes(),
    )
    .fetch_one(executor)
    .await?;
    let context = row.context.as_deref().map(serde_json::from_str).transpose();
    Ok(KeptPage {
        text: as_it_came(row.body)?,
        context: context.map_err(|error| sqlx::Error::Decode(error.into()))?.unwrap_or_default(),
        first_run: RunId(row.run_id),
    })
}

/// A page, and where it came from.
#[derive(Debug)]
pub struct PageOrigin {
    /// The address asked, without secrets.
    pub url: String,
    /// When the request was answered so first.
    pub fetched_at: DateTime<Utc>,
    /// What is kept of it.
    pub page: KeptPage,
}

/// A page with where it came from; `None` when it is not kept any more.
///
/// # Errors
/// Database errors.
pub async fn origin(
    connection: &mut PgConnection,
    source: &str,
    hash: StoredHash,
) -> Result<Option<PageOrigin>, sqlx::Error> {
    let row = sqlx::query!(
        "select url, fetched_at from raw_api_pages where source = $1 and page_hash = $2",
        source,
        hash.as_bytes(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    // The janitor may have come in between.
    let page = match page(connection, source, hash).await {
        Err(sqlx::Error::RowNotFound) => return Ok(None),
        page => page?,
    };
    Ok(Some(PageOrigin { url: row.url, fetched_at: row.fetched_at, page }))
}

/// The slice that a page was in the run that read it first; `None` when it is not kept any more.
///
/// # Errors
/// Database errors.
pub async fn first_slice(
    executor: impl PgExecutor<'_>,
    source: &str,
    hash: StoredHash,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select slice from raw_api_pages where source = $1 and page_hash = $2",
        source,
        hash.as_bytes(),
    )
    .fetch_optional(executor)
    .await
}

/// The addresses that pages are of, without secrets; those that are not kept any more are left out.
///
/// # Errors
/// Database errors.
pub async fn addresses(
    executor: impl PgExecutor<'_>,
    source: &str,
    hashes: &[StoredHash],
) -> Result<Vec<(StoredHash, String)>, sqlx::Error> {
    let hashes: Vec<&[u8]> = hashes.iter().map(StoredHash::as_bytes).collect();
    let rows = sqlx::query!(
        "select page_hash, url from raw_api_pages where source = $1 and page_hash = any($2)",
        source,
        &hashes as &[&[u8]],
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(|row| Ok((stored_hash(&row.page_hash)?, row.url))).collect()
}

fn kept(body: &str) -> Cow<'_, str> {
    match JsonSize::of(body).depth > MAX_DEPTH {
        true => serde_json::Value::from(body).to_string().into(),
        false => body.into(),
    }
}

fn as_it_came(kept: String) -> Result<String, sqlx::Error> {
    match kept.starts_with('"') {
        true => serde_json::from_str(&kept).map_err(|error| sqlx::Error::Decode(error.into())),
        false => Ok(kept),
    }
}

//! Owns `raw_api_data`: the bodies of API pages, each kept once per source.
//!
//! A body that is nested deeper than PostgreSQL's parser goes is kept as a JSON text that holds it: one
//! hostile value must not take its page with it. No page is such a text by itself, for it holds no
//! records.

use std::borrow::Cow;

use sqlx::{PgConnection, PgExecutor};

use crate::domain::hash::{Hashes, StoredHash};
use crate::domain::json_size::JsonSize;
use crate::domain::run::RunId;

/// The deepest nesting of a body that is kept as it is. PostgreSQL's parser goes to about 6,000 levels
/// under its usual `max_stack_depth`, and to 300 under the smallest.
const MAX_DEPTH: usize = 256;

/// A page to keep.
#[derive(Debug)]
pub struct RawPage<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// The hash that it is kept under.
    pub hash: StoredHash,
    /// The address asked, without secrets.
    pub url: &'a str,
    /// HTTP status.
    pub status: u16,
    /// Number of records in it.
    pub records: i64,
    /// JSON text, exactly as it came.
    pub body: &'a str,
}

/// What is known of a body before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The hash that it is kept under, or is to be.
    pub hash: StoredHash,
    /// Whether it is kept already.
    pub kept: bool,
    /// Whether it was in the table as it is now when it was normalized last. Whether it still is, under the
    /// mapping of now, is for whoever normalizes it to say.
    pub completed: bool,
}

/// Keeps a body; one that is `known` to be kept already is not sent again.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    page: &RawPage<'_>,
    known: &Known,
    run: RunId,
    slice: i64,
) -> Result<(), sqlx::Error> {
    if known.kept && is_kept(&mut *connection, page).await? {
        return Ok(());
    }
    let body = kept(page.body);
    // Bound as text and cast by the server: sqlx's json types would parse and print the body.
    sqlx::query!(
        "insert into raw_api_data (source, body_hash, run_id, slice, url, status, records, body)
         values ($1, $2, $3, $4, $5, $6, $7, ($8::text)::json)
         on conflict (source, body_hash) do nothing",
        page.source,
        page.hash.as_bytes(),
        run.0,
        slice,
        page.url,
        i32::from(page.status),
        page.records,
        body.as_ref(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a page is kept, and stays so until the transaction ends: who removes old pages has to wait.
async fn is_kept(connection: &mut PgConnection, page: &RawPage<'_>) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query_scalar!(
        r#"select 1 as "one!" from raw_api_data where source = $1 and body_hash = $2 for key share"#,
        page.source,
        page.hash.as_bytes(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(kept.is_some())
}

/// What is known of a body. What an earlier version has kept stays under its old hash, and so do the rows
/// that point to it; equal means byte for byte then.
///
/// # Errors
/// Database errors.
pub async fn known(
    executor: impl PgExecutor<'_>,
    source: &str,
    text: &str,
) -> Result<Known, sqlx::Error> {
    let hashes = Hashes::of(text.as_bytes());
    let row = sqlx::query!(
        r#"select
            exists (select 1 from raw_api_data where source = $1 and body_hash = $2) as "kept!",
            exists (select 1 from unchanged_pages where source = $1 and body_hash = $2) as "completed!",
            (select body::text from raw_api_data where source = $1 and body_hash = $3) as old_body,
            exists (select 1 from unchanged_pages where source = $1 and body_hash = $3) as "old_settled!"
         "#,
        source,
        hashes.content.as_bytes(),
        hashes.old_kind.as_bytes(),
    )
    .fetch_one(executor)
    .await?;
    let old = row.old_body.map(as_it_came).transpose()?;
    Ok(match old {
        Some(old) if old == text => {
            Known { hash: hashes.old_kind, kept: true, completed: row.old_settled }
        }
        _ => Known { hash: hashes.content.into(), kept: row.kept, completed: row.completed },
    })
}

/// A kept body, and the run that brought it first.
///
/// # Errors
/// Database errors; `RowNotFound` when there is none of that hash.
pub async fn body(
    executor: impl PgExecutor<'_>,
    source: &str,
    hash: StoredHash,
) -> Result<(String, RunId), sqlx::Error> {
    let row = sqlx::query!(
        r#"select body::text as "body!", run_id from raw_api_data
         where source = $1 and body_hash = $2"#,
        source,
        hash.as_bytes(),
    )
    .fetch_one(executor)
    .await?;
    Ok((as_it_came(row.body)?, RunId(row.run_id)))
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

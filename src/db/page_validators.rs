//! Owns `page_validators`: by what servers tell that pages have not changed since they were read.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::stored_hash;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::known_page::{KnownPage, Validators};
use crate::domain::run::RunId;

/// The page that a request was answered with last under this definition, if it has validators and is kept.
///
/// # Errors
/// Database errors.
pub async fn find(
    executor: impl PgExecutor<'_>,
    source: &str,
    config: StoredHash,
    request: ContentHash,
) -> Result<Option<KnownPage>, sqlx::Error> {
    let row = sqlx::query!(
        "select v.etag, v.last_modified, v.headers, v.credentials_hash, v.page_hash
         from page_validators as v
         join raw_api_pages as p on p.source = v.source and p.page_hash = v.page_hash
         join raw_api_data as d on d.source = p.source and d.body_hash = p.body_hash
         where v.source = $1 and v.request_hash = $2 and v.config_hash = $3",
        source,
        request.as_bytes(),
        config.as_bytes(),
    )
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let credentials = row.credentials_hash.as_deref().map(stored_hash).transpose()?;
    let (etag, last_modified, headers) = (row.etag, row.last_modified, row.headers);
    let validators = Validators { etag, last_modified, headers, credentials };
    Ok(Some(KnownPage { validators, page: stored_hash(&row.page_hash)? }))
}

/// Keeps the validators of the page that a request was answered with.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    source: &str,
    config: StoredHash,
    request: ContentHash,
    known: &KnownPage,
    run: RunId,
) -> Result<(), sqlx::Error> {
    let KnownPage { validators, page } = known;
    sqlx::query!(
        "insert into page_validators
            (source, request_hash, page_hash, config_hash, etag, last_modified, headers, credentials_hash,
             run_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (source, request_hash) do update set
            page_hash = excluded.page_hash, config_hash = excluded.config_hash, etag = excluded.etag,
            last_modified = excluded.last_modified, headers = excluded.headers,
            credentials_hash = excluded.credentials_hash, run_id = excluded.run_id, seen_at = now()",
        source,
        request.as_bytes(),
        page.as_bytes(),
        config.as_bytes(),
        validators.etag,
        validators.last_modified,
        validators.headers,
        validators.credentials.as_ref().map(StoredHash::as_bytes),
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes up to `most` validators of requests that were last made before a time.
///
/// # Errors
/// Database errors.
pub async fn remove(
    executor: impl PgExecutor<'_>,
    source: &str,
    before: DateTime<Utc>,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "delete from page_validators where (source, request_hash) in (
            select source, request_hash from page_validators
            where source = $1 and seen_at < $2
            limit $3 for update skip locked
         )",
        source,
        before,
        most,
    )
    .execute(executor)
    .await?;
    Ok(removed.rows_affected())
}

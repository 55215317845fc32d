//! Owns `api_tokens`: who may ask the API for what. Secrets are here as hashes only.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::domain::token::{Scope, SecretHash, TokenId};

/// A token as it is listed.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// Its public part.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it allows.
    pub scope: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is refused.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was used last, to the minute or so.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What a request's token is compared with.
#[derive(Debug, Clone)]
pub struct HeldToken {
    /// Its public part.
    pub id: TokenId,
    /// What people call it.
    pub name: Option<String>,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What it allows.
    pub scope: Scope,
    /// Whether its time is over.
    pub expired: bool,
}

/// Keeps a new token; `false` when its id is taken.
///
/// # Errors
/// Database errors.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    id: &TokenId,
    hash: &SecretHash,
    scope: Scope,
    name: Option<&str>,
    lasts: Option<Duration>,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "insert into api_tokens (id, secret_hash, scope, name, expires_at)
         values ($1, $2, $3, $4, now() + make_interval(secs => $5))
         on conflict (id) do nothing",
        id.as_str(),
        hash.as_bytes(),
        scope.as_str(),
        name,
        lasts.map(|lasts| lasts.as_secs_f64()),
    )
    .execute(executor)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Every token, newest first.
///
/// # Errors
/// Database errors.
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<ApiToken>, sqlx::Error> {
    sqlx::query_as!(
        ApiToken,
        "select id, name, scope, created_at, expires_at, revoked_at, last_used_at
         from api_tokens order by created_at desc, id",
    )
    .fetch_all(executor)
    .await
}

/// Revokes a token for good; `false` when there is none of that id. Again is harmless.
///
/// # Errors
/// Database errors.
pub async fn revoke(executor: impl PgExecutor<'_>, id: &TokenId) -> Result<bool, sqlx::Error> {
    let revoked = sqlx::query!(
        "update api_tokens set revoked_at = coalesce(revoked_at, now()) where id = $1",
        id.as_str(),
    )
    .execute(executor)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// The tokens that were not revoked, expired ones included: that the last token's time is over must
/// not open the API.
///
/// # Errors
/// Database errors.
pub async fn held(executor: impl PgExecutor<'_>) -> Result<Vec<HeldToken>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, name, secret_hash, scope, coalesce(expires_at <= now(), false) as \"expired!\"
         from api_tokens where revoked_at is null",
    )
    .fetch_all(executor)
    .await?;
    let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    rows.into_iter()
        .map(|row| {
            let hash = SecretHash::from_bytes(&row.secret_hash);
            Ok(HeldToken {
                id: row.id.parse().map_err(|error| decode(Box::new(error)))?,
                name: row.name,
                hash: hash.ok_or_else(|| decode("a hash has 32 bytes".into()))?,
                scope: row.scope.parse().map_err(|error| decode(Box::new(error)))?,
                expired: row.expired,
            })
        })
        .collect()
}

/// Whether any token would be accepted.
///
/// # Errors
/// Database errors.
pub async fn any_usable(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    Ok(held(executor).await?.iter().any(|token| !token.expired))
}

/// Notes that a token was used, at most once a minute.
///
/// # Errors
/// Database errors.
pub async fn note_use(executor: impl PgExecutor<'_>, id: &TokenId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update api_tokens set last_used_at = now()
         where id = $1 and coalesce(last_used_at < now() - interval '1 minute', true)",
        id.as_str(),
    )
    .execute(executor)
    .await?;
    Ok(())
}

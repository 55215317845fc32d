//! Owns `oauth_tokens`: tokens of login servers, sealed, of which one worker at a time renews each.
//!
//! Must not know what is sealed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

/// A token as it is kept.
#[derive(Debug, Clone)]
pub struct KeptToken {
    /// The tokens, sealed; `None` before there are any.
    pub sealed: Option<Vec<u8>>,
    /// Which they are.
    pub generation: i64,
    /// For how long they are used, by the database's clock; 0 when their time is over.
    pub good_for: Duration,
}

/// A token as it is listed.
#[derive(Debug, Clone)]
pub struct ListedToken {
    /// See the column.
    pub key: Vec<u8>,
    /// The source that had it first.
    pub source: String,
    /// Which it is.
    pub generation: i64,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was had.
    pub renewed_at: Option<DateTime<Utc>>,
}

/// The longest that having a token may take, while its row is locked.
pub const LONGEST_RENEWAL: Duration = Duration::from_secs(600);

/// Makes the row of a token, if there is none, and locks it until the end of the transaction: whoever else
/// would renew it waits.
///
/// # Errors
/// Database errors.
pub async fn lock(
    transaction: &mut PgConnection,
    key: &[u8],
    source: &str,
) -> Result<KeptToken, sqlx::Error> {
    // The login server may take its time, and sessions that idle within a transaction are ended soon.
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = '11min'")
        .execute(&mut *transaction)
        .await?;
    sqlx::query!(
        "insert into oauth_tokens (key, source) values ($1, $2) on conflict (key) do nothing",
        key,
        source,
    )
    .execute(&mut *transaction)
    .await?;
    let row = sqlx::query!(
        r#"select sealed, generation,
            greatest(extract(epoch from renew_at - clock_timestamp()), 0)::float8 as good_for
         from oauth_tokens where key = $1 for update"#,
        key,
    )
    .fetch_one(transaction)
    .await?;
    let good_for = row.good_for.filter(|seconds| seconds.is_finite()).unwrap_or(0.0);
    Ok(KeptToken {
        sealed: row.sealed,
        generation: row.generation,
        good_for: Duration::from_secs_f64(good_for),
    })
}

/// Keeps new tokens in a row that is locked.
///
/// # Errors
/// Database errors.
pub async fn keep(
    transaction: &mut PgConnection,
    key: &[u8],
    sealed: &[u8],
    generation: i64,
    used_for: Duration,
    lasts: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update oauth_tokens set sealed = $2, generation = $3,
            renew_at = clock_timestamp() + make_interval(secs => $4),
            expires_at = clock_timestamp() + make_interval(secs => $5),
            renewed_at = clock_timestamp()
         where key = $1",
        key,
        sealed,
        generation,
        used_for.as_secs_f64(),
        lasts.as_secs_f64(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// A token that is kept.
///
/// # Errors
/// Database errors.
pub async fn get(
    executor: impl PgExecutor<'_>,
    key: &[u8],
) -> Result<Option<ListedToken>, sqlx::Error> {
    sqlx::query_as!(
        ListedToken,
        "select key, source, generation, expires_at, renewed_at from oauth_tokens
         where key = $1 and sealed is not null",
        key,
    )
    .fetch_optional(executor)
    .await
}

//! Owns `console_sessions`: browsers that are signed in to the console. What their cookies say is here as hashes only.

use std::time::Duration;

use sqlx::PgExecutor;

use crate::domain::token::TokenId;

/// The most browsers that are signed in with a token at once: every process knows all of them.
const OF_TOKEN: i64 = 20;

/// Signs a browser in with a token, for a while. Sessions that are over are removed, and the oldest of the token where it
/// has too many.
///
/// # Errors
/// Database errors.
pub async fn sign_in(
    executor: impl PgExecutor<'_>,
    hash: &[u8; 32],
    token: &TokenId,
    lasts: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with over as (
            delete from console_sessions where expires_at <= now() or hash in (
                select hash from console_sessions where token_id = $2
                order by created_at desc offset $4::bigint - 1
            )
         )
         insert into console_sessions (hash, token_id, expires_at)
         values ($1, $2, now() + make_interval(secs => $3))",
        hash.as_slice(),
        token.as_str(),
        lasts.as_secs_f64(),
        OF_TOKEN,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Signs a browser out. Again is harmless.
///
/// # Errors
/// Database errors.
pub async fn sign_out(executor: impl PgExecutor<'_>, hash: &[u8; 32]) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from console_sessions where hash = $1", hash.as_slice())
        .execute(executor)
        .await?;
    Ok(())
}

/// The browsers that are signed in, each with its token.
///
/// # Errors
/// Database errors.
pub async fn open(executor: impl PgExecutor<'_>) -> Result<Vec<([u8; 32], TokenId)>, sqlx::Error> {
    let rows = sqlx::query!("select hash, token_id from console_sessions where expires_at > now()")
        .fetch_all(executor)
        .await?;
    let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    rows.into_iter()
        .map(|row| {
            let hash =
                row.hash.as_slice().try_into().map_err(|_| decode("a hash has 32 bytes".into()))?;
            Ok((hash, row.token_id.parse().map_err(|error| decode(Box::new(error)))?))
        })
        .collect()
}

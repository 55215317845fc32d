//! Owns `rate_limits`: token buckets that all workers share.

use std::time::Duration;

use sqlx::PgExecutor;

/// Takes a token from the bucket, or says how long to wait for one.
///
/// A bucket holds `requests` tokens and refills evenly over `per`.
///
/// # Errors
/// Database errors.
pub async fn take(
    executor: impl PgExecutor<'_>,
    key: &str,
    requests: u32,
    per: Duration,
) -> Result<Result<(), Duration>, sqlx::Error> {
    let capacity = f64::from(requests.max(1));
    let per_second = capacity / per.as_secs_f64().max(0.001);
    let wait = sqlx::query_file_scalar!("src/db/take_token.sql", key, capacity, per_second)
        .fetch_one(executor)
        .await?;
    Ok(if wait <= 0.0 { Ok(()) } else { Err(Duration::from_secs_f64(wait.min(86_400.0))) })
}

/// Closes a bucket for a while: a server said `Retry-After`. A longer block stays.
///
/// # Errors
/// Database errors.
pub async fn block(
    executor: impl PgExecutor<'_>,
    key: &str,
    delay: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into rate_limits (key, tokens, refilled_at, blocked_until)
         values ($1, 0, clock_timestamp(), clock_timestamp() + make_interval(secs => $2))
         on conflict (key) do update set
            blocked_until = greatest(rate_limits.blocked_until, excluded.blocked_until)",
        key,
        delay.as_secs_f64(),
    )
    .execute(executor)
    .await?;
    Ok(())
}

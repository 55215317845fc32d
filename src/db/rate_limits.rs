//! Owns `rate_limits`: token buckets that all workers share, what APIs said of them, and limits that are changed
//! while runs are under way.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::domain::actor::Actor;

/// The longest that anybody waits before asking again.
const LONGEST: f64 = 86_400.0;

/// How many requests per period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Also the size of the bucket.
    pub requests: u32,
    /// The period.
    pub per: Duration,
}

/// Why no request may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoToken {
    /// Until there may be a token.
    pub delay: Duration,
    /// Whether an API asked to wait, or said that nothing is left.
    pub blocked: bool,
}

/// Takes a token from the bucket, or says how long to wait for one.
///
/// A bucket holds as many tokens as the limit has requests and refills evenly over its period, and what was taken within
/// a period is counted: never more than the limit, though a full bucket refills meanwhile. Without a limit
/// there are always tokens, unless the bucket is blocked or was given a limit meanwhile.
///
/// # Errors
/// Database errors.
pub async fn take(
    executor: impl PgExecutor<'_>,
    key: &str,
    limit: Option<Limit>,
) -> Result<Result<(), NoToken>, sqlx::Error> {
    let requests = limit.map(|limit| to_integer(limit.requests));
    let per = limit.map(|limit| limit.per.as_secs_f64().max(0.001));
    let row =
        sqlx::query_file!("src/db/take_token.sql", key, requests, per).fetch_one(executor).await?;
    if row.wait <= 0.0 {
        return Ok(Ok(()));
    }
    let delay = Duration::from_secs_f64(row.wait.min(LONGEST * 366.0));
    Ok(Err(NoToken { delay, blocked: row.blocked }))
}

fn to_integer(requests: u32) -> i32 {
    i32::try_from(requests.max(1)).unwrap_or(i32::MAX)
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

/// Corrects a bucket by what an API said: it holds no more tokens than requests are left, and is closed until the
/// reset when none is.
///
/// # Errors
/// Database errors.
pub async fn correct(
    executor: impl PgExecutor<'_>,
    key: &str,
    remaining: u64,
    reset: Option<Duration>,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!(
        "src/db/correct_tokens.sql",
        key,
        i64::try_from(remaining).unwrap_or(i64::MAX),
        reset.map(|reset| reset.as_secs_f64()),
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// A bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Its key.
    pub key: String,
    /// What the job file that took a token last declares; `None` when it declares no limit.
    pub declared: Option<Limit>,
    /// What is in force instead.
    pub overridden: Option<LimitOverride>,
    /// Tokens in it now; `None` without a limit.
    pub tokens: Option<f64>,
    /// Until when nobody asks, because the API said so.
    pub blocked_until: Option<DateTime<Utc>>,
    /// How many requests were left when the API said it last.
    pub remaining: Option<i64>,
    /// When there are more, as it said.
    pub reset_at: Option<DateTime<Utc>>,
    /// When it said so.
    pub told_at: Option<DateTime<Utc>>,
}

/// A limit that is in force instead of the job file's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitOverride {
    /// The limit.
    pub limit: Limit,
    /// Until when; `None`: until somebody takes it back.
    pub until: Option<DateTime<Utc>>,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What to change of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Another limit, with its end; `Some(None)` is back to the job file's.
    pub overridden: Option<Option<(Limit, Option<DateTime<Utc>>)>>,
    /// Whether to let requests through again though the API asked to wait.
    pub unblock: bool,
}

struct Row {
    key: String,
    requests: Option<i32>,
    per_seconds: Option<f64>,
    override_requests: Option<i32>,
    override_per_seconds: Option<f64>,
    override_until: Option<DateTime<Utc>>,
    override_by: Option<String>,
    override_at: Option<DateTime<Utc>>,
    tokens: Option<f64>,
    blocked_until: Option<DateTime<Utc>>,
    remaining: Option<i64>,
    reset_at: Option<DateTime<Utc>>,
    told_at: Option<DateTime<Utc>>,
}

impl From<Row> for Bucket {
    fn from(row: Row) -> Self {
        let limit = |requests: Option<i32>, per: Option<f64>| {
            let requests = u32::try_from(requests?).ok()?;
            Some(Limit { requests, per: Duration::try_from_secs_f64(per?).ok()? })
        };
        let overridden = limit(row.override_requests, row.override_per_seconds).and_then(|limit| {
            let (until, by, at) = (row.override_until, row.override_by?, row.override_at?);
            Some(LimitOverride { limit, until, by, at })
        });
        Self {
            key: row.key,
            declared: limit(row.requests, row.per_seconds),
            overridden,
            tokens: row.tokens,
            blocked_until: row.blocked_until,
            remaining: row.remaining,
            reset_at: row.reset_at,
            told_at: row.told_at,
        }
    }
}

/// The buckets behind a key, in the order of keys; with `only` at most that one. What is over is not shown.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    only: Option<&str>,
    behind: Option<&str>,
    most: i64,
) -> Result<Vec<Bucket>, sqlx::Error> {
    let rows = sqlx::query_file_as!(Row, "src/db/list_rate_limits.sql", only, behind, most)
        .fetch_all(executor)
        .await?;
    Ok(rows.into_iter().map(Bucket::from).collect())
}

/// Changes a bucket. Returns whether there is one of that key: one is there once a request drew from it.
///
/// # Errors
/// Database errors.
pub async fn change(
    executor: impl PgExecutor<'_>,
    key: &str,
    change: &Change,
    by: &Actor,
) -> Result<bool, sqlx::Error> {
    let limit = change.overridden.flatten();
    let changed = sqlx::query!(
        "update rate_limits set
            override_requests = case when $2 then $3 else override_requests end,
            override_per_seconds = case when $2 then $4 else override_per_seconds end,
            override_until = case when $2 then $5 else override_until end,
            override_by = case when $2 then case when $3::integer is not null then $6 end else override_by end,
            override_at = case
                when $2 then case when $3::integer is not null then clock_timestamp() end else override_at
            end,
            blocked_until = case when $7 then null else blocked_until end
         where key = $1",
        key,
        change.overridden.is_some(),
        limit.map(|(limit, _)| to_integer(limit.requests)),
        limit.map(|(limit, _)| limit.per.as_secs_f64()),
        limit.and_then(|(_, until)| until),
        by.to_string(),
        change.unblock,
    )
    .execute(executor)
    .await?;
    Ok(changed.rows_affected() == 1)
}

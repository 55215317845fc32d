//! Floor 5: the janitor: removes what is not needed any more. Ended queue items go after hours or
//! weeks; ledger and raw rows only when a job file says how long to keep them (`[retention]`).
//!
//! Any number of janitors may sweep: each batch is a statement of its own, and skips rows that
//! another one has locked.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::db::clock::Clock;
use crate::db::{in_time, page_validators, retention, runs};
use crate::domain::failure::chain;
use crate::queue;
use crate::sources::AllowedRoots;
use crate::tasks::SourcesInUse;

/// Between two sweeps, half as much again at most, so that replicas part.
const EVERY: Duration = Duration::from_secs(300);
/// A sweep that takes longer is given up: the next goes on where it was.
const SWEEP_WITHIN: Duration = Duration::from_secs(3600);
/// Rows removed by one statement: few enough that no other statement waits long.
const BATCH: i64 = 1_000;
/// How long queue items stay whose task is done …
const DONE_FOR: chrono::Duration = chrono::Duration::hours(6);
/// … or failed.
const FAILED_FOR: chrono::Duration = chrono::Duration::weeks(4);

/// What a sweep removed, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Ended queue items.
    pub items: u64,
    /// Tasks of ended runs.
    pub tasks: u64,
    /// API pages.
    pub pages: u64,
    /// Blocks of rows of files.
    pub blocks: u64,
}

/// Sweeps now and then until `stop` resolves.
pub async fn run(
    pool: &PgPool,
    allowed_roots: AllowedRoots,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = std::pin::pin!(stop);
    let (sources, clock) = (SourcesInUse::new(allowed_roots), Clock::default());
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = sleep(EVERY.mul_f64(1.0 + rand::random::<f64>() / 2.0)) => {}
        }
        tokio::select! {
            () = &mut stop => return,
            swept = in_time(SWEEP_WITHIN, sweep_now(pool, &sources, &clock)) => match swept {
                Ok(swept) if swept == Swept::default() => {}
                Ok(Swept { items, tasks, pages, blocks }) => {
                    tracing::info!(items, tasks, pages, blocks, "old rows removed");
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "old rows could not be removed");
                }
            }
        }
    }
}

/// Goes by the database's clock: by one that is ahead, what is new would be old.
async fn sweep_now(
    pool: &PgPool,
    sources: &SourcesInUse,
    clock: &Clock,
) -> Result<Swept, sqlx::Error> {
    sweep(pool, sources, clock.now(pool).await?).await
}

/// Removes all that is old at `now`.
///
/// # Errors
/// Database errors. What was removed before stays removed.
pub async fn sweep(
    pool: &PgPool,
    sources: &SourcesInUse,
    now: DateTime<Utc>,
) -> Result<Swept, sqlx::Error> {
    let items = Old::Items { done: now - DONE_FOR, failed: now - FAILED_FOR }.remove(pool).await?;
    let mut swept = Swept { items, ..Swept::default() };
    for run in runs::latest_per_source(pool).await? {
        // What cannot be read any more says nothing about retention.
        let Ok(source) = sources.get(pool, run.config_hash).await else { continue };
        let keep = source.definition.retention;
        let source = run.source.as_str();
        if let Some(before) = keep.ledger.and_then(|age| before(now, age)) {
            swept.tasks += Old::Tasks { source, before }.remove(pool).await?;
        }
        if let Some(before) = keep.raw.and_then(|age| before(now, age)) {
            swept.pages += Old::Pages { source, before }.remove(pool).await?;
            swept.blocks += Old::Blocks { source, before }.remove(pool).await?;
        }
    }
    Ok(swept)
}

/// Before when what is kept for `age` was left behind; `None` when nothing can be as old as that.
fn before(now: DateTime<Utc>, age: Duration) -> Option<DateTime<Utc>> {
    let before = now.checked_sub_signed(chrono::Duration::from_std(age).ok()?)?;
    // Neither kasparro nor anything that it read is older; PostgreSQL's time begins in 4713 BC.
    (before > DateTime::UNIX_EPOCH).then_some(before)
}

/// What is old.
#[derive(Debug, Clone, Copy)]
enum Old<'a> {
    Items { done: DateTime<Utc>, failed: DateTime<Utc> },
    Tasks { source: &'a str, before: DateTime<Utc> },
    Pages { source: &'a str, before: DateTime<Utc> },
    Blocks { source: &'a str, before: DateTime<Utc> },
}

impl Old<'_> {
    /// Removes batch after batch until one is not full; returns how many rows.
    async fn remove(self, pool: &PgPool) -> Result<u64, sqlx::Error> {
        let mut all = 0;
        loop {
            let removed = match self {
                Self::Items { done, failed } => queue::remove_old(pool, done, failed, BATCH).await,
                Self::Tasks { source, before } => {
                    retention::remove_tasks(pool, source, before, BATCH).await
                }
                Self::Pages { source, before } => {
                    let removed = retention::remove_pages(pool, source, before, BATCH).await?;
                    page_validators::remove(pool, source, before, BATCH).await?;
                    Ok(removed)
                }
                Self::Blocks { source, before } => {
                    retention::remove_blocks(pool, source, before, BATCH).await
                }
            }?;
            all += removed;
            if removed < BATCH as u64 {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_longer_than_there_is_time_is_kept() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let day = 24 * 60 * 60;
        let age = |days: u64| before(now, Duration::from_secs(days * day));
        assert_eq!(age(90), DateTime::from_timestamp(1_800_000_000 - 90 * day as i64, 0));
        for days in [365_000, 365 * 300_000, 365 * 300_000_000_000] {
            assert_eq!(age(days), None, "{days} days");
        }
    }
}

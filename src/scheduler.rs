//! Floor 5: the scheduler: starts runs when their cron ticks are due. Any number of schedulers may
//! run; inserting a tick into `schedule_ticks` decides which of them acts.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use crate::db::clock::Clock;
use crate::db::{Transaction, in_time, schedule_ticks};
use crate::domain::failure::chain;
use crate::domain::run::{Mode, Trigger};
use crate::job_file::{Definition, JobsFolder};
use crate::sources::{self, Access};
use crate::tasks::after;
use crate::tasks::start_run::{RawRange, RunRequest, Started, start_run};
use crate::telemetry::Seldom;

/// The longest sleep: clocks jump and job files are edited.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// A database that takes longer is asked again later.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// A tick that lies further ahead was acted upon by a clock that was ahead. It keeps no scheduler from acting
/// on those before it; nearer ones do, so that a clock that steps back a little starts nothing twice.
const AHEAD: TimeDelta = TimeDelta::hours(1);

/// Starts due runs until `stop` resolves.
pub async fn run(
    pool: &PgPool,
    jobs: &JobsFolder,
    access: Access,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = std::pin::pin!(stop);
    let (clock, said) = (Clock::default(), Seldom::default());
    loop {
        let sleep = match in_time(ANSWERS_WITHIN, clock.now(pool)).await {
            Ok(now) => act_on_all(pool, jobs, access, now, &said).await,
            Err(error) => {
                if let Some(left_out) = said.say("clock") {
                    let error = chain(&error);
                    tracing::warn!(error, left_out, "no run is scheduled: the database fails");
                }
                LONGEST_SLEEP
            }
        };
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Acts on every tick that is due at `now`; returns how long nothing will be due. A source that
/// fails does not stop the others.
pub async fn tick(
    pool: &PgPool,
    jobs: &JobsFolder,
    access: Access,
    now: DateTime<Utc>,
) -> Duration {
    act_on_all(pool, jobs, access, now, &Seldom::default()).await
}

async fn act_on_all(
    pool: &PgPool,
    jobs: &JobsFolder,
    access: Access,
    now: DateTime<Utc>,
    said: &Seldom,
) -> Duration {
    let definitions = match jobs.load(sources::kinds()) {
        Ok(definitions) => definitions,
        Err(error) => {
            tracing::warn!(error = %error, "the job files cannot be read; no run is scheduled");
            return LONGEST_SLEEP;
        }
    };
    let due = after::start_due(pool, jobs, access);
    if let Err(error) = tokio::time::timeout(ANSWERS_WITHIN, due)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()))
    {
        tracing::warn!(error = chain(&error), "what follows ended runs could not be started");
    }
    let mut sleep = LONGEST_SLEEP;
    // A broken job file is reported by `check`, `sources` and `up`; here it would be every tick.
    for definition in definitions.into_iter().flatten() {
        let Some(schedule) = &definition.schedule else { continue };
        if let Some(due) = schedule.last_due(now)
            && let Err(error) =
                in_time(ANSWERS_WITHIN, act(pool, &definition, access, due, now, said)).await
        {
            tracing::warn!(
                source = definition.source.as_str(), error = %error,
                "a scheduled run could not be started"
            );
        }
        if let Some(next) = schedule.next_after(now) {
            sleep = sleep.min((next - now).to_std().unwrap_or(Duration::ZERO));
        }
    }
    // Just behind the tick rather than just before it.
    sleep + Duration::from_millis(5)
}

/// Acts on a tick once: the tick, and the run it starts, are one transaction.
async fn act(
    pool: &PgPool,
    definition: &Definition,
    access: Access,
    due: DateTime<Utc>,
    now: DateTime<Utc>,
    said: &Seldom,
) -> Result<(), sqlx::Error> {
    let source = definition.source.as_str();
    let acted = schedule_ticks::acted_upon(pool, source, now + AHEAD).await?;
    if acted.latest.is_some_and(|latest| latest >= due) {
        return Ok(());
    }
    if let Some(ahead) = acted.too_far_ahead
        && said.is_first(&format!("{source} ahead"))
    {
        tracing::warn!(
            source, tick = %ahead,
            "ticks that are still to come were acted upon, by a clock that was ahead; they are passed \
             over"
        );
    }
    let mut transaction = Transaction::begin(pool).await?;
    if acted.latest.is_none() && acted.too_far_ahead.is_none() {
        // Seen for the first time: what was due before kasparro knew the source was not missed.
        schedule_ticks::claim(&mut transaction, source, due, "baseline", None).await?;
        return transaction.commit().await;
    }
    if !schedule_ticks::claim(&mut transaction, source, due, "skipped", None).await? {
        return transaction.rollback().await;
    }
    let key = format!("cron:{source}:{}", due.to_rfc3339());
    let request = RunRequest {
        mode: Mode::Incremental,
        trigger: Trigger::Schedule,
        access,
        idempotency_key: Some(&key),
        raw: RawRange::default(),
        dry_run: false,
        range: None,
    };
    match start_run(&mut transaction, definition, &request).await? {
        Started::New(id) | Started::Same(id) => {
            schedule_ticks::conclude(&mut transaction, source, due, "started", Some(id)).await?;
            tracing::info!(source, run_id = id.0, tick = %due, "scheduled run started");
        }
        Started::Busy(id) => {
            schedule_ticks::conclude(&mut transaction, source, due, "skipped", Some(id)).await?;
            tracing::info!(
                source, run_id = id.0, tick = %due,
                "scheduled run skipped: the source's last run is still under way"
            );
        }
        Started::Paused(pause) => {
            schedule_ticks::conclude(&mut transaction, source, due, "skipped", None).await?;
            tracing::info!(source, tick = %due, "scheduled run skipped: {pause}");
        }
        Started::NothingToReplay(nothing) => {
            schedule_ticks::conclude(&mut transaction, source, due, "skipped", None).await?;
            tracing::info!(source, tick = %due, "scheduled run skipped: {nothing}");
        }
        // As with a job file that cannot be read: when it is fixed, its last tick is caught up.
        Started::NoRange(_) | Started::Invalid(_) => return transaction.rollback().await,
    }
    transaction.commit().await
}

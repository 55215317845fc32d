//! Owns what keeps the queue going beside the work: items of workers that are silent go to others,
//! items that no worker holds go back, and times that a database's clock ahead of its present one
//! has written are pulled back.
//!
//! Every process does it; what one has done the others do not find any more.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::time::{MissedTickBehavior, interval};

use super::ask::ask;
use super::faults::Faults;
use super::heartbeat::Heartbeat;
use super::notify::notify;
use crate::domain::task::TaskKind;
use crate::telemetry::Seldom;

/// Dead workers' items are taken over this often, …
const REAP_INTERVAL: Duration = Duration::from_secs(4);
/// … and a worker without a heartbeat for this long is dead, see [`Heartbeat`], …
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(12);
/// … unless the database was away meanwhile: no heartbeat could be written. It must have been there this
/// long.
const THERE_FOR: Duration = Duration::from_secs(16);
/// A clock that has gone on by so much more than another has stepped ahead: everybody looks silent.
const STEP: Duration = Duration::from_secs(2);
/// For this long after a fault, items that no worker holds are searched for.
const FAULTS_COUNT_FOR: Duration = Duration::from_secs(300);
/// An item has no holder when it was found so twice, this far apart. Longer than a poll for an item may
/// take.
const STRAYS_APART: Duration = Duration::from_secs(40);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Keeps the queue going for ever.
pub(super) async fn keep(
    pool: PgPool,
    heartbeat: Arc<Heartbeat>,
    faults: Arc<Faults>,
) -> Infallible {
    let mut upkeep = Upkeep {
        heartbeat,
        faults,
        steps: Seldom::default(),
        looked: None,
        failed: None,
        strays: None,
    };
    let mut ticks = interval(REAP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match upkeep.look(&pool).await {
            Ok(()) => {}
            Err(error) => {
                upkeep.failed = Some(Instant::now());
                upkeep.faults.meet("dead workers cannot be searched for", &error);
            }
        }
    }
}

struct Upkeep {
    heartbeat: Arc<Heartbeat>,
    faults: Arc<Faults>,
    steps: Seldom,
    /// The time here and there at the last look.
    looked: Option<(Instant, DateTime<Utc>)>,
    /// When the silence of workers last meant nothing: the database did not answer, or its clock
    /// stepped ahead.
    failed: Option<Instant>,
    /// The items that no worker held, and when that was seen.
    strays: Option<(Instant, BTreeMap<String, i32>)>,
}

impl Upkeep {
    async fn look(&mut self, pool: &PgPool) -> Result<(), sqlx::Error> {
        ask(pool, ANSWERS_WITHIN, async |connection| self.look_once(connection).await).await
    }

    async fn look_once(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let asked = Instant::now();
        let (items, now) = pull_back(connection).await?;
        if items > 0
            && let Some(left_out) = self.steps.say("back")
        {
            tracing::warn!(
                items,
                left_out,
                "the database's clock has stepped back; items that would have waited for it \
                 were pulled back"
            );
        }
        if let Some((then, there)) = self.looked.replace((asked, now))
            && (now - there).to_std().is_ok_and(|passed| passed > then.elapsed() + STEP)
        {
            self.failed = Some(Instant::now());
        }
        if self.failed.is_none_or(|failed| failed.elapsed() > THERE_FOR) {
            take_over(connection).await?;
        }
        if self.faults.since().is_some_and(|ago| ago < FAULTS_COUNT_FOR) {
            self.put_strays_back(connection).await
        } else {
            self.strays = None;
            Ok(())
        }
    }

    /// Items may be locked by a living worker of ours that knows nothing of them: the answer that
    /// gave them was lost, or the database was put back to when they were under way.
    async fn put_strays_back(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.strays.as_ref().is_some_and(|(seen, _)| seen.elapsed() < STRAYS_APART) {
            return Ok(());
        }
        let workers = self.heartbeat.pulses();
        let names: Vec<_> = workers.iter().map(|worker| worker.worker().to_owned()).collect();
        let locked = sqlx::query!(
            r#"select id, attempts, lock_by as "lock_by!" from apalis.jobs
             where lock_by = any($1) and status in ('Queued', 'Running')"#,
            &names,
        )
        .fetch_all(&mut *connection)
        .await?;
        let in_hand = |item: &str, attempts_before: i32, by: &str| {
            workers
                .iter()
                .any(|worker| worker.worker() == by && worker.holds(item, attempts_before))
        };
        let strays: BTreeMap<_, _> = locked
            .into_iter()
            .filter(|item| !in_hand(&item.id, item.attempts, &item.lock_by))
            .map(|item| (item.id, item.attempts))
            .collect();
        let before = self.strays.replace((Instant::now(), strays.clone()));
        let before = before.map(|(_, strays)| strays).unwrap_or_default();
        let (ids, attempts): (Vec<_>, Vec<_>) =
            strays.into_iter().filter(|(id, attempts)| before.get(id) == Some(attempts)).unzip();
        if ids.is_empty() {
            return Ok(());
        }
        let queues = sqlx::query_scalar!(
            "update apalis.jobs as j set
                status = 'Pending', lock_by = null, lock_at = now(), run_at = least(run_at, now())
             from unnest($1::text[], $2::int[]) as stray (id, attempts)
             where j.id = stray.id and j.attempts = stray.attempts and j.lock_by = any($3)
               and j.status in ('Queued', 'Running')
             returning j.job_type",
            &ids,
            &attempts,
            &names,
        )
        .fetch_all(&mut *connection)
        .await?;
        tracing::warn!(items = queues.len(), "items that no worker held were put back");
        notify(connection, &queues).await
    }
}

/// What dead workers hold goes to others; each such item has lost an attempt.
async fn take_over(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let queues = TaskKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect::<Vec<_>>();
    let taken_over = sqlx::query_scalar!(
        r#"with stale as (
            select j.id
            from apalis.workers as w
            join apalis.jobs as j on j.lock_by = w.id
            where w.worker_type = any($1)
              and w.last_seen <= now() - make_interval(secs => $2)
              and j.status in ('Queued', 'Running')
              and not pg_postmaster_start_time() between now() - make_interval(secs => $3) and now()
            for update of j skip locked
         )
         update apalis.jobs as j set
            status = 'Pending', lock_by = null, lock_at = now(), done_at = null,
            run_at = least(run_at, now()), attempts = attempts + 1
         from stale where j.id = stale.id
         returning j.job_type"#,
        &queues,
        HEARTBEAT_TIMEOUT.as_secs_f64(),
        THERE_FOR.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    if taken_over.is_empty() {
        return Ok(());
    }
    tracing::info!(
        items = taken_over.len(),
        "the items of workers that are silent were taken over"
    );
    notify(connection, &taken_over).await
}

/// A time in the future, of an item's enqueueing or of a heartbeat, was written by a clock that was
/// ahead. An item then waits as long as it was to wait, from now on, and a worker has just been seen.
///
/// Answers how many items, and the database's time.
async fn pull_back(connection: &mut PgConnection) -> Result<(i64, DateTime<Utc>), sqlx::Error> {
    let queues = TaskKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect::<Vec<_>>();
    let answer = sqlx::query!(
        r#"with early_workers as (
            update apalis.workers set last_seen = now()
            where last_seen > now() + interval '2 seconds'
            returning id
         ),
         early as (
            select id from apalis.jobs
            where status = 'Pending' and job_type = any($1) and priority = 0 and run_at > now()
              and lock_at > now() + interval '2 seconds'
            for update skip locked
         ),
         pulled_back as (
            update apalis.jobs as j set run_at = now() + (j.run_at - j.lock_at), lock_at = now()
            from early where j.id = early.id
            returning j.id
         )
         select count(*) as "items!", clock_timestamp() as "now!" from pulled_back"#,
        &queues,
    )
    .fetch_one(connection)
    .await?;
    Ok((answer.items, answer.now))
}

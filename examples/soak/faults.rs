//! Owns what goes wrong, and what people do meanwhile, as the dice fall.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::sleep;

use crate::fake_api::Mood;
use crate::own_server::OwnServer;
use crate::process::Slot;
use crate::snapshot::Snapshot;
use crate::world::{Records, SOURCES, World};

/// Everything there is to break.
pub struct Stage<'a> {
    pub folder: &'a Path,
    pub pool: &'a PgPool,
    pub url: &'a str,
    pub server: &'a mut OwnServer,
    pub slots: &'a mut [Slot],
    pub world: &'a mut World,
    pub client: &'a reqwest::Client,
    pub expected: &'a mut Records,
    pub snapshot: &'a mut Option<Snapshot>,
    pub happened: &'a mut BTreeMap<&'static str, usize>,
}

/// Whether the API has moods.
pub fn moods(moody: Arc<AtomicBool>) -> impl Fn(usize) -> Mood + Send + Sync + 'static {
    move |_| {
        if !moody.load(Ordering::Relaxed) {
            return Mood::Well;
        }
        match rand::rng().random_range(0..40) {
            0 | 1 => Mood::Enough(1),
            2..6 => Mood::Broken,
            6 => Mood::Slow,
            7 | 8 => Mood::Reset,
            _ => Mood::Well,
        }
    }
}

impl Stage<'_> {
    /// Something happens while a source is being read.
    pub async fn happen(&mut self, dice: &mut SmallRng) -> anyhow::Result<()> {
        self.start(dice).await;
        let at = dice.random_range(0..self.slots.len());
        let what = match dice.random_range(0..30) {
            0..4 => {
                self.slots[at].kill()?;
                "kill -9"
            }
            4..6 => {
                self.slots[at].stop().await?;
                "SIGTERM"
            }
            6..8 => {
                self.slots[at].freeze()?;
                // Sometimes past the time after which others take over.
                let longest = if dice.random_range(0..4) == 0 { 20_000 } else { 3_000 };
                sleep(Duration::from_millis(dice.random_range(100..longest))).await;
                self.slots[at].thaw()?;
                "SIGSTOP"
            }
            8..11 => self.cut(dice).await,
            11 => {
                self.server.crash().await;
                sleep(Duration::from_millis(dice.random_range(0..3_000))).await;
                self.server.bring_up().await;
                "PostgreSQL crashed"
            }
            12..16 => self.world.change(dice)?,
            16..19 => self.start(dice).await,
            19 => self.of_a_run("cancel", "finished_at is null").await,
            20..22 => self.of_a_run("retry", "status = 'failed'").await,
            22 => self.pause(dice).await,
            23..25 => self.read_only(dice).await,
            25..27 => self.step_back(dice).await,
            27 => self.ticks_ahead().await,
            28 => self.put_back(dice).await?,
            _ => self.resume(SOURCES[dice.random_range(0..SOURCES.len())]).await,
        };
        *self.happened.entry(what).or_default() += 1;
        sleep(Duration::from_millis(dice.random_range(0..1_500))).await;
        for slot in self.slots.iter_mut() {
            if dice.random_range(0..3) > 0 && slot.ensure(self.folder, self.url)? {
                *self.happened.entry("ended by itself").or_default() += 1;
            }
        }
        Ok(())
    }

    async fn cut(&self, dice: &mut SmallRng) -> &'static str {
        let share = dice.random_range(5..100);
        let statement = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where application_name like 'kasparro%' and random() * 100 < {share}"
        );
        // It may cut its own.
        let _ = sqlx::query(AssertSqlSafe(statement)).execute(self.pool).await;
        "connections cut"
    }

    /// As when a standby takes the database's place: all connections are cut, and nobody may write.
    async fn read_only(&self, dice: &mut SmallRng) -> &'static str {
        let on = "alter system set default_transaction_read_only = on";
        let cut = "select pg_reload_conf() union all
            select pg_terminate_backend(pid) from pg_stat_activity
            where application_name like 'kasparro%'";
        let off = ["alter system reset default_transaction_read_only", "select pg_reload_conf()"];
        let said = sqlx::raw_sql(on).execute(self.pool).await;
        let _ = sqlx::raw_sql(cut).execute(self.pool).await;
        sleep(Duration::from_millis(dice.random_range(500..20_000))).await;
        for statement in off {
            while let Err(error) = sqlx::raw_sql(statement).execute(self.pool).await {
                eprintln!("{statement}: {error}");
                sleep(Duration::from_millis(200)).await;
            }
        }
        if said.is_ok() { "read-only" } else { "read-only refused" }
    }

    /// The database's clock steps back: what it has written lies ahead.
    async fn step_back(&self, dice: &mut SmallRng) -> &'static str {
        let by = dice.random_range(5..200_000);
        let statements = format!(
            "set local lock_timeout = '5s';
             update apalis.jobs set run_at = run_at + interval '{by} s',
                lock_at = lock_at + interval '{by} s' where status not in ('Done', 'Killed');
             update apalis.workers set last_seen = last_seen + interval '{by} s';
             update rate_limits set refilled_at = refilled_at + interval '{by} s',
                blocked_until = blocked_until + interval '{by} s';
             update run_tasks set opened_at = opened_at + interval '{by} s',
                next_attempt_at = next_attempt_at + interval '{by} s' where state = 'open';
             update run_progress set last_progress_at = last_progress_at + interval '{by} s';
             update etl_runs set last_progress_at = last_progress_at + interval '{by} s'
                where finished_at is null"
        );
        // It may be a bad moment: a lock is not to be had, or the server is away.
        for _ in 0..5 {
            if sqlx::raw_sql(AssertSqlSafe(statements.as_str())).execute(self.pool).await.is_ok() {
                return "clock stepped back";
            }
        }
        "clock not stepped back"
    }

    /// A scheduler's clock was ahead for a moment.
    async fn ticks_ahead(&self) -> &'static str {
        let statement = "insert into schedule_ticks (source, tick, outcome)
            select source, date_trunc('minute', now() + interval '2 days'), 'skipped'
            from (select distinct source from schedule_ticks) as s
            on conflict do nothing";
        let _ = sqlx::raw_sql(statement).execute(self.pool).await;
        "scheduler ahead"
    }

    /// The database is put back to what it was at the beginning of a round.
    async fn put_back(&mut self, dice: &mut SmallRng) -> anyhow::Result<&'static str> {
        let Some(snapshot) = &*self.snapshot else { return Ok("nothing to put back") };
        let gracefully = dice.random();
        for slot in self.slots.iter_mut() {
            if gracefully {
                slot.stop().await?;
            } else {
                slot.kill()?;
            }
        }
        *self.expected = snapshot.put_back(self.server).await?;
        for slot in self.slots.iter_mut() {
            slot.ensure(self.folder, self.url)?;
        }
        Ok("database put back")
    }

    async fn start(&self, dice: &mut SmallRng) -> &'static str {
        let mode = if dice.random_range(0..4) == 0 { "full" } else { "incremental" };
        let source = SOURCES[dice.random_range(0..SOURCES.len())];
        self.post("/runs", json!({ "source": source, "mode": mode })).await;
        "run started"
    }

    /// Only of the source's last run: another would bring back what is no more.
    async fn of_a_run(&self, what: &'static str, which: &str) -> &'static str {
        let query = format!(
            "select max(id) from etl_runs as r where {which} and not exists (
                select from etl_runs as later where later.source = r.source and later.id > r.id)"
        );
        let run = sqlx::query_scalar::<_, Option<i64>>(AssertSqlSafe(query));
        if let Ok(Some(run)) = run.fetch_one(self.pool).await {
            self.post(&format!("/runs/{run}/{what}"), json!({})).await;
        }
        what
    }

    async fn pause(&self, dice: &mut SmallRng) -> &'static str {
        let source = SOURCES[dice.random_range(0..SOURCES.len())];
        self.post(&format!("/sources/{source}/pause"), json!({ "reason": "the dice" })).await;
        "pause"
    }

    /// Ends a pause, if there is one.
    pub async fn resume(&self, source: &str) -> &'static str {
        self.post(&format!("/sources/{source}/resume"), json!({})).await;
        "resume"
    }

    /// Asks one API after the other until one answers: each may be dead just then.
    pub async fn post(&self, path: &str, body: serde_json::Value) -> Option<(u16, String)> {
        for address in self.slots.iter().filter_map(|slot| slot.address.as_ref()) {
            let request = self.client.post(format!("http://{address}{path}")).json(&body);
            if let Ok(answer) = request.send().await {
                let status = answer.status().as_u16();
                return Some((status, answer.text().await.unwrap_or_default()));
            }
        }
        None
    }
}

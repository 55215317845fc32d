//! Owns how quiet comes back: everybody lives, every run ends, and each source is read once more.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::faults::Stage;
use crate::invariants::LEFT_IN_QUEUE;
use crate::world::SOURCES;

/// Take-overs, waits between attempts and slow machines have their places in it.
const STUCK_AFTER: Duration = Duration::from_secs(240);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const OPEN: &str = "select concat_ws(' ', 'run', r.id, r.source, r.status, t.task_key, t.state,
        t.attempt, t.worker, t.error, j.status, j.lock_by, j.run_at)
    from etl_runs as r
    left join run_tasks as t on t.run_id = r.id and t.state = 'open'
    left join apalis.jobs as j
        on j.job_type = t.kind and j.idempotency_key = r.id || ':' || t.task_key
    where r.finished_at is null";

/// Returns when nothing is under way, and nothing will be before somebody resumes the sources.
pub async fn come(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    for slot in stage.slots.iter_mut() {
        slot.thaw()?;
    }
    everybody_lives(stage).await?;
    for source in SOURCES {
        stage.resume(source).await;
    }
    for source in SOURCES {
        is_read(stage, source).await?;
    }
    // The schedule goes on: a run that it begins just now is waited for.
    loop {
        for source in SOURCES {
            let reason = json!({ "reason": "quiet" });
            stage.post(&format!("/sources/{source}/pause"), reason).await;
        }
        if left(stage.pool, OPEN).await?.is_empty() {
            break;
        }
        for source in SOURCES {
            stage.resume(source).await;
        }
        nothing_is_left(stage.pool, OPEN).await.context("a run is stuck")?;
    }
    nothing_is_left(stage.pool, LEFT_IN_QUEUE).await.context("an item is left in the queue")?;
    for source in SOURCES {
        stage.resume(source).await;
    }
    Ok(())
}

async fn everybody_lives(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        for slot in stage.slots.iter_mut() {
            slot.ensure(stage.folder, stage.url)?;
        }
        let mut answering = 0;
        let addresses: Vec<_> = stage.slots.iter().filter_map(|s| s.address.clone()).collect();
        for address in &addresses {
            let health = stage.client.get(format!("http://{address}/health/ready")).send().await;
            answering += usize::from(health.is_ok_and(|answer| answer.status().is_success()));
        }
        if answering == addresses.len() {
            return Ok(());
        }
        ensure!(began.elapsed() < STUCK_AFTER, "an API is not ready");
        sleep(LOOK_EVERY).await;
    }
}

/// A run that began after the last fault reads the source as it is now, and must succeed.
async fn is_read(stage: &Stage<'_>, source: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    let run = loop {
        let answer = stage.post("/runs", json!({ "source": source })).await;
        match answer {
            Some((202, body)) => {
                let body: Value = serde_json::from_str(&body)?;
                let run = body["runs"][0]["id"].as_i64().or(body["id"].as_i64());
                break run.with_context(|| format!("a run's id in {body}"))?;
            }
            Some((409 | 503, _)) | None => {}
            Some((status, body)) => bail!("POST /runs for {source}: {status} {body}"),
        }
        if began.elapsed() > STUCK_AFTER {
            bail!("a run is stuck: {:#?}", left(stage.pool, OPEN).await?);
        }
        sleep(LOOK_EVERY).await;
    };
    let query = "select status from etl_runs where id = $1 and finished_at is not null";
    let status: String = loop {
        let status = sqlx::query_scalar(query).bind(run).fetch_optional(stage.pool).await?;
        if let Some(status) = status {
            break status;
        }
        if began.elapsed() > 2 * STUCK_AFTER {
            bail!("run {run} is stuck: {:#?}", left(stage.pool, OPEN).await?);
        }
        sleep(LOOK_EVERY).await;
    };
    if !status.starts_with("success") {
        let error: Option<String> = sqlx::query_scalar("select error from etl_runs where id = $1")
            .bind(run)
            .fetch_one(stage.pool)
            .await?;
        bail!("run {run} of {source} was left in peace and is {status}: {error:?}");
    }
    Ok(())
}

async fn left(pool: &PgPool, query: &'static str) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(query).fetch_all(pool).await?)
}

async fn nothing_is_left(pool: &PgPool, query: &'static str) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let left = left(pool, query).await?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < STUCK_AFTER, "{left:#?}");
        sleep(LOOK_EVERY).await;
    }
}

//! Fault 11: somebody's transaction holds a snapshot while a backlog is worked on, so that nothing
//! that was taken from the queue can be cleared away.

use std::time::Duration;

use kasparro::db::run_tasks;
use kasparro::domain::run::{Mode, RunId, RunStatus};
use kasparro::domain::task::{Rows, TaskKind, TaskPayload};
use kasparro::queue;
use kasparro::tasks::start_run::Started;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::{Instant, sleep};

use super::trial::{Figures, Trial, rounds, seconds};
use super::{DONE, are_done, runs_have_ended, worker};
use crate::app::TestApp;

/// How long, in the whole trial.
const HELD: Duration = Duration::from_secs(60);
const TAKE: &str = "select id from apalis.get_jobs('w', 'fetch_page', 1)";

/// Tasks of a run that find nothing to do: what is measured is the queue.
async fn app_with_backlog(tasks: usize) -> TestApp {
    let app = TestApp::empty().await;
    app.write("idle.toml", "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n");
    app.write("a.csv", "id\n");
    let Started::New(run) = app.start("idle", Mode::Full).await else { panic!("a new run") };
    let task = |slice: i64| TaskPayload::NormalizeBatch {
        first_slice: slice,
        last_slice: slice,
        rows: Rows::All,
    };
    let payloads: Vec<_> = (0..tasks as i64).map(task).collect();
    let mut transaction = app.pool.begin().await.unwrap();
    let inserted = run_tasks::insert(&mut transaction, run, &payloads).await.unwrap();
    queue::enqueue(&mut transaction, run, &inserted).await.unwrap();
    sqlx::query("update run_progress set open_tasks = open_tasks + $2 where run_id = $1")
        .bind(run.0)
        .bind(tasks as i32)
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    sqlx::query("analyze").execute(&app.pool).await.unwrap();
    app
}

/// Tasks done a second, for a while.
async fn rate(app: &TestApp, during: Duration) -> f64 {
    let (done, began) = (app.number(DONE).await, Instant::now());
    sleep(during).await;
    let done = app.number(DONE).await - done;
    done as f64 / began.elapsed().as_secs_f64()
}

/// Sees for ever what is there now.
async fn hold_a_snapshot(app: &TestApp) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut somebody = app.pool.begin().await.unwrap();
    let isolation = "set transaction isolation level repeatable read";
    sqlx::query(isolation).execute(&mut *somebody).await.unwrap();
    sqlx::query("select from apalis.jobs limit 1").execute(&mut *somebody).await.unwrap();
    somebody
}

#[tokio::test]
async fn a_snapshot_that_is_held_open_does_not_stall_the_queue() {
    let whole = rounds(2, 1) > 1;
    // The long backlog outlasts the fastest machine's minute; the short one is worked off.
    let tasks = if whole { 40_000 } else { 500 };
    let app = app_with_backlog(tasks).await;
    let _worker = worker(&app, "2");
    are_done(&app, 100).await;
    if !whole {
        let _somebody = hold_a_snapshot(&app).await;
        runs_have_ended(&app).await;
        assert_eq!(app.get(RunId(1)).await.status, RunStatus::Success);
        return;
    }
    let before = rate(&app, HELD / 4).await;
    let _somebody = hold_a_snapshot(&app).await;
    sleep(HELD * 3 / 4).await;
    let at_last = rate(&app, HELD / 4).await;
    assert!(at_last > before / 2.0, "{before:.0} tasks a second, {at_last:.0} while it is held");
    let observed =
        format!("{before:.0} tasks a second before, {at_last:.0} at the end of {}", seconds(HELD));
    Trial {
        number: "11",
        fault: "a snapshot held open by another transaction while a backlog is worked on",
        promised: "the queue does not stall: a task costs the same",
    }
    .held(&Figures { rounds: 1, observed });
}

/// Pages of the database that a statement touches, now and then more.
async fn pages(connection: &mut PgConnection, statement: &str) -> i64 {
    let explain = format!("explain (analyze, buffers, format json) {statement}");
    let mut pages = Vec::new();
    for _ in 0..9 {
        let plan = sqlx::query_scalar(AssertSqlSafe(explain.clone()));
        let plan: Json<Value> = plan.fetch_one(&mut *connection).await.unwrap();
        pages.push(plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap());
    }
    pages.sort_unstable();
    pages[4]
}

#[tokio::test]
async fn what_was_taken_while_a_snapshot_is_held_is_not_passed_over_again_and_again() {
    let app = TestApp::empty().await;
    let mut connection = app.pool.acquire().await.unwrap();
    let tasks: Vec<_> = (0..2_500).map(|task| (task.to_string(), TaskKind::FetchPage)).collect();
    queue::enqueue(&mut connection, RunId(1), &tasks).await.unwrap();
    let worker = "insert into apalis.workers (id, worker_type, storage_name, layers, last_seen)
                  values ('w', 'fetch_page', '', '', now())";
    sqlx::query(worker).execute(&mut *connection).await.unwrap();
    sqlx::query("analyze apalis.jobs").execute(&mut *connection).await.unwrap();
    let _somebody = hold_a_snapshot(&app).await;
    let mut first = 0;
    for taken in 0..2_000 {
        if taken == 20 {
            first = pages(&mut connection, TAKE).await;
        }
        sqlx::query(TAKE).execute(&mut *connection).await.unwrap();
    }
    let last = pages(&mut connection, TAKE).await;
    assert!(last <= 2 * first, "{first} pages after 20 items, {last} after 2000");
}

#[tokio::test]
async fn what_was_normalized_is_not_passed_over_to_see_what_is_next() {
    let app = app_with_backlog(0).await;
    let mut connection = app.pool.acquire().await.unwrap();
    let read =
        "insert into run_tasks (run_id, task_key, kind, role, first_slice, last_slice, payload)
                select 1, 'fetch_page:' || i, 'fetch_page', 'read', i, i, '{}'
                from generate_series(0, 4000) as i";
    let normalized = "with read as (
            update run_tasks set state = 'done', done_at = now(), result = '{}'
            where kind = 'fetch_page' and first_slice between $1 and $2
        )
        insert into run_tasks (run_id, task_key, kind, role, first_slice, last_slice, payload, state, done_at)
        select 1, 'normalize_batch:' || i, 'normalize_batch', 'normalize', i, i, '{\"rows\": \"all\"}', 'done', now()
        from generate_series($1, $2) as i";
    sqlx::query(read).execute(&mut *connection).await.unwrap();
    let _somebody = hold_a_snapshot(&app).await;
    let next = include_str!("../../../src/db/run_tasks/next_batch.sql");
    let mut next = next.to_owned();
    for (parameter, value) in [("$1", "1"), ("$2", "10"), ("$3", "1"), ("$4", "67108864")] {
        next = next.replace(parameter, value);
    }
    let mut touched = Vec::new();
    for (first, last) in [(0, 20), (21, 2_000)] {
        sqlx::query(normalized).bind(first).bind(last).execute(&mut *connection).await.unwrap();
        sqlx::query("analyze run_tasks").execute(&mut *connection).await.unwrap();
        touched.push(pages(&mut connection, &next).await);
    }
    assert!(touched.iter().all(|pages| *pages < 50), "{touched:?} pages after 20 batches and 2000");
}

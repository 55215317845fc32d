//! Queues stay awake: whatever happened before, an item whose time has come is delivered.

use std::time::Duration;

use kasparro::db::rate_limits::{self, Limit};
use kasparro::db::{self, Transaction};
use kasparro::domain::run::RunId;
use kasparro::domain::task::TaskKind;
use kasparro::queue::{self, Timeouts};
use sqlx::postgres::PgListener;

use crate::app::TestApp;
use crate::queue_contract::{TIMEOUT, Worker, enqueue, execute, until};

/// The first look at this queue finds nothing, and takes 6 s to end.
const SLOW_ONCE: &str = "
    create sequence looks;
    create table slow (look bigint);
    create function take_long() returns trigger language plpgsql as $$
    begin
        perform pg_sleep(6);
        return null;
    end $$;
    create constraint trigger slow after insert on slow deferrable initially deferred
    for each row execute function take_long();
    alter function apalis.get_jobs(text, text, integer) rename to get_jobs_in_time;
    create function apalis.get_jobs(worker text, queue text, most integer default 5)
    returns setof apalis.jobs language plpgsql as $$
    begin
        if queue = 'fetch_page' and nextval('looks') = 1 then
            insert into slow values (1);
        end if;
        return query select * from apalis.get_jobs_in_time(worker, queue, most);
    end $$";

const LATER: &str = "insert into apalis.jobs
        (id, job_type, job, status, attempts, max_attempts, run_at, priority)
    values ('01HQ0000000000000000000000', 'fetch_page', '{\"run\": 1, \"task\": \"later\"}',
        'Pending', 0, 25, clock_timestamp() + interval '6.5 s', 0)";

#[tokio::test]
async fn an_item_that_becomes_due_after_a_look_that_took_long_is_delivered_though_nobody_is_told() {
    let app = TestApp::empty().await;
    sqlx::raw_sql(SLOW_ONCE).execute(&app.pool).await.unwrap();
    let mut worker = Worker::start(&app).await;
    until(&app, "select is_called from looks").await;
    execute(&app, LATER).await;
    let held = worker.expect("later", 1).await;
    held.complete(&app).await;
    worker.stop().await;
    app.database.close().await;
}

/// The first look at this queue never ends.
const HANGS_ONCE: &str = "
    create sequence looks;
    alter function apalis.get_jobs(text, text, integer) rename to get_jobs_in_time;
    create function apalis.get_jobs(worker text, queue text, most integer default 5)
    returns setof apalis.jobs language plpgsql as $$
    begin
        if queue = 'fetch_page' and nextval('looks') = 1 then
            perform pg_sleep(86400);
        end if;
        return query select * from apalis.get_jobs_in_time(worker, queue, most);
    end $$";

const WORKERS: &str =
    "select count(distinct id) from apalis.workers where worker_type = 'fetch_page'";

#[tokio::test]
async fn a_look_that_hangs_is_given_up_and_the_next_finds_the_item() {
    let app = TestApp::empty().await;
    sqlx::raw_sql(HANGS_ONCE).execute(&app.pool).await.unwrap();
    let timeouts = Timeouts { look: Duration::from_secs(1), ..Timeouts::default() };
    let mut worker = Worker::with(&app, timeouts).await;
    until(&app, "select is_called from looks").await;
    enqueue(&app, &["a"]).await;
    worker.expect("a", 1).await.complete(&app).await;
    assert_eq!(app.number(WORKERS).await, 1, "its worker went on");
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_queue_whose_look_hangs_is_started_again_and_takes_its_item() {
    let app = TestApp::empty().await;
    sqlx::raw_sql(HANGS_ONCE).execute(&app.pool).await.unwrap();
    // Nobody but the watchdog notices.
    let timeouts = Timeouts { look: Duration::from_secs(86_400), stuck: Duration::from_secs(3) };
    let mut worker = Worker::with(&app, timeouts).await;
    until(&app, "select is_called from looks").await;
    enqueue(&app, &["a"]).await;
    worker.expect("a", 1).await.complete(&app).await;
    assert_eq!(app.number(WORKERS).await, 2, "another worker looked");
    // What hangs holds a connection that the worker's pool waits for.
    let hanging = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and wait_event = 'PgSleep'";
    execute(&app, hanging).await;
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn what_a_clock_ahead_has_put_into_the_queue_waits_no_longer_than_it_was_to_wait() {
    let app = TestApp::empty().await;
    enqueue(&app, &["at once", "later"]).await;
    // The clock was a day ahead when both were put there, one of them with a delay.
    execute(
        &app,
        "update apalis.jobs set run_at = run_at + interval '1 day', lock_at = lock_at + interval '1 day'",
    )
    .await;
    execute(
        &app,
        "update apalis.jobs set run_at = run_at + interval '1 hour'
         where convert_from(job, 'UTF8')::json ->> 'task' = 'later'",
    )
    .await;
    let mut worker = Worker::start(&app).await;
    worker.expect("at once", 1).await.complete(&app).await;
    let minutes = "select round(extract(epoch from run_at - now()) / 60)::bigint from apalis.jobs
                   where status = 'Pending'";
    assert_eq!(app.number(minutes).await, 60);
    worker.stop().await;
    app.database.close().await;
}

/// A task was put off while the clock was a day ahead, and so the ledger says; its item was put off once more.
/// When its source is resumed, nothing may make the item forget by which clock it waits.
#[tokio::test]
async fn what_is_rescheduled_by_a_time_of_a_clock_ahead_waits_no_longer_for_it() {
    let app = TestApp::empty().await;
    enqueue(&app, &["a"]).await;
    execute(
        &app,
        "update apalis.jobs set run_at = now() + interval '1 day 15 s', lock_at = now() + interval '1 day'",
    )
    .await;
    let mut transaction = app.pool.begin().await.unwrap();
    let (key, kind): (String, String) =
        sqlx::query_as("select split_part(idempotency_key, ':', 2), job_type from apalis.jobs")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
    let due = chrono::Utc::now() + chrono::Duration::days(1);
    let run =
        app.number("select split_part(idempotency_key, ':', 1)::bigint from apalis.jobs").await;
    let waiting = [(key, kind.parse().unwrap(), Some(due))];
    kasparro::queue::reschedule(&mut transaction, kasparro::domain::run::RunId(run), &waiting)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let mut worker = Worker::start(&app).await;
    worker.expect("a", 1).await.complete(&app).await;
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn what_a_worker_held_that_died_while_the_clock_was_ahead_is_taken_over() {
    let app = TestApp::empty().await;
    enqueue(&app, &["a"]).await;
    execute(
        &app,
        "insert into apalis.workers (id, worker_type, storage_name, last_seen)
         values ('dead', 'fetch_page', 'any', now() + interval '1 day')",
    )
    .await;
    execute(
        &app,
        "update apalis.jobs set status = 'Queued', lock_by = 'dead', lock_at = now(),
            run_at = now() + interval '1 day'",
    )
    .await;
    let mut worker = Worker::start(&app).await;
    let seen = "select last_seen <= now() from apalis.workers where id = 'dead'";
    until(&app, seen).await;
    // Now it is silent.
    execute(
        &app,
        "update apalis.workers set last_seen = now() - interval '1 hour' where id = 'dead'",
    )
    .await;
    worker.expect("a", 2).await.complete(&app).await;
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_bucket_that_a_clock_ahead_has_filled_and_blocked_gives_tokens_again() {
    let app = TestApp::empty().await;
    let take = async || {
        rate_limits::take(&app.pool, "k", Some(Limit { requests: 1, per: Duration::from_secs(1) }))
            .await
            .unwrap()
    };
    assert_eq!(take().await, Ok(()));
    execute(
        &app,
        "update rate_limits set refilled_at = refilled_at + interval '1 day',
            blocked_until = refilled_at + interval '1 day' + interval '500 ms'",
    )
    .await;
    let wait = take().await.expect_err("the bucket is empty");
    // A period is looked at in 50 slots.
    assert!(wait.delay <= Duration::from_millis(1_020), "{wait:?}");
    let again = async {
        while let Err(wait) = take().await {
            tokio::time::sleep(wait.delay).await;
        }
    };
    tokio::time::timeout(TIMEOUT, again).await.expect("a token in time");
    app.database.close().await;
}

#[tokio::test]
async fn workers_are_told_of_items_that_are_put_back_for_now_or_hastened() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["a"]).await;
    let held = worker.expect("a", 1).await;
    let mut listener = PgListener::connect_with(&app.pool).await.unwrap();
    listener.listen("apalis::job::insert").await.unwrap();
    let mut told = async || {
        let heard = tokio::time::timeout(TIMEOUT, listener.recv()).await;
        let heard = heard.expect("somebody is told in time").unwrap();
        assert!(heard.payload().contains("fetch_page"), "{}", heard.payload());
    };
    held.release(&app, true).await;
    told().await;
    worker.expect("a", 2).await.release_in(&app, Duration::from_secs(3600)).await;
    let mut connection = app.pool.acquire().await.unwrap();
    let task = ("a".to_owned(), TaskKind::FetchPage, None);
    queue::reschedule(&mut connection, RunId(1), &[task]).await.unwrap();
    told().await;
    worker.expect("a", 2).await.complete(&app).await;
    drop((connection, listener));
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_whose_name_was_removed_is_known_again_and_goes_on() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["a"]).await;
    worker.expect("a", 1).await.complete(&app).await;
    // As after the database was put back to an earlier state.
    execute(&app, "delete from apalis.jobs").await;
    execute(&app, "delete from apalis.workers").await;
    enqueue(&app, &["b"]).await;
    worker.expect("b", 1).await.complete(&app).await;
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_statement_whose_asker_has_gone_ends_and_leaves_its_locks() {
    let app = TestApp::empty().await;
    let pool = db::connect(app.database.url(), 2, TIMEOUT, |_| ()).await.unwrap();
    let mut transaction = Transaction::begin(&pool).await.unwrap();
    let hanging = "select pg_sleep(86400) from (select pg_advisory_xact_lock(7)) as locked";
    let asking = sqlx::query(hanging).execute(&mut *transaction);
    let asked = db::in_time::<_, sqlx::Error>(Duration::from_millis(500), asking).await;
    assert!(asked.is_err());
    drop(transaction);
    until(&app, "select pg_try_advisory_lock(7)").await;
    pool.close().await;
    app.database.close().await;
}

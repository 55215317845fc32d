//! Promises 1, 2, 4 and 7: whatever is killed, stopped or delivered twice, the tables end the same.

use kasparro::domain::run::{Mode, RunStatus};
use nix::sys::signal::Signal;
use sqlx::AssertSqlSafe;
use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;

use crate::app::TestApp;
use crate::process::{Process, kasparro, until};

const SOURCES: [&str; 2] = ["coingecko_api", "ledger_lines"];
const ROWS: usize = 1500;

const JOB: &str = r#"
kind = "csv"
primary_key = ["key"]

[csv]
paths = ["data/lines.csv"]
chunk_size = 1000

[fields]
name = { column = "name", required = true }
price = { column = "price", type = "decimal", min = 0 }
quantity = { column = "quantity", type = "integer" }
note = { column = "note" }
"#;

/// Rows whose keys come back in other chunks, some changed and some not, and some bad ones.
fn lines() -> String {
    let mut text = String::from("key,name,price,quantity,note\n");
    for row in 0..ROWS {
        let key = row % 700;
        let line = match row % 97 {
            13 => format!("k{key},,1.00,1,no name\n"),
            29 => format!("k{key},name {key},cheap,1,no price\n"),
            41 => format!("k{key},name {key},1.00\n"),
            _ if row % 3 == 0 => format!("k{key},name {key},{key}.50,{key},\"the, same\"\n"),
            _ => format!("k{key},name {key},{row}.25,{row},line {row}\n"),
        };
        text.push_str(&line);
    }
    text
}

/// The shipped sources, and one of many chunks; a run of each of [`SOURCES`] is enqueued.
async fn app_with_open_runs() -> TestApp {
    let app = app_without_runs().await;
    for source in SOURCES {
        app.start(source, Mode::Incremental).await;
    }
    app
}

async fn app_without_runs() -> TestApp {
    let app = TestApp::shipped().await;
    app.write("ledger_lines.toml", JOB);
    app.write("data/lines.csv", lines());
    app
}

/// Everything that runs leave behind, by content: no ids, times, workers or attempts.
const LEFT_BEHIND: [(&str, &str); 8] = [
    (
        "records",
        "select (to_jsonb(u) - '{raw_ref,first_run_id,last_run_id,created_at,updated_at}'::text[])
            ::text
         from unified_records u order by source, external_id",
    ),
    (
        "raw CSV rows",
        "select concat_ws(' ', source, file, row_number, byte_offset, encode(payload, 'escape'))
         from raw_csv_data order by source, file, row_number",
    ),
    (
        "raw API pages",
        "select concat_ws(' ', source, slice, status, records, encode(body_hash, 'hex'), body)
         from raw_api_data order by source, slice",
    ),
    (
        "quarantine",
        "select (to_jsonb(q) - '{raw_ref,run_id,created_at}'::text[])::text
         from quarantined_rows q order by source, raw_row, field, reason, 1",
    ),
    (
        "runs",
        "select concat_ws(' ', source, status, mode, access, open_tasks, open_reading_tasks,
            dead_tasks, slices, bytes, rows_read, inserted, updated, unchanged, quarantined,
            error, stop_reason)
         from etl_runs order by id",
    ),
    (
        // Pages, and the rows of repeated keys, are normalized as they queue up: how many at once is
        // a matter of time.
        "ledger",
        "select concat_ws(' ', r.source, t.task_key, t.state, t.slices, t.bytes, t.rows_read,
            t.inserted, t.updated, t.unchanged, t.quarantined, t.error)
         from run_tasks t join etl_runs r on r.id = t.run_id
         where t.kind <> 'normalize_batch' or t.payload ->> 'rows' = 'single'
         order by r.source, t.kind, t.first_slice",
    ),
    (
        "checkpoints",
        "select (to_jsonb(c) - '{run_id,updated_at}'::text[])::text
         from ingestion_checkpoints c order by source",
    ),
    (
        "schemas and totals",
        "select (to_jsonb(s) - '{run_id,first_seen_at}'::text[])::text from schema_snapshots s
         union all select to_jsonb(t)::text from source_totals t
         union all select to_jsonb(t)::text from run_totals t order by 1",
    ),
];

type LeftBehind = Vec<(&'static str, Vec<String>)>;

async fn left_behind(app: &TestApp) -> LeftBehind {
    let mut all = Vec::new();
    for (what, query) in LEFT_BEHIND {
        all.push((what, app.texts(query).await));
    }
    all
}

/// What runs leave behind when nothing disturbs them.
async fn undisturbed() -> LeftBehind {
    let app = app_with_open_runs().await;
    app.drain().await;
    let chunks = app.number("select count(*) from run_tasks where kind = 'parse_csv_chunk'").await;
    assert!(chunks >= 40, "{chunks} chunks");
    let left = left_behind(&app).await;
    let quarantined = left.iter().find(|(what, _)| *what == "quarantine").unwrap();
    assert!(quarantined.1.len() > 30, "some rows are bad");
    app.database.close().await;
    left
}

/// Line by line, so that a difference can be read.
#[track_caller]
fn assert_same(found: &LeftBehind, expected: &LeftBehind) {
    for ((what, found), (_, expected)) in found.iter().zip(expected) {
        for (line, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(found, expected, "{what}, line {line}");
        }
        assert_eq!(found.len(), expected.len(), "{what}: number of lines");
    }
}

/// Stops every run at the settlement after its `after`th, inside the task's transaction, until
/// the gate is opened.
struct Gate(PoolConnection<Postgres>);

impl Gate {
    async fn close(app: &TestApp, after: usize) -> Self {
        let function = format!(
            "create function wait_at_the_gate() returns trigger language plpgsql as $$
             begin
                if old.state = 'open' and new.state = 'done' and {after} <= (
                    select count(*) from run_tasks where run_id = new.run_id and state = 'done'
                ) then
                    perform pg_advisory_xact_lock_shared(1);
                end if;
                return new;
             end $$"
        );
        sqlx::query(AssertSqlSafe(function)).execute(&app.pool).await.unwrap();
        let trigger = "create trigger gate before update on run_tasks
                       for each row execute function wait_at_the_gate()";
        sqlx::query(trigger).execute(&app.pool).await.unwrap();
        let mut connection = app.pool.acquire().await.unwrap();
        sqlx::query("select pg_advisory_lock(1)").execute(&mut *connection).await.unwrap();
        Self(connection)
    }

    /// Waits until so many runs stand before the gate.
    async fn holds(&self, app: &TestApp, runs: i64) {
        let query = "select count(*) from pg_locks
                     where locktype = 'advisory' and objid = 1 and not granted
                       and database = (select oid from pg_database
                                       where datname = current_database())";
        until("the runs stand before the gate", async || app.number(query).await == runs).await;
    }

    async fn open(mut self) {
        sqlx::query("select pg_advisory_unlock(1)").execute(&mut *self.0).await.unwrap();
    }
}

const OPEN: &str = "select count(*) from run_tasks where state = 'open'";
const DONE: &str = "select count(*) from run_tasks where state = 'done'";

async fn runs_have_ended(app: &TestApp) {
    let query = "select count(*) from etl_runs where finished_at is null";
    until("the runs end", async || app.number(query).await == 0).await;
}

fn worker(app: &TestApp, workers: &str) -> Process {
    Process::start(kasparro(app, &["worker", "--workers", workers]))
}

#[tokio::test]
async fn after_kill_9_of_the_only_worker_another_one_finishes_as_if_nothing_had_happened() {
    let app = app_with_open_runs().await;
    let gate = Gate::close(&app, 3).await;
    let first = worker(&app, "2");
    gate.holds(&app, 2).await;
    assert_eq!(app.number(DONE).await, 6);
    assert!(app.number(OPEN).await > 40);
    first.kill();
    gate.open().await;
    let _second = worker(&app, "2");
    runs_have_ended(&app).await;
    assert_same(&left_behind(&app).await, &undisturbed().await);
    app.database.close().await;
}

#[tokio::test]
async fn kill_9_in_the_thick_of_it_at_no_particular_instruction_loses_and_repeats_nothing() {
    let app = app_with_open_runs().await;
    let first = worker(&app, "2");
    until("some tasks are done", async || app.number(DONE).await >= 20).await;
    first.kill();
    assert!(app.number(OPEN).await > 0, "the worker was killed too late");
    let _second = worker(&app, "2");
    runs_have_ended(&app).await;
    assert_same(&left_behind(&app).await, &undisturbed().await);
    app.database.close().await;
}

#[tokio::test]
async fn two_worker_processes_share_the_chunks_of_one_run() {
    let app = app_with_open_runs().await;
    // Nobody is late: both are there before the chunks are handed out.
    let gate = Gate::close(&app, 0).await;
    let mut both = [worker(&app, "1"), worker(&app, "1")];
    for worker in &mut both {
        worker.says("worker started").await;
    }
    let registered = "select count(*) from apalis.workers where worker_type = 'parse_csv_chunk'";
    until("both have registered", async || app.number(registered).await == 2).await;
    gate.open().await;
    runs_have_ended(&app).await;
    let processes = "select split_part(worker, '/', 1) from run_tasks t
                     join etl_runs r on r.id = t.run_id
                     where r.source = 'ledger_lines' and t.kind = 'parse_csv_chunk'
                     group by 1 order by 1";
    let processes = app.texts(processes).await;
    assert_eq!(processes.len(), 2, "{processes:?}");
    for worker in &both {
        let id = format!("-{}", worker.id());
        assert!(processes.iter().any(|process| process.ends_with(&id)), "{processes:?} {id}");
    }
    assert_same(&left_behind(&app).await, &undisturbed().await);
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_told_to_stop_lets_go_of_everything_and_another_one_goes_on_at_once() {
    let app = app_with_open_runs().await;
    let gate = Gate::close(&app, 3).await;
    let first = worker(&app, "2");
    gate.holds(&app, 2).await;
    first.signal(Signal::SIGTERM);
    gate.open().await;
    let ended = first.ended().await;
    ended.code(0).complains(&["worker stopped"]);
    assert!(app.number(DONE).await >= 8, "what was under way was finished");
    assert!(app.number(OPEN).await > 0, "the rest was left");
    let held = "select count(*) from apalis.jobs where status in ('Queued', 'Running')";
    assert_eq!(app.number(held).await, 0, "nothing waits for a take-over");
    let _second = worker(&app, "2");
    runs_have_ended(&app).await;
    assert_eq!(app.number("select max(attempt)::bigint from run_tasks").await, 1);
    assert_same(&left_behind(&app).await, &undisturbed().await);
    app.database.close().await;
}

const JOBS_NOT_ENDED: &str =
    "select count(*) from apalis.jobs where status not in ('Done', 'Killed')";

#[tokio::test]
async fn every_open_task_delivered_twice_leaves_the_same_behind() {
    let app = app_without_runs().await;
    // Each item has a twin from its first moment. Ids are ULIDs; ours begin with 0.
    let function = "create function add_a_twin() returns trigger language plpgsql as $$
        begin
            if new.idempotency_key is not null then
                insert into apalis.jobs
                    (id, job_type, job, status, attempts, max_attempts, run_at, priority)
                values ('1' || substr(new.id, 2), new.job_type, new.job, 'Pending', 0, 1000000, now(), 0);
            end if;
            return null;
        end $$";
    sqlx::query(function).execute(&app.pool).await.unwrap();
    let trigger = "create trigger twins after insert on apalis.jobs
                   for each row execute function add_a_twin()";
    sqlx::query(trigger).execute(&app.pool).await.unwrap();
    for source in SOURCES {
        app.start(source, Mode::Incremental).await;
    }
    let worker = worker(&app, "4");
    runs_have_ended(&app).await;
    assert_eq!(
        app.number("select count(*) from apalis.jobs where id like '1%'").await,
        app.number("select count(*) from run_tasks").await,
    );
    until("no item is left", async || app.number(JOBS_NOT_ENDED).await == 0).await;
    assert!(!worker.said().contains("ERROR"), "no task is dead:\n{}", worker.said());
    assert_same(&left_behind(&app).await, &undisturbed().await);
    app.database.close().await;
}

#[tokio::test]
async fn every_settled_task_delivered_again_changes_nothing() {
    let app = app_with_open_runs().await;
    app.drain().await;
    for id in [1, 2] {
        let run = app.get(kasparro::domain::run::RunId(id)).await;
        assert_ne!(run.status, RunStatus::Failed, "{run:?}");
    }
    let everything = "select u::text from unified_records u union all
                      select r::text from etl_runs r union all
                      select t::text from run_tasks t union all
                      select q::text from quarantined_rows q union all
                      select b::text from raw_csv_blocks b union all
                      select a::text from raw_api_data a union all
                      select c::text from ingestion_checkpoints c union all
                      select s::text from source_totals s order by 1";
    let before = app.texts(everything).await;
    let again = "insert into apalis.jobs
            (id, job_type, job, status, attempts, max_attempts, run_at, priority)
         select '1' || substr(id, 2), job_type, job, 'Pending', 0, 1000000, now(), 0 from apalis.jobs";
    let added = sqlx::query(again).execute(&app.pool).await.unwrap().rows_affected();
    assert!(added > 80, "{added} tasks");
    let _worker = worker(&app, "2");
    until("all were delivered", async || app.number(JOBS_NOT_ENDED).await == 0).await;
    assert_eq!(app.texts(everything).await, before);
    app.database.close().await;
}

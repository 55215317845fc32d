//! What life does to kasparro, and that the tables end as if nothing had happened.
//!
//! Owns the input, what is compared, and how often each fault comes: few rounds in `cargo test`, all
//! of them with `scripts/reliability`, which also writes the table of `docs/reliability.md`. Seeded:
//! a failed round names its seed, and `KASPARRO_FAULT_SEED` brings it again.

mod api_faults;
mod changing_files;
mod database_lost;
mod delivered_twice;
mod frozen;
mod full_disk;
mod held_snapshot;
mod isolation;
mod killed;
mod own_server;
mod poison;
mod proxy;
mod read_only;
mod schedulers;
mod start_storm;
mod stopped;
mod strays;
mod trial;

use kasparro::domain::run::Mode;
use sqlx::AssertSqlSafe;
use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;
use tokio::sync::OnceCell;

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
    start_runs(&app).await;
    app
}

async fn start_runs(app: &TestApp) {
    for source in SOURCES {
        app.start(source, Mode::Incremental).await;
    }
}

async fn app_without_runs() -> TestApp {
    with_sources(TestApp::shipped().await)
}

fn with_sources(app: TestApp) -> TestApp {
    app.write("ledger_lines.toml", JOB);
    app.write("data/lines.csv", lines());
    app
}

/// Everything that runs leave behind, by content: no ids, times, workers or attempts.
const LEFT_BEHIND: [(&str, &str); 8] = [
    (
        "records",
        "select (to_jsonb(u) - '{raw_ref,first_run_id,last_run_id,created_at,updated_at,hash_before_run,updates_in_run}'::text[])
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
        "select concat_ws(' ', source, status, mode, access, open_tasks,
            failed_tasks, slices, bytes, rows_read, inserted, updated, unchanged, quarantined,
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
        "select (to_jsonb(c) - '{run_id,updated_at,state}'::text[])::text
            || coalesce((select string_agg(f.url, ' ' order by f.url) from source_files f
                         where c.state -> 'files' @> to_jsonb(f.id)), '')
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
async fn undisturbed() -> &'static LeftBehind {
    static UNDISTURBED: OnceCell<LeftBehind> = OnceCell::const_new();
    UNDISTURBED.get_or_init(left_behind_undisturbed).await
}

async fn left_behind_undisturbed() -> LeftBehind {
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

/// Stops every run at the completion after its `after`th, inside the task's transaction, until
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

async fn open_runs(app: &TestApp) -> i64 {
    app.number("select count(*) from etl_runs where finished_at is null").await
}

async fn runs_have_ended(app: &TestApp) {
    until("the runs end", async || open_runs(app).await == 0).await;
}

fn worker(app: &TestApp, workers: &str) -> Process {
    Process::start(kasparro(app, &["worker", "--workers", workers]))
}

/// Ends as nothing had happened.
async fn assert_as_if_undisturbed(app: &TestApp) {
    runs_have_ended(app).await;
    assert_same(&left_behind(app).await, undisturbed().await);
}

/// Waits until so many tasks are done.
async fn are_done(app: &TestApp, tasks: i64) {
    until("some tasks are done", async || app.number(DONE).await >= tasks).await;
}

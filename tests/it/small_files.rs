//! Files that are small together are read by one task and normalized by one, and end as if each had its own: what
//! is wrong with one of them costs the others nothing.

use std::fmt::Write;

use kasparro::domain::run::{Mode, RunId, RunStatus};
use kasparro::tasks::start_run::{RawRange, RunRequest, Started};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::app::{TestApp, request};
use crate::process::{Process, kasparro, until};
use crate::shuffle::Shuffle;

const FILES: usize = 40;
const KINDS: &str = "select kind || ' ' || count(*) from run_tasks
                     where state <> 'done' or role <> 'read' or result is null
                     group by kind order by kind";
const RECORDS: &str = "select concat_ws(' ', external_id, name, price, f.url, raw_row)
     from unified_records u join source_files f on u.raw_ref = 'file/' || f.id order by external_id";
const SET_ASIDE: &str =
    "select concat_ws(' ', f.url, raw_row, line, byte_start, byte_end, field, reason)
     from quarantined_rows q join source_files f on q.raw_ref = 'file/' || f.id order by 1";
const RAW: &str = "select concat_ws(' ', file, row_number, byte_offset, encode(payload, 'escape'))
     from raw_csv_data order by 1";
const FIGURES: &str =
    "select concat_ws(' ', status, slices, bytes, rows_read, inserted, updated, unchanged,
        quarantined, open_tasks, failed_tasks, key_order) from etl_runs order by id";

fn job(chunk_size: usize) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"data/*.csv\"]\nchunk_size = {chunk_size}\n\
         [fields]\nname = {{}}\nprice = {{ type = \"decimal\" }}\n"
    )
}

/// Some rows; one in each file is set aside. Every `again`th key comes back in the next file.
fn file(number: usize, again: usize) -> String {
    let mut text = "id,name,price\n".to_owned();
    for row in 0..30 {
        let key = number * 30 + row;
        let key = if again > 0 && key.is_multiple_of(again) { key + 30 } else { key };
        let price = if row == 7 { "cheap".to_owned() } else { format!("{row}.{number}") };
        writeln!(text, "{key},name {row} of {number:070},{price}").unwrap();
    }
    text
}

/// Line by line, so that a difference can be read.
async fn same(one: &TestApp, other: &TestApp, queries: &[&'static str]) {
    for query in queries {
        let (found, expected) = (one.texts(query).await, other.texts(query).await);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected);
        }
        assert_eq!(found.len(), expected.len(), "{query}");
    }
}

async fn app(chunk_size: usize, again: usize) -> TestApp {
    let app = TestApp::empty().await;
    app.write("small.toml", job(chunk_size));
    for number in 0..FILES {
        app.write(&format!("data/{number:03}.csv"), file(number, again));
    }
    app
}

/// The same tables, whether the files are read together or apart.
async fn is_as_if_apart(again: usize, order: &str, tasks: &[&str]) {
    let (together, apart) = (app(4 << 20, again).await, app(100, again).await);
    for app in [&together, &apart] {
        let run = app.run("small").await;
        assert_eq!(run.status, RunStatus::Success, "{run:?}");
    }
    assert_eq!(together.texts(KINDS).await, tasks);
    let figures = together.texts(FIGURES).await.concat();
    assert!(figures.starts_with("success 40 ") && figures.ends_with(order), "{figures}");
    same(&together, &apart, &[RECORDS, SET_ASIDE, RAW]).await;
    assert_eq!(together.texts(RAW).await.len(), FILES * 30);
    // Of the files that grew only what is new, from each that was replaced everything.
    for app in [&together, &apart] {
        for number in [3, 4, 9] {
            let more = format!("{}{}", file(number, again), "9999,late,1\n");
            app.write(&format!("data/{number:03}.csv"), more);
        }
        app.write("data/020.csv", file(77, again));
        let run = app.run("small").await;
        assert_eq!((run.counters.rows_read, run.counters.quarantined), (33, 1), "{run:?}");
    }
    same(&together, &apart, &[RECORDS, SET_ASIDE, RAW]).await;
    together.database.close().await;
    apart.database.close().await;
}

#[tokio::test]
async fn files_of_distinct_keys_are_read_together_and_normalized_together() {
    let tasks = ["normalize_batch 1", "parse_small_chunks 1", "plan_run 1", "snapshot_schema 1"];
    is_as_if_apart(0, "distinct", &tasks).await;
}

#[tokio::test]
async fn files_of_which_some_keys_come_back_are_read_together_and_normalized_in_order() {
    let tasks = ["normalize_batch 2", "parse_small_chunks 1", "plan_run 1", "snapshot_schema 1"];
    is_as_if_apart(100, "split", &tasks).await;
}

/// The plan is made, and then some files are not what they were.
async fn planned_and_then(change: impl FnOnce(&TestApp)) -> (TestApp, RunId) {
    let app = app(4 << 20, 0).await;
    let Started::New(run) = app.start("small", Mode::Incremental).await else { panic!("busy") };
    Shuffle::new(&app, 1).await.one().await;
    change(&app);
    app.drain().await;
    (app, run)
}

#[tokio::test]
async fn a_file_that_changed_or_vanished_fails_alone() {
    let (app, run) = planned_and_then(|app| {
        let late = file(5, 0).replacen('\n', "\n7777,late,1\n", 1);
        app.write("data/005.csv", late);
        std::fs::remove_file(app.path("data/011.csv")).unwrap();
    })
    .await;
    let run = app.get(run).await;
    assert_eq!((run.status, run.failed_tasks), (RunStatus::Failed, 2), "{run:?}");
    let left = "select task_key || ' ' || state || ' ' || error from run_tasks
                where state <> 'done' order by first_slice";
    let left = app.texts(left).await;
    assert!(
        left[0].starts_with("parse_csv_chunk:5 failed ") && left[0].contains("005.csv changed")
    );
    assert!(
        left[1].starts_with("parse_csv_chunk:11 failed ") && left[1].contains("011.csv does not")
    );
    assert_eq!((run.counters.slices, run.counters.rows_read), (38, 38 * 30));
    assert_eq!(run.counters.inserted, 38 * 29);
    // The next run reads all as it is now.
    let run = app.run("small").await;
    assert_eq!(run.status, RunStatus::SuccessWithDuplicates, "{run:?}");
    let names = "select distinct f.url from unified_records u
                 join source_files f on u.raw_ref = 'file/' || f.id order by 1";
    assert_eq!(app.texts(names).await.len(), FILES - 1);
    assert_eq!(app.number("select count(*) from unified_records").await, 39 * 29 + 1);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_failed_for_a_while_is_read_when_the_run_is_retried() {
    let aside = |app: &TestApp| (app.path("data/011.csv"), app.path("aside"));
    let (app, run) = planned_and_then(|app| {
        let (file, aside) = aside(app);
        std::fs::rename(file, aside).unwrap();
    })
    .await;
    assert_eq!(app.get(run).await.status, RunStatus::Failed);
    let (file, aside) = aside(&app);
    std::fs::rename(aside, file).unwrap();
    crate::process::call(&app, &["runs", "retry", "1"]).await.code(0);
    app.drain().await;
    let run = app.get(run).await;
    assert_eq!((run.status, run.counters.rows_read), (RunStatus::Success, 1200), "{run:?}");
    let healthy = self::app(4 << 20, 0).await;
    healthy.run("small").await;
    same(&app, &healthy, &[RECORDS, SET_ASIDE, RAW, FIGURES]).await;
    healthy.database.close().await;
    app.database.close().await;
}

/// What takes the process along while several files are read may be one of them: then they are read one by one.
async fn is_read_one_by_one_after(fault: &str) {
    let app = app(4 << 20, 0).await;
    app.start("small", Mode::Incremental).await;
    let start = || {
        let mut command = kasparro(&app, &["worker", "--workers", "2"]);
        command.env("KASPARRO_FAULTS", format!("parse_small_chunks/{fault}"));
        command.env("KASPARRO_TASK_TIME_LIMIT", "3");
        Process::start(command)
    };
    let mut working = start();
    let active = "select count(*) from etl_runs where finished_at is null";
    let silence = "update apalis.workers set last_seen = now() - interval '1 hour'";
    until("the run has ended", async || {
        if working.has_ended() {
            sqlx::query(silence).execute(&app.pool).await.unwrap();
            // It has one fault only: the next try of this task would meet it again.
            working = Process::start(kasparro(&app, &["worker", "--workers", "2"]));
        }
        app.number(active).await == 0
    })
    .await;
    drop(working);
    let run = app.get(RunId(1)).await;
    assert_eq!((run.status, run.counters.rows_read), (RunStatus::Success, 1200), "{run:?}");
    let alone =
        "select count(*) from run_tasks where kind = 'parse_csv_chunk' and payload ? 'slice'";
    assert_eq!(app.number(alone).await, FILES as i64);
    let healthy = self::app(4 << 20, 0).await;
    healthy.run("small").await;
    same(&app, &healthy, &[RECORDS, SET_ASIDE, RAW, FIGURES]).await;
    healthy.database.close().await;
    app.database.close().await;
}

#[tokio::test]
async fn small_files_whose_worker_was_killed_before_it_stored_them_are_read_one_by_one() {
    is_read_one_by_one_after("gathered=kill").await;
}

#[tokio::test]
async fn small_files_whose_worker_was_killed_before_it_committed_them_are_stored_once() {
    is_read_one_by_one_after("stored=kill").await;
}

#[tokio::test]
async fn small_files_are_replayed_together() {
    let app = app(4 << 20, 0).await;
    app.run("small").await;
    let raw = RawRange { from: Some(RunId(1)), to: Some(RunId(1)) };
    let run = app.run_as("small", &RunRequest { raw, ..request(Mode::Replay) }).await;
    assert_eq!(run.status, RunStatus::SuccessWithDuplicates, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.unchanged), (1200, 1160));
    let batches = "select count(*) from run_tasks where run_id = 2 and role = 'normalize'";
    assert_eq!(app.number(batches).await, 1);
    app.database.close().await;
}

/// However late, twice, or by whom the tasks are done.
#[tokio::test]
async fn deliveries_of_small_files_may_come_twice_and_late() {
    let app = app(10_000, 0).await;
    app.start("small", Mode::Incremental).await;
    let shuffle = Shuffle::new(&app, 3).await;
    shuffle.all(&mut StdRng::seed_from_u64(7)).await;
    let healthy = self::app(4 << 20, 0).await;
    healthy.run("small").await;
    same(&app, &healthy, &[RECORDS, SET_ASIDE, RAW, FIGURES]).await;
    healthy.database.close().await;
    app.database.close().await;
}

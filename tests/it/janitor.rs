//! The janitor removes what is old, nothing else, and any number of janitors do no more than one.

use chrono::Utc;
use kasparro::db::runs::Run;
use kasparro::janitor::{Swept, sweep};
use kasparro::tasks::SourcesInUse;

use crate::app::TestApp;

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n\
                   chunk_size = 100\n[fields]\nname = { column = \"name\" }\n";
const PAGES: &str = "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\n\
                     base_url = \"https://coins.example\"\npath = \"coins\"\nrecording = \"pages\"\n\
                     [fields]\nname = { from = \"$.name\" }\n";
const RETENTION: &str = "[retention]\nledger = \"10d\"\nraw = \"20d\"\n";

const TASKS: &str = "select count(*) from run_tasks";
const ITEMS: &str = "select count(*) from apalis.jobs";
const RAW: &str = "select count(*) from raw_csv_data";
const BODIES: &str = "select body::text from raw_api_data";

async fn clean(app: &TestApp) -> Swept {
    sweep(&app.pool, &SourcesInUse::default(), Utc::now()).await.unwrap()
}

/// Makes everything there is look that much older.
async fn wait(app: &TestApp, days: f64) {
    for statement in [
        "update apalis.jobs set done_at = done_at - make_interval(secs => $1 * 86400)",
        "update etl_runs set finished_at = finished_at - make_interval(secs => $1 * 86400)",
        "update source_files set updated_at = updated_at - make_interval(secs => $1 * 86400)",
        "update raw_api_data set fetched_at = fetched_at - make_interval(secs => $1 * 86400)",
        "update raw_api_pages set fetched_at = fetched_at - make_interval(secs => $1 * 86400)",
    ] {
        sqlx::query(statement).bind(days).execute(&app.pool).await.unwrap();
    }
}

async fn run(app: &TestApp, source: &str) -> Run {
    let run = app.run(source).await;
    assert!(run.status.is_success(), "{run:?}");
    run
}

fn rows(numbers: std::ops::Range<usize>) -> String {
    let rows: String = numbers.map(|n| format!("{n},name {n}\n")).collect();
    format!("id,name\n{rows}")
}

#[tokio::test]
async fn items_go_hours_after_their_task_is_done_and_weeks_after_it_died() {
    let app = TestApp::empty().await;
    app.write("a.toml", JOB);
    app.write("a.csv", rows(0..40));
    run(&app, "a").await;
    std::fs::remove_file(app.path("a.csv")).unwrap();
    app.run("a").await;
    let (all, tasks) = (app.number(ITEMS).await, app.number(TASKS).await);
    assert_eq!(clean(&app).await, Swept::default());
    wait(&app, 0.5).await;
    assert_eq!(clean(&app).await.items as i64, all - 1);
    wait(&app, 20.0).await;
    assert_eq!(clean(&app).await, Swept::default());
    wait(&app, 10.0).await;
    assert_eq!(clean(&app).await, Swept { items: 1, ..Swept::default() });
    assert_eq!(app.number(TASKS).await, tasks, "nobody said how long the ledger is kept");
    assert!(app.number(RAW).await > 0);
    app.database.close().await;
}

#[tokio::test]
async fn items_that_wait_or_are_worked_on_stay_however_old_they_are() {
    let app = TestApp::empty().await;
    app.write("a.toml", JOB);
    app.write("a.csv", rows(0..40));
    app.start("a", kasparro::domain::run::Mode::Incremental).await;
    sqlx::query("update apalis.jobs set run_at = now() - interval '1 year'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(clean(&app).await, Swept::default());
    assert_eq!(app.number(ITEMS).await, 1);
    app.database.close().await;
}

#[tokio::test]
async fn ledger_and_raw_rows_go_when_the_job_file_says_so_and_the_newest_file_stays() {
    let app = TestApp::empty().await;
    app.write("a.toml", format!("{JOB}{RETENTION}"));
    app.write("a.csv", rows(0..40));
    run(&app, "a").await;
    app.write("a.csv", rows(100..130));
    run(&app, "a").await;
    assert_eq!(app.number(RAW).await, 70);
    wait(&app, 15.0).await;
    let first = clean(&app).await;
    assert!(first.tasks > 6 && first.blocks == 0, "{first:?}");
    assert_eq!((app.number(TASKS).await, app.number(RAW).await), (0, 70));
    wait(&app, 10.0).await;
    assert!(clean(&app).await.blocks > 0);
    assert_eq!(app.number(RAW).await, 30, "the rows of the file as it is");
    assert_eq!(app.number("select count(*) from unified_records").await, 70);
    // The file is as it was: nothing has to be read again, and nothing is missed.
    assert_eq!(run(&app, "a").await.stop_reason.as_deref(), Some("nothing new"));
    app.database.close().await;
}

#[tokio::test]
async fn pages_stay_as_long_as_runs_read_them() {
    let app = TestApp::empty().await;
    app.write("a.toml", format!("{PAGES}{RETENTION}"));
    let publish =
        |name: &str| app.write("pages/page-0001.json", format!(r#"[{{"id":1,"name":"{name}"}}]"#));
    publish("old");
    run(&app, "a").await;
    publish("new");
    run(&app, "a").await;
    wait(&app, 30.0).await;
    run(&app, "a").await;
    assert_eq!(clean(&app).await.pages, 1);
    let left = app.texts(BODIES).await;
    assert!(left.len() == 1 && left[0].contains("new"), "{left:?}");
    // What was removed is stored again when it comes again.
    publish("old");
    run(&app, "a").await;
    assert_eq!(app.texts(BODIES).await.len(), 2);
    assert_eq!(app.texts("select name from unified_records").await, ["old"]);
    app.database.close().await;
}

#[tokio::test]
async fn janitors_that_sweep_at_once_remove_each_row_once() {
    let app = TestApp::empty().await;
    let many = "insert into apalis.jobs
            (id, job_type, job, status, attempts, max_attempts, run_at, priority, done_at)
        select 'old' || n, 'plan_run', '', 'Done', 0, 1, now(), 0, now() - interval '1 day'
        from generate_series(1, 2500) as n";
    sqlx::query(many).execute(&app.pool).await.unwrap();
    let (a, b, c) = tokio::join!(clean(&app), clean(&app), clean(&app));
    assert_eq!(a.items + b.items + c.items, 2500);
    assert_eq!(app.number(ITEMS).await, 0);
    app.database.close().await;
}

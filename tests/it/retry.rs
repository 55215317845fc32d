//! Trying the failed tasks of a failed run again: what is done stays done, order is kept, and the
//! counters add up as if nothing had failed.

use kasparro::db::runs::Run;
use kasparro::domain::actor::Actor;
use kasparro::domain::counters::Counters;
use kasparro::domain::run::{Mode, RunId, RunStatus};
use kasparro::tasks::retry_run::{RetryOutcome, retry_run};
use kasparro::tasks::start_run::Started;
use sqlx::AssertSqlSafe;

use crate::app::TestApp;
use crate::process::call;

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"key\"]\n[csv]\npaths = [\"lines.csv\"]\n\
                   chunk_size = 1000\n[fields]\nname = { column = \"name\", required = true }\n";
const RECORDS: &str = "select external_id || ' ' || name from unified_records order by 1";
const QUARANTINE: &str = "select raw_row || ' ' || reason from quarantined_rows order by raw_row";
const RAW: &str = "select encode(payload, 'escape') from raw_csv_data order by row_number";

/// Rows of which `repeated` keys come back, now with another name and now with the same, and some
/// without a name.
fn lines(repeated: usize) -> String {
    let row = |row: usize| match row % 41 {
        7 => format!("k{row},\n"),
        _ if row % repeated < 150 => format!("r{},name {}\n", row % repeated, row % 7),
        _ => format!("k{row},name {row}\n"),
    };
    format!("key,name\n{}", (0..2000).map(row).collect::<String>())
}

async fn app(lines: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", lines);
    app
}

async fn retry(app: &TestApp, id: RunId) -> RetryOutcome {
    let mut transaction = app.pool.begin().await.unwrap();
    let actor = Actor::command_line("ann");
    let outcome = retry_run(&mut transaction, id, &actor).await.unwrap();
    transaction.commit().await.unwrap();
    outcome
}

/// The task with this key can be completed in no other way than by failing.
async fn kill(app: &TestApp, key: &str) {
    let statement = format!(
        "create or replace function kill() returns trigger language plpgsql as $$
         begin
            if new.task_key in ('{key}') and new.state = 'done' then
                raise exception 'injected' using errcode = '22000';
            end if;
            return new;
         end $$;
         create or replace trigger kill before update on run_tasks
         for each row execute function kill()"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&app.pool).await.unwrap();
}

async fn fix(app: &TestApp) {
    sqlx::raw_sql("drop function kill() cascade").execute(&app.pool).await.unwrap();
}

async fn fail(app: &TestApp) -> Run {
    let run = app.run("lines").await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    run
}

/// What of the counters can be told after rows were applied twice.
fn told(run: &Run) -> (Counters, i64) {
    let Counters { updated, unchanged, .. } = run.counters;
    (Counters { updated: 0, unchanged: 0, ..run.counters }, updated + unchanged)
}

/// Fails at these tasks, is retried without them failing, and ends like a run that never failed.
async fn is_made_whole(lines: &str, failing: &str) {
    let app = app(lines).await;
    kill(&app, failing).await;
    let failed = fail(&app).await;
    assert_eq!(failed.failed_tasks as usize, failing.split("','").count());
    let before = app.number("select count(*) from unified_records").await;
    assert!(before > 0, "the others were applied");
    fix(&app).await;
    let RetryOutcome::Retried(again) = retry(&app, failed.id).await else { panic!() };
    assert_eq!((again.status, again.finished_at), (RunStatus::Running, None));
    app.drain().await;
    let whole = app.get(failed.id).await;

    let twin = self::app(lines).await;
    let undisturbed = twin.run("lines").await;
    assert_eq!(whole.status, undisturbed.status, "{whole:?}");
    assert_eq!((&whole.error, whole.failed_tasks), (&None, 0));
    assert_eq!(whole.stop_reason, undisturbed.stop_reason);
    assert_eq!(told(&whole), told(&undisturbed));
    assert_eq!(i64::from(whole.tasks), app.number("select count(*) from run_tasks").await);
    for query in [RECORDS, QUARANTINE, RAW, TOTALS, LEDGER] {
        assert_eq!(app.texts(query).await, twin.texts(query).await, "{query}");
    }
    let (next, of_twin) = (app.run("lines").await, twin.run("lines").await);
    assert_eq!((next.status, next.stop_reason), (of_twin.status, of_twin.stop_reason));
    twin.database.close().await;
    app.database.close().await;
}

const TOTALS: &str = "select concat_ws(' ', source, records, slices, bytes, rows_read, inserted,
        updated + unchanged, quarantined) from source_totals
    union all select concat_ws(' ', source, status, runs) from run_totals order by 1";
/// How many slices a batch has is a matter of time.
const LEDGER: &str = "select concat_ws(' ', kind, state, sum(slices), sum(rows_read), sum(inserted),
        sum(updated + unchanged), sum(quarantined), count(*) filter (where kind <> 'normalize_batch'))
    from run_tasks group by kind, state order by kind";

#[tokio::test]
async fn a_chunk_without_repeated_keys_is_only_read_and_applied_itself() {
    is_made_whole(&lines(100_000), "parse_csv_chunk:3").await;
    is_made_whole(&lines(100_000), "normalize_batch:3").await;
}

#[tokio::test]
async fn rows_of_repeated_keys_behind_a_failed_chunk_are_applied_again_in_order() {
    is_made_whole(&lines(600), "parse_csv_chunk:3").await;
    is_made_whole(&lines(600), "parse_csv_chunk:0','parse_csv_chunk:9").await;
}

#[tokio::test]
async fn a_failed_batch_of_repeated_keys_comes_before_those_behind_it() {
    is_made_whole(&lines(600), "normalize_batch:0:repeated").await;
    is_made_whole(&lines(600), "snapshot_schema','normalize_batch:2").await;
}

#[tokio::test]
async fn pages_behind_a_failed_batch_are_applied_again_in_order() {
    let pages = |app: &TestApp| {
        app.write(
            "lines.toml",
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\n\
             base_url = \"https://lines.example\"\npath = \"lines\"\nrecording = \"pages\"\n\
             paginator = { type = \"page_number\" }\n[fields]\nname = { from = \"$.name\" }\n",
        );
        for page in 1..=8 {
            let names = [("a", page), ("b", page % 3), (["c", "d"][page % 2], 0)];
            let rows = names.map(|(id, name)| serde_json::json!({ "id": id, "name": name }));
            let rows = if page < 8 { rows.to_vec() } else { Vec::new() };
            app.write(&format!("pages/page-{page:04}.json"), serde_json::json!(rows).to_string());
        }
    };
    let app = TestApp::empty().await;
    pages(&app);
    kill(&app, "normalize_batch:0").await;
    let failed = fail(&app).await;
    assert_ne!(app.texts(RECORDS).await, [] as [&str; 0], "later pages were applied");
    fix(&app).await;
    retry(&app, failed.id).await;
    app.drain().await;
    let twin = TestApp::empty().await;
    pages(&twin);
    let (whole, undisturbed) = (app.get(failed.id).await, twin.run("lines").await);
    assert_eq!(told(&whole), told(&undisturbed));
    assert_eq!(app.texts(RECORDS).await, twin.texts(RECORDS).await);
    twin.database.close().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_run_whose_plan_failed_begins_anew() {
    let app = app(&lines(600)).await;
    std::fs::remove_file(app.path("lines.csv")).unwrap();
    let failed = fail(&app).await;
    app.write("lines.csv", lines(600));
    retry(&app, failed.id).await;
    app.drain().await;
    assert!(app.get(failed.id).await.status.is_success());
    app.database.close().await;
}

#[tokio::test]
async fn what_cannot_be_retried_is_told_why() {
    let app = app(&lines(600)).await;
    kill(&app, "parse_csv_chunk:3").await;
    let failed = fail(&app).await;
    let id = failed.id.0.to_string();
    let Started::New(active) = app.start("lines", Mode::Incremental).await else { panic!() };
    assert!(matches!(retry(&app, failed.id).await, RetryOutcome::Superseded(id) if id == active));
    let refused = call(&app, &["runs", "retry", &id]).await;
    refused.code(1).complains(&["run 2 of the source is later than run 1"]);
    fix(&app).await;
    app.drain().await;
    assert!(matches!(retry(&app, active).await, RetryOutcome::NothingFailed(_)));
    assert!(matches!(retry(&app, RunId(77)).await, RetryOutcome::Unknown));
    app.database.close().await;
}

#[tokio::test]
async fn a_retry_that_is_cancelled_keeps_account_of_what_is_in_the_table() {
    let app = app(&lines(600)).await;
    kill(&app, "normalize_batch:0:repeated").await;
    let failed = fail(&app).await;
    retry(&app, failed.id).await;
    call(&app, &["runs", "cancel", &failed.id.0.to_string()]).await.code(0);
    let records = app.number("select count(*) from unified_records").await;
    assert_eq!(app.number("select records from source_totals").await, records);
    fix(&app).await;
    assert!(app.run("lines").await.status.is_success());
    let twin = self::app(&lines(600)).await;
    twin.run("lines").await;
    assert_eq!(app.texts(RECORDS).await, twin.texts(RECORDS).await);
    twin.database.close().await;
    app.database.close().await;
}

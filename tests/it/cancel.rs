//! Cancelling: nothing of a run commits afterwards, what did stays, and the next run makes it whole.

use std::time::Duration;

use kasparro::api::{AuthConfig, WithoutToken};
use kasparro::db::runs::Run;
use kasparro::domain::actor::Actor;
use kasparro::domain::run::{Mode, RunId, RunStatus};
use kasparro::tasks::cancel_run::{CancelOutcome, cancel_run};
use kasparro::tasks::start_run::Started;
use serde_json::Value;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::api::{TestApi, problem};
use crate::app::TestApp;
use crate::process::{call, until};

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"key\"]\n[csv]\npaths = [\"lines.csv\"]\n\
                   chunk_size = 1000\n[fields]\nname = { column = \"name\" }\n";
const DONE: &str = "select count(*) from run_tasks where state = 'done'";
const OPEN_ITEMS: &str = "select count(*) from apalis.jobs where status not in ('Done', 'Killed')";
const CONTENT: &str = "select external_id || ' ' || name from unified_records order by 1";

/// Rows of which every key comes back, the later ones with another name.
fn lines() -> String {
    let row = |row: usize| format!("k{},name {row}\n", row % 900);
    let rows: String = (0..3000).map(row).collect();
    format!("key,name\n{rows}")
}

async fn app() -> TestApp {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", lines());
    app
}

async fn cancel(app: &TestApp, id: RunId) -> CancelOutcome {
    let mut transaction = app.pool.begin().await.unwrap();
    let actor = Actor::command_line("ann");
    let outcome = cancel_run(&mut transaction, id, &actor).await.unwrap();
    transaction.commit().await.unwrap();
    outcome
}

async fn start(app: &TestApp, source: &str) -> RunId {
    let Started::New(id) = app.start(source, Mode::Incremental).await else {
        panic!("{source} has an active run");
    };
    id
}

#[track_caller]
fn assert_cancelled(run: &Run) {
    assert_eq!(run.status, RunStatus::Cancelled, "{run:?}");
    assert_eq!(run.stop_reason.as_deref(), Some("cancelled by cli:ann"));
    assert!(run.finished_at.is_some() && run.open_tasks == 0, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_cancelled_half_way_keeps_what_it_committed_and_the_next_run_makes_it_whole() {
    let app = app().await;
    let id = start(&app, "lines").await;
    let cancelling = async {
        until("some tasks are done", async || app.number(DONE).await >= 20).await;
        cancel(&app, id).await
    };
    let ((), outcome) = tokio::join!(app.drain(), cancelling);
    let CancelOutcome::Cancelled(run) = outcome else { panic!("{outcome:?}") };
    assert_cancelled(&run);
    assert_eq!(app.get(id).await.counters, run.counters, "nothing was recorded afterwards");
    assert!(run.counters.rows_read > 0);
    let states = "select state from run_tasks group by state order by state";
    assert_eq!(app.texts(states).await, ["cancelled", "done"]);
    assert_eq!(app.number(OPEN_ITEMS).await, 0);
    assert_eq!(app.number("select count(*) from ingestion_checkpoints").await, 0);
    let records =
        "select (count(*) = (select records from source_totals))::text from unified_records";
    assert_eq!(app.texts(records).await, ["true"]);

    let next = app.run("lines").await;
    assert!(next.status.is_success() && next.counters.rows_read == 3000, "{next:?}");
    let content = app.texts(CONTENT).await;
    assert_eq!(app.texts(records).await, ["true"]);
    let undisturbed = self::app().await;
    undisturbed.run("lines").await;
    assert!(content == undisturbed.texts(CONTENT).await);
    undisturbed.database.close().await;
    app.database.close().await;
}

#[tokio::test]
async fn rows_appended_by_a_cancelled_run_are_read_by_the_next() {
    let app = app().await;
    app.run("lines").await;
    let before = app.texts("select last_processed_marker from ingestion_checkpoints").await;
    app.write("lines.csv", lines() + &"k7,late\n".repeat(2000));
    let id = start(&app, "lines").await;
    let cancelling = async {
        until("some tasks are done", async || {
            app.number("select count(*) from run_tasks where run_id = 2 and state = 'done'").await
                >= 4
        })
        .await;
        cancel(&app, id).await
    };
    let ((), outcome) = tokio::join!(app.drain(), cancelling);
    assert!(matches!(outcome, CancelOutcome::Cancelled(_)), "{outcome:?}");
    assert_eq!(app.texts("select last_processed_marker from ingestion_checkpoints").await, before);
    let next = app.run("lines").await;
    assert_eq!(next.counters.rows_read, 5000, "{next:?}");
    let late = "select name from unified_records where external_id = 'k7'";
    assert_eq!(app.texts(late).await, ["late"]);
    app.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_waits_for_an_answer_stops_soon_and_stores_nothing() {
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(200).set_body_string("[{\"id\": 1}]");
    let late = late.set_delay(Duration::from_secs(20));
    Mock::given(method("GET")).respond_with(late).mount(&server).await;
    let app = TestApp::empty().await;
    let job = format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
         path = \"coins\"\ndata_selector = \"$[*]\"\ntimeout = \"25s\"\n",
        server.uri()
    );
    app.write("coins.toml", job);
    let cancelling = async {
        until("the API is asked", async || {
            !server.received_requests().await.unwrap_or_default().is_empty()
        })
        .await;
        let begun = std::time::Instant::now();
        assert!(matches!(cancel(&app, RunId(1)).await, CancelOutcome::Cancelled(_)));
        until("the task lets go", async || app.number(OPEN_ITEMS).await == 0).await;
        assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    };
    let (run, ()) = tokio::join!(app.run_online("coins"), cancelling);
    assert_cancelled(&run);
    assert_eq!(app.number("select count(*) from raw_api_data").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_cancelled_run_that_nobody_began_never_starts() {
    let app = app().await;
    let id = start(&app, "lines").await;
    assert!(matches!(cancel(&app, id).await, CancelOutcome::Cancelled(_)));
    assert_eq!(app.number(OPEN_ITEMS).await, 0);
    let run = app.get(id).await;
    assert_cancelled(&run);
    assert!(run.started_at.is_none());
    app.run("lines").await;
    assert_eq!(app.get(id).await.status, RunStatus::Cancelled);
    app.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_is_cancelled_or_ends_by_itself_and_never_both() {
    let app = app().await;
    app.write("lines.csv", "key,name\n1,one\n");
    for round in 0..20 {
        let id = start(&app, "lines").await;
        let delayed = async {
            tokio::time::sleep(Duration::from_millis(5 * round)).await;
            cancel(&app, id).await
        };
        let ((), outcome) = tokio::join!(app.drain(), delayed);
        let run = app.get(id).await;
        let cancelled = matches!(outcome, CancelOutcome::Cancelled(_));
        assert_eq!(run.status == RunStatus::Cancelled, cancelled, "{run:?} {outcome:?}");
    }
    let ended = "select (count(*) = (select sum(runs) from run_totals))::text from etl_runs";
    assert_eq!(app.texts(ended).await, ["true"]);
    app.database.close().await;
}

#[tokio::test]
async fn cancelling_twice_is_fine_and_a_run_that_ended_otherwise_is_a_conflict() {
    let open = AuthConfig::of(WithoutToken::ThisMachine);
    let api = TestApi::admitting(open).await;
    api.app.write("lines.toml", JOB);
    api.app.write("lines.csv", "key,name\n1,one\n");
    let post = |path: String| api.client.post(api.url(&path)).send();
    api.app.start("lines", Mode::Incremental).await;
    for _ in 0..2 {
        let answer = post("/runs/1/cancel".to_owned()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let run: Value = answer.json().await.unwrap();
        assert_eq!(run["status"], "cancelled");
        assert_eq!(run["stop_reason"], "cancelled by address:127.0.0.1");
    }
    let ended = api.app.run("lines").await.id;
    problem(post(format!("/runs/{ended}/cancel")).await.unwrap(), 409, "run-ended").await;
    problem(post("/runs/77/cancel".to_owned()).await.unwrap(), 404, "unknown-run").await;
    problem(post("/runs/x/cancel".to_owned()).await.unwrap(), 400, "invalid-parameter").await;
}

#[tokio::test]
async fn the_command_line_cancels_a_run() {
    let app = app().await;
    app.start("lines", Mode::Incremental).await;
    call(&app, &["runs", "cancel", "1"]).await.code(0).prints(&["run 1 of lines is cancelled"]);
    call(&app, &["runs", "--status", "cancelled"]).await.code(0).prints(&["cancelled by cli:"]);
    app.run("lines").await;
    call(&app, &["runs", "cancel", "2"]).await.code(1).complains(&["run 2 has ended: success"]);
    call(&app, &["runs", "cancel", "9"]).await.code(1).complains(&["there is no run 9"]);
    app.database.close().await;
}

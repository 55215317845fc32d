//! A paused source starts nothing, its active run waits without losing an attempt, and who did it is known.

use std::time::Duration;

use kasparro::api::{AuthConfig, WithoutToken};
use kasparro::domain::actor::Actor;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::scheduler;
use kasparro::sources::Access;
use kasparro::tasks::pause_source::{pause_source, resume_source};
use kasparro::tasks::start_run::Started;
use serde_json::{Value, json};

use crate::api::{TestApi, problem};
use crate::app::TestApp;
use crate::process::{call, until};

const JOB: &str = "kind = \"csv\"\nschedule = \"*/10 * * * *\"\nprimary_key = [\"id\"]\n[csv]\n\
                   paths = [\"a.csv\"]\n";

async fn app() -> TestApp {
    let app = TestApp::empty().await;
    write(&app);
    app
}

fn write(app: &TestApp) {
    app.write("a_csv.toml", JOB);
    app.write("a.csv", "id,name\n1,one\n");
}

impl TestApp {
    pub async fn pause(&self, source: &str) {
        let mut transaction = self.pool.begin().await.unwrap();
        let (ann, reason) = (Actor::command_line("ann"), "stocktaking".parse().unwrap());
        pause_source(&mut transaction, source, &ann, &reason).await.unwrap();
        transaction.commit().await.unwrap();
    }

    pub async fn resume(&self, source: &str) {
        let mut transaction = self.pool.begin().await.unwrap();
        let bob = Actor::command_line("bob");
        let ended = resume_source(&mut transaction, source, &bob, None).await.unwrap();
        assert_eq!(ended.unwrap().paused_by, "cli:ann");
        transaction.commit().await.unwrap();
    }
}

#[tokio::test]
async fn ticks_of_a_paused_source_are_recorded_as_skipped() {
    let app = app().await;
    let tick = async |now: &str| {
        scheduler::tick(&app.pool, &app.jobs(), Access::Offline, now.parse().unwrap()).await;
    };
    tick("2026-03-01T12:00:00Z").await;
    app.pause("a_csv").await;
    tick("2026-03-01T12:10:00Z").await;
    app.resume("a_csv").await;
    tick("2026-03-01T12:20:00Z").await;
    let ticks =
        "select outcome || ' ' || coalesce(run_id::text, '-') from schedule_ticks order by tick";
    assert_eq!(app.texts(ticks).await, ["baseline -", "skipped -", "started 1"]);
    app.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tasks_of_an_active_run_wait_without_spending_a_try_and_go_on_when_resumed() {
    let app = app().await;
    let Started::New(id) = app.start("a_csv", Mode::Incremental).await else { panic!() };
    app.pause("a_csv").await;
    let put_off = "select count(*) from apalis.jobs
                   where status = 'Pending' and attempts = 0 and run_at > now() + interval '5 seconds'";
    let resuming = async {
        until("the task is put off", async || app.number(put_off).await == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(app.get(id).await.status, RunStatus::Queued);
        let resumed = std::time::Instant::now();
        app.resume("a_csv").await;
        until("the run ends", async || !app.get(id).await.status.is_active()).await;
        assert!(resumed.elapsed() < Duration::from_secs(14), "{:?}", resumed.elapsed());
    };
    tokio::join!(app.drain(), resuming);
    assert_eq!(app.get(id).await.status, RunStatus::Success);
    assert_eq!(app.number("select max(attempt)::bigint from run_tasks").await, 1);
    app.database.close().await;
}

#[tokio::test]
async fn a_task_that_has_its_own_reason_to_wait_is_not_hurried_by_resuming() {
    let app = app().await;
    app.start("a_csv", Mode::Incremental).await;
    let wait = "update run_tasks set opened_at = now() - interval '3 hours',
                    next_attempt_at = now() + interval '1 hour';
                update apalis.jobs set run_at = now() + interval '2 hours'";
    sqlx::raw_sql(wait).execute(&app.pool).await.unwrap();
    app.pause("a_csv").await;
    let earlier = "update source_pauses set paused_at = now() - interval '1 hour'";
    sqlx::raw_sql(earlier).execute(&app.pool).await.unwrap();
    app.resume("a_csv").await;
    let due = "select (abs(extract(epoch from j.run_at - t.next_attempt_at)) < 1)::text
               from apalis.jobs j, run_tasks t";
    assert_eq!(app.texts(due).await, ["true"]);
    let age = "select round(extract(epoch from now() - opened_at) / 3600)::bigint from run_tasks";
    assert_eq!(app.number(age).await, 2, "the hour of the pause does not make the task older");
    app.database.close().await;
}

#[tokio::test]
async fn a_paused_source_refuses_runs_and_says_who_paused_it_when_and_why() {
    let open = AuthConfig::of(WithoutToken::ThisMachine);
    let api = TestApi::admitting(open).await;
    write(&api.app);
    let post = |path: &str, body: Value| api.client.post(api.url(path)).json(&body).send();
    let paused = post("/sources/a_csv/pause", json!({ "reason": "stocktaking" })).await.unwrap();
    assert_eq!(paused.status(), 200);
    let paused: Value = paused.json().await.unwrap();
    assert_eq!(paused["paused_by"], "address:127.0.0.1");
    let again = post("/sources/a_csv/pause", json!({ "reason": "another" })).await.unwrap();
    assert_eq!(again.json::<Value>().await.unwrap(), paused, "the first pause stays");

    let refused = post("/runs", json!({ "source": "a_csv" })).await.unwrap();
    let refused = problem(refused, 409, "source-paused").await;
    let detail = refused["detail"].as_str().unwrap();
    let day = &paused["paused_at"].as_str().unwrap()[..10];
    for part in ["a_csv", day, "address:127.0.0.1", "stocktaking"] {
        assert!(detail.contains(part), "{part} is missing in {detail}");
    }
    let all = post("/runs", json!({ "all": true })).await.unwrap();
    problem(all, 409, "source-paused").await;
    let sources: Value = api.get("/sources").await.json().await.unwrap();
    assert_eq!(sources["items"][0]["pause"], paused);

    let resumed = api.client.post(api.url("/sources/a_csv/resume")).send().await.unwrap();
    assert_eq!(resumed.json::<Value>().await.unwrap(), paused);
    let resumed = post("/sources/a_csv/resume", json!({ "reason": "done" })).await.unwrap();
    problem(resumed, 409, "source-not-paused").await;
    let sources: Value = api.get("/sources").await.json().await.unwrap();
    assert!(sources["items"][0]["pause"].is_null());
    assert_eq!(post("/runs", json!({ "source": "a_csv" })).await.unwrap().status(), 202);

    let unknown = post("/sources/b_csv/pause", json!({ "reason": "x" })).await.unwrap();
    problem(unknown, 404, "unknown-source").await;
    for reason in ["", "a\nb"] {
        let refused = post("/sources/a_csv/pause", json!({ "reason": reason })).await.unwrap();
        problem(refused, 422, "invalid-request").await;
    }
    let history = "select count(*) from source_pauses where resumed_by = 'address:127.0.0.1'";
    assert_eq!(api.app.number(history).await, 1);
}

#[tokio::test]
async fn the_command_line_pauses_shows_and_resumes_a_source() {
    let app = app().await;
    let paused = call(&app, &["sources", "pause", "a_csv", "--reason", "stocktaking"]).await;
    paused.code(0).prints(&["source \"a_csv\" is paused since", "by cli:", ": stocktaking"]);
    call(&app, &["sources"]).await.code(0).prints(&["is paused since", "stocktaking"]);
    let sources = call(&app, &["sources", "--json"]).await.code(0).json();
    assert_eq!(sources["sources"][0]["pause"]["reason"], "stocktaking");
    call(&app, &["run", "a_csv"]).await.code(1).complains(&["is paused since", "stocktaking"]);
    call(&app, &["run", "a_csv", "--detach"]).await.code(1).complains(&["is paused since"]);
    call(&app, &["sources", "resume", "a_csv"]).await.code(0).prints(&["is resumed"]);
    call(&app, &["sources", "resume", "a_csv"]).await.code(1).complains(&["is not paused"]);
    call(&app, &["run", "a_csv"]).await.code(0);
    let unknown = call(&app, &["sources", "pause", "b_csv", "--reason", "x"]).await;
    unknown.code(1).complains(&["b_csv", "a_csv"]);
    app.database.close().await;
}

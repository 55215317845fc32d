//! What is kept of attempts: when the last one of each task began, and why others failed.

use kasparro::db::run_tasks::failed_attempts;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::tasks::start_run::Started;
use sqlx::AssertSqlSafe;

use crate::app::TestApp;

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"key\"]\n[csv]\npaths = [\"lines.csv\"]\n\
                   [fields]\nname = { column = \"name\", required = true }\n";
const PARSE: &str = "parse_csv_chunk:0";

async fn app() -> TestApp {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", "key,name\n1,a\n2,\n");
    app
}

/// The task with this key fails so many times.
async fn fail(app: &TestApp, key: &str, times: i32) {
    let statement = format!(
        "create sequence failures;
         create function fail() returns trigger language plpgsql as $$
         begin
            if new.task_key = '{key}' and new.state = 'done' and nextval('failures') <= {times} then
                raise exception 'injected' using errcode = '22012';
            end if;
            return new;
         end $$;
         create trigger fail before update on run_tasks for each row execute function fail()"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&app.pool).await.unwrap();
}

#[tokio::test]
async fn every_task_that_ended_says_when_its_last_attempt_began() {
    let app = app().await;
    let run = app.run_mode("lines", Mode::Full).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    let odd = "select task_key from run_tasks
               where begun_at is null or begun_at < created_at - interval '1 second' or begun_at > done_at";
    assert_eq!(app.texts(odd).await, [""; 0]);
    assert!(failed_attempts(&app.pool, run.id, 10).await.unwrap().is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn an_attempt_that_failed_is_kept_with_its_reason_and_its_times() {
    let app = app().await;
    fail(&app, PARSE, 1).await;
    let run = app.run_mode("lines", Mode::Full).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let kept = failed_attempts(&app.pool, run.id, 10).await.unwrap();
    let numbers: Vec<_> = kept.iter().map(|kept| kept.attempt).collect();
    assert_eq!(numbers, [1], "{kept:?}");
    for kept in kept {
        assert_eq!((kept.task_key.as_str(), kept.error_kind.as_str()), (PARSE, "database"));
        assert!(kept.error.contains("22012"), "{kept:?}");
        assert!(kept.worker.is_some() && kept.begun_at.unwrap() <= kept.ended_at, "{kept:?}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn an_attempt_whose_worker_was_lost_is_kept_as_such() {
    let app = app().await;
    let Started::New(run) = app.start("lines", Mode::Full).await else { panic!("busy") };
    // What two workers that were killed leave behind.
    sqlx::query("update apalis.jobs set attempts = 2").execute(&app.pool).await.unwrap();
    app.drain().await;
    let run = app.get(run).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    let kept = failed_attempts(&app.pool, run.id, 10).await.unwrap();
    let lost: Vec<_> = kept.iter().map(|kept| (kept.attempt, kept.error_kind.as_str())).collect();
    assert_eq!(lost, [(1, "worker_lost"), (2, "worker_lost")], "{kept:?}");
    assert!(kept.iter().all(|kept| kept.worker.is_none() && kept.begun_at.is_none()));
    app.database.close().await;
}

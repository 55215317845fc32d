//! Fault 5: tasks that cannot be done: one that panics, one that never ends, one that takes its
//! process along, one that cannot be read. They die, and only they.

use kasparro::domain::run::{Mode, RunStatus};
use sqlx::AssertSqlSafe;

use super::trial::{Figures, Trial};
use super::{JOB, LEFT_BEHIND, lines, open_runs};
use crate::app::TestApp;
use crate::process::{Process, kasparro, until};

/// Attempts of a task that is given up for what it says, and of one that says nothing: that needs some
/// more, since what is under way beside it loses an attempt with it.
const ATTEMPTS: u16 = 2;
const ATTEMPTS_OF_KILLERS: u16 = 6;
/// Seconds: longer than the 30 after which the server ends a transaction that stands still, as in
/// life. Until then a task that has written and hangs holds up the others of its run.
const TIME_LIMIT: &str = "36";
const SOURCE: &str = "ledger_lines";

async fn app() -> TestApp {
    let app = TestApp::empty().await;
    app.write("ledger_lines.toml", JOB);
    app.write("data/lines.csv", lines());
    app.start(SOURCE, Mode::Incremental).await;
    app
}

fn worker(app: &TestApp, faults: &str) -> Process {
    let attempts = if faults.ends_with("kill") { ATTEMPTS_OF_KILLERS } else { ATTEMPTS };
    let mut command = kasparro(app, &["worker", "--workers", "2"]);
    command.env("KASPARRO_FAULTS", faults).env("KASPARRO_TASK_ATTEMPTS", attempts.to_string());
    if faults.ends_with("hang") {
        command.env("KASPARRO_TASK_TIME_LIMIT", TIME_LIMIT);
    }
    Process::start(command)
}

/// Works until the run has ended, with a new process for each that died.
async fn work(app: &TestApp, faults: &str) {
    let mut working = worker(app, faults);
    until("the run has ended", async || {
        if working.has_ended() {
            are_known_to_be_dead(app).await;
            working = worker(app, faults);
        }
        open_runs(app).await == 0
    })
    .await;
}

/// Spares the wait until a silent worker counts as dead.
async fn are_known_to_be_dead(app: &TestApp) {
    let silence = "update apalis.workers set last_seen = now() - interval '1 hour'";
    sqlx::query(silence).execute(&app.pool).await.unwrap();
}

const DEAD: &str = "select kind from run_tasks where state = 'failed'";
const ERRORS: &str = "select distinct error from run_tasks where state = 'failed'";

/// The failed tasks' kind and what the run says of them.
async fn fails_with(app: &TestApp, kind: &str, error: &str) {
    let run = app.get(kasparro::domain::run::RunId(1)).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let dead = app.texts(DEAD).await;
    let errors = app.texts(ERRORS).await;
    assert!(!dead.is_empty() && dead.iter().all(|dead| dead == kind), "{dead:?} {errors:?}");
    assert_eq!(run.failed_tasks as usize, dead.len());
    let said = run.error.unwrap();
    assert!(said.starts_with(kind) && said.contains(error), "{said}");
    for dead in app.texts(ERRORS).await {
        assert!(dead.contains(error), "{dead}");
    }
    assert_eq!(app.number("select count(*) from run_tasks where state = 'open'").await, 0);
    let left = "select count(*) from apalis.jobs where status not in ('Done', 'Killed')";
    until("no item is left", async || app.number(left).await == 0).await;
}

/// The cause is gone and the failed tasks are tried again: nothing tells the run from another.
async fn is_completed_by_retry(app: &TestApp) {
    crate::process::call(app, &["runs", "retry", "1"]).await.code(0);
    work(app, "").await;
    let healthy = self::app().await;
    work(&healthy, "").await;
    for (what, query) in LEFT_BEHIND {
        assert_eq!(app.texts(query).await, healthy.texts(query).await, "{what}");
    }
    healthy.database.close().await;
}

async fn dies(faults: &str, kind: &str, error: &str) {
    let app = app().await;
    work(&app, faults).await;
    fails_with(&app, kind, error).await;
    is_completed_by_retry(&app).await;
    app.database.close().await;
}

fn held(number: &'static str, fault: &'static str) {
    let observed = "failed after its attempts, the others done, the run failed and named it; after \
                    `runs retry` all equal";
    Trial {
        number,
        fault,
        promised: "failed after the most attempts, the rest finishes, the run is `failed` and says which \
                   task; `retry` completes it when the cause is gone",
    }
    .held(&Figures { rounds: 1, observed: observed.to_owned() });
}

#[tokio::test]
async fn a_task_that_panics() {
    dies("normalize_batch/gathered=panic", "normalize_batch", "the task panicked: injected").await;
    dies("parse_csv_chunk/stored=panic", "parse_csv_chunk", "the task panicked: injected").await;
    held("5a", "a task that panics, before and after it has written");
}

#[tokio::test]
async fn a_task_that_never_ends() {
    dies("snapshot_schema/stored=hang", "snapshot_schema", "the task took longer than 36 s").await;
    held("5b", "a task that never ends");
}

#[tokio::test]
async fn a_task_that_takes_its_process_along() {
    dies("snapshot_schema/gathered=kill", "snapshot_schema", "given up after 6 attempts").await;
    held("5c", "a task that kills its process");
}

/// Spoils what one task says, from its first moment.
async fn spoil(app: &TestApp, table: &str, column: &str, when: &str, value: &str) {
    for statement in [
        format!(
            "create function spoil() returns trigger language plpgsql as $$
             begin new.{column} = {value}; return new; end $$"
        ),
        format!(
            "create trigger spoil before insert on {table} for each row when ({when})
             execute function spoil()"
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&app.pool).await.unwrap();
    }
}

async fn unspoil(app: &TestApp) {
    sqlx::query("drop function spoil() cascade").execute(&app.pool).await.unwrap();
}

#[tokio::test]
async fn a_task_that_cannot_be_read() {
    let app = app().await;
    let (when, garbage) = ("new.job_type = 'snapshot_schema'", r"'\x00ff'::bytea");
    spoil(&app, "apalis.jobs", "job", when, garbage).await;
    work(&app, "").await;
    fails_with(&app, "snapshot_schema", "its queue item cannot be read").await;
    unspoil(&app).await;
    is_completed_by_retry(&app).await;
    app.database.close().await;
    held("5d", "a task whose queue item cannot be read");
}

//! Fault 3e: the database becomes read-only for a while, as when its place is taken by a standby.

use std::time::Duration;

use rand::Rng;
use sqlx::AssertSqlSafe;

use super::trial::{Figures, Trial, dice, rounds, seconds};
use super::{app_with_open_runs, are_done, assert_as_if_undisturbed};
use crate::app::TestApp;
use crate::process::{Process, kasparro};

/// Each kind of fault is logged once a minute, on each of the ways to the database.
const LINES: usize = 40;

async fn set_read_only(app: &TestApp, read_only: &str) {
    let name: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&app.pool).await.unwrap();
    let statement = format!(
        "alter database {name} set default_transaction_read_only = {read_only};
         select pg_terminate_backend(pid) from pg_stat_activity
         where datname = '{name}' and application_name like 'kasparro%' and '{read_only}' = 'on'"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&app.pool).await.unwrap();
}

/// Answers how many lines each process logged at most, and how long the runs took afterwards.
async fn round(round: usize) -> (usize, Duration) {
    let mut dice = dice("read-only", round);
    let app = app_with_open_runs().await;
    // One attempt: none may be spent.
    let worker =
        || Process::start(kasparro(&app, &["worker", "--workers", "2", "--task-attempts", "1"]));
    let workers = [worker(), worker()];
    are_done(&app, dice.random_range(1..80)).await;
    set_read_only(&app, "on").await;
    // That is the fault: longer than workers may be silent.
    tokio::time::sleep(Duration::from_secs(14)).await;
    let lines = workers.each_ref().map(|worker| worker.said().lines().count());
    let most = lines.into_iter().max().unwrap_or_default();
    for worker in &workers {
        assert!(most <= LINES, "{most} lines:\n{}", worker.said());
    }
    set_read_only(&app, "off").await;
    let back = tokio::time::Instant::now();
    assert_as_if_undisturbed(&app).await;
    let names = app.number("select count(*) from apalis.workers").await;
    assert_eq!(names, 12, "one name for each queue of each process");
    let took = back.elapsed();
    app.database.close().await;
    (most, took)
}

#[tokio::test]
async fn a_database_that_is_read_only_for_a_while() {
    let (all, mut lines, mut longest) = (rounds(5, 1), 0, Duration::ZERO);
    for number in 0..all {
        let (most, took) = round(number).await;
        lines = lines.max(most);
        longest = longest.max(took);
    }
    let observed = format!(
        "all equal; finished within {} of the end; at most {lines} lines logged",
        seconds(longest)
    );
    Trial {
        number: "3e",
        fault: "the database read-only for 14 s, all connections cut, as when a standby takes over",
        promised: "no attempt is spent, faults are logged once a minute, workers go on under their \
                   names; the tables equal those of an undisturbed run",
    }
    .held(&Figures { rounds: all, observed });
}

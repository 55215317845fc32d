//! Fault 8: the database refuses what it is told: its disk is full, transactions collide.

use rand::Rng;
use sqlx::AssertSqlSafe;

use super::trial::{Figures, Trial, dice, rounds};
use super::{app_with_open_runs, assert_as_if_undisturbed};
use crate::app::TestApp;
use crate::process::{Process, kasparro, until};

/// Tables that tasks write to.
const TABLES: [&str; 6] = [
    "raw_csv_blocks",
    "raw_api_data",
    "unified_records",
    "quarantined_rows",
    "run_tasks",
    "apalis.jobs",
];

/// Each costs a wait.
const REFUSALS: i64 = 40;

/// Statements on these tables fail now and then with one of these errors. A sequence counts: what it
/// counted stays when the transaction is rolled back.
async fn refuse(app: &TestApp, errors: &[&str], one_in: u32) {
    let codes = errors.iter().map(|code| format!("'{code}'")).collect::<Vec<_>>().join(", ");
    let function = format!(
        "create sequence refused;
         create function refuse() returns trigger language plpgsql as $$
         begin
            if random() * {one_in} < 1 and current_setting('application_name') like 'kasparro%'
               and nextval('refused') <= {REFUSALS}
            then
                raise exception 'injected' using
                    errcode = (array[{codes}])[1 + floor(random() * {})::int];
            end if;
            return null;
         end $$",
        errors.len()
    );
    sqlx::raw_sql(AssertSqlSafe(function)).execute(&app.pool).await.unwrap();
    for table in TABLES {
        let trigger = format!(
            "create trigger refuse after insert or update on {table}
             for each statement execute function refuse()"
        );
        sqlx::raw_sql(AssertSqlSafe(trigger)).execute(&app.pool).await.unwrap();
    }
}

/// Answers how many statements were refused.
async fn round(name: &str, round: usize, errors: &[&str], attempts: &str) -> i64 {
    let mut dice = dice(name, round);
    let app = app_with_open_runs().await;
    // Seldom enough that no task has eight refusals in a row.
    refuse(&app, errors, dice.random_range(20..60)).await;
    let worker = || {
        Process::start(kasparro(&app, &["worker", "--workers", "2", "--task-attempts", attempts]))
    };
    let _workers = [worker(), worker()];
    assert_as_if_undisturbed(&app).await;
    let refused = app.number("select last_value from refused").await;
    app.database.close().await;
    refused.min(REFUSALS)
}

const WAITS: &str = "select count(*) from run_tasks
    where state = 'open' and error like '%SQLSTATE 53100%' and next_attempt_at is not null";

#[tokio::test]
async fn a_task_waits_for_a_full_disk_shows_it_and_spends_no_try() {
    let app = app_with_open_runs().await;
    let refuse = "create function refuse() returns trigger language plpgsql as $$
        begin raise exception 'injected' using errcode = '53100'; end $$;
        create trigger refuse before insert on unified_records
        for each statement execute function refuse()";
    sqlx::raw_sql(refuse).execute(&app.pool).await.unwrap();
    let attempts = ["worker", "--workers", "2", "--task-attempts", "1"];
    let _worker = Process::start(kasparro(&app, &attempts));
    until("tasks wait", async || app.number(WAITS).await > 1).await;
    let more = "select count(*) from apalis.jobs where attempts > 0";
    assert_eq!(app.number(more).await, 0);
    assert_eq!(app.number("select count(*) from run_tasks where state = 'failed'").await, 0);
    sqlx::raw_sql("drop trigger refuse on unified_records").execute(&app.pool).await.unwrap();
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
}

#[tokio::test]
async fn a_disk_that_is_full_now_and_then() {
    let (all, mut refused) = (rounds(10, 2), 0);
    for number in 0..all {
        refused += round("disk full", number, &["53100"], "1").await;
    }
    let observed = format!("all equal after {refused} refused statements");
    Trial {
        number: "8a",
        fault: "a full disk (SQLSTATE 53100), injected into one statement of 20 to 60",
        promised: "tasks wait without losing an attempt; the tables equal those of an undisturbed run",
    }
    .held(&Figures { rounds: all, observed });
}

#[tokio::test]
async fn transactions_that_collide() {
    let (all, mut refused) = (rounds(10, 2), 0);
    for number in 0..all {
        refused += round("collisions", number, &["40001", "40P01"], "8").await;
    }
    let observed = format!("all equal after {refused} refused statements");
    Trial {
        number: "8b",
        fault: "serialization failures and deadlocks (40001, 40P01), injected likewise",
        promised: "the same",
    }
    .held(&Figures { rounds: all, observed });
}

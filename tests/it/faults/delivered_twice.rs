//! Fault 4, first half: every task delivered twice, at once and later.

use kasparro::domain::run::{RunId, RunStatus};

use super::trial::{Figures, Trial};
use super::{
    app_with_open_runs, app_without_runs, assert_as_if_undisturbed, runs_have_ended, start_runs,
    worker,
};
use crate::process::until;

const JOBS_NOT_ENDED: &str =
    "select count(*) from apalis.jobs where status not in ('Done', 'Killed')";

#[tokio::test]
async fn every_open_task_delivered_twice_leaves_the_same_behind() {
    let app = app_without_runs().await;
    // Each item has a twin from its first moment. Ids are ULIDs; ours begin with 0.
    let function = "create function add_a_twin() returns trigger language plpgsql as $$
        begin
            if new.idempotency_key is not null then
                insert into apalis.jobs
                    (id, job_type, job, status, attempts, max_attempts, run_at, priority)
                values ('1' || substr(new.id, 2), new.job_type, new.job, 'Pending', 0, 1000000, now(), 0);
            end if;
            return null;
        end $$";
    sqlx::query(function).execute(&app.pool).await.unwrap();
    let trigger = "create trigger twins after insert on apalis.jobs
                   for each row execute function add_a_twin()";
    sqlx::query(trigger).execute(&app.pool).await.unwrap();
    start_runs(&app).await;
    let worker = worker(&app, "4");
    runs_have_ended(&app).await;
    assert_eq!(
        app.number("select count(*) from apalis.jobs where id like '1%'").await,
        app.number("select count(*) from run_tasks").await,
    );
    until("no item is left", async || app.number(JOBS_NOT_ENDED).await == 0).await;
    assert!(!worker.said().contains("ERROR"), "no task has failed:\n{}", worker.said());
    assert_as_if_undisturbed(&app).await;
    let tasks = app.number("select count(*) from run_tasks").await;
    app.database.close().await;
    Trial {
        number: "4a",
        fault: "every task delivered twice at once, to four workers",
        promised: "the tables equal those of an undisturbed run",
    }
    .held(&Figures {
        rounds: 1,
        observed: format!("all equal; {tasks} tasks, each delivered twice"),
    });
}

#[tokio::test]
async fn every_completed_task_delivered_again_changes_nothing() {
    let app = app_with_open_runs().await;
    app.drain().await;
    for id in [1, 2] {
        let run = app.get(RunId(id)).await;
        assert_ne!(run.status, RunStatus::Failed, "{run:?}");
    }
    let everything = "select u::text from unified_records u union all
                      select r::text from etl_runs r union all
                      select t::text from run_tasks t union all
                      select q::text from quarantined_rows q union all
                      select b::text from raw_csv_blocks b union all
                      select a::text from raw_api_data a union all
                      select c::text from ingestion_checkpoints c union all
                      select s::text from source_totals s order by 1";
    let before = app.texts(everything).await;
    let again = "insert into apalis.jobs
            (id, job_type, job, status, attempts, max_attempts, run_at, priority)
         select '1' || substr(id, 2), job_type, job, 'Pending', 0, 1000000, now(), 0 from apalis.jobs";
    let added = sqlx::query(again).execute(&app.pool).await.unwrap().rows_affected();
    assert!(added > 80, "{added} tasks");
    let _worker = worker(&app, "2");
    until("all were delivered", async || app.number(JOBS_NOT_ENDED).await == 0).await;
    assert_eq!(app.texts(everything).await, before);
    app.database.close().await;
    Trial {
        number: "4b",
        fault: "every completed task delivered again",
        promised: "not a byte of any table changes",
    }
    .held(&Figures { rounds: 1, observed: format!("{added} deliveries, nothing changed") });
}

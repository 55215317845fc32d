//! Fault 13: an item is locked by a worker that lives and knows nothing of it: the answer that gave it
//! was lost, or the database was put back to an earlier state.

use super::trial::{Figures, Trial, rounds};
use super::{app_without_runs, assert_as_if_undisturbed, start_runs, worker};
use crate::process::until;

const NAMES: &str = "select count(*) from apalis.workers";

/// Every item is locked by the workers of the process before it has seen any of them.
async fn round() {
    let app = app_without_runs().await;
    let _worker = worker(&app, "2");
    until("its workers are there", async || app.number(NAMES).await == 5).await;
    let lock = "create function locked_by_nobody() returns trigger language plpgsql as $$
        begin
            new.status := 'Queued';
            new.lock_at := now();
            new.lock_by := (select id from apalis.workers where worker_type = new.job_type);
            return new;
        end $$;
        create trigger locked before insert on apalis.jobs
        for each row when (new.job_type = 'plan_run') execute function locked_by_nobody()";
    sqlx::raw_sql(lock).execute(&app.pool).await.unwrap();
    start_runs(&app).await;
    // Only where something has failed are strays looked for.
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name = 'kasparro'";
    sqlx::raw_sql(cut).execute(&app.pool).await.unwrap();
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
}

#[tokio::test]
async fn items_that_a_living_worker_knows_nothing_of_are_put_back() {
    let all = rounds(1, 0);
    for _ in 0..all {
        round().await;
    }
    Trial {
        number: "13",
        fault: "items locked by a living worker that knows nothing of them",
        promised: "they are put back within two minutes, and no attempt is spent",
    }
    .held(&Figures { rounds: all, observed: "put back, all equal".to_owned() });
}

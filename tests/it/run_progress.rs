//! The figures of a run under way, and those of its row in `etl_runs`, which follows.

use kasparro::db::runs::{self, progress};
use kasparro::domain::run::{Mode, RunId};
use sqlx::{Connection, PgConnection};

use crate::app::TestApp;

const RUN: RunId = RunId(1);

/// A run that nobody works on.
async fn queued() -> TestApp {
    let app = TestApp::empty().await;
    app.write("a_csv.toml", "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n");
    app.write("a.csv", "id\n1\n");
    app.start("a_csv", Mode::Incremental).await;
    app
}

/// Records an attempt in which a row was read.
async fn read_a_row(connection: &mut PgConnection) {
    let mut transaction = connection.begin().await.unwrap();
    let before = runs::lock(&mut transaction, RUN).await.unwrap();
    let mut progress = progress::latest(&mut transaction, RUN).await.unwrap();
    progress.sequence += 1;
    progress.counters.rows_read += 1;
    progress::record(&mut transaction, RUN, &before, &progress).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn the_row_of_a_run_follows_its_progress_about_a_second_behind_and_at_its_end() {
    let app = queued().await;
    let mut connection = app.pool.acquire().await.unwrap();
    let in_row = "select sequence || ' ' || rows_read from etl_runs";
    let in_view = "select sequence || ' ' || rows_read from runs_live";
    let now = "update etl_runs set last_progress_at = clock_timestamp() + interval '30 seconds'";
    sqlx::query(now).execute(&mut *connection).await.unwrap();
    read_a_row(&mut connection).await;
    assert_eq!(app.texts(in_row).await, ["0 0"]);
    assert_eq!(app.texts(in_view).await, ["1 1"]);
    let run = app.get(RUN).await;
    assert_eq!((run.sequence, run.counters.rows_read), (1, 1));

    let long_ago = "update etl_runs set last_progress_at = now() - interval '2 seconds'";
    sqlx::query(long_ago).execute(&mut *connection).await.unwrap();
    read_a_row(&mut connection).await;
    assert_eq!(app.texts(in_row).await, ["2 2"]);

    app.drain().await;
    assert_eq!(app.number("select count(*) from run_progress").await, 0);
    assert_eq!(app.texts(in_row).await, app.texts(in_view).await);
    let run = app.get(RUN).await;
    assert_eq!((run.open_tasks, run.counters.rows_read, run.counters.inserted), (0, 3, 1));
}

#[tokio::test]
async fn nobody_records_progress_under_a_number_that_another_has_used() {
    let app = queued().await;
    let mut connection = app.pool.acquire().await.unwrap();
    let stale = progress::latest(&mut connection, RUN).await.unwrap();
    read_a_row(&mut connection).await;
    let before = runs::lock(&mut connection, RUN).await.unwrap();
    let mut progress = stale;
    progress.sequence += 1;
    let refused = progress::record(&mut connection, RUN, &before, &progress).await.unwrap_err();
    assert!(refused.into_database_error().unwrap().is_unique_violation());
}

#[tokio::test]
async fn the_latest_progress_is_found_at_once_by_who_knew_the_run_when_it_was_small() {
    let app = queued().await;
    let mut connection = app.pool.acquire().await.unwrap();
    // After five times PostgreSQL keeps its plan.
    for _ in 0..10 {
        progress::latest(&mut connection, RUN).await.unwrap();
    }
    let sequence = "insert into run_progress
                 select run_id, sequence + i, last_progress_at, tasks, open_tasks, open_reading_tasks,
                    failed_tasks, slices, bytes, rows_read, inserted, updated, unchanged, quarantined,
                    inserted_before
                 from run_progress cross join generate_series(1, 2000) as i";
    sqlx::query(sequence).execute(&mut *connection).await.unwrap();
    let looked_at = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_all_tables
                     where relid = 'run_progress'::regclass";
    let mut transaction = connection.begin().await.unwrap();
    let before: i64 = sqlx::query_scalar(looked_at).fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(progress::latest(&mut transaction, RUN).await.unwrap().sequence, 2000);
    let after: i64 = sqlx::query_scalar(looked_at).fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(after - before, 1, "rows");
}

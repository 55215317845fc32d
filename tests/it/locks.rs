//! Who holds what kasparro waits for is said: a lock of somebody else's would let it wait for ever
//! without a word.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::app::TestApp;
use crate::process::{Process, call, kasparro};

/// Somebody who does this in a transaction, and does not end it.
async fn somebody(app: &TestApp, doing: &str) -> (PgConnection, i32) {
    let mut somebody = PgConnection::connect(app.database.url()).await.unwrap();
    let begin = format!("set application_name = 'somebody'; begin; {doing}");
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut somebody).await.unwrap();
    let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut somebody).await.unwrap();
    (somebody, pid)
}

#[tokio::test]
async fn a_command_that_waits_for_a_lock_says_who_holds_it_and_goes_on_when_it_is_free() {
    let app = TestApp::shipped().await;
    for (table, arguments) in [
        ("etl_runs", &["runs"][..]),
        ("_sqlx_migrations", &["migrate"]),
        ("unified_records", &["run", "products_csv"]),
    ] {
        let (mut holder, pid) = somebody(&app, &format!("lock table {table}")).await;
        let mut command = Process::start(kasparro(&app, arguments));
        command.says(&format!("select pg_terminate_backend({pid})")).await;
        let said = command.said();
        assert!(
            said.contains(&format!("process {pid} of the database (somebody, user ")),
            "{said}"
        );
        assert!(said.contains(&format!("which holds a lock on {table};")), "{said}");
        // Another program is not kept waiting: it may be what ends the lock.
        let ends = format!("select pg_terminate_backend({pid})");
        call(&app, &["exec", "--", "psql", "-XAtqc", &ends]).await.code(0);
        command.ended().await.code(0);
        assert!(holder.ping().await.is_err(), "the lock was ended");
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_warns_of_a_row_that_somebody_holds() {
    let app = TestApp::shipped().await;
    call(&app, &["run", "products_csv", "--detach"]).await.code(0);
    let (mut holder, _) = somebody(&app, "update etl_runs set error = error").await;
    let mut worker = Process::start(kasparro(&app, &["worker"]));
    worker.says("WARN waiting for ").await;
    let said = worker.said();
    assert!(said.contains("which holds a row of etl_runs; kasparro goes on when"), "{said}");
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    worker.says("run finished").await;
    worker.kill();
    holder.close().await.unwrap();
    app.database.close().await;
}

//! Fault 12: the database, or whoever owns it, has another isolation level for a default.

use sqlx::AssertSqlSafe;

use super::trial::{Figures, Trial};
use super::{app_with_open_runs, assert_as_if_undisturbed, worker};

#[tokio::test]
async fn any_default_isolation_level_gives_the_same_tables() {
    let levels = ["repeatable read", "serializable"];
    for level in levels {
        let app = app_with_open_runs().await;
        let statement = format!(
            "do $$ begin
                execute format('alter database %I set default_transaction_isolation = %L',
                    current_database(), '{level}');
             end $$"
        );
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&app.pool).await.unwrap();
        let mut workers = [worker(&app, "2"), worker(&app, "2")];
        assert_as_if_undisturbed(&app).await;
        for worker in &mut workers {
            assert!(!worker.said().contains("40001"), "{}", worker.said());
        }
        app.database.close().await;
    }
    Trial {
        number: "12",
        fault: "`default_transaction_isolation` of the database is `repeatable read` or \
                `serializable`",
        promised: "the tables equal those of an undisturbed run",
    }
    .held(&Figures {
        rounds: levels.len(),
        observed: "all equal, no serialization failure".to_owned(),
    });
}

//! Work that is given up in the middle leaves no connection behind that is still busy with it: the next
//! question on it would be told the answers, or be part of what was begun.

use futures::future::{Either, select};
use kasparro::db::Transaction;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::app::TestApp;
use crate::process::until;

/// Whoever asks gets the connection that served last, as long as it is there.
async fn one_connection(app: &TestApp) -> PgPool {
    let options = app.pool.connect_options().as_ref().clone();
    PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

/// Asks many questions, each of which has an answer of its own.
async fn assert_answers_are_to_questions(pool: &PgPool) {
    for question in 0..20_i64 {
        let answer: i64 =
            sqlx::query_scalar("select $1::bigint").bind(question).fetch_one(pool).await.unwrap();
        assert_eq!(answer, question);
    }
}

#[tokio::test]
async fn a_copy_that_is_given_up_answers_nobody_else() {
    let app = TestApp::empty().await;
    sqlx::raw_sql("create table numbers (n integer primary key)").execute(&app.pool).await.unwrap();
    let pool = one_connection(&app).await;
    let mut somebody = app.pool.begin().await.unwrap();
    sqlx::raw_sql("insert into numbers values (1)").execute(&mut *somebody).await.unwrap();
    let copying = async {
        let mut transaction = Transaction::begin(&pool).await.unwrap();
        let mut copy = transaction.copy_in_raw("copy numbers from stdin").await.unwrap();
        copy.send(&b"1\n"[..]).await.unwrap();
        copy.finish().await.unwrap();
        panic!("somebody has not said yet what becomes of the row");
    };
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'";
    let waiting = until("the copy waits", async || app.number(waits).await == 1);
    match select(Box::pin(copying), Box::pin(waiting)).await {
        Either::Left(((), _)) => unreachable!(),
        Either::Right(((), copying)) => drop(copying),
    }
    somebody.rollback().await.unwrap();
    assert_answers_are_to_questions(&pool).await;
    assert_eq!(app.number("select count(*) from numbers").await, 0);
}

#[tokio::test]
async fn a_begin_that_is_given_up_leaves_no_transaction_open() {
    let app = TestApp::empty().await;
    let pool = one_connection(&app).await;
    // Given up before it is sent, under way, and answered.
    for looks in 0..100 {
        let mut beginning = Box::pin(Transaction::begin(&pool));
        for _ in 0..looks {
            if futures::poll!(&mut beginning).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(beginning);
        assert_answers_are_to_questions(&pool).await;
        let open = "select count(*) from pg_stat_activity
                    where datname = current_database() and state like 'idle in transaction%'";
        assert_eq!(app.number(open).await, 0, "after {looks} looks");
    }
}

//! The test databases themselves: what every other test relies on.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by panicking what is wrong"
)]

#[allow(dead_code, reason = "each test program uses another part of it")]
#[path = "support/cluster.rs"]
mod cluster;

use cluster::TestDatabase;
use sqlx::PgPool;

const MIGRATIONS: &[&[u8]] = &[b"create table words (word text)"];

async fn database() -> TestDatabase {
    TestDatabase::create(MIGRATIONS, async |pool: &PgPool| {
        sqlx::query("create table words (word text)").execute(pool).await.unwrap();
        sqlx::query("insert into words values ('template')").execute(pool).await.unwrap();
    })
    .await
}

async fn words(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("select count(*) from words").fetch_one(database.pool()).await.unwrap()
}

async fn exists(asked: &TestDatabase, name: &str) -> bool {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(asked.pool())
        .await
        .unwrap()
}

async fn name(database: &TestDatabase) -> String {
    sqlx::query_scalar("select current_database()::text").fetch_one(database.pool()).await.unwrap()
}

#[tokio::test]
async fn two_tests_do_not_see_each_others_rows() {
    let (one, other) = tokio::join!(database(), database());
    sqlx::query("insert into words values ('one')").execute(one.pool()).await.unwrap();
    assert_eq!((words(&one).await, words(&other).await), (2, 1));
    assert!(one.url().contains(&name(&one).await));
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_closed_database_is_gone() {
    let (one, other) = (database().await, database().await);
    let gone = name(&one).await;
    assert!(exists(&other, &gone).await);
    one.close().await;
    assert!(!exists(&other, &gone).await);
    other.close().await;
}

#[tokio::test]
async fn a_database_out_of_scope_is_gone_even_while_in_use() {
    let (one, other) = (database().await, database().await);
    let gone = name(&one).await;
    let in_use = one.pool().acquire().await.unwrap();
    drop(one);
    assert!(!exists(&other, &gone).await);
    drop(in_use);
}

#[tokio::test]
async fn many_databases_at_once_come_from_one_template() {
    let all = futures::future::join_all((0..8).map(|_| database())).await;
    for database in all {
        // The template was built once: building it twice would have said so twice.
        assert_eq!(words(&database).await, 1);
        database.close().await;
    }
}

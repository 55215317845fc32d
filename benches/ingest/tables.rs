//! How large the tables of a database are.
//!
//! Owns asking for it. It must not know whose tables they are.

use sqlx::Connection;

use crate::server::Server;

/// Tables smaller than this are of no interest beside the others.
const SMALLEST: i64 = 1 << 20;

/// What a table takes on disk, in bytes.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct TableSize {
    pub name: String,
    /// Rows and, in `toast`, what was moved out of them.
    pub heap: i64,
    pub toast: i64,
    pub indexes: i64,
}

/// The tables of a database, the largest first.
pub async fn sizes(server: &Server, database: &str) -> anyhow::Result<Vec<TableSize>> {
    let mut connection = server.connect(database).await?;
    let sizes = sqlx::query_as(
        "select
            c.oid::regclass::text as name,
            pg_relation_size(c.oid) as heap,
            case when c.reltoastrelid = 0 then 0
                 else pg_total_relation_size(c.reltoastrelid) end as toast,
            pg_indexes_size(c.oid) as indexes
         from pg_class as c
         where
            c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
            and pg_total_relation_size(c.oid) >= $1
         order by pg_total_relation_size(c.oid) desc",
    )
    .bind(SMALLEST)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    Ok(sizes)
}

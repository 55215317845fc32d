//! What the server spent on which statements, by its own account (pg_stat_statements).
//!
//! Owns telling the queue's statements from the others by the tables they name. It must not know
//! what kasparro does with them.

use sqlx::Connection;

use crate::cost::Cost;
use crate::server::Server;

/// What a group of statements took.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Spent {
    /// Which statements.
    pub on: String,
    pub calls: i64,
    /// Time within the executor, waiting for locks and disks included.
    pub milliseconds: f64,
}

/// The statements of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Statements {
    pub spent: Vec<Spent>,
    /// Tasks of the run.
    pub tasks: i64,
    /// Seconds that the run took.
    pub wall: f64,
}

/// Begins a new account.
pub async fn forget(server: &Server) -> anyhow::Result<()> {
    if server.keeps_statements {
        server.execute("select pg_stat_statements_reset()").await?;
    }
    Ok(())
}

/// The account of a database with one run; nothing when the server keeps none.
pub async fn of(server: &Server, database: &str, cost: Cost) -> anyhow::Result<Statements> {
    let mut connection = server.connect(database).await?;
    let tasks =
        sqlx::query_scalar("select count(*) from run_tasks").fetch_one(&mut connection).await?;
    connection.close().await?;
    let mut spent = Vec::new();
    if server.keeps_statements {
        let mut connection = server.connect("postgres").await?;
        spent = sqlx::query_as(
            "select
                case
                    when query like '%apalis.%' then 'the queue (`apalis.*`)'
                    when query ~ 'run_tasks|etl_runs' then 'the ledger (`run_tasks`, `etl_runs`)'
                    when query ~* '^copy' then 'rows written (`copy`)'
                    when query ~ 'from raw_csv_blocks' then 'raw rows read back'
                    when query ~ 'unified_records' then 'look-up and merge of keys'
                    when query ~* '^(commit|begin|savepoint|release|rollback)' then 'transactions'
                    else 'everything else'
                end as \"on\",
                sum(calls)::bigint as calls,
                sum(total_exec_time) as milliseconds
             from pg_stat_statements
             where dbid = (select oid from pg_database where datname = $1)
             group by 1
             order by milliseconds desc",
        )
        .bind(database)
        .fetch_all(&mut connection)
        .await?;
        connection.close().await?;
    }
    Ok(Statements { spent, tasks, wall: cost.wall })
}

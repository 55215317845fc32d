//! Owns finding out who keeps kasparro waiting: another session's lock, a `vacuum full` say, lets a
//! statement wait for ever, and without a message nobody knows why there is no progress.
//!
//! Asks on a connection of its own, since the others may all be waiting. Must not know who is informed.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, FromRow, PgPool};
use tokio::time::sleep;

use super::in_time;
use crate::domain::text::printable;

/// Among themselves, kasparro's processes wait for less.
const WORTH_A_WORD: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A server that has no place left is not asked all the time.
const ASK_AGAIN: Duration = Duration::from_secs(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A lock that kasparro waits for, in any of its processes.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Wait {
    /// The server's process that holds it; 0 is a prepared transaction.
    pub pid: i32,
    /// What it calls itself, or which process of the server it is.
    program: Option<String>,
    user: Option<String>,
    /// When its transaction began; others are not told.
    since: Option<DateTime<Utc>>,
    /// Whether its transaction does nothing at present.
    idle: bool,
    /// The table, where the lock is on one or on a row of it.
    relation: Option<String>,
    kind: Option<String>,
    /// How long the first of ours has waited.
    seconds: f64,
}

impl Wait {
    fn lock(&self) -> String {
        let relation = self.relation.as_deref().map(printable);
        match (self.kind.as_deref(), relation) {
            (Some("relation"), Some(table)) => format!("a lock on {table}"),
            (Some("transactionid" | "tuple"), Some(table)) => format!("a row of {table}"),
            (_, Some(table)) => format!("a part of {table}"),
            (Some("advisory"), None) => "an advisory lock".to_owned(),
            (Some("transactionid" | "tuple"), None) => "a row".to_owned(),
            _ => "a lock".to_owned(),
        }
    }

    fn holder(&self) -> String {
        let program = self.program.as_deref().map(|name| printable(name).into_owned());
        let user = self.user.as_deref().map(|name| format!("user {}", printable(name)));
        let since = self.since.map(|at| {
            let doing = if self.idle { "idle in a transaction" } else { "in a transaction" };
            format!("{doing} since {} UTC", at.format("%Y-%m-%d %H:%M:%S"))
        });
        let known: Vec<String> = [program, user, since].into_iter().flatten().collect();
        let known =
            if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
        format!("process {} of the database{known}", self.pid)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lock, seconds) = (self.lock(), self.seconds);
        if self.pid == 0 {
            return write!(
                f,
                "waiting for {seconds:.0} s for a prepared transaction, which holds {lock}; see \
                 `select * from pg_prepared_xacts`, and end it with `rollback prepared '…'`"
            );
        }
        let (holder, pid) = (self.holder(), self.pid);
        write!(f, "waiting for {seconds:.0} s for {holder}, which holds {lock}; ")?;
        let ends = format!("by itself or with `select pg_terminate_backend({pid})`");
        if self.program.as_deref().is_some_and(|program| program.starts_with("kasparro")) {
            return write!(f, "it is a kasparro at work, which ends {ends}");
        }
        write!(f, "kasparro goes on when that transaction ends, {ends}")
    }
}

/// Tells each lock that kasparro has waited for longer than a moment, again and again as long as it is
/// waited for. For ever; what cannot be found out is not told.
pub fn watch<F: Fn(&Wait)>(pool: &PgPool, tell: F) -> impl Future<Output = ()> + use<F> {
    let options = PgConnectOptions::clone(&pool.connect_options());
    let options = options.application_name("kasparro watch");
    async move {
        // Most commands have ended by then.
        sleep(WORTH_A_WORD).await;
        loop {
            if let Ok(mut connection) = in_time(ANSWERS_WITHIN, options.connect()).await {
                while let Ok(waits) = in_time(ANSWERS_WITHIN, look(&mut connection)).await {
                    waits.iter().for_each(&tell);
                    sleep(LOOK_EVERY).await;
                }
            }
            sleep(ASK_AGAIN).await;
        }
    }
}

async fn look(connection: &mut PgConnection) -> Result<Vec<Wait>, sqlx::Error> {
    sqlx::query_as(include_str!("waits.sql"))
        .bind(WORTH_A_WORD.as_secs_f64())
        .fetch_all(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_what_is_said_with_what_ends_it() {
        let wait = Wait {
            pid: 4711,
            program: Some("psql\u{1b}[31m".to_owned()),
            user: Some("postgres".to_owned()),
            since: DateTime::from_timestamp(1_800_000_000, 0),
            idle: true,
            relation: Some("etl_runs".to_owned()),
            kind: Some("relation".to_owned()),
            seconds: 5.4,
        };
        assert_eq!(
            wait.to_string(),
            "waiting for 5 s for process 4711 of the database (psql\\u{1b}[31m, user postgres, idle in a \
             transaction since 2027-01-15 08:00:00 UTC), which holds a lock on etl_runs; kasparro goes \
             on when that transaction ends, by itself or with `select pg_terminate_backend(4711)`"
        );
        let bare = Wait {
            program: None,
            user: None,
            since: None,
            kind: Some("transactionid".to_owned()),
            ..wait.clone()
        };
        let said = bare.to_string();
        assert!(
            said.contains("process 4711 of the database, which holds a row of etl_runs"),
            "{said}"
        );
        let prepared = Wait { pid: 0, ..wait }.to_string();
        assert!(prepared.contains("rollback prepared"), "{prepared}");
    }
}

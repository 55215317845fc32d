//! Owns what the queue asks the database on its own behalf: it takes no longer than it may, and a
//! connection on which it failed, or was given up, is not used any more. Its server may have become a
//! read-only one, or have vanished: then waiting would never end.

use std::io;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::{Instant, timeout_at};

/// Asks within a time, the wait for a connection included.
pub(super) async fn ask<T>(
    pool: &PgPool,
    within: Duration,
    question: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let until = Instant::now() + within;
    let connection =
        timeout_at(until, pool.acquire()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    let mut lent = Lent { connection: connection?, is_well: false };
    let answer = match timeout_at(until, question(&mut lent.connection)).await {
        Ok(answer) => answer,
        Err(_) => {
            let text = format!("no answer within {} s", within.as_secs_f32());
            Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
        }
    };
    lent.is_well = answer.is_ok();
    answer
}

/// A connection that goes back to the pool only if all is well with it.
struct Lent {
    connection: PoolConnection<Postgres>,
    is_well: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_well {
            self.connection.close_on_drop();
        }
    }
}

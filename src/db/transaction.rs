//! Owns transactions: a connection that is abandoned in the middle of one is never reused.
//!
//! sqlx's own go back to the pool when the future that waits for them is dropped: a request that is broken off,
//! a task past its time limit, a queue worker that is started again. As of sqlx 0.9.0 that is too
//! early. A `begin` that was sent may leave the transaction open, and responses to a `copy` may still be
//! under way: the connection then returns them for the next query.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

/// A transaction. Dropped before its end it is rolled back, and its connection is closed.
///
/// sqlx does not know that it is in one: parts of it that may fail need a savepoint, never
/// [`sqlx::Connection::begin`].
#[derive(Debug)]
pub struct Transaction {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Transaction {
    /// Begins one on a connection of the pool. Statements are written for `read committed`, where
    /// a statement that waited for a lock sees what its holder has committed; whatever the database's or the user's
    /// default may be.
    ///
    /// # Errors
    /// Database errors, and when the pool has no connection in time.
    pub async fn begin(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { connection: pool.acquire().await?, ended: false };
        sqlx::raw_sql("begin isolation level read committed").execute(&mut *transaction).await?;
        Ok(transaction)
    }

    /// Makes everything in it count.
    ///
    /// # Errors
    /// Database errors: then it is unknown whether it was committed.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("commit").execute(&mut *self).await?;
        self.ended = true;
        Ok(())
    }

    /// Undoes everything in it; the connection goes back to the pool.
    ///
    /// # Errors
    /// Database errors: it is undone all the same.
    pub async fn rollback(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("rollback").execute(&mut *self).await?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

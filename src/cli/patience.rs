//! Owns waiting for a database that went away after it had been opened.

use std::time::Duration;

use super::out;
use crate::db;
use crate::domain::failure::{FailureClass, chain};

/// Until the next attempt; within each the pool waits for a connection, too.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks until the database is there to answer; says once that `what` waits. Other errors, and those
/// that are the answer, come back at once.
pub(super) async fn patiently<T>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut said = false;
    loop {
        let error = match attempt().await {
            Err(error) if is_away(&error) => error,
            done => return done,
        };
        if !said {
            said = true;
            let why = chain(error.as_ref());
            out::remark(format!("{what}: waiting for the database, which went away: {why}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_away(error: &anyhow::Error) -> bool {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    let class = cause.map(db::failure_class);
    matches!(class, Some(FailureClass::Infrastructure | FailureClass::Transient))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_for_and_an_answer_is_not() {
        let mut attempts = 0;
        let done = patiently("the first runs", async || {
            attempts += 1;
            let outage = || Err::<(), _>(sqlx::Error::PoolTimedOut).context("asking");
            if attempts < 4 { outage().map(|()| 0) } else { Ok(7) }
        });
        assert_eq!(done.await.unwrap(), 7);
        assert_eq!(attempts, 4);
        let mut attempts = 0;
        let refused = patiently("the first runs", async || {
            attempts += 1;
            Err::<(), _>(anyhow::Error::new(sqlx::Error::RowNotFound))
        });
        assert!(refused.await.is_err());
        assert_eq!(attempts, 1);
    }
}

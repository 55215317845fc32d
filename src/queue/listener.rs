//! Owns waking workers by NOTIFY, without missing one: one connection listens for all queues of the
//! process and comes back when it is lost.
//!
//! apalis's own strategy listens on a connection for each queue, gives up when it cannot connect, and
//! hands each notification to one look at the queue. When a look is under way just then, it may have
//! begun before the item was there and finds nothing; the item then waited for the next poll, a
//! second later (measured: 9 of 100 items that follow one another). What is heard here during a look
//! is still there after it.

use std::time::Duration;

use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::faults::Faults;
use super::notify::CHANNEL;
use crate::domain::task::TaskKind;

/// Between two attempts to listen. Meanwhile items are found by polling.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Hears of new items and tells their queues.
pub(super) struct Listener {
    queues: Vec<(TaskKind, watch::Sender<()>)>,
}

/// What apalis says of a new item.
#[derive(Deserialize)]
struct Inserted {
    job_type: String,
}

impl Listener {
    pub(super) fn new() -> Self {
        Self { queues: TaskKind::ALL.iter().map(|kind| (*kind, watch::Sender::new(()))).collect() }
    }

    /// The notifications of one queue.
    pub(super) fn of(&self, queue: TaskKind) -> Option<watch::Receiver<()>> {
        let (_, told) = self.queues.iter().find(|(kind, _)| *kind == queue)?;
        Some(told.subscribe())
    }

    /// Listens for ever.
    pub(super) async fn listen(&self, pool: &PgPool, faults: &Faults) {
        loop {
            let Err(error) = self.listen_once(pool, faults).await;
            faults.note();
            tracing::debug!(%error, "new items are found by polling until listening works again");
            sleep(LISTEN_AGAIN).await;
        }
    }

    async fn listen_once(
        &self,
        pool: &PgPool,
        faults: &Faults,
    ) -> Result<std::convert::Infallible, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        loop {
            // What was notified before listening began is unknown.
            self.tell(|_| true);
            while let Some(notification) = listener.try_recv().await? {
                // Items of other programs in the same database are none of ours.
                if let Ok(item) = serde_json::from_str::<Inserted>(notification.payload()) {
                    self.tell(|kind| kind.as_str() == item.job_type);
                }
            }
            // The connection was lost, and with it perhaps others and the answers on them.
            faults.note();
        }
    }

    fn tell(&self, whom: impl Fn(TaskKind) -> bool) {
        for (kind, sender) in &self.queues {
            if whom(*kind) {
                sender.send_replace(());
            }
        }
    }
}

//! Owns waking workers by NOTIFY, without missing one: one connection listens for all queues of the
//! process and comes back when it is lost.
//!
//! apalis's own strategy listens on a connection for each queue, gives up when it cannot connect, and
//! hands each notification to one look at the queue. When a look is under way just then, it may have
//! begun before the item was there and finds nothing; the item then waited for the next poll, a
//! second later (measured: 9 of 100 items that follow one another).

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::{PollSnapshot, PollStrategy};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::domain::task::TaskKind;

/// The channel of apalis's insert trigger.
const CHANNEL: &str = "apalis::job::insert";
/// After news the queue is looked at again this much later, then five times as late, …
const FIRST: Duration = Duration::from_millis(5);
/// … up to this.
const LAST: Duration = Duration::from_millis(200);
/// Between two attempts to listen. Meanwhile items are found by polling.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Hears of new items and tells their queues.
pub(super) struct Newsroom {
    queues: Vec<(TaskKind, watch::Sender<()>)>,
}

/// What apalis says of a new item.
#[derive(Deserialize)]
struct Inserted {
    job_type: String,
}

impl Newsroom {
    pub(super) fn new() -> Self {
        Self { queues: TaskKind::ALL.iter().map(|kind| (*kind, watch::Sender::new(()))).collect() }
    }

    /// The news of one queue.
    pub(super) fn of(&self, queue: TaskKind) -> News {
        let mut told = None;
        for (kind, sender) in &self.queues {
            if *kind == queue {
                told = Some(sender.subscribe());
            }
        }
        let heard = stream::unfold(told, |told| async {
            let mut told = told?;
            told.changed().await.ok()?;
            Some(((), Some(told)))
        });
        News { heard: Mutex::new(heard.boxed()), again: None }
    }

    /// Listens for ever.
    pub(super) async fn listen(&self, pool: &PgPool) {
        loop {
            let Err(error) = self.listen_once(pool).await;
            tracing::debug!(%error, "new items are found by polling until listening works again");
            sleep(LISTEN_AGAIN).await;
        }
    }

    async fn listen_once(&self, pool: &PgPool) -> Result<std::convert::Infallible, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        loop {
            // Nobody knows what was said before listening began.
            self.tell(|_| true);
            while let Some(notification) = listener.try_recv().await? {
                // Items of other programs in the same database are none of ours.
                if let Ok(item) = serde_json::from_str::<Inserted>(notification.payload()) {
                    self.tell(|kind| kind.as_str() == item.job_type);
                }
            }
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

/// Wakes at every notification of the queue, and a few times afterwards.
pub(super) struct News {
    heard: Mutex<BoxStream<'static, ()>>,
    again: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl PollStrategy for News {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut heard = false;
        let news = self.heard.get_mut().unwrap_or_else(PoisonError::into_inner);
        // To the end: only what is pending wakes again.
        while let Poll::Ready(Some(())) = news.poll_next_unpin(cx) {
            heard = true;
            self.again = Some((Box::pin(sleep(FIRST)), FIRST));
        }
        while let Some((due, after)) = &mut self.again
            && due.poll_unpin(cx).is_ready()
        {
            heard = true;
            let next = *after * 5;
            self.again = (next <= LAST).then(|| (Box::pin(sleep(next)), next));
        }
        if heard { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

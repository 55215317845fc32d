//! Owns waking a worker by NOTIFY, without missing one.
//!
//! apalis's own strategy hands each notification to one look at the queue. When a look is under way
//! just then, it may have begun before the item was there and finds nothing; the item then waited
//! for the next poll, a second later (measured: 9 of 100 items that follow one another).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::{PollSnapshot, PollStrategy};
use apalis_postgres::Pubsub;
use futures::{FutureExt, StreamExt};
use tokio::time::{Sleep, sleep};

/// After news the queue is looked at again this much later, then five times as late, …
const FIRST: Duration = Duration::from_millis(5);
/// … up to this.
const LAST: Duration = Duration::from_millis(200);

/// Wakes at every notification of the queue, and a few times afterwards.
pub(super) struct News {
    inserted: Pubsub,
    again: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl News {
    pub(super) fn new(inserted: Pubsub) -> Self {
        Self { inserted, again: None }
    }
}

impl PollStrategy for News {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut heard = false;
        // To the end: only what is pending wakes again.
        while let Poll::Ready(Some(_)) = self.inserted.poll_next_unpin(cx) {
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

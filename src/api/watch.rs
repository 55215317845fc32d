//! Owns watching something for a client that listens: how many may at once, how often it is looked
//! at, and when a stream ends: with what is watched, with the server, or when it has become old.
//!
//! Must not know what is watched.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::problem::{Kind, Problem};

/// Streams at once.
const STREAMS: usize = 64;
/// Between two looks.
const PACE: Duration = Duration::from_millis(500);
/// A stream ends at this age, so that a token that was revoked opens nothing for longer. Its client
/// asks again and goes on where it was.
const LIFETIME: Duration = Duration::from_secs(600);

/// What is watched. Between looks it must hold nothing that others need.
pub(super) trait Watch: Send + 'static {
    /// Something to tell.
    type News: Send + 'static;

    /// What is new since the last look.
    fn look(&mut self) -> impl Future<Output = Look<Self::News>> + Send;
}

/// What a look has seen.
pub(super) struct Look<T> {
    /// In the order in which it is sent.
    pub(super) news: Vec<T>,
    /// Whether and when to look again.
    pub(super) next: Next,
}

/// Whether and when to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// At once: there was more than fits one look.
    Now,
    /// At the usual pace.
    Later,
    /// Never: there will be nothing new.
    Never,
}

/// Room for streams; cheap to clone.
#[derive(Clone)]
pub(super) struct Watches {
    room: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// A stream's place among the others.
#[derive(Debug)]
pub(super) struct Place {
    _room: OwnedSemaphorePermit,
    stopping: CancellationToken,
}

struct Watching<W> {
    place: Place,
    watch: W,
    until: Instant,
    next: Next,
}

impl Watches {
    /// Streams that end when `stopping` is cancelled.
    pub(super) fn new(stopping: CancellationToken) -> Self {
        Self { room: Arc::new(Semaphore::new(STREAMS)), stopping }
    }

    /// A place for one more.
    ///
    /// # Errors
    /// A problem when there are too many.
    pub(super) fn place(&self) -> Result<Place, Problem> {
        let room = self.room.clone().try_acquire_owned();
        let busy = |_| Problem::new(Kind::Busy, format!("{STREAMS} streams are open; try again"));
        Ok(Place { _room: room.map_err(busy)?, stopping: self.stopping.clone() })
    }
}

impl Place {
    /// The news of what is watched; nothing is looked at that the client does not wait for.
    pub(super) fn stream<W: Watch>(self, watch: W) -> impl Stream<Item = W::News> + Send + 'static {
        let until = Instant::now() + LIFETIME;
        let watching = Watching { place: self, watch, until, next: Next::Now };
        stream::unfold(watching, Watching::news).flatten()
    }
}

impl<W: Watch> Watching<W> {
    async fn news(mut self) -> Option<(stream::Iter<std::vec::IntoIter<W::News>>, Self)> {
        let Self { place, watch, until, next } = &mut self;
        let pause = match next {
            Next::Now => Duration::ZERO,
            Next::Later => PACE,
            Next::Never => return None,
        };
        let look = async {
            sleep(pause).await;
            watch.look().await
        };
        let look = tokio::select! {
            biased;
            () = place.stopping.cancelled() => return None,
            () = sleep_until(*until) => return None,
            look = look => look,
        };
        self.next = look.next;
        Some((stream::iter(look.news), self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells the time of each look, and ends behind the last one that it was told of.
    struct Clock {
        begun: Instant,
        last: u64,
    }

    impl Watch for Clock {
        type News = u64;

        async fn look(&mut self) -> Look<u64> {
            let now = self.begun.elapsed().as_millis() as u64;
            let next = if now < self.last { Next::Later } else { Next::Never };
            Look { news: vec![now], next }
        }
    }

    fn clock(last: u64) -> Clock {
        Clock { begun: Instant::now(), last }
    }

    /// Time passes as soon as everybody waits for it.
    #[tokio::test(start_paused = true)]
    async fn it_is_looked_at_once_then_at_its_pace_and_not_after_its_end() {
        let watches = Watches::new(CancellationToken::new());
        let news = watches.place().unwrap().stream(clock(900));
        assert_eq!(news.collect::<Vec<_>>().await, [0, 500, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_it_is_old_and_when_the_server_stops() {
        let stopping = CancellationToken::new();
        let watches = Watches::new(stopping.clone());
        let all = watches.place().unwrap().stream(clock(u64::MAX)).collect::<Vec<_>>().await;
        let oldest = LIFETIME.as_millis() as u64;
        assert!(all.last().is_some_and(|last| (oldest - 1000..=oldest).contains(last)), "{all:?}");

        let mut news = Box::pin(watches.place().unwrap().stream(clock(u64::MAX)));
        assert!(news.next().await.is_some());
        stopping.cancel();
        assert_eq!(news.next().await, None);
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_stream_is_dropped() {
        let watches = Watches::new(CancellationToken::new());
        let mut places: Vec<_> = (0..STREAMS).map(|_| watches.place().unwrap()).collect();
        assert!(watches.place().is_err());
        drop(places.pop().unwrap().stream(clock(0)));
        assert!(watches.place().is_ok());
    }
}

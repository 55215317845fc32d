//! Owns streams of events: how many may be open at once, how often their source is polled, and when a
//! stream ends: with its source, with the server, or when it has become old.
//!
//! Must not know what the events are about.

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
/// Between two polls.
const PACE: Duration = Duration::from_millis(500);
/// A stream ends at this age, so that a token that was revoked opens nothing for longer. Its client
/// asks again and goes on where it was.
const LIFETIME: Duration = Duration::from_secs(600);

/// Where events come from. Between polls it must hold nothing that others need.
pub(crate) trait EventSource: Send + 'static {
    /// What is sent to the client.
    type Event: Send + 'static;

    /// What is new since the last poll.
    fn poll(&mut self) -> impl Future<Output = Poll<Self::Event>> + Send;
}

/// What a poll has found.
pub(crate) struct Poll<T> {
    /// In the order in which they are sent.
    pub(crate) events: Vec<T>,
    /// Whether and when to poll again.
    pub(crate) next: Next,
}

/// Whether and when to poll again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once: there was more than fits one poll.
    Now,
    /// At the usual pace.
    Later,
    /// Never: there will be nothing new.
    Never,
}

/// The permits for streams; cheap to clone.
#[derive(Clone)]
pub(crate) struct EventStreams {
    room: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// The right to one stream.
#[derive(Debug)]
pub(crate) struct Permit {
    _room: OwnedSemaphorePermit,
    stopping: CancellationToken,
}

struct Streaming<W> {
    permit: Permit,
    source: W,
    until: Instant,
    next: Next,
}

impl EventStreams {
    /// Streams that end when `stopping` is cancelled.
    pub(crate) fn new(stopping: CancellationToken) -> Self {
        Self { room: Arc::new(Semaphore::new(STREAMS)), stopping }
    }

    /// The permit for one more.
    ///
    /// # Errors
    /// A problem when there are too many.
    pub(crate) fn permit(&self) -> Result<Permit, Problem> {
        let room = self.room.clone().try_acquire_owned();
        let busy = |_| Problem::new(Kind::Busy, format!("{STREAMS} streams are open; try again"));
        Ok(Permit { _room: room.map_err(busy)?, stopping: self.stopping.clone() })
    }
}

impl Permit {
    /// The events of the source, which is polled only while the client waits for one.
    pub(crate) fn stream<W: EventSource>(
        self,
        source: W,
    ) -> impl Stream<Item = W::Event> + Send + 'static {
        let until = Instant::now() + LIFETIME;
        let streaming = Streaming { permit: self, source, until, next: Next::Now };
        stream::unfold(streaming, Streaming::events).flatten()
    }
}

impl<W: EventSource> Streaming<W> {
    async fn events(mut self) -> Option<(stream::Iter<std::vec::IntoIter<W::Event>>, Self)> {
        let Self { permit, source, until, next } = &mut self;
        let pause = match next {
            Next::Now => Duration::ZERO,
            Next::Later => PACE,
            Next::Never => return None,
        };
        let poll = async {
            sleep(pause).await;
            source.poll().await
        };
        let poll = tokio::select! {
            biased;
            () = permit.stopping.cancelled() => return None,
            () = sleep_until(*until) => return None,
            poll = poll => poll,
        };
        self.next = poll.next;
        Some((stream::iter(poll.events), self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends the time of each poll, and ends behind the last one that it was told of.
    struct Clock {
        begun: Instant,
        last: u64,
    }

    impl EventSource for Clock {
        type Event = u64;

        async fn poll(&mut self) -> Poll<u64> {
            let now = self.begun.elapsed().as_millis() as u64;
            let next = if now < self.last { Next::Later } else { Next::Never };
            Poll { events: vec![now], next }
        }
    }

    fn clock(last: u64) -> Clock {
        Clock { begun: Instant::now(), last }
    }

    /// Time passes as soon as everybody waits for it.
    #[tokio::test(start_paused = true)]
    async fn the_source_is_polled_at_once_then_at_its_pace_and_not_after_its_end() {
        let streams = EventStreams::new(CancellationToken::new());
        let events = streams.permit().unwrap().stream(clock(900));
        assert_eq!(events.collect::<Vec<_>>().await, [0, 500, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_it_is_old_and_when_the_server_stops() {
        let stopping = CancellationToken::new();
        let streams = EventStreams::new(stopping.clone());
        let all = streams.permit().unwrap().stream(clock(u64::MAX)).collect::<Vec<_>>().await;
        let oldest = LIFETIME.as_millis() as u64;
        assert!(all.last().is_some_and(|last| (oldest - 1000..=oldest).contains(last)), "{all:?}");

        let mut events = Box::pin(streams.permit().unwrap().stream(clock(u64::MAX)));
        assert!(events.next().await.is_some());
        stopping.cancel();
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn a_permit_is_free_again_when_its_stream_is_dropped() {
        let streams = EventStreams::new(CancellationToken::new());
        let mut permits: Vec<_> = (0..STREAMS).map(|_| streams.permit().unwrap()).collect();
        assert!(streams.permit().is_err());
        drop(permits.pop().unwrap().stream(clock(0)));
        assert!(streams.permit().is_ok());
    }
}

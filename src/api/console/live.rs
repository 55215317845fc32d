//! Owns the stream that tells pages that something has changed. One look at the database serves every page of the
//! process, once a second, and none when nobody looks.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use poem::web::sse::{Event, SSE};
use poem::web::{Data, Query};
use poem::{IntoResponse, Response, handler};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::api::http::problem::{Kind, Problem};
use crate::api::state::ApiState;
use crate::db;
use crate::db::console_topics::{self, Topics};

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);
/// A stream ends at this age, so that a session that is over sees nothing for longer. Its page asks again.
const LIFETIME: Duration = Duration::from_secs(600);
/// Streams at once.
const STREAMS: usize = 256;
/// How often something is sent where nothing changes, so that a connection that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often `system` counts as changed: its figures change all the time.
const SYSTEM: u64 = 5;

/// What streams are fed from; cheap to clone.
#[derive(Clone)]
pub(crate) struct Live {
    state: ApiState,
    seen: Arc<watch::Sender<Seen>>,
    room: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// What was seen last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    topics: Topics,
    looks: u64,
    /// Whether somebody looks for all.
    is_watched: bool,
}

impl Live {
    /// Streams that end when `stopping` is cancelled.
    pub(crate) fn new(state: ApiState, stopping: CancellationToken) -> Self {
        let (seen, _) = watch::channel(Seen::default());
        Self { state, seen: Arc::new(seen), room: Arc::new(Semaphore::new(STREAMS)), stopping }
    }

    /// Looks for all as long as somebody listens.
    fn look(&self) {
        let begins =
            self.seen.send_if_modified(|seen| !std::mem::replace(&mut seen.is_watched, true));
        if !begins {
            return;
        }
        let live = self.clone();
        tokio::spawn(async move {
            loop {
                let topics = live.topics().await;
                let mut ended = false;
                live.seen.send_modify(|seen| {
                    // Who begins to listen behind this looks by itself.
                    ended = live.seen.receiver_count() == 0 || live.stopping.is_cancelled();
                    seen.looks += 1;
                    seen.is_watched = !ended;
                    if let Some(topics) = topics {
                        seen.topics = topics;
                    }
                });
                if ended {
                    return;
                }
                tokio::select! {
                    () = sleep(PACE) => {}
                    () = live.stopping.cancelled() => {}
                }
            }
        });
    }

    async fn topics(&self) -> Option<Topics> {
        let read = async {
            let mut connection = self.state.connection().await?;
            console_topics::now(&mut *connection).await
        };
        match read.await {
            Ok(topics) => Some(topics),
            Err(error) => {
                let class = db::failure_class(&error);
                tracing::debug!(error = %error, ?class, "the console could not look at the database");
                None
            }
        }
    }

    /// A `hello` once it is known what there is, and a `changed` for each change of these topics from then on.
    fn changes(
        &self,
        permit: OwnedSemaphorePermit,
        topics: String,
    ) -> impl Stream<Item = Event> + use<> {
        let mut seen = self.seen.subscribe();
        seen.mark_unchanged();
        self.look();
        let (until, stopping) = (Instant::now() + LIFETIME, self.stopping.clone());
        let following = Following { permit, seen, told: None, topics, until, stopping };
        stream::unfold(following, Following::next)
    }
}

struct Following {
    permit: OwnedSemaphorePermit,
    seen: watch::Receiver<Seen>,
    /// `None` before the first look.
    told: Option<Seen>,
    topics: String,
    until: Instant,
    stopping: CancellationToken,
}

impl Following {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            tokio::select! {
                changed = self.seen.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.until) => return None,
                () = self.stopping.cancelled() => return None,
            }
            let now = self.seen.borrow_and_update().clone();
            let event = match &self.told {
                None => "hello",
                Some(told) if self.has_changed(told, &now) => "changed",
                Some(_) => continue,
            };
            self.told = Some(now);
            return Some((Event::message("").event_type(event), self));
        }
    }

    fn has_changed(&self, told: &Seen, now: &Seen) -> bool {
        let _held = &self.permit;
        let (before, after) = (&told.topics, &now.topics);
        self.topics.split(',').any(|topic| match topic {
            "runs" => before.runs != after.runs,
            "sources" => before.sources != after.sources,
            "quarantine" => before.quarantine != after.quarantine,
            "drift" => before.drift != after.drift,
            "system" => now.looks >= told.looks + SYSTEM,
            _ => false,
        })
    }
}

/// What a page follows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Topic {
    topics: String,
}

/// `GET /ui/stream`
#[handler]
pub(crate) fn follow(live: Data<&Live>, Query(topic): Query<Topic>) -> poem::Result<Response> {
    let room = live.room.clone().try_acquire_owned();
    let busy = |_| Problem::new(Kind::Busy, format!("{STREAMS} pages follow; try again"));
    let changes = live.changes(room.map_err(busy)?, topic.topics);
    Ok(SSE::new(changes.boxed()).keep_alive(HEARTBEAT).into_response())
}

//! Owns whether a queue's worker is well: whether it has a turn, and asks for items while it has
//! room for them.
//!
//! A worker that is not well says no longer that it lives, so that others take its items over, and is
//! started again. Must not know how items are fetched, nor what is done with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::lease::Lease;

const TURN_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How a queue's worker is.
#[derive(Debug)]
pub(super) struct Pulse {
    worker: String,
    slots: usize,
    /// A worker that has had no turn, or has asked for nothing with room for more, for so long is stuck.
    stuck_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The items under way and which attempt of each it is.
    under_way: BTreeMap<String, i32>,
    asking: Asking,
    /// Since when it is asking as it does; each answer of the database counts anew.
    since: Instant,
    /// When it last had a turn.
    turn: Instant,
    stopping: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Asking {
    /// It waits for an item.
    Looking,
    /// An item was found that is not under way yet.
    Found { item: String, attempts_before: i32 },
    /// It asks for nothing.
    Resting,
}

impl Pulse {
    /// Of a worker that begins now, works on up to this many items at once, and is stuck after this long.
    pub(super) fn new(worker: String, slots: usize, stuck_after: Duration) -> Self {
        let now = Instant::now();
        let state = State {
            under_way: BTreeMap::new(),
            asking: Asking::Resting,
            since: now,
            turn: now,
            stopping: false,
        };
        Self { worker, slots, stuck_after, state: Mutex::new(state) }
    }

    pub(super) fn worker(&self) -> &str {
        &self.worker
    }

    /// It waits for an item, or has asked again, whatever came of it.
    pub(super) fn asked(&self) {
        self.now_is(Asking::Looking);
    }

    /// It was given an item.
    pub(super) fn found(&self, lease: &Lease) {
        let item = lease.job.clone();
        self.now_is(Asking::Found { item, attempts_before: lease.attempts_before });
    }

    /// An item is under way until the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>, lease: &Lease) -> UnderWay {
        let mut state = self.state();
        state.under_way.insert(lease.job.clone(), lease.attempts_before);
        if matches!(&state.asking, Asking::Found { item, .. } if *item == lease.job) {
            state.asking = Asking::Resting;
            state.since = Instant::now();
        }
        drop(state);
        UnderWay { pulse: self.clone(), item: lease.job.clone() }
    }

    /// From now on it asks for nothing.
    pub(super) fn stops(&self) {
        self.state().stopping = true;
    }

    /// Says that the worker has its turns. To be polled wherever the worker is.
    pub(super) async fn turns(self: Arc<Self>) -> std::convert::Infallible {
        loop {
            self.state().turn = Instant::now();
            sleep(TURN_EVERY).await;
        }
    }

    /// Resolves when the worker is stuck.
    pub(super) async fn is_stuck(&self) {
        while self.is_well() {
            sleep(LOOK_EVERY.min(self.stuck_after)).await;
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.is_well_at(Instant::now())
    }

    fn is_well_at(&self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) <= self.stuck_after;
        let state = self.state();
        let has_room = state.under_way.len() < self.slots;
        let ought_to_ask = has_room || state.asking != Asking::Resting;
        lately(state.turn) && (state.stopping || !ought_to_ask || lately(state.since))
    }

    /// Whether this attempt of an item is in its hands.
    pub(super) fn holds(&self, item: &str, attempts_before: i32) -> bool {
        let state = self.state();
        state.under_way.get(item) == Some(&attempts_before)
            || state.asking == Asking::Found { item: item.to_owned(), attempts_before }
    }

    fn now_is(&self, asking: Asking) {
        let mut state = self.state();
        state.asking = asking;
        state.since = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item that is under way.
pub(super) struct UnderWay {
    pulse: Arc<Pulse>,
    item: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        state.under_way.remove(&self.item);
        if state.asking == Asking::Resting {
            state.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUCK_AFTER: Duration = Duration::from_secs(60);
    const SOON: Duration = Duration::from_secs(59);
    const LATER: Duration = Duration::from_secs(61);

    fn lease(item: &str) -> Lease {
        Lease::new(item.to_owned(), "w".to_owned(), 0)
    }

    fn well_after(pulse: &Pulse, time: Duration) -> bool {
        let now = Instant::now() + time;
        // It has its turns all the while.
        pulse.state().turn = now;
        pulse.is_well_at(now)
    }

    #[test]
    fn a_worker_that_asks_for_nothing_for_a_minute_though_it_has_room_is_stuck() {
        let pulse = Arc::new(Pulse::new("w".to_owned(), 2, STUCK_AFTER));
        assert!(well_after(&pulse, SOON) && !well_after(&pulse, LATER));
        pulse.asked();
        assert!(well_after(&pulse, SOON) && !well_after(&pulse, LATER));
        pulse.found(&lease("a"));
        assert!(!well_after(&pulse, LATER), "an item that it was given is not begun");
        let _a = pulse.begin(&lease("a"));
        assert!(!well_after(&pulse, LATER), "it has room for one more");
        let b = pulse.begin(&lease("b"));
        assert!(well_after(&pulse, LATER), "all its slots are busy");
        drop(b);
        assert!(well_after(&pulse, SOON) && !well_after(&pulse, LATER));
        pulse.stops();
        assert!(well_after(&pulse, LATER));
    }

    #[test]
    fn a_worker_without_a_turn_for_a_minute_is_stuck_however_busy_it_is() {
        let pulse = Arc::new(Pulse::new("w".to_owned(), 1, STUCK_AFTER));
        let _a = pulse.begin(&lease("a"));
        assert!(pulse.is_well_at(Instant::now() + SOON));
        assert!(!pulse.is_well_at(Instant::now() + LATER));
    }

    #[test]
    fn a_worker_holds_what_it_was_given_until_it_is_no_longer_under_way() {
        let pulse = Arc::new(Pulse::new("w".to_owned(), 1, STUCK_AFTER));
        assert!(!pulse.holds("a", 0));
        pulse.found(&lease("a"));
        assert!(pulse.holds("a", 0) && !pulse.holds("a", 1) && !pulse.holds("b", 0));
        let a = pulse.begin(&lease("a"));
        assert!(pulse.holds("a", 0) && !pulse.holds("a", 1));
        drop(a);
        assert!(!pulse.holds("a", 0));
    }
}

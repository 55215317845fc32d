//! Owns what is done about a database that refuses: it is logged once a minute for each kind of fault,
//! and tried again after a pause that grows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::failure::chain;
use crate::telemetry::Seldom;

/// The first pause is up to this; it doubles with each further one …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The faults that the queue's workers of this process have met.
#[derive(Debug, Default)]
pub(super) struct Faults {
    seldom: Seldom,
    last: Mutex<Option<Instant>>,
}

impl Faults {
    /// Notes a fault, and logs it unless the same has just been logged.
    pub(super) fn meet(&self, what: &str, error: &sqlx::Error) {
        self.note();
        let code = error.as_database_error().and_then(|error| error.code());
        let kind = format!("{what} {}", code.as_deref().unwrap_or("-"));
        if let Some(left_out) = self.seldom.say(&kind) {
            tracing::warn!(error = chain(error), left_out, "{what}; trying again");
        }
    }

    /// Notes a fault of a worker, likewise.
    pub(super) fn meet_worker(&self, worker: &str, why: &str) {
        self.note();
        if let Some(left_out) = self.seldom.say(why) {
            tracing::warn!(worker, left_out, "a queue worker {why}; it is started again");
        }
    }

    /// How long ago the last one was.
    pub(super) fn since(&self) -> Option<Duration> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).map(|last| last.elapsed())
    }

    /// Notes one that need not be said: a connection was lost, and another takes its place.
    pub(super) fn note(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// The pauses between attempts that fail one after the other: each up to twice as long, and of random
/// length, so that workers part.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_stay_there() {
        let mut pauses = Pauses::new();
        let all: Vec<_> = (0..20).map(|_| pauses.next()).collect();
        assert!(all[0] >= FIRST_PAUSE / 2 && all[0] <= FIRST_PAUSE, "{all:?}");
        for pause in &all[6..] {
            assert!(*pause >= LONGEST_PAUSE / 2 && *pause <= LONGEST_PAUSE, "{all:?}");
        }
    }
}

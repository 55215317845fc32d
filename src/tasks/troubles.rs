//! Owns how long tasks wait for a database that is down, full, read-only or refuses them, and how
//! often that is logged.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::queue::Message;
use crate::telemetry::Seldom;

/// The first wait of a task is up to this; it doubles with each further one …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A task that has not come again for so long went on elsewhere.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The tasks of this process that wait for the database to be itself again.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    waiting: Mutex<HashMap<String, Waiting>>,
    seldom: Seldom,
}

#[derive(Debug)]
struct Waiting {
    times: u32,
    last: Instant,
}

impl Troubles {
    /// How long the task waits now: of random length, so that tasks part.
    pub(super) fn wait(&self, message: &Message) -> Duration {
        let mut waiting = self.waiting();
        waiting.retain(|_, task| task.last.elapsed() < FORGOTTEN_AFTER);
        let task =
            waiting.entry(key(message)).or_insert(Waiting { times: 0, last: Instant::now() });
        let longest = FIRST_WAIT.saturating_mul(1 << task.times.min(10)).min(LONGEST_WAIT);
        task.times += 1;
        task.last = Instant::now();
        longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// The task got through.
    pub(super) fn are_over(&self, message: &Message) {
        let mut waiting = self.waiting();
        if !waiting.is_empty() {
            waiting.remove(&key(message));
        }
    }

    /// Whether it is time to log trouble of this kind again, and how often it was not.
    pub(super) fn say(&self, kind: &str) -> Option<u64> {
        self.seldom.say(kind)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(message: &Message) -> String {
    format!("{}:{}", message.run, message.task)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::RunId;

    #[test]
    fn waits_grow_to_half_a_minute_and_begin_anew_when_the_trouble_is_over() {
        let (troubles, task) = (Troubles::default(), Message { run: RunId(1), task: "a".into() });
        let waits: Vec<_> = (0..40).map(|_| troubles.wait(&task)).collect();
        assert!(waits[0] <= FIRST_WAIT, "{waits:?}");
        assert!(waits[6..].iter().all(|wait| *wait >= LONGEST_WAIT / 2 && *wait <= LONGEST_WAIT));
        troubles.are_over(&task);
        assert!(troubles.wait(&task) <= FIRST_WAIT);
    }
}

//! Owns how often something that comes again and again is logged.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line is logged so often for each kind.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Says when it is time for the next line, and how many were left out since the last.
#[derive(Debug, Default)]
pub struct Seldom {
    kinds: Mutex<HashMap<String, Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    left_out: u64,
}

impl Seldom {
    /// Something of this kind happens: `Some` when it is to be logged, with the number of those that
    /// were not.
    pub fn say(&self, kind: &str) -> Option<u64> {
        self.say_at(kind, Instant::now())
    }

    /// Whether something of this kind happens for the first time.
    pub fn is_first(&self, kind: &str) -> bool {
        let said = Said { at: Instant::now(), left_out: 0 };
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind.to_owned(), said)
            .is_none()
    }

    fn say_at(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = kinds.get_mut(kind)
            && now.saturating_duration_since(said.at) < LINE_EVERY
        {
            said.left_out += 1;
            return None;
        }
        let former = kinds.insert(kind.to_owned(), Said { at: now, left_out: 0 });
        Some(former.map_or(0, |said| said.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_comes_again_and_again_one_line_a_minute_is_said_with_the_number_of_the_others() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let say = |kind, second| seldom.say_at(kind, start + Duration::from_secs(second));
        assert_eq!(say("a", 0), Some(0));
        assert_eq!((say("a", 1), say("a", 59)), (None, None));
        assert_eq!(say("b", 59), Some(0), "another kind");
        assert_eq!(say("a", 60), Some(2));
        assert_eq!(say("a", 61), None);
    }
}

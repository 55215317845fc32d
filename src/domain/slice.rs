//! Owns where a slice stands among those of its run.

use serde::{Deserialize, Serialize};

/// Where a slice stands in the order in which the rows of a run count: by its lane, then by its number
/// within it.
///
/// Slices of one lane are read one after the other or side by side; lanes are read side by side: a window
/// of time each, or a parent. A source that needs none of that uses lane 0. In the ledger both are one
/// number, `lane * 2^32 + number`, so that its order is theirs.
///
/// Further slices come behind the one that names them: what is in front of every open slice is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SliceId(i64);

const NUMBERS: i64 = 1 << 32;

impl SliceId {
    /// The first slice of the first lane.
    pub const FIRST: Self = Self(0);
    /// So many slices a lane may have: what two that follow each other are apart in the ledger.
    pub const PER_LANE: i64 = NUMBERS;
    /// The highest lane.
    pub const MAX_LANE: u32 = i32::MAX as u32;

    /// The slice of this number in a lane, both counted from 0.
    ///
    /// # Panics
    /// When the lane is above [`SliceId::MAX_LANE`].
    pub fn new(lane: u32, number: u32) -> Self {
        assert!(lane <= Self::MAX_LANE, "a run has 2^31 lanes at most");
        Self(i64::from(lane) * NUMBERS + i64::from(number))
    }

    /// The slice of a number of the ledger.
    pub fn of_ledger(number: i64) -> Self {
        Self(number)
    }

    /// Its number in the ledger.
    pub fn to_ledger(self) -> i64 {
        self.0
    }

    /// Its lane.
    pub fn lane(self) -> u32 {
        (self.0 / NUMBERS) as u32
    }

    /// Its number within its lane.
    pub fn number(self) -> u32 {
        (self.0 % NUMBERS) as u32
    }

    /// The next slice of its lane.
    pub fn next(self) -> Self {
        self.ahead(1)
    }

    /// The slice so many places behind it in its lane.
    pub fn ahead(self, slices: u32) -> Self {
        Self::new(self.lane(), self.number().saturating_add(slices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_are_ordered_by_lane_then_by_number(
            a in (0..=SliceId::MAX_LANE, any::<u32>()),
            b in (0..=SliceId::MAX_LANE, any::<u32>()),
        ) {
            let [one, other] = [a, b].map(|(lane, number)| SliceId::new(lane, number));
            prop_assert_eq!((one.lane(), one.number()), a);
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            prop_assert_eq!(one.to_ledger().cmp(&other.to_ledger()), a.cmp(&b));
        }
    }

    #[test]
    fn the_first_lane_is_numbered_as_before_there_were_lanes() {
        assert_eq!(SliceId::new(0, 41).next().to_ledger(), 42);
        assert_eq!(SliceId::FIRST.to_ledger(), 0);
    }
}

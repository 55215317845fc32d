//! Owns the figures kept per task and summed per run and per source.

use std::ops::{AddAssign, SubAssign};

use serde::{Deserialize, Serialize};

use super::number::grouped;

/// What a task, a run or a source did, in numbers.
///
/// Over a whole run `rows_read == inserted + updated + unchanged + quarantined` holds exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// API pages or CSV chunks read.
    pub slices: i64,
    /// Bytes read from the source, after transport decoding.
    pub bytes: i64,
    /// Rows the source held, good or bad.
    pub rows_read: i64,
    /// Rows whose key was new.
    pub inserted: i64,
    /// Rows whose key was known with other content.
    pub updated: i64,
    /// Rows whose key was known with the same content: the duplicates.
    pub unchanged: i64,
    /// Rows set aside with a reason.
    pub quarantined: i64,
}

impl Counters {
    /// Rows of which it is known what became of them.
    pub fn evaluated(&self) -> i64 {
        self.inserted + self.updated + self.unchanged + self.quarantined
    }

    /// For people: `3 of 2,000 rows quarantined`.
    pub fn quarantined_of_all(&self) -> String {
        let shown = |number: i64| grouped(number.unsigned_abs());
        format!("{} of {} rows quarantined", shown(self.quarantined), shown(self.rows_read))
    }

    /// Counts up to `most` known rows as inserted, and returns how many: rows that a run applies a
    /// second time, and that were new to it the first time. Which of them are known with the same
    /// content and which with another cannot be told any more; the same is more likely.
    pub fn count_known_as_inserted(&mut self, most: i64) -> i64 {
        let unchanged = self.unchanged.min(most);
        let updated = self.updated.clamp(0, most - unchanged);
        self.unchanged -= unchanged;
        self.updated -= updated;
        self.inserted += unchanged + updated;
        unchanged + updated
    }

    /// Counts no more rows as unchanged, after all, than `updated` had counted as updated: of rows that a run applies a
    /// second time it is not known what the first time counted.
    pub fn take_back_at_most(&mut self, updated: i64) {
        let below = (updated + self.updated).min(0);
        self.updated -= below;
        self.unchanged += below;
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.slices += other.slices;
        self.bytes += other.bytes;
        self.rows_read += other.rows_read;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.quarantined += other.quarantined;
    }
}

impl SubAssign for Counters {
    fn sub_assign(&mut self, other: Self) {
        self.slices -= other.slices;
        self.bytes -= other.bytes;
        self.rows_read -= other.rows_read;
        self.inserted -= other.inserted;
        self.updated -= other.updated;
        self.unchanged -= other.unchanged;
        self.quarantined -= other.quarantined;
    }
}

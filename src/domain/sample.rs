//! Owns what a dry run shows: a few of the rows that the run would write or set aside.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::string_enum::string_enum;

string_enum! {
    /// What a run would do with a row.
    SampleChange ("change") {
        /// A record of a new key.
        Inserted = "inserted",
        /// Other content for a known key.
        Updated = "updated",
        /// Set aside.
        Quarantined = "quarantined",
    }
}

/// A row and what a run would do with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What becomes of it.
    pub change: SampleChange,
    /// The key; `None` for rows set aside.
    pub external_id: Option<String>,
    /// The file, page or kept payload that the row is in.
    pub payload: String,
    /// The row within it, from 1.
    pub row: i64,
    /// The record as it is in the table, an object of its filled columns.
    pub before: Option<Value>,
    /// The record as the run would leave it.
    pub after: Option<Value>,
    /// Everything that is wrong with a row set aside.
    pub defects: Vec<SampleDefect>,
}

/// One thing wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleDefect {
    /// The source's own name of the field; `None` when the row as a whole is bad.
    pub field: Option<String>,
    /// Reason code.
    pub reason: String,
    /// What was found, and what was expected.
    pub message: String,
}

/// A few samples of each kind of change.
#[derive(Debug, Default)]
pub struct Samples {
    found: Vec<Sample>,
}

impl Samples {
    /// The most samples that are shown.
    pub const MOST: usize = 20;

    /// Whether another sample of this kind may still be shown.
    pub fn wants(&self, change: SampleChange) -> bool {
        self.found.iter().filter(|sample| sample.change == change).count() < Self::MOST
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: Sample) {
        self.found.push(sample);
    }

    /// Takes out that a record is updated: a later row sets it back to what it was.
    pub fn set_back(&mut self, external_id: &str) {
        self.found.retain(|sample| {
            sample.change != SampleChange::Updated
                || sample.external_id.as_deref() != Some(external_id)
        });
    }

    /// At most [`Samples::MOST`], evenly of each kind as far as there are any, updates first.
    pub fn shown(self) -> Vec<Sample> {
        let order = [SampleChange::Updated, SampleChange::Inserted, SampleChange::Quarantined];
        let mut kinds: Vec<_> = order
            .iter()
            .map(|change| {
                let of_kind: Vec<_> =
                    self.found.iter().filter(|sample| sample.change == *change).collect();
                of_kind.into_iter()
            })
            .collect();
        let mut taken = vec![0; kinds.len()];
        let mut left = Self::MOST;
        while left > 0 {
            let before = left;
            for (kind, taken) in kinds.iter().zip(&mut taken) {
                if left > 0 && *taken < kind.len() {
                    *taken += 1;
                    left -= 1;
                }
            }
            if left == before {
                break;
            }
        }
        kinds.iter_mut().zip(taken).flat_map(|(kind, taken)| kind.take(taken)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: SampleChange, many: usize) -> impl Iterator<Item = Sample> {
        (0..many).map(move |row| Sample {
            change,
            external_id: None,
            payload: "file/1".to_owned(),
            row: row as i64 + 1,
            before: None,
            after: None,
            defects: Vec::new(),
        })
    }

    fn shown(inserted: usize, updated: usize, quarantined: usize) -> [usize; 3] {
        let mut samples = Samples::default();
        of(SampleChange::Inserted, inserted)
            .chain(of(SampleChange::Updated, updated))
            .chain(of(SampleChange::Quarantined, quarantined))
            .filter(|sample| sample.row <= Samples::MOST as i64)
            .for_each(|sample| samples.add(sample));
        let shown = samples.shown();
        [SampleChange::Inserted, SampleChange::Updated, SampleChange::Quarantined]
            .map(|change| shown.iter().filter(|sample| sample.change == change).count())
    }

    #[test]
    fn each_kind_of_change_is_shown_as_far_as_there_is_room() {
        assert_eq!(shown(0, 0, 0), [0, 0, 0]);
        assert_eq!(shown(1, 2, 3), [1, 2, 3]);
        assert_eq!(shown(100, 0, 0), [20, 0, 0]);
        assert_eq!(shown(100, 1, 0), [19, 1, 0]);
        assert_eq!(shown(100, 100, 100), [7, 7, 6]);
    }
}

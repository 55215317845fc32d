//! Owns what is remembered of keys that several rows of one payload have, and that differ:
//! of such rows only the last one stays, which is right for a log of changes and a loss when the key
//! is no key. Bounded: a task keeps a limited number of keys, by their hashes, and one example.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::bloom_filter::key_hash;
use super::number::grouped;
use super::text::{cut, visible};

/// The most keys that a task leaves in the ledger.
const MOST_OF_A_TASK: usize = 1_000;
/// The most keys that are counted of a run.
const MOST_OF_A_RUN: usize = 100_000;
/// The most rows of the example.
const MOST_PLACES: usize = 4;
/// The most bytes of a key that is shown.
const SHOWN: usize = 100;

/// Where a row is: its payload, as `raw_ref` names it, and its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The payload.
    pub raw: String,
    /// The row within it, from 1.
    pub row: i64,
}

/// A key and rows that have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Example {
    key: String,
    /// Some of its rows, in their order.
    pub places: Vec<Place>,
    more: bool,
}

/// Keys whose rows say different things.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedKeys {
    keys: BTreeSet<u64>,
    /// Whether there was no room for some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    example: Option<Example>,
}

impl RepeatedKeys {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds a key with the places of its rows, in their order.
    pub fn add(&mut self, key: &str, places: impl Iterator<Item = Place>) {
        self.keys.insert(key_hash(key));
        self.trim(MOST_OF_A_TASK);
        // The same one, however rows are cut into tasks and in whatever order these end.
        let shown = visible(&cut(key, SHOWN)).into_owned();
        if self.example.as_ref().is_none_or(|example| shown < example.key) {
            let mut places: Vec<_> = places.take(MOST_PLACES + 1).collect();
            let more = places.len() > MOST_PLACES;
            places.truncate(MOST_PLACES);
            self.example = Some(Example { key: shown, places, more });
        }
    }

    /// Adds those of another task.
    pub fn merge(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.cut |= other.cut;
        self.trim(MOST_OF_A_RUN);
        self.example = match (self.example.take(), other.example) {
            (Some(one), Some(other)) if one.key == other.key => Some(one.joined(other)),
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn trim(&mut self, most: usize) {
        while self.keys.len() > most {
            self.keys.pop_last();
            self.cut = true;
        }
    }

    /// The example.
    pub fn example(&self) -> Option<&Example> {
        self.example.as_ref()
    }

    /// For people; `payload` says how a payload is called there, and `exact` whether no other key can
    /// have been missed.
    pub fn sentence(&self, exact: bool, payload: impl Fn(&str) -> String) -> Option<String> {
        let example = self.example.as_ref()?;
        let at_least = if self.cut || !exact { "at least " } else { "" };
        let (keys, occur) = match self.keys.len() {
            1 => ("key", "occurs"),
            _ => ("keys", "occur"),
        };
        Some(format!(
            "{at_least}{} {keys} {occur} in several rows that differ, and only the last row of a key stays: \
             `{}` in {}; if each row is a thing of its own, add to `primary_key` what tells them apart",
            grouped(self.keys.len() as u64),
            example.key,
            example.places(payload),
        ))
    }
}

impl Example {
    /// The rows that two tasks met of one key.
    fn joined(self, other: Self) -> Self {
        let more = self.more || other.more;
        let mut places = self.places;
        for place in other.places {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places.sort();
        let cut = places.len() > MOST_PLACES;
        places.truncate(MOST_PLACES);
        Self { key: self.key, places, more: more || cut }
    }

    /// `rows 2 and 3 of a.csv, row 1 of page/…`.
    fn places(&self, payload: impl Fn(&str) -> String) -> String {
        let mut text = String::new();
        for (at, of_one) in self.places.chunk_by(|a, b| a.raw == b.raw).enumerate() {
            if at > 0 {
                text.push_str(", ");
            }
            let numbers: Vec<_> =
                of_one.iter().map(|place| grouped(place.row.unsigned_abs())).collect();
            let _ = match numbers.split_last() {
                Some((last, [])) => write!(text, "row {last}"),
                Some((last, before)) => write!(text, "rows {} and {last}", before.join(", ")),
                None => Ok(()),
            };
            let _ = write!(text, " of {}", payload(&of_one[0].raw));
        }
        if self.more {
            text.push_str(", and more");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(raw: &'static str, rows: &[i64]) -> impl Iterator<Item = Place> {
        rows.iter().map(move |row| Place { raw: raw.to_owned(), row: *row })
    }

    fn said(keys: &RepeatedKeys, exact: bool) -> String {
        keys.sentence(exact, |raw| raw.replace("file/1", "a.csv")).unwrap_or_default()
    }

    #[test]
    fn keys_are_counted_once_and_one_is_named_with_its_rows() {
        let mut keys = RepeatedKeys::default();
        assert_eq!(said(&keys, true), "");
        keys.add("top", places("file/1", &[2, 3, 4]));
        assert_eq!(
            said(&keys, true),
            "1 key occurs in several rows that differ, and only the last row of a key stays: `top` in \
             rows 2, 3 and 4 of a.csv; if each row is a thing of its own, add to `primary_key` what \
             tells them apart"
        );
        let mut later = RepeatedKeys::default();
        later.add("top", places("file/1", &[4, 9, 1_000, 1_001]));
        later.add("up\u{1b}", places("page/ab", &[1]));
        keys.merge(later);
        let text = said(&keys, false);
        assert!(text.starts_with("at least 2 keys occur in several rows"), "{text}");
        assert!(text.contains("`top` in rows 2, 3, 4 and 9 of a.csv, and more;"), "{text}");
    }

    #[test]
    fn a_key_of_any_length_is_shown_escaped_and_short() {
        let mut keys = RepeatedKeys::default();
        keys.add(&"\u{1b}".repeat(2_000), places("file/1", &[1, 2]));
        let text = said(&keys, true);
        assert!(!text.contains('\u{1b}') && text.len() < 1_200, "{text}");
    }

    proptest! {
        /// However rows are cut into tasks, and in whatever order these are counted together.
        #[test]
        fn parts_add_up_to_the_whole(keys in prop::collection::vec(0..3_000_u32, 0..40), cut in 0..40_usize) {
            let of = |keys: &[u32]| {
                let mut found = RepeatedKeys::default();
                keys.iter().for_each(|key| found.add(&key.to_string(), places("file/1", &[1, 2])));
                found
            };
            let (one, other) = keys.split_at(cut.min(keys.len()));
            let mut forwards = of(one);
            forwards.merge(of(other));
            let mut backwards = of(other);
            backwards.merge(serde_json::from_value(serde_json::to_value(of(one)).unwrap()).unwrap());
            prop_assert_eq!(&forwards, &backwards);
            prop_assert_eq!(forwards, of(&keys));
        }

        #[test]
        fn more_than_there_is_room_for_is_at_least_that(keys in 1_001..3_000_u32) {
            let mut found = RepeatedKeys::default();
            (0..keys).for_each(|key| found.add(&key.to_string(), places("file/1", &[1, 2])));
            prop_assert!(said(&found, true).starts_with("at least 1,000 keys"));
        }
    }
}

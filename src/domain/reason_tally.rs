//! Owns counting why rows were set aside: how many rows for each field and reason, with one example.
//! A task keeps a short tally in the ledger; those of a run are merged when it ends.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::number::grouped;
use super::reject::{Defect, Reject};
use super::text::{cut, visible};

/// The most kinds that a tally holds: the ledger keeps one for each task.
const MOST_KINDS: usize = 32;
/// How many kinds are shown.
const SHOWN_KINDS: usize = 3;
/// The most characters of a field's name, …
const FIELD_CHARACTERS: usize = 60;
/// … and of a value that is an example.
const EXAMPLE_CHARACTERS: usize = 100;
/// The most bytes of a message that is one. It ends in what to do, so its middle is left out.
const MESSAGE_BYTES: usize = 400;

/// What tells kinds of defects apart: the field, empty when the row as a whole is bad, and the reason.
type Kind = (String, String);

/// How many rows were set aside, by field and reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct ReasonTally {
    kinds: BTreeMap<Kind, Count>,
    /// Whether there was no room for some kinds, the least frequent ones.
    cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    rows: u64,
    /// Whether there may have been more in a tally that was cut.
    at_least: bool,
    example: String,
}

impl ReasonTally {
    /// Of these rejects.
    pub fn of<R: Borrow<Reject>>(rejects: impl IntoIterator<Item = R>) -> Self {
        let mut tally = Self::default();
        for reject in rejects {
            reject.borrow().kinds().for_each(|defect| tally.count(defect));
        }
        tally.trim();
        tally
    }

    /// Of rows that were set aside before tallies were kept.
    pub fn unknown() -> Self {
        Self { kinds: BTreeMap::new(), cut: true }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty() && !self.cut
    }

    fn count(&mut self, defect: &Defect) {
        let field = defect.field.as_deref().unwrap_or_default();
        let kind = (shown(field, FIELD_CHARACTERS), defect.reason.as_str().to_owned());
        let message = || {
            let label = defect.message.strip_prefix(field).and_then(|text| text.strip_prefix(": "));
            visible(&cut(label.unwrap_or(&defect.message), MESSAGE_BYTES)).into_owned()
        };
        let value = defect.found.as_deref().map(|found| shown(found, EXAMPLE_CHARACTERS));
        let example = value.unwrap_or_else(message);
        self.add(kind, Count { rows: 1, at_least: false, example });
    }

    fn add(&mut self, kind: Kind, count: Count) {
        match self.kinds.entry(kind) {
            Entry::Vacant(place) => {
                place.insert(count);
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.rows += count.rows;
                known.at_least |= count.at_least;
                // The same one, however rows are cut into tasks and in whatever order these end.
                if count.example < known.example {
                    known.example = count.example;
                }
            }
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: Self) {
        if other.cut {
            let unseen = self.kinds.iter_mut().filter(|(kind, _)| !other.kinds.contains_key(*kind));
            unseen.for_each(|(_, count)| count.at_least = true);
        }
        for (kind, mut count) in other.kinds {
            count.at_least |= self.cut && !self.kinds.contains_key(&kind);
            self.add(kind, count);
        }
        self.cut |= other.cut;
        self.trim();
    }

    /// Leaves the most frequent kinds.
    fn trim(&mut self) {
        if self.kinds.len() <= MOST_KINDS {
            return;
        }
        let kept: Vec<_> = self
            .most_frequent()
            .into_iter()
            .take(MOST_KINDS)
            .map(|(kind, _)| kind.clone())
            .collect();
        self.kinds.retain(|kind, _| kept.contains(kind));
        self.cut = true;
    }

    fn most_frequent(&self) -> Vec<(&Kind, &Count)> {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(count.rows), *kind));
        kinds
    }
}

/// The most frequent kinds, such as ``2,000 × `Updated At` invalid_timestamp: "yesterday"``.
impl fmt::Display for ReasonTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kinds.is_empty() {
            return f.write_str("for reasons that were not counted");
        }
        let kinds = self.most_frequent();
        for (at, ((field, reason), count)) in kinds.iter().take(SHOWN_KINDS).enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            if count.at_least {
                f.write_str("at least ")?;
            }
            write!(f, "{} × ", grouped(count.rows))?;
            if !field.is_empty() {
                write!(f, "`{field}` ")?;
            }
            write!(f, "{reason}: {}", count.example)?;
        }
        match (kinds.len().saturating_sub(SHOWN_KINDS), self.cut) {
            (0, false) => Ok(()),
            (0, true) => f.write_str(", and others"),
            (more, false) => write!(f, ", and {more} more"),
            (more, true) => write!(f, ", and at least {more} more"),
        }
    }
}

/// A text as people may be shown it: in one line, nothing that a terminal obeys, and not long.
fn shown(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text).into_owned(),
    }
}

/// The form in the ledger.
#[derive(Serialize, Deserialize)]
struct Stored {
    reasons: Vec<StoredCount>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredCount {
    field: String,
    reason: String,
    rows: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    at_least: bool,
    example: String,
}

impl From<Stored> for ReasonTally {
    fn from(Stored { reasons, cut }: Stored) -> Self {
        let kinds =
            reasons.into_iter().map(|StoredCount { field, reason, rows, at_least, example }| {
                ((field, reason), Count { rows, at_least, example })
            });
        Self { kinds: kinds.collect(), cut }
    }
}

impl From<ReasonTally> for Stored {
    fn from(tally: ReasonTally) -> Self {
        let reasons = tally.most_frequent().into_iter().map(|((field, reason), count)| {
            let (field, reason, example) = (field.clone(), reason.clone(), count.example.clone());
            StoredCount { field, reason, rows: count.rows, at_least: count.at_least, example }
        });
        Self { reasons: reasons.collect(), cut: tally.cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reject::ReasonCode;
    use proptest::prelude::*;

    fn reject(defects: Vec<Defect>) -> Reject {
        let (line, byte_range, key, raw) = (None, None, None, Vec::new());
        Reject { raw_row: 1, line, byte_range, key, raw, defects }
    }

    fn defect(field: &str, reason: ReasonCode, found: &str) -> Defect {
        let message = format!("{field}: {found} is wrong");
        Defect { field: Some(field.to_owned()), reason, message, found: Some(found.to_owned()) }
    }

    #[test]
    fn the_most_frequent_reasons_are_named_with_an_example() {
        let mut rejects = Vec::new();
        for _ in 0..2000 {
            let time = "\"2026-10-01 08:15:00 +0200\"";
            rejects.push(reject(vec![defect("Updated At", ReasonCode::InvalidTimestamp, time)]));
        }
        let short = "the row has 2 fields, the header 3";
        let short = Defect::without_value(None, ReasonCode::WrongFieldCount, short);
        rejects.push(reject(vec![short]));
        assert_eq!(
            ReasonTally::of(&rejects).to_string(),
            "2,000 × `Updated At` invalid_timestamp: \"2026-10-01 08:15:00 +0200\", \
             1 × wrong_field_count: the row has 2 fields, the header 3"
        );
    }

    #[test]
    fn what_has_no_value_shows_what_is_wrong_with_it() {
        let message = "id: a part of the key is missing or empty";
        let missing = Defect::without_value(Some("id".to_owned()), ReasonCode::MissingKey, message);
        assert_eq!(
            ReasonTally::of(&[reject(vec![missing])]).to_string(),
            "1 × `id` missing_key: a part of the key is missing or empty"
        );
    }

    #[test]
    fn what_a_message_says_to_do_is_not_cut_off() {
        let long = "x".repeat(500);
        let message =
            format!("the row has 2 fields: the first without one is {long}; set ragged_rows");
        let short = Defect::without_value(None, ReasonCode::WrongFieldCount, message);
        let text = ReasonTally::of(&[reject(vec![short])]).to_string();
        assert!(text.starts_with("1 × wrong_field_count: the row has 2 fields"), "{text}");
        assert!(text.ends_with("; set ragged_rows") && text.len() < 500, "{text}");
    }

    #[test]
    fn names_and_examples_cannot_talk_to_a_terminal_and_are_short() {
        let nasty = format!("a\u{1b}[2J\n\u{202e}{}", "x".repeat(1_000_000));
        let tally = ReasonTally::of(&[reject(vec![defect(&nasty, ReasonCode::TooLong, &nasty)])]);
        let text = tally.to_string();
        assert!(!text.contains(['\u{1b}', '\n', '\u{202e}']), "{text}");
        assert!(text.contains("a\\u{1b}[2J\\n\\u{202e}xx") && text.len() < 300, "{text}");
    }

    #[test]
    fn a_row_counts_once_for_each_kind() {
        let twice = reject(vec![
            defect("price", ReasonCode::InvalidDecimal, "\"x\""),
            defect("price", ReasonCode::InvalidDecimal, "\"x\""),
        ]);
        assert_eq!(ReasonTally::of(&[twice]).to_string(), "1 × `price` invalid_decimal: \"x\"");
    }

    #[test]
    fn what_a_tally_had_no_room_for_may_be_more() {
        let field = |at: usize| defect(&format!("f{at:02}"), ReasonCode::NewField, "1");
        let full: Vec<_> = (0..40).map(|at| reject(vec![field(at)])).collect();
        let mut tally = ReasonTally::of(&full);
        assert_eq!(tally.kinds.len(), MOST_KINDS);
        tally.merge(ReasonTally::of(&[reject(vec![field(39)]), reject(vec![field(39)])]));
        let text = tally.to_string();
        assert!(text.starts_with("at least 2 × `f39` new_field: 1, 1 × `f00`"), "{text}");
        assert!(text.ends_with(", and at least 29 more"), "{text}");
    }

    #[test]
    fn what_was_not_counted_is_not_made_up() {
        let mut tally = ReasonTally::unknown();
        assert_eq!(tally.to_string(), "for reasons that were not counted");
        tally.merge(ReasonTally::of(&[reject(vec![defect("a", ReasonCode::OutOfRange, "1")])]));
        assert_eq!(tally.to_string(), "at least 1 × `a` out_of_range: 1, and others");
    }

    proptest! {
        /// However rows are cut into tasks, and in whatever order these are counted together.
        #[test]
        fn parts_add_up_to_the_whole(
            rows in prop::collection::vec(prop::collection::vec((0..12_usize, 0..3_usize, 0..9_u8), 1..4), 0..60),
            cuts in prop::collection::vec(1..20_usize, 0..9),
            backwards: bool,
        ) {
            let rejects: Vec<_> = rows
                .iter()
                .map(|row| {
                    reject(row.iter().map(|(field, reason, value)| {
                        defect(&format!("f{field}"), ReasonCode::ALL[*reason], &value.to_string())
                    }).collect())
                })
                .collect();
            let mut parts = Vec::new();
            let mut rest = &rejects[..];
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                parts.push(ReasonTally::of(part));
                rest = behind;
            }
            parts.push(ReasonTally::of(rest));
            if backwards {
                parts.reverse();
            }
            let mut merged = ReasonTally::default();
            for part in parts {
                let stored = serde_json::to_value(&part).unwrap();
                merged.merge(serde_json::from_value(stored).unwrap());
            }
            let whole = ReasonTally::of(&rejects);
            // 36 kinds at most: a tally may be cut, and then says so.
            for (kind, count) in &merged.kinds {
                let exact = rejects.iter().filter(|reject| {
                    reject.defects.iter().any(|defect| {
                        defect.field.as_ref() == Some(&kind.0) && defect.reason.as_str() == kind.1
                    })
                });
                let exact = exact.count() as u64;
                let (rows, at_least) = (count.rows, count.at_least);
                prop_assert!(rows == exact || at_least && rows < exact, "{} of {}", rows, exact);
            }
            if !merged.cut {
                prop_assert_eq!(merged, whole);
            }
        }
    }
}

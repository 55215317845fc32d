//! Owns what a dry run of a replay forecasts of rows that are set aside: how many would pass, by what is wrong with them,
//! with a few of each. It is kept with the run.

use serde::{Deserialize, Serialize};

use super::text;

/// The most kinds that are counted: the ledger keeps one each.
const MOST_KINDS: usize = 200;
/// The most rows of a kind that are shown, of those that would pass and of the others.
const SHOWN: usize = 5;
/// The most bytes of a message that is shown.
const MESSAGE_BYTES: usize = 500;

/// What would become of rows that are set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    kinds: Vec<ForecastKind>,
    /// Whether there was no room for more kinds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// What would become of the rows that are bad in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastKind {
    /// The source's own name of the field as it is kept; empty when rows are bad as a whole.
    pub field: String,
    /// Reason code.
    pub reason: String,
    /// How many are not bad in this way any more.
    pub passed: u64,
    /// How many still are.
    pub failed: u64,
    /// Some of those that would pass.
    pub passing: Vec<ForecastRow>,
    /// Some of those that would not.
    pub failing: Vec<ForecastRow>,
}

/// A row that is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastRow {
    /// The raw payload the row is in.
    pub raw_ref: String,
    /// The row within it.
    pub row: i64,
    /// What would be wrong with it, if it would not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Forecast {
    /// What was found of that kind; `None` when no such row was looked at, or when there was no room for it.
    pub fn kind(&self, field: &str, reason: &str) -> Option<&ForecastKind> {
        self.kinds.iter().find(|kind| kind.field == field && kind.reason == reason)
    }

    /// Whether some kinds were not counted.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Counts a row: `message` is what is wrong with it now, in the same way as before.
    pub fn count(
        &mut self,
        (field, reason): (&str, &str),
        (raw_ref, row): (&str, i64),
        message: Option<&str>,
    ) {
        let known = self.kinds.iter().position(|kind| kind.field == field && kind.reason == reason);
        let at = match known {
            Some(at) => at,
            None if self.kinds.len() >= MOST_KINDS => {
                self.cut = true;
                return;
            }
            None => {
                self.kinds.push(ForecastKind {
                    field: field.to_owned(),
                    reason: reason.to_owned(),
                    passed: 0,
                    failed: 0,
                    passing: Vec::new(),
                    failing: Vec::new(),
                });
                self.kinds.len() - 1
            }
        };
        let kind = &mut self.kinds[at];
        let (number, shown) = match message {
            None => (&mut kind.passed, &mut kind.passing),
            Some(_) => (&mut kind.failed, &mut kind.failing),
        };
        *number += 1;
        if shown.len() < SHOWN {
            let message =
                message.map(|message| text::cut(message, MESSAGE_BYTES).replace('\0', "\u{fffd}"));
            shown.push(ForecastRow { raw_ref: raw_ref.to_owned(), row, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_what_is_wrong_and_a_few_are_shown() {
        let mut forecast = Forecast::default();
        for row in 0..20 {
            let message = (row % 2 == 0).then_some("b\0ad");
            forecast.count(("price", "invalid_decimal"), ("file/1", row), message);
        }
        let stored = serde_json::to_value(&forecast).unwrap();
        let forecast: Forecast = serde_json::from_value(stored).unwrap();
        let kind = forecast.kind("price", "invalid_decimal").unwrap();
        assert_eq!((kind.passed, kind.failed), (10, 10));
        assert_eq!((kind.passing.len(), kind.failing.len()), (SHOWN, SHOWN));
        assert_eq!(kind.failing[1].message.as_deref(), Some("b\u{fffd}ad"));
        assert_eq!((kind.passing[0].row, &kind.passing[0].message), (1, &None));
        assert!(forecast.kind("price", "missing_field").is_none() && !forecast.is_cut());
    }

    #[test]
    fn kinds_without_room_are_said_to_be_missing() {
        let mut forecast = Forecast::default();
        for kind in 0..=MOST_KINDS {
            forecast.count((&kind.to_string(), "missing_field"), ("file/1", 1), None);
        }
        assert!(forecast.is_cut() && forecast.kind("0", "missing_field").is_some());
    }
}

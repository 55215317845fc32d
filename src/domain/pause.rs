//! Owns why a source is paused or resumed, in the words of the person who did it.

use std::str::FromStr;

/// The longest reason, in characters.
const LONGEST: usize = 1000;

/// A reason: some text without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseReason(String);

/// A text that is no reason.
#[derive(Debug, thiserror::Error)]
#[error("a reason has 1 to {LONGEST} characters, none of them control characters")]
pub struct NoReason;

impl PauseReason {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PauseReason {
    type Err = NoReason;

    fn from_str(text: &str) -> Result<Self, NoReason> {
        let text = text.trim();
        match text.chars().count() {
            1..=LONGEST if !text.chars().any(char::is_control) => Ok(Self(text.to_owned())),
            _ => Err(NoReason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_some_text_on_one_line() {
        assert_eq!("  maintenance ".parse::<PauseReason>().unwrap().as_str(), "maintenance");
        for bad in ["", "  ", "a\nb", &"x".repeat(LONGEST + 1)] {
            assert!(bad.parse::<PauseReason>().is_err(), "{bad:?}");
        }
    }
}

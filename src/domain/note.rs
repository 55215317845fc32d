//! Owns what people say of something that they have looked at.

use std::str::FromStr;

/// The longest note, in characters.
const LONGEST: usize = 1000;

/// Some text without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note(String);

/// A text that is no note.
#[derive(Debug, thiserror::Error)]
#[error("a note has 1 to {LONGEST} characters, none of them control characters")]
pub struct NoNote;

impl Note {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Note {
    type Err = NoNote;

    fn from_str(text: &str) -> Result<Self, NoNote> {
        let text = text.trim();
        match text.chars().count() {
            1..=LONGEST if !text.chars().any(char::is_control) => Ok(Self(text.to_owned())),
            _ => Err(NoNote),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_some_text_on_one_line() {
        assert_eq!("  known, ask Eva ".parse::<Note>().unwrap().as_str(), "known, ask Eva");
        for bad in ["", "  ", "a\nb", &"x".repeat(LONGEST + 1)] {
            assert!(bad.parse::<Note>().is_err(), "{bad:?}");
        }
    }
}

//! Owns where in a text something is, in lines and columns as people count.

use super::error::Problem;

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

impl Place {
    /// The place of a byte.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// A problem here, of the value that `keys` lead to.
    pub(super) fn problem(self, keys: Vec<String>, message: impl Into<String>) -> Problem {
        Problem { line: self.line, column: self.column, keys, message: message.into() }
    }
}

//! Owns a place of Postgres programs that would not do, and why.

use std::fmt;

/// A place that would not do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The folder, or "download".
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.reason)
    }
}

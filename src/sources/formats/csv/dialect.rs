//! Owns what a dialect is: how the bytes of a file become rows and fields.

use serde::{Deserialize, Serialize};

use super::params::StrayQuotes;

/// What separates lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LineEnd {
    /// `\n`, or `\r\n`: the `\r` in front of `\n` is part of the line end.
    Lf,
    /// A lone `\r`, in files without any `\n`.
    Cr,
}

/// How bytes become rows and fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dialect {
    /// Between fields; any number of characters.
    pub delimiter: String,
    /// Around fields; ASCII.
    pub quote: Option<char>,
    /// In front of quotes within quoted fields; ASCII, often the quote itself.
    pub escape: Option<char>,
    /// Between rows.
    pub line_end: LineEnd,
    /// What quotes mean where they have no place.
    pub stray_quotes: StrayQuotes,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            quote: Some('"'),
            escape: Some('"'),
            line_end: LineEnd::Lf,
            stray_quotes: StrayQuotes::Quarantine,
        }
    }
}

//! Owns what a dialect is: how the bytes of a file become rows and fields.

use serde::{Deserialize, Serialize};

use super::params::StrayQuotes;

/// What separates lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LineEnd {
    /// `\n`, with every `\r` in front of it; a `\r` anywhere else is text.
    Lf,
    /// `\n`, `\r\n` or `\r`: files whose lines end in `\r`, or in the one here and the other there. Layouts
    /// of earlier versions call it `cr`.
    #[serde(alias = "cr")]
    Any,
}

/// How bytes become rows and fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dialect {
    /// Between fields; any number of characters.
    pub delimiter: String,
    /// Around fields; ASCII.
    pub quote: Option<char>,
    /// In front of quotes within quoted fields; ASCII, often the quote itself. Without quotes, in front of
    /// delimiters and line ends.
    pub escape: Option<char>,
    /// Between rows.
    pub line_end: LineEnd,
    /// What quotes mean where they have no place.
    pub stray_quotes: StrayQuotes,
    /// Whether spaces in front of an opening quote are passed over.
    #[serde(default)]
    pub spaces_before_quotes: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            quote: Some('"'),
            escape: Some('"'),
            line_end: LineEnd::Lf,
            stray_quotes: StrayQuotes::Quarantine,
            spaces_before_quotes: false,
        }
    }
}

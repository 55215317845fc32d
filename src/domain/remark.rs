//! Owns what planning and tasks find worth saying about a run, which the run's end collects.

use serde::{Deserialize, Serialize};

/// The most things of a kind that are named one by one.
const MOST_TOLD: usize = 5;

/// Something to say about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// For people: what was seen, and what to do.
    pub text: String,
    /// Whether the run is not as it should be.
    #[serde(default)]
    pub degrades: bool,
}

impl Remark {
    /// Something that makes the run degraded.
    pub fn degrading(text: impl Into<String>) -> Self {
        Self { text: text.into(), degrades: true }
    }

    /// Something that people should know.
    pub fn note(text: impl Into<String>) -> Self {
        Self { text: text.into(), degrades: false }
    }
}

/// Remarks of a kind as one list: the first few, and how many there are besides.
pub fn few(mut texts: Vec<String>) -> String {
    let more = texts.len().saturating_sub(MOST_TOLD);
    texts.truncate(MOST_TOLD);
    let texts = texts.join("; ");
    if more > 0 { format!("{texts}; and {more} more") } else { texts }
}

//! Owns what a task finds worth saying about its run, which the run's end collects.

use serde::{Deserialize, Serialize};

/// Something to say about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remark {
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

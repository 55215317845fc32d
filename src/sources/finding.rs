//! What a source has to say of an answer or a file when somebody looks at it before the first run.

use serde::Serialize;

/// Something that was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, in a word or two.
    pub topic: &'static str,
    /// What was found.
    pub text: String,
    /// Whether something is likely to be wrong.
    pub suspicious: bool,
    /// A line for the job file.
    pub suggestion: Option<String>,
}

impl Finding {
    /// Something to know.
    pub fn note(topic: &'static str, text: impl Into<String>) -> Self {
        Self { topic, text: text.into(), suspicious: false, suggestion: None }
    }

    /// Something that is likely to be wrong.
    pub fn suspicious(topic: &'static str, text: impl Into<String>) -> Self {
        Self { suspicious: true, ..Self::note(topic, text) }
    }

    /// With a line for the job file.
    #[must_use]
    pub fn suggest(self, line: impl Into<String>) -> Self {
        Self { suggestion: Some(line.into()), ..self }
    }
}

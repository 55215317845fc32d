//! Owns why a source could not be read: the kind of failure, what happened, and what to do about it.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::access::RateState;
use super::finding::Finding;
use crate::domain::failure::FailureClass;
use crate::domain::text::Shown;
use crate::mapping::Frozen;

/// The kind of a failure. What it means for the task follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// Nothing answered at all: waiting long for it helps nobody.
    Unreachable,
    /// The answer took too long.
    TimedOut,
    /// The connection broke off, or the answer is damaged or ends early.
    BrokenOff,
    /// The API wants us to wait so long.
    RateLimited(Duration),
    /// The API prepares what was asked for: it may be there after so long.
    Preparing(Duration),
    /// What a task waits for is not there yet. In milliseconds, since an error is to be small.
    NotReady {
        /// When to look again.
        again_ms: u32,
        /// For how long it is looked for, from when the task was opened.
        within_ms: u32,
    },
    /// It wants us to wait longer than the job file allows.
    WaitTooLong,
    /// The API does not know who asks.
    Unauthorized,
    /// It knows, and does not allow it.
    Forbidden,
    /// What is asked for is not there.
    NotFound,
    /// The API does not take the request for another reason.
    Rejected,
    /// Something is wrong with the API itself.
    ServerError,
    /// The answer leads to where nobody goes, or in circles.
    BadRedirect,
    /// The answer is not what the job file says that it is.
    InvalidResponse,
    /// The same page came again.
    RepeatedPage,
    /// There are no more pages that can be asked for.
    NoFurtherPage,
    /// An answer, a file, or what is in it is larger than it may be.
    TooLarge,
    /// The job file cannot be used.
    InvalidConfig,
    /// A value that the job file asks for is not there, or cannot be used.
    MissingValue,
    /// What an earlier run or another version stored cannot be understood.
    InvalidState,
    /// A file or folder is outside of those that job files may read.
    OutOfReach,
    /// A file is not there.
    FileMissing,
    /// A file may not be read, or is none.
    FileUnreadable,
    /// A file cannot be read just now.
    FileBusy,
    /// A file changed while it was looked at, before anything of it was read.
    FileChanging,
    /// A file is another than was planned; the next run plans anew.
    FileChanged,
    /// A file is not what the job file says that it is.
    InvalidFile,
    /// There is no recording, or it cannot be read or written.
    BadRecording,
    /// Raw rows are not kept any more.
    RawGone,
    /// The contract freezes the schema, and the source has another.
    SchemaFrozen,
    /// Nobody waits for it any more.
    Abandoned,
    /// What the engine does for a source failed, and it knows what that means.
    Engine(FailureClass),
    /// A fault of kasparro itself.
    Internal,
}

impl SourceErrorKind {
    /// Whether it may be a fault of what was asked for alone, so that other parts of the source can be had.
    pub fn is_of_a_part(self) -> bool {
        matches!(
            self,
            Self::TimedOut
                | Self::BrokenOff
                | Self::ServerError
                | Self::NotFound
                | Self::Rejected
                | Self::InvalidResponse
                | Self::TooLarge
                | Self::Internal
        )
    }

    /// Its word, for programs: stored with tasks, and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::BrokenOff => "broken_off",
            Self::RateLimited(_) => "rate_limited",
            Self::Preparing(_) | Self::NotReady { .. } => "preparing",
            Self::WaitTooLong => "wait_too_long",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Rejected => "rejected",
            Self::ServerError => "server_error",
            Self::BadRedirect => "bad_redirect",
            Self::InvalidResponse => "invalid_response",
            Self::RepeatedPage => "repeated_page",
            Self::NoFurtherPage => "no_further_page",
            Self::TooLarge => "too_large",
            Self::InvalidConfig => "invalid_config",
            Self::MissingValue => "missing_value",
            Self::InvalidState => "invalid_state",
            Self::OutOfReach => "out_of_reach",
            Self::FileMissing => "file_missing",
            Self::FileUnreadable => "file_unreadable",
            Self::FileBusy => "file_busy",
            Self::FileChanging => "file_changing",
            Self::FileChanged => "file_changed",
            Self::InvalidFile => "invalid_file",
            Self::BadRecording => "bad_recording",
            Self::RawGone => "raw_gone",
            Self::SchemaFrozen => "schema_frozen",
            Self::Abandoned => "abandoned",
            Self::Engine(_) => "engine",
            Self::Internal => "internal",
        }
    }

    /// What it means for the task.
    pub fn class(self) -> FailureClass {
        match self {
            Self::RateLimited(wait) | Self::Preparing(wait) => FailureClass::NotYet(wait),
            Self::NotReady { again_ms, .. } => {
                FailureClass::NotYet(Duration::from_millis(again_ms.into()))
            }
            Self::Engine(class) => class,
            Self::Unreachable
            | Self::TimedOut
            | Self::BrokenOff
            | Self::ServerError
            | Self::FileBusy
            | Self::FileChanging
            | Self::Abandoned
            | Self::Internal => FailureClass::Transient,
            Self::WaitTooLong
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::Rejected
            | Self::BadRedirect
            | Self::InvalidResponse
            | Self::RepeatedPage
            | Self::NoFurtherPage
            | Self::TooLarge
            | Self::InvalidConfig
            | Self::MissingValue
            | Self::InvalidState
            | Self::OutOfReach
            | Self::FileMissing
            | Self::FileUnreadable
            | Self::FileChanged
            | Self::InvalidFile
            | Self::BadRecording
            | Self::RawGone
            | Self::SchemaFrozen => FailureClass::Permanent,
        }
    }
}

/// Why a source could not be read. Never contains a secret.
#[derive(Debug)]
pub struct SourceError {
    /// What code asks.
    pub kind: SourceErrorKind,
    /// For people: what happened, and where.
    pub message: String,
    /// For people: what to do about it, as the end of a sentence.
    pub advice: Option<String>,
    /// The error beneath, when there is one.
    pub source: Option<Box<dyn Error + Send + Sync>>,
    /// What came beside it. Boxed: few errors have it, and all would be as large.
    pub(crate) beside: Option<Box<Beside>>,
}

/// What came beside an error.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// What an API said of rates.
    rate: RateState,
    /// What there is to say of it where somebody looks at the source before its first run.
    findings: Vec<Finding>,
}

impl SourceError {
    /// The most attempts worth making against something that cannot be reached. Without a network
    /// a run should say so within a minute; a short outage is bridged by the next scheduled run.
    pub const UNREACHABLE_ATTEMPTS: u32 = 3;

    /// An error without advice.
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: None, source: None, beside: None }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// Adds what the API said of rates.
    #[must_use]
    pub fn with_rate(mut self, rate: RateState) -> Self {
        let rate = rate.and(self.rate());
        if rate != self.rate() {
            self.beside.get_or_insert_default().rate = rate;
        }
        self
    }

    /// What the API said of rates beside it.
    pub fn rate(&self) -> RateState {
        self.beside.as_ref().map(|beside| beside.rate).unwrap_or_default()
    }

    /// Sets what was found beside it.
    #[must_use]
    pub fn with_findings(mut self, findings: Vec<Finding>) -> Self {
        if !findings.is_empty() || self.beside.is_some() {
            self.beside.get_or_insert_default().findings = findings;
        }
        self
    }

    /// What was found beside it.
    pub fn findings(&self) -> &[Finding] {
        self.beside.as_ref().map_or(&[], |beside| &beside.findings)
    }

    /// Adds the error beneath.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The contract freezes the schema, and the source has another.
    pub(super) fn frozen(frozen: Frozen) -> Self {
        Self::new(SourceErrorKind::SchemaFrozen, frozen.to_string())
    }

    /// What it means for the task.
    pub fn class(&self) -> FailureClass {
        self.kind.class()
    }

    /// What happened, and what to do.
    pub fn text(&self) -> String {
        match &self.advice {
            Some(advice) => format!("{}; {advice}", self.message),
            None => self.message.clone(),
        }
    }

    /// Says where it happened, in front of what happened.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// Names the job file, unless the text begins with it.
    #[must_use]
    pub(super) fn in_file(self, path: &Path) -> Self {
        let path = path.display().to_string();
        if self.message.starts_with(&path) { self } else { self.at(&path) }
    }

    /// The most attempts that a task failing with this error gets, given those of its source.
    pub fn max_attempts(&self, of_source: u32) -> u32 {
        match self.kind {
            SourceErrorKind::Unreachable => of_source.min(Self::UNREACHABLE_ATTEMPTS),
            _ => of_source,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.text()).fmt(f)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_what_happened_and_then_what_to_do() {
        let error = SourceError::new(SourceErrorKind::FileMissing, "there is no a.csv");
        assert_eq!(error.to_string(), "there is no a.csv");
        let error = error.advise("put it there").at("shop.toml");
        assert_eq!(error.to_string(), "shop.toml: there is no a.csv; put it there");
        assert_eq!(error.in_file(Path::new("shop.toml")).message, "shop.toml: there is no a.csv");
    }

    #[test]
    fn what_cannot_be_reached_is_tried_three_times_at_most() {
        let of = |kind| SourceError::new(kind, "x");
        assert_eq!(of(SourceErrorKind::Unreachable).max_attempts(8), 3);
        assert_eq!(of(SourceErrorKind::Unreachable).max_attempts(2), 2);
        assert_eq!(of(SourceErrorKind::ServerError).max_attempts(8), 8);
    }

    #[test]
    fn a_terminal_obeys_nothing_in_a_text() {
        let error = SourceError::new(SourceErrorKind::NotFound, "a\u{1b}[2J").advise("b\u{7}");
        assert_eq!(error.to_string(), "a\\u{1b}[2J; b\\u{7}");
    }
}

//! Owns what a run is: its id, mode, trigger and status.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::string_enum::string_enum;

/// `etl_runs.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

string_enum! {
    /// How much of the source a run reads.
    Mode ("mode") {
        /// From the checkpoint on.
        Incremental = "incremental",
        /// Everything, whatever the checkpoint says.
        Full = "full",
        /// Nothing: what earlier runs have read is normalized again.
        Replay = "replay",
    }
}

/// The runs whose raw rows a replay normalizes again, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRange {
    /// The first.
    pub from: RunId,
    /// The last.
    pub to: RunId,
}

/// What a backfill reads of a source, whatever its checkpoint says; in the words of the watermark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRange {
    /// From where on.
    pub from: String,
    /// Up to where; `None` where the source cannot be asked for an end.
    pub to: Option<String>,
}

impl fmt::Display for ReadRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Some(to) => write!(f, "from {} to {to}", self.from),
            None => write!(f, "from {} on", self.from),
        }
    }
}

string_enum! {
    /// Who asked for a run.
    Trigger ("trigger") {
        /// `POST /runs`.
        Api = "api",
        /// A cron tick.
        Schedule = "schedule",
        /// The command line.
        Cli = "cli",
        /// A retry of a run's failed tasks.
        Retry = "retry",
        /// The end of another source's run.
        After = "after",
    }
}

string_enum! {
    /// Where a run stands. Derived from its tasks, never set by hand.
    RunStatus ("run status") {
        /// Recorded, no task has started.
        Queued = "queued",
        /// At least one task has started.
        Running = "running",
        /// Everything read is in the table.
        Success = "success",
        /// Success, and some rows were known already.
        SuccessWithDuplicates = "success_with_duplicates",
        /// Everything was processed, but not all is as it should be; its note says what.
        Degraded = "degraded",
        /// A task has failed.
        Failed = "failed",
        /// Stopped on request.
        Cancelled = "cancelled",
    }
}

impl RunStatus {
    /// Whether tasks of the run may still start.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// Whether the run ended as its user wished.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Success | Self::SuccessWithDuplicates)
    }
}

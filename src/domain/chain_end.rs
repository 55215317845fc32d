//! Owns why a chain of requests ended, and whether that proves that it has everything.

use serde::{Deserialize, Serialize};

use super::string_enum::string_enum;

string_enum! {
    /// Why no further page of a chain is asked for.
    StopReason ("stop reason") {
        /// There is one page only.
        OnlyPage = "only_page",
        /// The last page refers to no further one.
        NoNext = "no_next",
        /// The last page has no records.
        Empty = "empty",
        /// The last page has fewer records than the longest before it.
        Short = "short",
        /// As many records or pages came as the source says that there are.
        Total = "total",
        /// The last page says that there are no more.
        HasMore = "has_more",
        /// The last page says that it is the last.
        EndPath = "end_path",
        /// The answer says that there is no such page.
        End = "end",
        /// The last page holds the records of the one before it.
        Repeated = "repeated",
        /// The job file wants no more pages.
        MaxPages = "max_pages",
        /// The job file wants no more records.
        MaxRecords = "max_records",
        /// Too many pages without records followed each other.
        EmptyPages = "empty_pages",
        /// The job file ignores what the answer says.
        Ignored = "ignored",
    }
}

/// How a chain ended: pages that lead from one to the next, such as those of a window or of a parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEnd {
    /// Why.
    pub reason: StopReason,
    /// Whether it has all that it was to read. A run with a chain that is not complete is no success, and
    /// its watermarks stay.
    pub complete: bool,
    /// For people, where there is more to say than the reason does: what was seen, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How many of its records may be ones that had come before without any being missed: those beyond the total
    /// at its beginning. `None` where no total is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare: Option<u64>,
}

impl ChainEnd {
    /// A chain that has everything.
    pub fn complete(reason: StopReason) -> Self {
        Self { reason, complete: true, note: None, spare: None }
    }

    /// A chain that may lack something.
    pub fn incomplete(reason: StopReason, note: impl Into<String>) -> Self {
        Self { reason, complete: false, note: Some(note.into()), spare: None }
    }
}

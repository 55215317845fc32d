//! Owns the rules of a job file that are not about a single field: the schema contract, checks, and
//! how long things are kept.

use std::num::NonZeroU16;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to do when a row does not fit the current schema version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Accept it; the next schema version shows it.
    #[default]
    Evolve,
    /// Stop: the task fails and says which field of which row.
    Freeze,
    /// Keep the row without that value.
    DiscardValue,
    /// Set the row aside.
    QuarantineRow,
    /// For `missing_field` only: rows may lack the field, but what lacks it altogether is not loaded.
    /// A file without a column that it had, or that all earlier files had, stays out; so do the
    /// records of a run of an API none of which has a field that every record had.
    Guard,
}

impl Policy {
    /// The word used in job files and stored with drift.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evolve => "evolve",
            Self::Freeze => "freeze",
            Self::DiscardValue => "discard_value",
            Self::QuarantineRow => "quarantine_row",
            Self::Guard => "guard",
        }
    }
}

/// The schema contract of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Contract {
    /// A field that the current schema version does not have.
    pub new_field: Policy,
    /// A mapped field of the current schema version that a row, or a file, does not have.
    pub missing_field: Policy,
    /// A mapped field whose value has another type than the current schema version says.
    pub type_change: Policy,
}

impl Contract {
    /// Whether what becomes of a row depends on the schema.
    pub fn measures_rows(&self) -> bool {
        let lenient = |policy| matches!(policy, Policy::Evolve | Policy::Guard);
        ![self.new_field, self.missing_field, self.type_change].into_iter().all(lenient)
    }

    /// Whether what lacks a field altogether stays out.
    pub fn guards(&self) -> bool {
        self.missing_field == Policy::Guard
    }
}

impl Default for Contract {
    fn default() -> Self {
        Self {
            new_field: Policy::Evolve,
            missing_field: Policy::Guard,
            type_change: Policy::Evolve,
        }
    }
}

/// What must hold when a run ends; a run that breaks one ends `degraded`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// The fewest rows a run that reads anything must read.
    pub min_rows: Option<u64>,
    /// The largest share of rows that may be quarantined, 0 to 1. A run in which every row is
    /// quarantined is degraded even with 1.
    pub max_quarantine_ratio: f64,
}

impl Default for Checks {
    fn default() -> Self {
        Self { min_rows: None, max_quarantine_ratio: 0.5 }
    }
}

/// What becomes of a record that its source does not show any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissingAction {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is marked as deleted: it keeps its values and gets a `deleted_at`. When the source shows it again it is
    /// a record like any other.
    Tombstone,
}

/// Records that the source does not show any more. They are found by runs that have read everything, and whose
/// end is a success.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Missing {
    /// What becomes of them.
    pub action: MissingAction,
    /// How many such runs in a row must lack a record.
    pub after_sweeps: NonZeroU16,
    /// The largest share of the records that may be marked at once, 0 to 1. Beyond it none is, and the run is
    /// degraded: `kasparro runs accept-deletions` marks them.
    pub max_ratio: f64,
    /// The most records that may be marked at once.
    pub max_rows: Option<u64>,
}

impl Default for Missing {
    fn default() -> Self {
        Self {
            action: MissingAction::Keep,
            after_sweeps: NonZeroU16::MIN,
            max_ratio: 0.1,
            max_rows: None,
        }
    }
}

/// How old what a source has loaded may be. What is older is shown, and told: no run comes to an end by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Freshness {
    /// From this age on a source needs a look: "2h". By default twice the longest gap of its schedule.
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub warn_after: Option<Duration>,
    /// From this age on it is stale: "6h". By default `warn_after`, and twice the gap where that is not given either.
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub error_after: Option<Duration>,
}

impl Freshness {
    /// The same with what follows from the longest gap of a schedule.
    pub(super) fn or_by_schedule(self, longest_gap: Option<Duration>) -> Self {
        let twice = longest_gap.map(|gap| gap.saturating_mul(2));
        let warn_after = self.warn_after.or(self.error_after).or(twice);
        Self { warn_after, error_after: self.error_after.or(warn_after) }
    }
}

/// How long what runs leave behind is kept; for ever by default. Runs themselves, records
/// and quarantined rows stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The tasks of runs that have ended: "90d".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub ledger: Option<Duration>,
    /// Raw pages that no run has read since, and raw rows of versions of a file that has newer ones:
    /// "365d".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub raw: Option<Duration>,
}

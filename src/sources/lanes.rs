//! What a run that failed has read all the same, lane by lane, and what the next one begins with.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a run has read of which a part could not be read.
#[derive(Debug, Clone, Default)]
pub struct ReadLanes {
    /// What its slices left, in their order, each with its lane.
    pub slices: Vec<(u32, Value)>,
    /// The lanes of which a slice could not be read.
    pub broken: BTreeSet<u32>,
    /// Whether the run has changed records.
    pub changed: bool,
}

/// What the next run begins with after one that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct GoesOn {
    /// What there is to say of it.
    pub note: String,
    /// The state, and how many lanes, from the first on, were read whole and are not asked for again; `None` where the
    /// next run begins where this one did.
    pub kept: Option<(Value, u32)>,
}

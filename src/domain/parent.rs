//! Owns what a parent is: that for which a source is asked once, such as an issue whose comments are wanted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// The key of its record, or the value itself.
    pub key: String,
    /// What requests and children are told of it.
    pub fields: Map<String, Value>,
}

/// The parents of a run: a lane of slices for so many of them each, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedParents {
    /// Which.
    pub which: WhichParents,
    /// How many share a lane.
    pub per_lane: u32,
    /// What is asked for each: under another job file their children are read again.
    pub asked: String,
}

/// Where parents are.
#[derive(Debug, Clone, PartialEq)]
pub enum WhichParents {
    /// Records of another source.
    Records(ParentRecords),
    /// These.
    These(Vec<Parent>),
}

/// The records of a source as parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRecords {
    /// The source.
    pub source: String,
    /// The columns of its records, and keys of their attributes, that are wanted of each.
    pub fields: Vec<String>,
    /// Whether all are wanted, not only those that are new or have changed.
    pub all: bool,
    /// After how long one that has not changed is wanted again.
    pub refresh: Option<Duration>,
}

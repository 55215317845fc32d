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
    /// What must be known of each.
    pub needed: Needed,
}

/// Which fields of a parent must have a value for anything to be asked for: a request without one of them would ask for
/// something else, or for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// Their names.
    pub fields: Vec<String>,
}

impl Needed {
    /// The field for want of which nothing can be asked for a parent that has these; `None` when it can.
    pub fn lacking(&self, fields: &Map<String, Value>) -> Option<&str> {
        let is_there = |name: &&String| fields.get(*name).is_some_and(is_said);
        self.fields.iter().find(|name| !is_there(name)).map(String::as_str)
    }
}

/// Whether a request can be told it.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(values) => values.iter().any(is_said),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parent_without_the_values_that_requests_need_lacks_them() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (one, both) = (Needed { fields: names(&["a"]) }, Needed { fields: names(&["a", "b"]) });
        for (fields, of_one, of_both) in [
            (json!({ "a": 1 }), None, Some("b")),
            (json!({ "a": false, "b": null }), None, Some("b")),
            (json!({ "a": null, "b": "x" }), Some("a"), Some("a")),
            (json!({ "a": " ", "b": [] }), Some("a"), Some("a")),
            (json!({ "a": ["", null], "b": "" }), Some("a"), Some("a")),
            (json!({ "a": ["", 7], "b": 0 }), None, None),
            (json!({}), Some("a"), Some("a")),
        ] {
            let Value::Object(fields) = fields else { panic!("no object") };
            assert_eq!(one.lacking(&fields), of_one, "{fields:?}");
            assert_eq!(both.lacking(&fields), of_both, "{fields:?}");
            assert_eq!(Needed::default().lacking(&fields), None);
        }
    }
}

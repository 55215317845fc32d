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

/// Which fields of a parent must have a value for anything to be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// Each of these.
    pub each: Vec<String>,
    /// One of these at least.
    pub any: Vec<String>,
}

impl Needed {
    /// The field for want of which nothing can be asked for a parent that has these; `None` when it can.
    pub fn lacking(&self, fields: &Map<String, Value>) -> Option<&str> {
        let is_there = |name: &&String| fields.get(*name).is_some_and(is_said);
        let lacking = self.each.iter().find(|name| !is_there(name));
        let none = || self.any.first().filter(|_| !self.any.iter().any(|name| is_there(&name)));
        lacking.or_else(none).map(String::as_str)
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
        let path = Needed { each: names(&["a"]), any: names(&["a", "b"]) };
        let either = Needed { each: Vec::new(), any: names(&["a", "b"]) };
        for (fields, of_path, of_either) in [
            (json!({ "a": 1 }), None, None),
            (json!({ "a": false, "b": null }), None, None),
            (json!({ "a": null, "b": "x" }), Some("a"), None),
            (json!({ "a": " ", "b": [] }), Some("a"), Some("a")),
            (json!({ "a": ["", null], "b": "" }), Some("a"), Some("a")),
            (json!({ "a": ["", 7] }), None, None),
            (json!({}), Some("a"), Some("a")),
        ] {
            let Value::Object(fields) = fields else { panic!("no object") };
            assert_eq!(path.lacking(&fields), of_path, "{fields:?}");
            assert_eq!(either.lacking(&fields), of_either, "{fields:?}");
            assert_eq!(Needed::default().lacking(&fields), None);
        }
    }
}

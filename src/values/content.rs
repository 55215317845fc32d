//! Owns the hash of all that a row holds, for keys that are made of it: equal rows have equal ones, wherever they stand
//! and in whatever order their fields come.

use std::fmt;

use serde_json::Value;

use crate::domain::hash::ContentHash;

/// Bytes of it that are shown: two contents with one hash take 2^64 attempts.
const SHOWN: usize = 16;

/// A hash over the names and values of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowContent(ContentHash);

impl fmt::Display for RowContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes()[..SHOWN].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl RowContent {
    /// Of columns with their texts, which come in the order of their names. An empty text is no value; `None` when
    /// there is none.
    pub fn of_texts<'a>(cells: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut bytes = Vec::new();
        for (name, text) in cells.filter(|(_, text)| !text.is_empty()) {
            put(name, &mut bytes);
            put(text, &mut bytes);
        }
        Self::of(&bytes)
    }

    /// Of the members of an object but for those of these names. Null is no value, nor is an empty text; `None` when
    /// there is none.
    pub fn of_object(object: &Value, but: &[&str]) -> Option<Self> {
        let members = object.as_object()?.iter();
        let is_value = |value: &Value| !value.is_null() && value.as_str() != Some("");
        let counts = |name: &str, value: &Value| !but.contains(&name) && is_value(value);
        let mut bytes = Vec::new();
        put_members(members.filter(|(name, value)| counts(name, value)), &mut bytes);
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(ContentHash::of(bytes)))
    }
}

/// A text with its length, so that no two lists of texts are the same bytes.
fn put(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_members<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>, bytes: &mut Vec<u8>) {
    let mut members: Vec<_> = members.collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in members {
        put(name, bytes);
        put_value(value, bytes);
    }
}

/// A value with its kind; numbers as they are written.
fn put_value(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(b'n'),
        Value::Bool(is) => bytes.push(if *is { b't' } else { b'f' }),
        Value::Number(number) => {
            bytes.push(b'#');
            put(number.as_str(), bytes);
        }
        Value::String(text) => {
            bytes.push(b'"');
            put(text, bytes);
        }
        Value::Array(elements) => {
            bytes.push(b'[');
            elements.iter().for_each(|element| put_value(element, bytes));
            bytes.push(b']');
        }
        Value::Object(members) => {
            bytes.push(b'{');
            put_members(members.iter(), bytes);
            bytes.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Option<String> {
        let value = serde_json::from_str(json).expect("JSON");
        RowContent::of_object(&value, &["_row"]).map(|content| content.to_string())
    }

    #[test]
    fn equal_rows_have_one_hash_whatever_the_order_of_their_fields() {
        let same = of(r#"{"a":1,"b":{"c":[1,"x"],"d":null},"_row":7}"#);
        assert_eq!(same.as_ref().map(String::len), Some(32));
        assert_eq!(of(r#"{"_row":9,"b":{"d":null,"c":[1,"x"]},"a":1,"e":null,"f":""}"#), same);
        for other in [
            r#"{"a":1.0,"b":{"c":[1,"x"],"d":null}}"#,
            r#"{"a":"1","b":{"c":[1,"x"],"d":null}}"#,
            r#"{"a":1,"b":{"c":["x",1],"d":null}}"#,
            r#"{"a":1,"b":{"c":[1,"x"]}}"#,
            r#"{"a":1,"b":{"c":[[1],"x"],"d":null}}"#,
        ] {
            assert_ne!(of(other), same, "{other}");
        }
        assert_eq!(of(r#"{"_row":1,"a":null,"b":""}"#), None);
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let of = |cells: &[(&str, &str)]| RowContent::of_texts(cells.iter().copied());
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "b"), ("c", "d")]), of(&[("a", "bcd")]));
        assert_eq!(of(&[("a", "1"), ("b", "")]), of(&[("a", "1")]), "an empty cell is no value");
        assert_eq!(of(&[("a", "")]), None);
    }
}

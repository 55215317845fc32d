//! Owns JSONPaths compiled once. Most are a chain of keys, which is walked without a query engine.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use serde_json_path::JsonPath;

use crate::domain::json_size::{MAX_DEPTH, PRUNED, prune};
use crate::domain::text;
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::{exact_numbers, json_path};

/// A path into a JSON value.
#[derive(Debug, Clone)]
pub(in crate::sources) enum Path {
    /// `$`, `$.a`, `$.a['b c']`: at most one value.
    Keys(Vec<String>),
    /// Anything else of RFC 9535: any number of values.
    Query(JsonPath),
}

impl Path {
    /// Compiles a JSONPath.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match keys_of(text) {
            Some(keys) if text.len() <= json_path::MAX_BYTES => Ok(Self::Keys(keys)),
            _ => json_path::parse(text).map(Self::Query),
        }
    }

    /// The values that it leads to in a JSON text, each as it stands there or as JSON. What is nested
    /// too deep to be parsed makes a record that holds it unreadable, and nothing else.
    ///
    /// # Errors
    /// When the text is no JSON.
    pub fn find<'b>(&self, json: &'b str) -> Result<Vec<Cow<'b, str>>, serde_json::Error> {
        match self {
            Self::Keys(keys) => Ok(walk_text(keys, json)?.map(Cow::Borrowed).into_iter().collect()),
            Self::Query(path) => {
                let value: Value = exact_numbers::parse(&prune(json, MAX_DEPTH))?;
                let unpruned = |text: String| match text.contains(PRUNED) {
                    true => text.replace(PRUNED, &too_deep()),
                    false => text,
                };
                let found = path.query(&value).all();
                Ok(found.into_iter().map(|v| Cow::Owned(unpruned(v.to_string()))).collect())
            }
        }
    }
}

/// JSON that no record may hold.
fn too_deep() -> String {
    format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1))
}

/// The error of a text that is no path, under the key of the job file that has it.
pub(in crate::sources) fn invalid(key: &str, path: &str, error: &str) -> SourceError {
    let path = text::cut(path, text::MAX_QUOTED);
    // A key alone is what most tools would take.
    let advice = match (path.starts_with('$'), key) {
        (false, "data_selector") => {
            Some(format!("write `$.{path}[*]` for the list under that key"))
        }
        (false, "total_path") => Some(format!("write `$.{path}`")),
        _ => None,
    };
    let message = format!("`{key}` = `{path}` is no JSONPath: {error}");
    SourceError { advice, ..SourceError::new(SourceErrorKind::InvalidConfig, message) }
}

/// The value at the end of a chain of keys.
pub(in crate::sources) fn walk<'v>(keys: &[String], value: &'v Value) -> Option<&'v Value> {
    keys.iter().try_fold(value, |value, key| value.as_object()?.get(key))
}

/// The same in JSON text: the piece of it that is the value, untouched.
pub(in crate::sources) fn walk_text<'t>(
    keys: &[String],
    json: &'t str,
) -> Result<Option<&'t str>, serde_json::Error> {
    let mut json = json.trim();
    for key in keys {
        if !json.starts_with('{') {
            return Ok(None);
        }
        let mut members = serde_json::Deserializer::from_str(json);
        match Member(key).deserialize(&mut members)? {
            Some(value) => json = value.get(),
            None => return Ok(None),
        }
    }
    Ok(Some(json))
}

/// The member of an object with this key, the last one if there are several; nothing is kept of the
/// others, which may be millions.
struct Member<'k>(&'k str);

impl<'t> DeserializeSeed<'t> for Member<'_> {
    type Value = Option<&'t RawValue>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Member<'_> {
    type Value = Option<&'t RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = members.next_key::<Cow<'t, str>>()? {
            let value: &RawValue = members.next_value()?;
            if key == self.0 {
                found = Some(value);
            }
        }
        Ok(found)
    }
}

/// The keys of a path that is only keys; `None` when the query engine must evaluate it.
fn keys_of(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('$')?;
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let (key, behind) = match rest.strip_prefix('.') {
            Some(dotted) => dotted.split_at(name_length(dotted)?),
            None => rest.strip_prefix("['")?.split_once("']")?,
        };
        // Escapes, and quotes in a selector list, are the query engine's business.
        if key.contains(['\\', '\'']) {
            return None;
        }
        keys.push(key.to_owned());
        rest = behind;
    }
    Some(keys)
}

fn name_length(text: &str) -> Option<usize> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let length = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (length > 0 && starts_well).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chains_of_keys_need_no_query() {
        for (text, keys) in
            [("$", vec![]), ("$.a_1.b", vec!["a_1", "b"]), ("$['a b'].c", vec!["a b", "c"])]
        {
            assert_eq!(keys_of(text), Some(keys.into_iter().map(String::from).collect()), "{text}");
        }
        for text in ["$.a[0]", "$..a", "$.a[*]", "$.*", "$['a','b']", "$['it\\'s']", "$.ä", "$.1"]
        {
            assert_eq!(keys_of(text), None, "{text}");
        }
    }

    #[test]
    fn all_ways_find_the_same() {
        let value = json!({ "a": { "b": 1, "c d": [2] }, "n": null, "l": [{ "b": 3 }] });
        for text in ["$", "$.a", "$.a.b", "$.a['c d']", "$.n", "$.n.x", "$.l.b", "$.nothing"] {
            let keys = keys_of(text).unwrap();
            let found = JsonPath::parse(text).unwrap().query(&value).at_most_one().unwrap();
            assert_eq!(walk(&keys, &value), found, "{text}");
            let json = value.to_string();
            let expected = found.map(Value::to_string);
            assert_eq!(walk_text(&keys, &json).unwrap(), expected.as_deref(), "{text}");
        }
    }
}

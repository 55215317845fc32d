//! Owns JSONPaths to one place of a body that is sent: keys and numbers, as in `$.filter.after`.

use serde_json::{Map, Value};

use crate::sources::rows::segments::{Asks, asks, segments};
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::json_path;

/// A path to one place, which need not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExactPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Element(usize),
}

impl ExactPath {
    /// Reads the path.
    ///
    /// # Errors
    /// When it is no JSONPath, or leads to more or less than one place.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let invalid = |why: &str| {
            let message = format!("`{text}` {why}");
            SourceError::new(SourceErrorKind::InvalidConfig, message)
                .advise("write keys and numbers of elements only, such as `$.paging.after`")
        };
        json_path::parse(text).map_err(|error| invalid(&format!("is no JSONPath: {error}")))?;
        let steps = segments(text).into_iter().map(|segment| match asks(segment) {
            Asks::Key(key) => Ok(Step::Key(key.to_owned())),
            Asks::Element(number) if let Ok(number) = number.try_into() => {
                Ok(Step::Element(number))
            }
            Asks::Element(_) | Asks::KeyBelow(_) | Asks::Several => {
                Err(invalid(&format!("leads to no single place: `{segment}` may find several")))
            }
        });
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        match steps.first() {
            Some(Step::Key(_)) => Ok(Self { text: text.to_owned(), steps }),
            Some(Step::Element(_)) | None => Err(invalid("leads to no key of the body")),
        }
    }

    /// The key, where the path is one key and nothing else.
    pub fn only_key(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [Step::Key(key)] => Some(key),
            _ => None,
        }
    }

    /// The path below that key, where it begins with it and goes on.
    pub fn below(&self, key: &str) -> Option<Self> {
        match self.steps.as_slice() {
            [Step::Key(first), rest @ ..] if first == key && matches!(rest, [Step::Key(_), ..]) => {
                Some(Self { text: self.text.clone(), steps: rest.to_vec() })
            }
            _ => None,
        }
    }

    /// Sets the value at the place; objects that are not there are made.
    ///
    /// # Errors
    /// When something else is on the way.
    pub fn set(&self, body: &mut Map<String, Value>, value: Value) -> Result<(), SourceError> {
        let blocked = |what: &str| {
            let message =
                format!("`{}` leads nowhere in the body of the request: {what}", self.text);
            SourceError::new(SourceErrorKind::InvalidConfig, message)
                .advise("see the body in the job file")
        };
        let mut steps = self.steps.iter();
        let Some(Step::Key(first)) = steps.next() else { return Err(blocked("it has no key")) };
        let mut at = body.entry(first.as_str()).or_insert(Value::Null);
        for step in steps {
            at = match (step, at) {
                (Step::Key(key), at @ Value::Null) => {
                    *at = Value::Object(Map::new());
                    match at {
                        Value::Object(fields) => fields.entry(key.as_str()).or_insert(Value::Null),
                        other => other,
                    }
                }
                (Step::Key(key), Value::Object(fields)) => {
                    fields.entry(key.as_str()).or_insert(Value::Null)
                }
                (Step::Key(key), _) => {
                    return Err(blocked(&format!("what should have the key `{key}` is no object")));
                }
                (Step::Element(number), Value::Array(elements)) => {
                    match elements.get_mut(*number) {
                        Some(element) => element,
                        None => return Err(blocked(&format!("the list has no element {number}"))),
                    }
                }
                (Step::Element(number), _) => {
                    return Err(blocked(&format!(
                        "what should have the element {number} is no list"
                    )));
                }
            };
        }
        *at = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(path: &str, body: Value) -> Result<Value, String> {
        let Value::Object(mut body) = body else { panic!("an object") };
        let path = ExactPath::parse(path).map_err(|error| error.text())?;
        path.set(&mut body, json!("x")).map_err(|error| error.text())?;
        Ok(Value::Object(body))
    }

    #[test]
    fn a_value_is_set_and_the_objects_on_the_way_are_made() {
        for (path, before, after) in [
            ("$.after", json!({}), json!({ "after": "x" })),
            ("$.after", json!({ "after": [1], "n": 2 }), json!({ "after": "x", "n": 2 })),
            ("$.a['b c'].d", json!({ "n": 1 }), json!({ "n": 1, "a": { "b c": { "d": "x" } } })),
            ("$.a.b", json!({ "a": null }), json!({ "a": { "b": "x" } })),
            ("$.a[1].v", json!({ "a": [0, { "v": 0 }] }), json!({ "a": [0, { "v": "x" }] })),
        ] {
            assert_eq!(set(path, before), Ok(after), "{path}");
        }
    }

    #[test]
    fn what_is_no_single_place_or_is_in_the_way_is_told() {
        for (path, says) in [
            ("after", "is no JSONPath"),
            ("$", "leads to no key of the body"),
            ("$[0]", "leads to no key of the body"),
            ("$.a[*]", "`[*]` may find several"),
            ("$..a", "`..a` may find several"),
            ("$.a[-1]", "`[-1]` may find several"),
            ("$.n.x", "what should have the key `x` is no object"),
            ("$.a[7]", "the list has no element 7"),
            ("$.n[0]", "what should have the element 0 is no list"),
        ] {
            let said = set(path, json!({ "n": 1, "a": [1] })).unwrap_err();
            assert!(said.contains(says), "{path}: {said}");
        }
    }
}

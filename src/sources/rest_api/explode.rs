//! Owns `rest_api.explode`: a record for each element of a list within a record, with the rest of it at
//! `$._parent`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::sources::rows::path::{Path, walk_text};
use crate::sources::{SourceError, SourceErrorKind};

/// The key of the rest.
const PARENT: &str = "_parent";
/// How many times its own size a page may become, beyond [`AT_LEAST`]: the rest is repeated for each element.
const MOST_TIMES: usize = 16;
const AT_LEAST: usize = 64 << 20;
/// The most records of a page, as of one that is not exploded.
const MOST_RECORDS: usize = 1_000_000;

/// The list, compiled.
#[derive(Debug)]
pub(super) struct Explode {
    text: String,
    keys: Vec<String>,
}

impl Explode {
    /// Compiles a key, or a JSONPath of keys.
    ///
    /// # Errors
    /// What is wrong with it, to be read behind the key.
    pub fn new(text: &str) -> Result<Self, String> {
        let keys = match text.starts_with('$') {
            false if text.is_empty() => None,
            false => Some(vec![text.to_owned()]),
            true => match Path::parse(text) {
                Ok(Path::Keys(keys)) if !keys.is_empty() => Some(keys),
                Ok(Path::Keys(_) | Path::Query(_)) | Err(_) => None,
            },
        };
        let keys = keys.ok_or_else(|| {
            format!("`{text}` names no list within a record: write its key, such as \"line_items\" or \"$.order.lines\"")
        })?;
        Ok(Self { text: text.to_owned(), keys })
    }

    /// The records of records. `body` is the size of the page.
    ///
    /// # Errors
    /// When no record has the list, or the rest would be repeated too often.
    pub fn records<'b>(
        &self,
        records: &[Cow<'b, str>],
        body: usize,
        empty_is_ok: bool,
    ) -> Result<Vec<Cow<'b, str>>, SourceError> {
        let most = body.saturating_mul(MOST_TIMES).max(AT_LEAST);
        let (mut exploded, mut bytes, mut has_list) = (Vec::new(), 0_usize, empty_is_ok);
        for record in records {
            let found = walk_text(&self.keys, record);
            let is_unreadable = found.is_err();
            let Ok(Some(list)) = found else {
                // What is no object, or cannot be read, is set aside as what it is.
                if is_unreadable || !record.trim_start().starts_with('{') {
                    exploded.push(record.clone());
                }
                continue;
            };
            has_list = true;
            let parent = self.parent(record);
            for element in elements(list) {
                let text = with_parent(element, &parent);
                bytes = bytes.saturating_add(text.len());
                if bytes > most || exploded.len() >= MOST_RECORDS {
                    let message = format!(
                        "the records of `explode` = `{}` are more than {MOST_RECORDS}, or take more than {most} bytes",
                        self.text
                    );
                    return Err(SourceError::new(SourceErrorKind::TooLarge, message)
                        .advise("ask for smaller pages, or for less of what surrounds the list"));
                }
                exploded.push(Cow::Owned(text));
            }
        }
        match has_list || records.is_empty() || !exploded.is_empty() {
            true => Ok(exploded),
            false => {
                let message = format!(
                    "`rest_api.explode` = `{}` finds nothing in any of {} records",
                    self.text,
                    records.len()
                );
                Err(SourceError::new(SourceErrorKind::InvalidResponse, message)
                    .advise("correct it; if that may be, write `empty = \"ok\"`"))
            }
        }
    }

    /// What becomes the record of that place, from 0, as it came: without the rest.
    pub fn element<'r>(&self, records: &'r [Cow<'_, str>], at: usize) -> Option<&'r str> {
        let mut before = 0;
        for record in records {
            let found = walk_text(&self.keys, record);
            let is_unreadable = found.is_err();
            let of_record = match found {
                Ok(Some(list)) => elements(list),
                _ if is_unreadable || !record.trim_start().starts_with('{') => {
                    vec![record.as_ref()]
                }
                _ => Vec::new(),
            };
            if let Some(element) = of_record.get(at - before) {
                return Some(element);
            }
            before += of_record.len();
        }
        None
    }

    /// The record without the list, as JSON.
    fn parent(&self, record: &str) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(record) else { return "null".to_owned() };
        let mut at = Some(&mut value);
        if let Some((last, before)) = self.keys.split_last() {
            for key in before {
                at = at.and_then(|value| value.get_mut(key));
            }
            if let Some(fields) = at.and_then(Value::as_object_mut) {
                // In the order that the other keys had.
                fields.shift_remove(last);
            }
        }
        value.to_string()
    }
}

/// The elements of a list; a single object is one, null none.
fn elements(list: &str) -> Vec<&str> {
    match list.trim_start().as_bytes().first() {
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(list) {
            Ok(elements) => elements.into_iter().map(RawValue::get).collect(),
            Err(_) => vec![list],
        },
        Some(b'n') => Vec::new(),
        _ => vec![list],
    }
}

/// An object with the rest, or its parent, beside its fields. A field of its own at that place is within the parent
/// from then on, at `$._parent._parent`. What is no object is set aside when it is read.
pub(super) fn with_parent(element: &str, parent: &str) -> String {
    match own_parent(element, parent) {
        Some((rest, own)) => put(&rest, &put(parent, own)),
        None => put(element, parent),
    }
}

/// The fields of an object, as they came and in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(All)
    }
}

/// What an object has itself where its parent is to be, and the object without it; `None` where it has nothing there,
/// or the parent has no room for it.
fn own_parent<'e>(element: &'e str, parent: &str) -> Option<(String, &'e str)> {
    // Escaped it is found twice when it is read.
    if !element.contains(PARENT) {
        return None;
    }
    let Fields(fields) = serde_json::from_str(element).ok()?;
    let (own, others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name == PARENT);
    let [(_, own)] = own.as_slice() else { return None };
    let Fields(of_parent) = serde_json::from_str(parent).ok()?;
    if of_parent.iter().any(|(name, _)| name == PARENT) {
        return None;
    }
    let mut rest = String::with_capacity(element.len());
    for (name, value) in others {
        rest.push(if rest.is_empty() { '{' } else { ',' });
        rest.push_str(&serde_json::to_string(&name).ok()?);
        rest.push(':');
        rest.push_str(value.get());
    }
    let open = if rest.is_empty() { "{" } else { "" };
    Some((format!("{open}{rest}}}"), own.get()))
}

/// An object with its parent behind its fields.
fn put(element: &str, parent: &str) -> String {
    let trimmed = element.trim_end();
    match trimmed.strip_suffix('}') {
        Some(open) if trimmed.trim_start().starts_with('{') => {
            let comma = if open.trim_end().ends_with('{') { "" } else { "," };
            format!("{open}{comma}\"{PARENT}\":{parent}}}")
        }
        _ => element.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exploded(path: &str, records: &[&str]) -> Result<Vec<String>, String> {
        let records: Vec<_> = records.iter().map(|record| Cow::Borrowed(*record)).collect();
        let found = Explode::new(path)?.records(&records, 100, false);
        let texts = |found: Vec<Cow<'_, str>>| found.into_iter().map(Cow::into_owned).collect();
        found.map(texts).map_err(|error| error.text())
    }

    #[test]
    fn each_element_is_a_record_with_the_rest_at_parent_and_its_digits_as_they_came() {
        let order = r#"{"id":1,"lines":[{"n":1.50}, {} ,7,null],"total":2.00}"#;
        assert_eq!(
            exploded("lines", &[order]).unwrap(),
            [
                r#"{"n":1.50,"_parent":{"id":1,"total":2.00}}"#,
                r#"{"_parent":{"id":1,"total":2.00}}"#,
                "7",
                "null",
            ]
        );
        let deep = r#"{"a":{"b":[{"x":1}],"c":2},"d":3}"#;
        assert_eq!(
            exploded("$.a.b", &[deep]).unwrap(),
            [r#"{"x":1,"_parent":{"a":{"c":2},"d":3}}"#]
        );
        // What an element has itself at that place goes on within the rest.
        let own = r#"{"l":[{"_parent":{"n":1.50},"\u0061":2},{"_parent":null}],"d":3.0}"#;
        assert_eq!(
            exploded("l", &[own]).unwrap(),
            [
                r#"{"a":2,"_parent":{"d":3.0,"_parent":{"n":1.50}}}"#,
                r#"{"_parent":{"d":3.0,"_parent":null}}"#
            ]
        );
        // There it may stand already: what cannot be told apart is set aside when it is read.
        assert_eq!(
            exploded("l", &[r#"{"l":[{"_parent":1}],"_parent":2}"#]).unwrap(),
            [r#"{"_parent":1,"_parent":{"_parent":2}}"#]
        );
        // Some APIs write a single one without its list.
        assert_eq!(exploded("l", &[r#"{"l":{"x":1}}"#]).unwrap(), [r#"{"x":1,"_parent":{}}"#]);
    }

    #[test]
    fn an_empty_list_is_nothing_and_a_list_that_no_record_has_is_an_error() {
        for records in [&[r#"{"l":[]}"#, r#"{"l":null}"#, "{}"][..], &[]] {
            assert_eq!(exploded("l", records), Ok(vec![]), "{records:?}");
        }
        let said = exploded("lines", &[r#"{"line":[]}"#, "{}"]).unwrap_err();
        assert!(said.contains("finds nothing in any of 2 records"), "{said}");
        assert_eq!(exploded("l", &["7"]), Ok(vec!["7".to_owned()]), "it is set aside");
        for path in ["", "$", "$.a[*]", "$[0]"] {
            assert!(Explode::new(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_rest_that_would_be_repeated_too_often_fails_the_page() {
        let record =
            format!("{{\"l\":[{}{{}}],\"big\":\"{}\"}}", "{},".repeat(200), "x".repeat(1 << 20));
        let said = exploded("l", &[&record]).unwrap_err();
        assert!(said.contains("take more than"), "{said}");
    }
}

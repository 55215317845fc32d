//! Owns `rest_api.data_selector`: which values of a body are records, and when their absence is no
//! empty list but a path that leads nowhere.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::around::RecordsPlace;
use super::body_path::{MAX_QUERIED, unreadable};
use super::error_words;
use crate::domain::json_size::{JsonSize, MAX_DEPTH, prune};
use crate::domain::text;
use crate::sources::rows::no_number::Mended;
use crate::sources::rows::path::{Path, invalid, walk_text};
use crate::sources::rows::segments::{Asks, End, asks, end_of, segments};
use crate::sources::{SourceError, SourceErrorKind};

/// The most records of a page: each of them takes memory many times its own size.
const MAX_RECORDS: usize = 1_000_000;

/// `rest_api.data_selector`, compiled.
#[derive(Debug)]
pub(super) struct DataSelector {
    text: String,
    /// The text without the `[*]` at its end.
    list: String,
    path: Path,
    /// Where in an answer that is.
    pub place: RecordsPlace,
    /// Whether it ends in `[*]`. JSONPath would take the values of an object as well there; an
    /// object in place of the list is an error message, and its values are no records.
    wants_list: bool,
    /// Where the records are before a filter at the end of the path leaves some out.
    unfiltered: Option<Path>,
    /// Whether it can be told how many records came: no filter stands before the end of the path.
    pub counts: bool,
    /// Whether a path that leads nowhere is no records.
    pub empty_is_ok: bool,
}

impl DataSelector {
    /// Compiles it.
    pub fn new(text: &str) -> Result<Self, SourceError> {
        let (list, wants_list) = match text.strip_suffix("[*]") {
            Some(list) if !list.ends_with("..") => (list, true),
            _ => (text, false),
        };
        let path = Path::parse(list).map_err(|error| invalid("data_selector", text, &error))?;
        let place = RecordsPlace::of(list);
        let parts = segments(text);
        let is_filter = |part: &&str| part.trim_start_matches('.').starts_with("[?");
        let filters = parts.iter().filter(|part| is_filter(part)).count();
        let unfiltered = match parts.split_last() {
            Some((last, before)) if last.starts_with("[?") && filters == 1 => {
                Path::parse(&format!("${}", before.concat())).ok()
            }
            _ => None,
        };
        let counts = filters == 0 || unfiltered.is_some();
        let (text, list) = (text.to_owned(), list.to_owned());
        Ok(Self { text, list, path, place, wants_list, unfiltered, counts, empty_is_ok: false })
    }

    /// How many records came in a body: those that a filter at the end of the path leaves out count as well,
    /// since the API counts them.
    pub fn came(&self, body: &str, selected: usize) -> Result<usize, SourceError> {
        let Some(unfiltered) = &self.unfiltered else { return Ok(selected) };
        let found = unfiltered.find(body).map_err(|error| self.unreadable(error))?;
        let mut came = 0;
        for value in found {
            came += match value.as_bytes().first() {
                Some(b'[') => elements(value).map_err(|error| self.unreadable(error))?.len(),
                _ => 0,
            };
        }
        Ok(came.max(selected))
    }

    /// The JSON text of the records of a body, in order. One with a number that JSON does not have, such as
    /// `NaN`, is as it came.
    pub fn select<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, SourceError> {
        let selected = self.select_json(body);
        match selected.is_err().then(|| Mended::of(body)).flatten() {
            None => selected,
            Some(mended) => {
                let records = self.select_json(mended.twin())?;
                Ok(records.into_iter().map(|record| mended.original(record)).collect())
            }
        }
    }

    fn select_json<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, SourceError> {
        if let Path::Query(_) = self.path
            && JsonSize::of(body).values > MAX_QUERIED
        {
            let message = format!(
                "the answer holds more than {MAX_QUERIED} values, too many for `{}`",
                self.text
            );
            return Err(SourceError::new(SourceErrorKind::TooLarge, message).advise(
                "ask for smaller pages, or name the list by keys alone, such as `$.data[*]`",
            ));
        }
        let records = self.records(body)?;
        if records.len() > MAX_RECORDS {
            let count = records.len();
            let message = format!("the answer has {count} records, and {MAX_RECORDS} are the most");
            return Err(SourceError::new(SourceErrorKind::TooLarge, message)
                .advise("ask for smaller pages, see `rest_api.paginator`"));
        }
        Ok(records)
    }

    fn records<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, SourceError> {
        let found = self.path.find(body).map_err(|error| self.unreadable(error))?;
        if found.is_empty() {
            let gone = self.gone(body).map_err(|error| self.unreadable(error))?;
            if self.empty_is_ok && !is_error(body) {
                return Ok(Vec::new());
            }
            if let Some(path) = gone {
                let path = text::cut(&path, text::MAX_QUOTED);
                let problem = format!("finds nothing, since `{path}` leads nowhere");
                return Err(self.mismatch(&problem, body));
            }
            if is_error(body) {
                return Err(self.mismatch("finds nothing", body));
            }
        }
        let is_single = !self.wants_list && found.len() == 1;
        let mut records = Vec::new();
        for value in found {
            match value.as_bytes().first() {
                Some(b'[') if self.wants_list || is_single => {
                    records.extend(elements(value).map_err(|error| self.unreadable(error))?);
                }
                Some(b'n') if self.wants_list || is_single => {}
                _ if self.wants_list => return Err(self.mismatch("expects a list", body)),
                Some(b'{') if is_single && is_error(&value) => {
                    return Err(self.mismatch("finds no records", body));
                }
                Some(b'{') => records.push(value),
                _ if is_single => return Err(self.mismatch("finds no records", body)),
                _ => records.push(value),
            }
        }
        Ok(records)
    }

    /// Where the path ends, if it finds nothing because something on its way is not there. That a
    /// list or an object holds nothing, or nothing that is asked for, is an answer like any other.
    fn gone(&self, body: &str) -> Result<Option<String>, serde_json::Error> {
        if let Path::Keys(keys) = &self.path {
            for end in 1..=keys.len() {
                if walk_text(&keys[..end], body)?.is_none() {
                    let segments = segments(&self.list);
                    return Ok(Some(format!("${}", segments[..end.min(segments.len())].concat())));
                }
            }
            return Ok(None);
        }
        let body = serde_json::from_str(&prune(body, MAX_DEPTH))?;
        Ok(end_of(&self.list, &body).filter(is_gone).map(|end| end.before + end.lacks))
    }

    /// Whether there is nothing but null where the list of records should be.
    pub fn finds_null(&self, body: &str) -> bool {
        self.path
            .find(body)
            .is_ok_and(|found| !found.is_empty() && found.iter().all(|v| v == "null"))
    }

    fn unreadable(&self, error: serde_json::Error) -> SourceError {
        unreadable(&self.text, error)
    }

    fn mismatch(&self, problem: &str, body: &str) -> SourceError {
        let selector = &self.text;
        let (found, says) = match small(body) {
            Some(body) => {
                let says = error_words::error_in(&body).map(|words| text::beginning(&words));
                (describe(&body), says)
            }
            None => (text::beginning(body), None),
        };
        let says = says.map(|text| format!("; it says: {text}")).unwrap_or_default();
        let message = format!(
            "`rest_api.data_selector` = `{selector}` {problem}: the answer is {found}{says}"
        );
        SourceError::new(SourceErrorKind::InvalidResponse, message)
    }
}

/// Whether the segment that a path ends at lacks something, and is not merely empty.
fn is_gone(end: &End<'_, '_>) -> bool {
    let may_be_empty = |value: &&Value| value.is_array() || value.is_null();
    let several_keys = ["['", "[\""].iter().any(|open| end.lacks.starts_with(open));
    match asks(end.lacks) {
        Asks::Key(_) => true,
        Asks::Several if several_keys => true,
        Asks::KeyBelow(_) => !end.found.iter().any(|value| has_room(value)),
        Asks::Element(_) => !end.found.iter().any(may_be_empty),
        Asks::Several => !end.found.iter().any(|value| may_be_empty(value) || value.is_object()),
    }
}

/// Whether there is an empty list or object, or a null, where more could be.
fn has_room(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty() || elements.iter().any(has_room),
        Value::Object(fields) => fields.is_empty() || fields.values().any(has_room),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is_error(json: &str) -> bool {
    small(json).is_some_and(|value| error_words::is_error(&value))
}

/// The value of a text that is short enough to be an error. Parsed, it takes many times its size.
fn small(json: &str) -> Option<Value> {
    const MOST: usize = 1 << 20;
    if json.len() > MOST { None } else { serde_json::from_str(json).ok() }
}

/// The elements of a list, each as it was written.
fn elements(list: Cow<'_, str>) -> Result<Vec<Cow<'_, str>>, serde_json::Error> {
    let texts = match list {
        Cow::Borrowed(list) => {
            let elements: Vec<&RawValue> = serde_json::from_str(list)?;
            elements.into_iter().map(|element| Cow::Borrowed(element.get())).collect()
        }
        Cow::Owned(list) => {
            let elements: Vec<&RawValue> = serde_json::from_str(&list)?;
            elements.into_iter().map(|element| Cow::Owned(element.get().to_owned())).collect()
        }
    };
    Ok(texts)
}

/// A JSON value in a few words.
fn describe(value: &Value) -> String {
    const SHOWN: usize = 8;
    match value {
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(fields) => {
            let keys: Vec<_> = fields.keys().take(SHOWN).map(|key| format!("`{key}`")).collect();
            let more = if fields.len() > SHOWN { ", …" } else { "" };
            format!("an object with {}{more}", keys.join(", "))
        }
        Value::Array(elements) => format!("a list of {}", elements.len()),
        Value::Null => "null".to_owned(),
        scalar => format!("the value {}", text::beginning(&scalar.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many records there are, or what is wrong.
    fn found(selector: &str, body: &str) -> Result<usize, String> {
        let found = DataSelector::new(selector).unwrap().select(body);
        found.map(|records| records.len()).map_err(|error| error.text())
    }

    #[test]
    fn a_path_whose_parent_is_gone_fails_and_names_where_it_ends_in_every_form() {
        let answer = r#"{"result":[{"id":1}],"n":7}"#;
        for (selector, body, end) in [
            ("$.data[*]", answer, "$.data"),
            ("$.data", answer, "$.data"),
            ("$.data.items[*]", r#"{"data":{"rows":[1]}}"#, "$.data.items"),
            ("$['data']['items'][*]", r#"{"rows":[1]}"#, "$['data']"),
            ("$.data.*", answer, "$.data"),
            ("$[\"data\"][*]", answer, "$[\"data\"]"),
            ("$.data[0].items[*]", answer, "$.data"),
            ("$.data[0].items[*]", r#"{"data":[{"id":1}]}"#, "$.data[0].items"),
            ("$.data[*].items[*]", r#"{"data":[{"id":1},{"id":2}]}"#, "$.data[*].items"),
            ("$.data[1:]", answer, "$.data"),
            ("$.data[?@.id > 0]", answer, "$.data"),
            ("$.n.*", answer, "$.n.*"),
            ("$.n[0]", answer, "$.n[0]"),
            ("$..data[*]", answer, "$..data"),
            ("$['data','items'][*]", answer, "$['data','items']"),
        ] {
            let error = found(selector, body).unwrap_err();
            let says =
                format!("`{selector}` finds nothing, since `{end}` leads nowhere: the answer is");
            assert!(error.contains(&says), "{selector}: {error}");
        }
    }

    #[test]
    fn an_empty_list_or_object_or_null_is_an_empty_answer() {
        for (selector, body) in [
            ("$[*]", "[]"),
            ("$", "[]"),
            ("$.data[*]", r#"{"data":[]}"#),
            ("$.data[*]", r#"{"data":null}"#),
            ("$.data.*", r#"{"data":{}}"#),
            ("$.data.*", r#"{"data":[]}"#),
            ("$.data.*", r#"{"data":null}"#),
            ("$.data[0].items[*]", r#"{"data":[]}"#),
            ("$.data[0].items[*]", r#"{"data":[{"items":[]}]}"#),
            ("$.data[*].items[*]", r#"{"data":[]}"#),
            ("$.data[2:]", r#"{"data":[{"id":1}]}"#),
            ("$.data[?@.id > 9]", r#"{"data":[{"id":1}]}"#),
            ("$..data[*]", r#"{"data":[]}"#),
            ("$..data[*]", r#"{"pages":[]}"#),
        ] {
            assert_eq!(found(selector, body), Ok(0), "{selector} {body}");
        }
        assert_eq!(found("$.data[*].items[*]", r#"{"data":[{},{"items":[{},{}]}]}"#), Ok(2));
    }

    #[test]
    fn records_at_a_key_that_is_there_twice_are_no_records() {
        for selector in ["$.data[*]", "$.data", "$.*[*]", "$..data[*]", "$.data[?@.id]"] {
            let error = found(selector, r#"{"data":[{"id":10}],"data":[{"id":2}]}"#).unwrap_err();
            assert!(error.contains("the key \"data\" is there twice"), "{selector}: {error}");
        }
        assert_eq!(found("$.data[*]", r#"{"took":1,"took":2,"data":[{"id":1,"id":2}]}"#), Ok(1));
    }

    proptest::proptest! {
        /// What is selected from an answer is gone with each part of the path, and never an empty success.
        #[test]
        fn whichever_key_of_the_path_is_renamed_the_answer_fails(
            keys in proptest::collection::vec("[a-d]{1,3}", 1..4),
            forms in proptest::collection::vec(0..3_usize, 4),
            renamed in 0..4_usize,
            last in proptest::sample::select(vec!["[*]", ".*", "[0:]", "[?@.id]"]),
        ) {
            let segment = |(key, form): (&String, &usize)| match form {
                0 => format!(".{key}"),
                1 => format!("['{key}']"),
                _ => format!("[\"{key}\"]"),
            };
            let path: String = keys.iter().zip(&forms).map(segment).collect();
            let selector = format!("${path}{last}");
            let body = |keys: &[String]| {
                let inner = serde_json::json!([{ "id": 1 }]);
                let body = keys.iter().rev().fold(inner, |value, key| serde_json::json!({ key: value }));
                body.to_string()
            };
            proptest::prop_assert_eq!(found(&selector, &body(&keys)), Ok(1));
            let mut other = keys.clone();
            other[renamed % keys.len()].push('x');
            proptest::prop_assert!(found(&selector, &body(&other)).is_err());
        }
    }
}

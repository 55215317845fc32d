//! Owns where in the text of a JSON record the value of a field is, also in one that was cut.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;
use serde_json_path::PathElement;

use super::path::{Path, Query};
use super::scan::Scan;
use crate::domain::field_name;
use crate::domain::json_size::{JsonSize, MAX_DEPTH, MAX_VALUES};
use crate::sources::ReadableRow;
use crate::values::field::Locator;

/// The most values that are looked for of a path that leads to several.
const MOST: usize = 100;

/// A step into a value.
#[derive(Debug, PartialEq, Eq)]
enum Step<'p> {
    Key(Cow<'p, str>),
    /// A key as it is kept: see [`field_name`].
    Kept(&'p str),
    Element(usize),
}

/// A record as it came, and the values of the field of this name, or that this JSONPath leads to.
pub(in crate::sources) fn readable<'r>(raw: &'r [u8], field: &str) -> ReadableRow<'r> {
    let row = ReadableRow::unmarked(raw);
    let values = row.text.as_deref().map(|text| values(text, field)).unwrap_or_default();
    ReadableRow { values, ..row }
}

fn values(text: &str, field: &str) -> Vec<Range<usize>> {
    let Locator::Path(path) = Locator::of_source_field(field) else {
        return span(text, &[Step::Kept(field)]).into_iter().collect();
    };
    match Path::parse(&path) {
        Ok(Path::Keys(keys)) => {
            let steps: Vec<_> = keys.iter().map(|key| Step::Key(key.into())).collect();
            span(text, &steps).into_iter().collect()
        }
        Ok(Path::Query(query)) => of_query(text, &query),
        Err(_) => Vec::new(),
    }
}

/// Only of a text that is whole: what else would a filter find?
fn of_query(text: &str, query: &Query) -> Vec<Range<usize>> {
    let size = JsonSize::of(text);
    if size.depth > MAX_DEPTH || size.values > MAX_VALUES {
        return Vec::new();
    }
    let Ok(record) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let found = query.located(&record);
    let mut spans: Vec<_> = found
        .iter()
        .take(MOST)
        .filter_map(|node| {
            let step = |element: &PathElement<'_>| match element {
                PathElement::Name(name) => Step::Key((*name).to_owned().into()),
                PathElement::Index(at) => Step::Element(*at),
            };
            span(text, &node.location().iter().map(step).collect::<Vec<_>>())
        })
        .collect();
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    // A value within another one is marked with it.
    spans.dedup_by(|inner, outer| inner.start < outer.end);
    spans
}

/// Where the value is that the steps lead to; its end is that of the text where this was cut.
fn span(text: &str, steps: &[Step<'_>]) -> Option<Range<usize>> {
    let mut scan = Scan::of(text);
    for step in steps {
        match step {
            Step::Key(key) => scan.enter(|name| name == key)?,
            Step::Kept(key) => scan.enter(|name| field_name::kept(name) == *key)?,
            Step::Element(at) => scan.enter_list(*at)?,
        }
    }
    let start = scan.at;
    scan.pass();
    (scan.at > start).then_some(start..scan.at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json_path::JsonPath;

    use super::*;

    fn marked<'t>(text: &'t str, field: &str) -> Vec<&'t str> {
        values(text, field).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn a_value_is_found_where_it_stands() {
        let text =
            r#" {"price": "price", "a,\"": {"price":[1, {"b":"x"}, {"b":-2.50}]} ,"ä":null}"#;
        for (field, found) in [
            ("price", vec![r#""price""#]),
            ("$.price", vec![r#""price""#]),
            ("a,\"", vec![r#"{"price":[1, {"b":"x"}, {"b":-2.50}]}"#]),
            ("ä", vec!["null"]),
            ("$['a,\"'].price[0]", vec!["1"]),
            ("$..b", vec![r#""x""#, "-2.50"]),
            ("$['a,\"'].price[-1].b", vec!["-2.50"]),
            ("$..price", vec![r#""price""#, r#"[1, {"b":"x"}, {"b":-2.50}]"#]),
            ("b", vec![]),
            ("$.nothing", vec![]),
            ("$[", vec![]),
        ] {
            assert_eq!(marked(text, field), found, "{field}");
        }
    }

    #[test]
    fn a_key_is_compared_by_what_it_stands_for() {
        assert_eq!(marked(r#"{"\u0061\n":1}"#, "a\n"), ["1"]);
        let long = "x".repeat(9_000);
        let text = format!("{{\"{long}\":7}}");
        assert_eq!(marked(&text, &field_name::kept(&long)), ["7"]);
    }

    #[test]
    fn a_record_that_was_cut_has_the_values_in_front_of_the_cut() {
        let text = r#"{"a":1,"b":{"c":"lon"#;
        assert_eq!(marked(text, "a"), ["1"]);
        assert_eq!(marked(text, "$.b.c"), ["\"lon"]);
        assert_eq!(marked(text, "$..c"), Vec::<&str>::new());
        assert_eq!(marked(r#"{"a":1,"b""#, "b"), Vec::<&str>::new());
        assert_eq!(marked(r#"{"b":"x\"#, "b"), [r#""x\"#]);
    }

    proptest! {
        #[test]
        fn whatever_the_text_is_spans_are_within_it_and_apart(
            text in "[\\[\\]{}:,\"\\\\a-cä0-9. ]{0,40}",
            field in prop::sample::select(vec!["a", "$.a.b", "$..a", "$[0]", "$"]),
        ) {
            let mut end = 0;
            for span in values(&text, field) {
                prop_assert!(span.start >= end && text.get(span.clone()).is_some(), "{} {:?}", text, span);
                end = span.end;
            }
        }

        #[test]
        fn what_is_marked_is_the_value_that_the_path_leads_to(
            keys in prop::collection::vec("[a-c\"\\\\ ]{1,3}", 1..4), value in "[^\u{0}]{0,8}",
        ) {
            let mut record = Value::from(value);
            let path: String = keys
                .iter()
                .map(|key| format!("['{}']", key.replace('\\', "\\\\").replace('\'', "\\'")))
                .collect();
            for key in keys.iter().rev() {
                record = serde_json::json!({ "z": [1], key.as_str(): record });
            }
            let text = record.to_string();
            let path = format!("${path}");
            let found = JsonPath::parse(&path).unwrap().query(&record).at_most_one().unwrap().cloned();
            let marked = marked(&text, &path);
            prop_assert_eq!(marked.len(), 1);
            prop_assert_eq!(serde_json::from_str::<Value>(marked[0]).ok(), found);
        }
    }
}

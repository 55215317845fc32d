//! The rows of documents, against a parser that reads them as a whole.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::sources::files::format::RowFormat;

/// Gives the bytes in pieces of that size.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

fn lines(selector: &str, document: &[u8], piece: usize) -> Result<String, String> {
    let params = JsonParams { data_selector: selector.to_owned(), ..JsonParams::default() };
    let format = Json::new(params, Vec::new()).unwrap();
    let bytes = Box::new(Pieces(Cursor::new(document.to_vec()), piece));
    let mut content = format.content("f.json", bytes, 0).map_err(|error| error.to_string())?;
    let mut text = String::new();
    content.read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn rows(selector: &str, document: &str) -> Vec<String> {
    let text = lines(selector, document.as_bytes(), 7).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn error(selector: &str, document: &str) -> String {
    lines(selector, document.as_bytes(), 5).unwrap_err()
}

#[test]
fn each_element_of_the_list_is_a_line_as_it_was_written() {
    let document =
        "\u{feff} [ {\"a\" : 1.50,\n \"b\":[1, 2 ,{ }]} , \"x\\\" y\", null,\r\n 1E-2 , [ ] ] \n";
    assert_eq!(
        rows("$[*]", document),
        ["{\"a\":1.50,\"b\":[1,2,{}]}", "\"x\\\" y\"", "null", "1E-2", "[]"]
    );
    assert_eq!(rows("$", "[{\"id\":1}]"), ["{\"id\":1}"]);
    assert_eq!(rows("$", "{\"id\": 1}"), ["{\"id\":1}"]);
    assert_eq!(rows("$[*]", "[]"), Vec::<String>::new());
    let nested = r#"{"n": 2, "skip": {"items": [9, {"items": [8]}]}, "data": {"items": [{"a": 1}, {"a": 2}], "x": []}, "items": [7]}"#;
    assert_eq!(rows("$.data.items[*]", nested), [r#"{"a":1}"#, r#"{"a":2}"#]);
    assert_eq!(rows("$['items'][*]", nested), ["7"]);
    let pages = r#"{"pages": [{"rows": [{"a": 1}]}, {}, {"rows": []}, {"rows": [{"a": 2}]}]}"#;
    assert_eq!(rows("$.pages[*].rows[*]", pages), [r#"{"a":1}"#, r#"{"a":2}"#]);
    assert_eq!(rows("$.pages[3].rows[*]", pages), [r#"{"a":2}"#]);
    assert_eq!(
        rows("$.by.*", r#"{"by": {"x": {"a": 1}, "y": {"a": 2}}}"#),
        [r#"{"a":1}"#, r#"{"a":2}"#]
    );
    assert_eq!(rows("$..rows[*]", pages).len(), 2);
    assert_eq!(rows("$.pages[?@.rows]", pages).len(), 3);
    assert_eq!(rows("$.data[*]", r#"{"data": null}"#), Vec::<String>::new());
    // What is wrong within a row is told of that row.
    assert_eq!(rows("$[*]", r#"[{"a": "\q"}, {"a": NaN}]"#), [r#"{"a":"\q"}"#, r#"{"a":NaN}"#]);
}

#[test]
fn what_is_wrong_with_a_document_is_told_with_its_place() {
    for (selector, document, says) in [
        (
            "$[*]",
            "[{\"a\": 1}\n  {\"a\": 2}]",
            "line 2, column 3: `,` or the end of the list or object was expected, and there is `{`",
        ),
        ("$[*]", "[{\"a\" 1}]", "line 1, column 7: `:` was expected, and there is `1`"),
        ("$[*]", "[1,]", "column 4: a value was expected, and there is `]`"),
        ("$[*]", "[{a: 1}]", "a key or `}` was expected, and there is `a`"),
        (
            "$[*]",
            "[{\"a\": \"é\nb\"}]",
            "line 1, column 10: the end of a text was expected, and there is the end of the line",
        ),
        (
            "$[*]",
            "[1] x",
            "line 1, column 5: the end of the document was expected, and there is `x`",
        ),
        ("$[*]", "[1]\n[2]", "line 2, column 1: another JSON document begins"),
        ("$[*]", "{\"id\": 1}\n{\"id\": 2}\n", "is no JSON document, but JSON Lines"),
        ("$.items[*]", "{\"id\": 1}\n{\"id\": 2}\n", "write kind = \"jsonl\""),
        (
            "$[*]",
            "{\"rows\": [], \"n\": 1}",
            "the document is an object with `rows`, `n`: name the list in it, such as `$.rows[*]`",
        ),
        (
            "$.items[*]",
            "{\"rows\": []}",
            "finds nothing, since `$.items` leads nowhere: the document is an object with `rows`",
        ),
        ("$.data.items[*]", "{\"data\": {\"x\": 1}}", "since `$.data.items` leads nowhere"),
        ("$.data.items[*]", "{\"data\": null}", "since `$.data.items` leads nowhere"),
        ("$.data[*]", "{\"data\": {\"error\": 1}}", "expects a list, and there is an object"),
        ("$.data[*]", "{\"data\": [], \"data\": [1]}", "the key \"data\" is there twice"),
        ("$.data[*]", "{\"n\": nope, \"data\": []}", "\"nope\""),
        ("$.rows[?@.a].x", "{\"data\": []}", "`$.rows` is not there"),
        ("$[*]", "", "holds no JSON document"),
        (
            "$[*]",
            "[{\"a\": [1",
            "ends within its JSON document: in line 1, column 10, `,` or the end of the list or object was expected",
        ),
        ("$[*]", "[{\"a\": 1}", "`,` or the end of the list or object was expected"),
    ] {
        let error = error(selector, document);
        assert!(error.contains(says), "{document}: {error}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter_map("finite", |n| serde_json::Number::from_f64(n).map(Value::from)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop_oneof![Just("data".to_owned()), "[a-c \"\\\\]{0,2}".prop_map(String::from)];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn the_rows_are_those_that_a_parser_of_the_whole_finds(
        before in value(),
        list in prop::collection::vec(value(), 0..6),
        pretty in any::<bool>(),
        piece in 1..40_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        for (selector, document) in [
            ("$[*]", json!(list)),
            ("$.x.data[*]", json!({ "before": before, "x": { "y": before, "data": list }, "z": before })),
            ("$.data[1][*]", json!({ "a": before, "data": [before, list] })),
        ] {
            let text = match pretty {
                true => serde_json::to_string_pretty(&document).unwrap(),
                false => document.to_string(),
            };
            let found = lines(selector, text.as_bytes(), piece).unwrap();
            let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(&found, &list);
            let cut = cut.index(text.len());
            if text.is_char_boundary(cut) {
                prop_assert!(lines(selector, &text.as_bytes()[..cut], piece).is_err());
            }
        }
    }

    /// Whatever no parser reads is an error of the document or of a row.
    #[test]
    fn a_broken_document_is_never_read_as_a_good_one(
        list in prop::collection::vec(value(), 0..4),
        at in any::<prop::sample::Index>(),
        with in prop::sample::select(b"[]{},:\"\\ 0a-\n".to_vec()),
        insert in any::<bool>(),
    ) {
        let mut text = json!({ "n": [1, { "b": "x\\y" }], "data": list }).to_string().into_bytes();
        let at = at.index(text.len());
        if insert { text.insert(at, with) } else { text[at] = with }
        let found = lines("$.data[*]", &text, 9);
        let good = serde_json::from_slice::<Value>(&text);
        if let (Err(_), Ok(found)) = (&good, &found) {
            prop_assert!(found.lines().any(|line| serde_json::from_str::<Value>(line).is_err()), "{found}");
        }
        if let (Ok(good), Ok(found)) = (&good, &found) {
            let rows: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(Some(&rows), good["data"].as_array());
        }
    }
}

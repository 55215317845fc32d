//! What redaction must leave as it is, for examples and for random documents.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::is_json;
use crate::domain::json_size::repeated_key;
use crate::sources::rest_api::http::redact::Secrets;
use crate::sources::rest_api::http::response::Response;

fn redacted(secrets: &[&str], body: &str) -> (String, u64) {
    let (body, places) = Secrets::of(secrets.iter().copied()).redact_body(body.into());
    (String::from_utf8(body).unwrap(), places)
}

#[test]
fn keys_that_become_one_are_told_apart_and_one_that_came_twice_still_does() {
    let secrets = ["canary-one", "canary-two"];
    for (body, expected) in [
        (r#"{"canary-one":{"canary-two":1},"canary-two":2}"#, r#"{"***":{"***":1},"***2":2}"#),
        (r#"{"***":0,"canary-one":1,"canary-two":2}"#, r#"{"***":0,"***2":1,"***3":2}"#),
        (r#"{"canary-one":1,"canary-two":2,"***":0}"#, r#"{"***2":1,"***3":2,"***":0}"#),
        (r#"[{"canary-one":1},{"canary-two":2}]"#, r#"[{"***":1},{"***":2}]"#),
        (r#"{"a-canary-one":1,"b-canary-one":2}"#, r#"{"a-***":1,"b-***":2}"#),
        (r#"{"canary-one" : "canary-two"}"#, r#"{"***" : "***"}"#),
    ] {
        assert_eq!(redacted(&secrets, body).0, expected, "{body}");
    }
    let (twice, _) = redacted(&secrets, r#"{"canary-one":1,"canary-one":2}"#);
    assert_eq!(repeated_key(&twice).as_deref(), Some("***"));
}

#[test]
fn what_is_written_around_a_secret_stays_and_escapes_are_not_torn_apart() {
    for (secret, body, expected) in [
        ("nABCDEFGH", r#"["\nABCDEFGH"]"#, r#"["\nABCDEFGH"]"#),
        ("0041BCDEFG", r#"["\u0041BCDEFG"]"#, r#"["\u0041BCDEFG"]"#),
        ("ABCDEFGH", r#"["\u0041\u0042CDEFGH\u002f"]"#, r#"["***/"]"#),
        ("abcdefgh\\", r#"["abcdefgh\"quoted\""]"#, r#"["abcdefgh\"quoted\""]"#),
        ("abcdefgh\\", r#"["abcdefgh\\quoted"]"#, r#"["***quoted"]"#),
        (
            "a&b&c&d&e",
            r#"["x\\u0026 \u00fc\/ a\u0026b\u0026c&d&e"]"#,
            r#"["x\\u0026 \u00fc\/ ***"]"#,
        ),
        // In a text within a text.
        (
            "a&b&c&d&e",
            r#"["{\"k\":\"a\\u0026b\\u0026c\\u0026d\\u0026e\"}"]"#,
            r#"["{\"k\":\"***\"}"]"#,
        ),
        ("\",\"b\":\"", r#"{"a":"","b":""}"#, r#"{"a":"","b":""}"#),
        ("1,2,3,4,5", "[1,2,3,4,5]", "[1,2,3,4,5]"),
        ("1234567.5", "[1234567.5,NaN]", "[\"***\",NaN]"),
        ("canary-one", r#"["\ud800 canary-one"]"#, r#"["\ud800 ***"]"#),
    ] {
        assert_eq!(redacted(&[secret], body).0, expected, "{secret} in {body}");
    }
}

#[test]
fn a_secret_is_found_in_any_encoding_and_the_body_is_read_as_utf_8_then() {
    let secrets = Secrets::of(["canary-one"]);
    for (text, expected) in
        [("[\"Zürich\"]", None), ("[\"Zürich canary-one\"]", Some("[\"Zürich ***\"]"))]
    {
        let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        for (body, charset) in [(utf_16, "utf-16le"), (latin, "iso-8859-1")] {
            let mut response = Response { body: body.clone(), ..Response::default() };
            let content_type = format!("application/json; charset={charset}");
            response.headers.insert("content-type", content_type.parse().unwrap());
            let response = secrets.redact_response(response);
            let expected = expected.map_or(body, |text| text.as_bytes().to_vec());
            assert_eq!(response.body, expected, "{charset}");
            let read =
                crate::sources::rest_api::http::body_text::decode(response.body, &response.headers);
            assert!(read.unwrap().starts_with("[\"Zürich"));
        }
    }
}

/// The texts of a document: its keys, its strings and its numbers.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Number(number) => out.push(number.to_string()),
        Value::Array(elements) => elements.iter().for_each(|element| texts(element, out)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            out.push(key.clone());
            texts(value, out);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}

/// How a document is built, whatever its texts are.
fn built(value: &Value) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(built).collect(),
        Value::Object(fields) => fields.values().map(built).collect(),
        _ => Value::Null,
    }
}

/// A secret, or a part of one: letters that mean something in JSON, in addresses and in escapes among them.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c][a-c0-2]{7,9}", "[\"\\\\{}:,/&+ nu0é-]{8,12}", "-?[1-9][0-9]{6}\\.5"]
}

fn spelled((secret, how): (&str, usize)) -> String {
    use base64::Engine;
    match how {
        0 => secret.to_owned(),
        1 => reqwest::Url::parse_with_params("x:", [("", secret)]).unwrap().query().unwrap()[1..]
            .to_owned(),
        2 => base64::engine::general_purpose::STANDARD.encode(secret),
        _ => Value::from(secret).to_string(),
    }
}

fn document(secrets: Vec<String>) -> impl Strategy<Value = Value> {
    let text =
        (prop::sample::select(secrets.clone()), 0..4_usize, "[a\\\\\"n ]{0,2}", any::<bool>());
    let text = text.prop_map(|(secret, how, around, whole)| match whole {
        true => spelled((&secret, how)),
        false => format!("{around}{}{around}", spelled((&secret, how))),
    });
    let text = prop_oneof![text, "[a-c\\\\\"un0*]{0,9}", prop::sample::select(secrets)].boxed();
    let leaf = prop_oneof![
        text.clone().prop_map(Value::from),
        text.clone().prop_map(|text| serde_json::from_str(&text).unwrap_or(Value::Null)),
    ];
    let value = leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..4)
                .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    });
    prop::collection::vec(value, 0..5).prop_map(|records| json!({ "data": records }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Redaction takes secrets away and nothing else: the text stays JSON, as many values stand where they
    /// stood, no two keys of an object become one, and no secret is left in any spelling that is promised.
    #[test]
    fn a_document_without_its_secrets_is_built_as_before(
        (secrets, document) in prop::collection::vec(secret(), 1..4)
            .prop_flat_map(|secrets| (Just(secrets.clone()), document(secrets))),
        (pretty, letters) in any::<(bool, bool)>(),
    ) {
        let mut text = if pretty { format!("{document:#}") } else { document.to_string() };
        if letters {
            text = text.replace('é', "\\u00e9").replace('/', "\\/").replace('&', "\\u0026");
        }
        let all: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let (shown, places) = redacted(&all, &text);
        prop_assert!(is_json(&shown), "{shown}");
        prop_assert_eq!(repeated_key(&shown), None, "{}", &shown);
        let value: Value = serde_json::from_str(&shown).unwrap();
        prop_assert_eq!(built(&value), built(&document), "{}", &shown);
        prop_assert_eq!(places == 0, shown == text);
        let mut left = Vec::new();
        texts(&value, &mut left);
        let left: BTreeSet<_> = left.into_iter().collect();
        for secret in all {
            for text in &left {
                for how in 0..4 {
                    let spelling = spelled((secret, how));
                    // What is left of a longer one around it may spell a shorter one anew.
                    prop_assert!(!text.contains(&spelling) || spelling.contains('*'), "{spelling} in {text}");
                }
            }
        }
    }
}

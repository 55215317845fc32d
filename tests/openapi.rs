//! The OpenAPI document: the committed one is that which this build serves, and its examples are as it
//! says.

use serde_json::Value;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

#[test]
fn the_committed_document_is_up_to_date() {
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == kasparro::api::openapi_json(),
        "{COMMITTED} is not what this build serves; run\n\n    \
         kasparro openapi > openapi/openapi.json\n\nand look at the difference before committing it"
    );
}

fn document() -> Value {
    serde_json::from_str(&kasparro::api::openapi_json()).unwrap()
}

/// Every answer of the document: the operation, the status, the type of its content, and that.
fn answers(document: &Value) -> Vec<(String, String, &str, &Value)> {
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                for (kind, media) in answer["content"].as_object().into_iter().flatten() {
                    all.push((format!("{method} {path}"), status.clone(), kind.as_str(), media));
                }
            }
        }
    }
    all
}

#[test]
fn every_problem_has_examples_of_its_own_status() {
    let document = document();
    let mut seen = 0;
    for (name, status, kind, media) in answers(&document) {
        if kind != "application/problem+json" {
            continue;
        }
        let examples = media["examples"].as_object().unwrap();
        assert!(!examples.is_empty(), "{name} {status}");
        for example in examples.values().map(|example| &resolved(&document, example)["value"]) {
            assert_eq!(example["status"].to_string(), status, "{name}: {example}");
            fits(&document, &media["schema"], example, &format!("{name} {status}"));
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
    assert!(document["components"]["schemas"]["Problem"]["example"].is_null(), "for any status");
}

#[test]
fn every_example_is_as_its_schema_says() {
    let document = document();
    let mut seen = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if !schema["example"].is_null() {
            fits(&document, schema, &schema["example"], name);
            seen += 1;
        }
    }
    for (name, status, _, media) in answers(&document) {
        if !media["example"].is_null() {
            fits(&document, &media["schema"], &media["example"], &format!("{name} {status}"));
        }
    }
    assert!(seen >= 5, "{seen}");
}

/// Swagger UI makes an example of what a schema says; of a bare object it would make nothing.
#[test]
fn every_good_answer_has_a_schema_that_says_what_is_in_it() {
    let document = document();
    for (name, status, _, media) in answers(&document) {
        let schema = resolved(&document, &media["schema"]);
        let says = ["properties", "allOf", "anyOf", "oneOf", "items", "example"];
        let plain = schema["type"] == "string";
        assert!(plain || says.iter().any(|key| !schema[key].is_null()), "{name} {status}");
    }
}

fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(name) => resolved(document, document.pointer(&name[1..]).expect(name)),
        None => schema,
    }
}

/// Panics unless the value is as the schema says, as far as this document's schemas say anything.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolved(document, schema);
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, part, value, at);
    }
    let is_type = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some(other) => panic!("{at}: a type that this test does not know, {other}"),
    };
    assert!(is_type, "{at}: {value} is no {}", schema["type"]);
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item, &format!("{at}[]"));
    }
    let Some(fields) = value.as_object() else { return };
    for needed in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(needed.as_str().unwrap()), "{at}: {needed} is missing");
    }
    let Some(known) = schema["properties"].as_object() else { return };
    for (name, field) in fields {
        let property = known.get(name).unwrap_or_else(|| panic!("{at}: unknown field {name}"));
        fits(document, property, field, &format!("{at}.{name}"));
    }
}

//! The OpenAPI document: the committed one is that which this build serves, and its examples are as it
//! says.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by panicking what is wrong"
)]

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

/// Each operation of the HTTP API, and the command that does the same here.
const COMMANDS: &[(&str, &str)] = &[
    ("accept_deletions", "runs accept-deletions"),
    ("attention", "attention"),
    ("cancel_run", "runs cancel"),
    ("change_rate_limit", "rate-limits set"),
    ("export_records", "export"),
    ("follow_run", "runs follow"),
    ("get_record", "records show"),
    ("get_record_lineage", "records show"),
    ("get_run", "runs show"),
    ("health", "healthcheck"),
    ("list_drift", "drift"),
    ("list_quarantine", "quarantine"),
    ("list_rate_limits", "rate-limits"),
    ("list_records", "records"),
    ("list_run_samples", "runs samples"),
    ("list_run_tasks", "runs tasks"),
    ("list_runs", "runs"),
    ("list_schema_versions", "schemas"),
    ("list_sources", "sources"),
    ("pause_source", "sources pause"),
    ("preview_source", "preview"),
    ("ready", "healthcheck --ready"),
    ("redrive_quarantine", "run --redrive"),
    ("resume_source", "sources resume"),
    ("retry_run", "runs retry"),
    ("start_runs", "run"),
    ("stats", "stats"),
];

/// Operations of which the command line needs none: whoever is on the machine copies a file into the folder, and the
/// inbox of changes of schemas is the console's.
const WITHOUT_COMMAND: [&str; 4] =
    ["acknowledge_drift", "get_definition", "get_drift", "upload_file"];

/// Parameters that have another name on the command line, or none.
const OTHERWISE: &[(&str, Option<&str>)] = &[
    ("external_id", Some("<KEY>")),
    ("group_by", Some("--rows")),
    ("id", Some("<ID>")),
    ("name", Some("<SOURCE>")),
    // A command is typed once, and follows from now on.
    ("Idempotency-Key", None),
    ("Last-Event-ID", None),
];

fn help(command: &str) -> String {
    let words = command.split(' ').filter(|word| !word.starts_with("--"));
    let program = env!("CARGO_BIN_EXE_kasparro");
    let output = std::process::Command::new(program).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "kasparro {command}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_command_line_can_do_what_the_api_can() {
    let document: serde_json::Value = serde_json::from_str(&kasparro::api::openapi_json()).unwrap();
    let mut operations = Vec::new();
    for methods in document["paths"].as_object().unwrap().values() {
        operations.extend(methods.as_object().unwrap().values());
    }
    let name =
        |operation: &serde_json::Value| operation["operationId"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = operations.iter().map(|operation| name(operation)).collect();
    names.sort();
    names.retain(|name| !WITHOUT_COMMAND.contains(&name.as_str()));
    let known: Vec<_> = COMMANDS.iter().map(|(operation, _)| *operation).collect();
    assert_eq!(names, known, "give each operation its command");
    operations.retain(|operation| !WITHOUT_COMMAND.contains(&name(operation).as_str()));
    for operation in operations {
        let (_, command) = COMMANDS.iter().find(|(known, _)| *known == name(operation)).unwrap();
        let help = help(command);
        for flag in command.split(' ').filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{command}: no {flag} in\n{help}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = parameter["name"].as_str().unwrap();
            let flag = format!("--{}", parameter.replace('_', "-"));
            let (required, optional) = (
                format!("<{}>", parameter.to_uppercase()),
                format!("[{}]", parameter.to_uppercase()),
            );
            let found = match OTHERWISE.iter().find(|(known, _)| *known == parameter) {
                Some((_, other)) => other.is_none_or(|other| help.contains(other)),
                None => [&flag, &required, &optional].iter().any(|form| help.contains(*form)),
            };
            assert!(found, "kasparro {command} has no {parameter}:\n{help}");
        }
    }
}

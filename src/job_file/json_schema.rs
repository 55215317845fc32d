//! Owns the JSON Schema of job files, which lets editors complete and check them.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::parse::JobFile;

/// The JSON Schema of a job file. `kinds` are the known kinds with the schema of their tables.
pub fn json_schema(kinds: &[(&str, Schema)]) -> Value {
    let mut root = schemars::schema_for!(JobFile).to_value();
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    root["title"] = json!("kasparro job");
    root["properties"]["kind"]["enum"] = json!(names);
    for (kind, schema) in kinds {
        let mut schema = schema.clone().to_value();
        prefix_references(&mut schema, kind);
        if let Value::Object(members) = &mut schema {
            members.remove("$schema");
            let definitions = members.remove("$defs");
            adopt(&mut root, kind, definitions);
        }
        root["properties"][*kind] = schema;
    }
    root["oneOf"] = json!([{"required": ["primary_key"]}, {"required": ["external_id"]}]);
    root["allOf"] = kinds
        .iter()
        .map(|(kind, _)| {
            let others: Map<String, Value> = names
                .iter()
                .filter(|other| *other != kind)
                .map(|other| ((*other).to_owned(), json!(false)))
                .collect();
            json!({
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"required": [kind], "properties": others},
            })
        })
        .collect();
    root
}

/// Takes a kind's definitions over under names that no other kind's have.
fn adopt(root: &mut Value, kind: &str, definitions: Option<Value>) {
    let Some(Value::Object(definitions)) = definitions else {
        return;
    };
    for (name, definition) in definitions {
        root["$defs"][format!("{kind}.{name}")] = definition;
    }
}

fn prefix_references(schema: &mut Value, kind: &str) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                let name = value.as_str().and_then(|text| text.strip_prefix("#/$defs/"));
                match name.filter(|_| key == "$ref") {
                    Some(name) => *value = json!(format!("#/$defs/{kind}.{name}")),
                    None => prefix_references(value, kind),
                }
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| prefix_references(item, kind));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;

    /// How to read a file.
    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct File {
        /// Where it is.
        paths: Vec<String>,
        ragged: Option<Ragged>,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    enum Ragged {
        Pad,
    }

    #[test]
    fn the_schema_describes_the_file_and_every_kind() {
        let schema = json_schema(&[
            ("csv", schemars::schema_for!(File)),
            ("tsv", schemars::schema_for!(File)),
        ]);
        assert_eq!(schema["properties"]["kind"]["enum"], json!(["csv", "tsv"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        let description =
            schema["properties"]["csv"]["properties"]["paths"]["description"].as_str();
        assert_eq!(description, Some("Where it is."));
        let mut references = Vec::new();
        collect_references(&schema, &mut references);
        assert!(references.contains(&"#/$defs/csv.Ragged".to_owned()));
        for reference in references {
            assert!(schema.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn doc_comments_become_descriptions() {
        let schema = json_schema(&[]);
        let price = &schema["$defs"]["FieldTable"]["properties"]["min"];
        assert_eq!(price["description"], json!("The smallest number allowed."));
        let schedule = schema["properties"]["schedule"]["description"].as_str().unwrap();
        assert!(schedule.starts_with("When the source is due"), "{schedule}");
    }

    fn collect_references(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(members) => {
                for (key, value) in members {
                    match value.as_str() {
                        Some(text) if key == "$ref" => found.push(text.to_owned()),
                        _ => collect_references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|i| collect_references(i, found)),
            _ => {}
        }
    }
}

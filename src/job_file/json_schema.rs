//! Owns the JSON Schema of job files, which lets editors complete and check them.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::parse::{EXPORT, FILES, JobFile};

/// A kind of source, as far as the schema goes.
pub struct KindSchema {
    /// The value of `kind`, and the name of its table.
    pub name: &'static str,
    /// Whether it takes the table `files`.
    pub reads_files: bool,
    /// Its table.
    pub table: Schema,
}

/// The JSON Schema of a job file. `kinds` are the known kinds, `files` and `export` are the tables that those
/// share that read files.
pub fn json_schema(kinds: &[KindSchema], files: &Schema, export: &Schema) -> Value {
    let mut root = schemars::schema_for!(JobFile).to_value();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    root["title"] = json!("kasparro job");
    root["properties"]["kind"]["enum"] = json!(names);
    let tables =
        kinds.iter().map(|kind| (kind.name, &kind.table)).chain([(FILES, files), (EXPORT, export)]);
    for (name, schema) in tables {
        let mut schema = schema.clone().to_value();
        prefix_references(&mut schema, name);
        if let Value::Object(members) = &mut schema {
            members.remove("$schema");
            let definitions = members.remove("$defs");
            adopt(&mut root, name, definitions);
        }
        root["properties"][name] = schema;
    }
    root["oneOf"] = json!([{"required": ["primary_key"]}, {"required": ["external_id"]}]);
    root["allOf"] = kinds
        .iter()
        .map(|kind| {
            json!({
                "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
                "then": tables_of(kind, &names),
            })
        })
        .collect();
    root
}

/// The tables that a job file of a kind has, and those that it must not have.
fn tables_of(kind: &KindSchema, names: &[&str]) -> Value {
    let others = names.iter().filter(|other| **other != kind.name);
    let mut others: Map<String, Value> =
        others.map(|other| ((*other).to_owned(), json!(false))).collect();
    if !kind.reads_files {
        others.insert(FILES.to_owned(), json!(false));
        others.insert(EXPORT.to_owned(), json!(false));
        return json!({"required": [kind.name], "properties": others});
    }
    let has_paths =
        |table: &str| json!({"required": [table], "properties": {table: {"required": ["paths"]}}});
    let mut ways = vec![has_paths(FILES), json!({"required": [EXPORT]})];
    if kind.table.pointer("/properties/paths").is_some() {
        ways.push(has_paths(kind.name));
    }
    json!({"oneOf": ways, "properties": others})
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
    #[expect(dead_code, reason = "only read by serde or schemars")]
    struct File {
        /// Where it is.
        paths: Vec<String>,
        ragged: Option<Ragged>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only read by serde or schemars")]
    enum Ragged {
        Pad,
    }

    #[test]
    fn the_schema_describes_the_file_and_every_kind() {
        let kind = |name| KindSchema {
            name,
            reads_files: name == "csv",
            table: schemars::schema_for!(File),
        };
        let schema = json_schema(
            &[kind("csv"), kind("tsv")],
            &schemars::schema_for!(Ragged),
            &schemars::schema_for!(Ragged),
        );
        assert_eq!(schema["properties"]["kind"]["enum"], json!(["csv", "tsv"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        let description =
            schema["properties"]["csv"]["properties"]["paths"]["description"].as_str();
        assert_eq!(description, Some("Where it is."));
        let then = |kind: usize| &schema["allOf"][kind]["then"];
        assert_eq!(then(0)["oneOf"][0]["required"], json!(["files"]));
        assert_eq!(then(0)["oneOf"][2]["properties"]["csv"]["required"], json!(["paths"]));
        assert_eq!(then(0)["properties"], json!({"tsv": false}));
        assert_eq!(then(1)["required"], json!(["tsv"]));
        assert_eq!(then(1)["properties"], json!({"csv": false, "files": false, "export": false}));
        let mut references = Vec::new();
        collect_references(&schema, &mut references);
        assert!(references.contains(&"#/$defs/csv.Ragged".to_owned()));
        for reference in references {
            assert!(schema.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn doc_comments_become_descriptions() {
        let schema =
            json_schema(&[], &schemars::schema_for!(Ragged), &schemars::schema_for!(Ragged));
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

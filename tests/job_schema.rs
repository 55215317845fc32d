//! The committed JSON Schema of job files is the one that this build understands, and documents name all of its keys.

use serde_json::Value;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/job.schema.json");

#[test]
fn the_committed_schema_is_up_to_date() {
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == kasparro::sources::job_schema_json(),
        "{COMMITTED} is not what this build understands; run\n\n    \
         kasparro job-schema > jobs/job.schema.json\n\nand look at the difference before committing it"
    );
}

/// The keys of a part of the schema, those that it refers to among them.
fn keys_of<'s>(schema: &'s Value, part: &'s Value, keys: &mut Vec<&'s str>) {
    keys.extend(part["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()));
    if let Some(name) = part["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        keys_of(schema, &schema["$defs"][name], keys);
    }
    for of in ["allOf", "anyOf"] {
        part[of].as_array().into_iter().flatten().for_each(|part| keys_of(schema, part, keys));
    }
}

/// The section of a document under a heading that begins like this.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let begins = format!("\n## {heading}");
    let (_, behind) = text.split_once(&begins).unwrap_or_else(|| panic!("no section {heading}"));
    behind.split_once("\n## ").map_or(behind, |(section, _)| section)
}

#[test]
fn every_paginator_and_login_is_documented_with_all_its_keys_and_an_example() {
    let schema: Value = serde_json::from_str(include_str!("../jobs/job.schema.json")).unwrap();
    let paginators = include_str!("../docs/paginators.md");
    let common = section(paginators, "Keys of all paginators");
    for (kind, text, common, quote, least) in [
        ("rest_api.Paginator", paginators, common, "", 6),
        ("rest_api.Auth", include_str!("../docs/login.md"), "", "`", 6),
    ] {
        let variants = schema["$defs"][kind]["oneOf"].as_array().expect("variants");
        assert!(variants.len() >= least, "{kind}");
        for variant in variants {
            let name = variant["properties"]["type"]["const"].as_str().expect("its name");
            let section = section(text, &format!("{quote}{name}{quote}\n"));
            assert!(section.contains("```toml"), "{kind} {name} has no example");
            let mut keys = Vec::new();
            keys_of(&schema, variant, &mut keys);
            keys.retain(|key| *key != "type");
            for key in keys {
                let written = format!("`{key}`");
                let is_there = section.contains(&written) || common.contains(&written);
                assert!(is_there, "{kind} {name}: `{key}` is not documented");
            }
        }
    }
}

//! Owns the OpenAPI document: its head, and what it says of all resources.

use std::collections::HashMap;

use poem_openapi::registry::{MetaParamIn, MetaPath};
use poem_openapi::{LicenseObject, OpenApi, OpenApiService};

use super::paths::{KnownPath, Queries};
use super::security::with_security;
use crate::api::http::json_body;
use crate::api::resources::{RESOURCES, Resources};

const DESCRIPTION: &str = "\
kasparro turns APIs and files into one clean, deduplicated, auditable table.

- **Lists** come in pages: give `next_cursor` as `cursor` to get the next part.
- **Problems** are RFC 9457 problem details (`application/problem+json`); programs decide by `type`.
- **Numbers** with a fraction are strings, so that every digit stays.
- **Following a run**: `GET /runs/{id}/events` tells what changes as server-sent events.
- **Tokens**: as soon as there is one, everything but health needs one: `Authorization: Bearer kas_…`.
- **Starting a run twice** by accident is prevented by the header `Idempotency-Key`.";

/// The operations with their document.
pub(crate) fn service() -> OpenApiService<Resources, ()> {
    OpenApiService::new(RESOURCES, "kasparro", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .license(LicenseObject::new(env!("CARGO_PKG_LICENSE")))
        .server("/")
}

/// The document as JSON text, the same for every build of a version; needs no database.
pub fn openapi_json() -> String {
    // The text is that of poem-openapi, which writes nothing but JSON.
    let document = serde_json::from_str(&service().spec()).unwrap_or_default();
    format!("{:#}\n", with_security(json_body::strict(document)))
}

/// The paths of the document by the pattern that the router knows them by: poem-openapi makes
/// `/runs/:param0` of `/runs/{id}`, and speaks of `param0` in its errors.
pub(crate) fn paths() -> HashMap<String, KnownPath> {
    let known = |path: MetaPath| {
        let methods = path.operations.into_iter().map(|operation| operation.method).collect();
        let mut parameters = Vec::new();
        let mut pattern = String::new();
        for segment in path.path.split('/').skip(1) {
            match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) => {
                    pattern += &format!("/:param{}", parameters.len());
                    parameters.push(name.to_owned());
                }
                None => pattern += &format!("/{segment}"),
            }
        }
        (pattern, KnownPath { methods, parameters })
    };
    Resources::meta().into_iter().flat_map(|api| api.paths).map(known).collect()
}

/// The queries of every operation; of paths that fit one request the plainest comes first.
pub(crate) fn queries() -> Vec<Queries> {
    let of_path = |path: MetaPath| {
        let segment = |text: &str| (!text.starts_with('{')).then(|| text.to_owned());
        let segments: Vec<_> = path.path.split('/').skip(1).map(segment).collect();
        path.operations.into_iter().map(move |operation| {
            let queries = operation.params.into_iter().filter(|p| p.in_type == MetaParamIn::Query);
            let names = queries.map(|param| param.name).collect();
            Queries { method: operation.method, segments: segments.clone(), names }
        })
    };
    let paths = Resources::meta().into_iter().flat_map(|api| api.paths);
    let mut all: Vec<_> = paths.flat_map(of_path).collect();
    all.sort_by_key(|queries| queries.segments.iter().filter(|s| s.is_none()).count());
    all
}

#[cfg(test)]
mod tests {
    use poem::http::Method;
    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&openapi_json()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, Value)> {
        let paths = document["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &Value)| {
            let named = |(m, o): (&String, &Value)| (format!("{m} {path}"), o.clone());
            methods.as_object().unwrap().iter().map(named).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    #[test]
    fn the_document_is_the_same_every_time_and_ends_with_a_line_feed() {
        assert_eq!(openapi_json(), openapi_json());
        assert!(openapi_json().ends_with("}\n"));
    }

    #[test]
    fn every_operation_has_an_id_a_summary_and_one_tag() {
        for (name, operation) in operations(&document()) {
            assert!(operation["operationId"].is_string(), "{name}");
            assert!(operation["summary"].is_string(), "{name}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
        }
    }

    #[test]
    fn every_operation_declares_its_problems() {
        for (name, operation) in operations(&document()) {
            assert!(operation["responses"]["429"].is_object(), "{name}");
            // Health answers in its own shape.
            if name.contains("/health") {
                assert!(operation["responses"]["503"].is_object(), "{name}");
                continue;
            }
            let mut expected = vec!["400", "401", "403", "500", "503"];
            if operation["requestBody"].is_object() {
                expected.extend(["408", "413", "415", "422"]);
            }
            for status in expected {
                let content = &operation["responses"][status]["content"];
                assert!(content["application/problem+json"].is_object(), "{name} {status}");
            }
        }
    }

    #[test]
    fn every_operation_but_those_on_health_says_that_it_needs_a_token() {
        let document = document();
        assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        for (name, operation) in operations(&document) {
            let needed = serde_json::json!([{ "token": [] }]);
            let open = name.contains("/health");
            assert_eq!(operation["security"] == needed, !open, "{name}");
        }
    }

    /// Unknown fields are refused, and null is one way to say nothing.
    #[test]
    fn every_body_says_that_it_takes_no_other_fields() {
        let document = document();
        for (name, operation) in operations(&document) {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(schema) = body["$ref"].as_str() else { continue };
            let schema = schema.rsplit('/').next().unwrap();
            let schema = &document["components"]["schemas"][schema];
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }

    #[test]
    fn the_reasons_that_can_be_asked_for_are_listed() {
        let document = document();
        let reasons = &document["components"]["schemas"]["ReasonCode"]["enum"];
        assert_eq!(
            reasons.as_array().map(Vec::len),
            Some(crate::domain::reject::ReasonCode::ALL.len())
        );
    }

    /// Absent values are written as null, and a strict reader must expect them.
    #[test]
    fn every_optional_property_of_an_answer_may_be_null() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let required: Vec<&Value> =
                schema["required"].as_array().into_iter().flatten().collect();
            for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                let optional = !required.iter().any(|r| *r == field);
                // It leaves absent values out.
                if optional && name != "Problem" {
                    assert_eq!(property["nullable"], true, "{name}.{field}");
                }
            }
        }
    }

    #[test]
    fn paths_are_known_by_the_pattern_of_the_router() {
        let paths = paths();
        assert_eq!(paths["/runs"].methods, [Method::POST, Method::GET]);
        let record = &paths["/records/:param0/:param1"];
        assert_eq!(record.parameters, ["source", "external_id"]);
    }
}

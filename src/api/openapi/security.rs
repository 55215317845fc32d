//! Owns what the document says of security: which token an operation needs, and the refusals that
//! come before any operation. Written into the finished document, so that no operation can forget it.

use poem::http::Method;
use serde_json::{Map, Value, json};

use crate::api::http::problem::{Kind, all_examples, examples};
use crate::api::http::required_scope;
use crate::domain::token::Scope;

const SCHEME: &str = "token";

/// Adds the scheme, and to each operation what it needs.
pub(crate) fn with_security(mut document: Value) -> Value {
    document["components"]["securitySchemes"] = json!({ SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "kas_<id>_<secret>",
        "description": "`kasparro token create` makes tokens. As soon as there is one, every \
                        operation but those on health needs one.",
    }});
    document["components"]["examples"] = all_examples().into();
    let paths = document["paths"].as_object_mut();
    for (path, operations) in paths.into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let Ok(method) = method.to_ascii_uppercase().parse::<Method>() else { continue };
            declare(operation, required_scope::scope(&method, path));
        }
    }
    document
}

fn declare(operation: &mut Value, scope: Option<Scope>) {
    if let Some(scope) = scope {
        operation["security"] = json!([{ SCHEME: [] }]);
        let text = operation["description"].as_str().map(|text| format!("{text}\n\n"));
        let text = format!("{}Needs the scope `{scope}`.", text.unwrap_or_default());
        operation["description"] = text.into();
    }
    let has_body = operation["requestBody"].is_object();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    responses.values_mut().for_each(lift_examples);
    if scope.is_some() {
        add(
            responses,
            "A parameter cannot be read, or is not known.",
            None,
            &[Kind::InvalidParameter],
        );
        add(responses, "There is no good token.", Some("WWW-Authenticate"), &[Kind::Unauthorized]);
        add(
            responses,
            "The token's scope is too small, or the request comes from the page of another site \
             or asks for another name.",
            None,
            &[Kind::Forbidden, Kind::ForeignPage],
        );
        responses.remove("503");
        add(
            responses,
            "The database does not answer, or too many requests are being worked on; try again.",
            None,
            &[Kind::Unavailable, Kind::Busy],
        );
    }
    if has_body {
        add(responses, "The body did not arrive in time.", None, &[Kind::SlowRequest]);
    }
    add(responses, "The client asks too often.", Some("Retry-After"), &[Kind::TooManyRequests]);
    let mut sorted: Vec<_> = std::mem::take(responses).into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    responses.extend(sorted);
}

/// The examples that `problem` left in the schema go where OpenAPI has them.
fn lift_examples(response: &mut Value) {
    let Some(content) = response["content"].as_object_mut() else { return };
    for media in content.values_mut() {
        if let Some(examples) = media["schema"]["example"].as_object().cloned()
            && let Some(schema) = media["schema"]["allOf"].get(0).cloned()
        {
            *media = json!({ "schema": schema, "examples": examples });
        }
    }
}

/// Adds problems of one status to those that the operation declares.
fn add(responses: &mut Map<String, Value>, text: &str, header: Option<&str>, kinds: &[Kind]) {
    let Some(status) = kinds.first().map(|kind| kind.status().as_str().to_owned()) else { return };
    let response = responses.entry(status).or_insert_with(|| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let media = json!({ "schema": schema, "examples": {} });
        json!({ "description": text, "content": { "application/problem+json": media } })
    });
    if let Some(header) = header {
        let header = json!({ header: { "required": true, "schema": { "type": "string" } } });
        response["headers"] = header;
    }
    let media = &mut response["content"]["application/problem+json"];
    if let Some(known) = media["examples"].as_object_mut() {
        known.extend(examples(kinds.iter().copied()));
    }
}

//! Owns what the document says of the doors: which token an operation needs, and the refusals that
//! come before any operation. Written into the finished document, so that no operation can forget it.

use poem::http::Method;
use serde_json::{Map, Value, json};

use super::needs;
use crate::domain::token::Scope;

const SCHEME: &str = "token";

/// Adds the doors to a document.
pub(super) fn with_doors(mut document: Value) -> Value {
    document["components"]["securitySchemes"] = json!({ SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "kas_<id>_<secret>",
        "description": "`kasparro token create` makes tokens. As soon as there is one, every \
                        operation but those on health needs one.",
    }});
    let paths = document["paths"].as_object_mut();
    for (path, operations) in paths.into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let Ok(method) = method.to_ascii_uppercase().parse::<Method>() else { continue };
            declare(operation, needs::scope(&method, path));
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
    if scope.is_some() {
        add(responses, 401, "There is no good token.", Some("WWW-Authenticate"));
        add(
            responses,
            403,
            "The token's scope is too small, or the request comes from the page of \
             another site.",
            None,
        );
        add(
            responses,
            503,
            "The database does not answer, or too many requests are being worked \
             on; try again.",
            None,
        );
    }
    if has_body {
        add(responses, 408, "The body did not arrive in time.", None);
    }
    add(responses, 429, "The client asks too often.", Some("Retry-After"));
    let mut sorted: Vec<_> = std::mem::take(responses).into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    responses.extend(sorted);
}

fn add(responses: &mut Map<String, Value>, status: u16, text: &str, header: Option<&str>) {
    let mut response = json!({
        "description": text,
        "content": {
            "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
        },
    });
    if let Some(header) = header {
        let header = json!({ header: { "required": true, "schema": { "type": "string" } } });
        response["headers"] = header;
    }
    responses.insert(status.to_string(), response);
}

//! Owns finding the words of an error in a body of any kind: APIs have a hundred ways to say what is
//! wrong.

use serde_json::Value;

use crate::domain::text;

/// The error text in a body such as `{"error": "…"}`, `{"status": {"error_message": "…"}}`,
/// `{"error": {"status": {"error_message": "…"}}}`, `{"errors": [{"message": "…"}]}` or `[{"message": …}]`.
pub(super) fn error_in(body: &Value) -> Option<&str> {
    const KEYS: [&str; 12] = [
        "error",
        "error_message",
        "message",
        "detail",
        "errors",
        "errorMessage",
        "errorMessages",
        "msg",
        "Error Message",
        // Alpha Vantage.
        "Note",
        "Information",
        "status",
    ];
    if let Value::Array(only) = body
        && let [only] = only.as_slice()
    {
        return Some(only).filter(|only| only.is_object()).and_then(error_in);
    }
    let fields = body.as_object()?;
    KEYS.iter().find_map(|key| match fields.get(*key)? {
        Value::String(text) => Some(text.as_str()),
        nested => said_in(nested),
    })
}

/// The text of an error that is a list or an object.
fn said_in(error: &Value) -> Option<&str> {
    const KEYS: [&str; 7] =
        ["description", "title", "reason", "value", "name", "code", "error_description"];
    match error {
        Value::String(text) => Some(text.as_str()).filter(|text| !text.trim().is_empty()),
        Value::Array(errors) => errors.iter().find_map(said_in),
        Value::Object(fields) => {
            // What has words of its own says more than a status.
            let words = || KEYS.iter().find_map(|key| said_in(fields.get(*key)?));
            let said = error_in(error).filter(|text| !text.trim().is_empty());
            match fields.get("status").and_then(Value::as_str) {
                Some(status) if said == Some(status) => words().or(said),
                _ => said.or_else(words),
            }
        }
        _ => None,
    }
}

/// The words of an error of any form, on one line; `None` when it has none.
pub(super) fn words_in(error: &Value) -> Option<String> {
    said_in(error).map(text::beginning)
}

/// A value as a message shows it, on one line.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text::beginning(text),
        value => text::beginning(&value.to_string()),
    }
}

/// A text of an API, printable.
pub(super) fn shown(text: &str) -> String {
    text::visible(&text::beginning(text)).into_owned()
}

/// Whether a body is an error and nothing else: a record may well have a field named `status`.
pub(super) fn is_error(body: &Value) -> bool {
    let only = body.as_object().filter(|fields| fields.len() == 1);
    only.is_some_and(|fields| fields.contains_key("error") || fields.contains_key("status"))
        && error_in(body).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_a_status_is_no_error() {
        let json = |text| serde_json::from_str(text).unwrap();
        assert!(is_error(&json(r#"{"error":"x"}"#)));
        assert!(is_error(&json(r#"{"status":{"error_message":"x"}}"#)));
        assert!(!is_error(&json(r#"{"id":1,"status":"x"}"#)));
        assert!(!is_error(&json(r#"{"status":{"id":1}}"#)));
    }
}

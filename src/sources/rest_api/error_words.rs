//! Owns finding the words of an error in a body of any kind: APIs have a hundred ways to say what is
//! wrong.

use serde_json::{Map, Value};

use super::template;
use crate::domain::text;

/// The most places of a request that are named one by one.
const MOST_PLACES: usize = 3;

/// The error text in a body, and what it says besides: OAuth's `error_description`, and which part of the request is
/// wrong, as RFC 9457, FastAPI and validating proxies name it.
pub(super) fn error_in(body: &Value) -> Option<String> {
    let said = first_words(body)?;
    let nested = body.get("error").filter(|error| error.is_object());
    let objects = [Some(body), nested].into_iter().flatten().filter_map(Value::as_object);
    for fields in objects {
        let told = |key: &str| fields.get(key).and_then(Value::as_str).map(str::trim);
        let description =
            told("error_description").filter(|text| !text.is_empty() && *text != said);
        if let Some(description) = description.filter(|_| told("error") == Some(said.trim())) {
            return Some(format!("{said}: {description}"));
        }
        if let Some(places) = places_in(fields) {
            // One of them may be what was found first.
            return Some(match places.contains(said) {
                true => places,
                false => format!("{said}: {places}"),
            });
        }
    }
    Some(said.to_owned())
}

/// The parts of the request that an error names, with what is wrong there.
fn places_in(fields: &Map<String, Value>) -> Option<String> {
    const LISTS: [&str; 9] = [
        "detail",
        "details",
        "errors",
        "validation",
        "violations",
        "invalid-params",
        "invalid_params",
        "fieldErrors",
        "fieldViolations",
    ];
    let lists = LISTS.iter().filter_map(|key| fields.get(*key)?.as_array());
    let places = lists.map(|list| list.iter().filter_map(place_in).collect::<Vec<_>>());
    let mut places = places.into_iter().find(|places| !places.is_empty())?;
    let more = places.len().saturating_sub(MOST_PLACES);
    places.truncate(MOST_PLACES);
    let places = places.join("; ");
    Some(if more > 0 { format!("{places}; and {more} more") } else { places })
}

/// `query.limit: must be less than 100` of `{"loc": ["query", "limit"], "msg": "must be …"}` and its kin.
fn place_in(error: &Value) -> Option<String> {
    const PLACES: [&str; 10] = [
        "loc",
        "location",
        "pointer",
        "path",
        "field",
        "parameter",
        "param",
        "property",
        "name",
        "source",
    ];
    const WORDS: [&str; 6] = ["msg", "message", "detail", "description", "reason", "title"];
    let fields = error.as_object()?;
    let place = PLACES.iter().find_map(|key| match fields.get(*key)? {
        Value::String(place) => Some(place.clone()).filter(|place| !place.is_empty()),
        Value::Array(steps) if !steps.is_empty() => {
            let steps: Vec<_> = steps.iter().map(template::text_of).collect();
            Some(steps.join("."))
        }
        // JSON:API.
        Value::Object(source) => {
            let place = source.get("pointer").or_else(|| source.get("parameter"))?;
            place.as_str().map(str::to_owned)
        }
        _ => None,
    });
    let words = WORDS.iter().find_map(|key| fields.get(*key)?.as_str());
    Some(format!("{}: {}", place?, words?))
}

/// The error text in a body such as `{"error": "…"}`, `{"status": {"error_message": "…"}}`,
/// `{"error": {"status": {"error_message": "…"}}}`, `{"errors": [{"message": "…"}]}` or `[{"message": …}]`.
fn first_words(body: &Value) -> Option<&str> {
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
        return Some(only).filter(|only| only.is_object()).and_then(first_words);
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
            let said = first_words(error).filter(|text| !text.trim().is_empty());
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
        && first_words(body).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_besides_its_first_words_is_told() {
        for (body, says) in [
            (
                r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
                "invalid_grant: Token has been expired or revoked.",
            ),
            (r#"{"error":"invalid_grant","error_description":""}"#, "invalid_grant"),
            (
                r#"{"detail":[{"loc":["query","limit"],"msg":"must be at most 100","type":"value_error"},
                              {"loc":["body",0,"id"],"msg":"field required"}]}"#,
                "query.limit: must be at most 100; body.0.id: field required",
            ),
            (
                r#"{"type":"https://stoplight.io/x","title":"Invalid query","status":422,
                    "detail":"Your request is not valid","validation":[{"location":["query","page"],
                    "severity":"Error","code":"type","message":"must be integer"}]}"#,
                "Your request is not valid: query.page: must be integer",
            ),
            (
                r##"{"title":"Your request is not valid.","errors":[{"detail":"must be positive","pointer":"#/age"},
                    {"detail":"is gone","pointer":"#/a"},{"detail":"b","pointer":"#/b"},{"detail":"c","pointer":"#/c"}]}"##,
                "#/age: must be positive; #/a: is gone; #/b: b; and 1 more",
            ),
            (
                r#"{"errors":[{"title":"bad","source":{"parameter":"page[size]"}}]}"#,
                "page[size]: bad",
            ),
            (
                r#"{"error":{"code":400,"message":"bad request","details":[{"field":"q","description":"is empty"}]}}"#,
                "bad request: q: is empty",
            ),
            (r#"{"errors":[{"message":"timeout"}]}"#, "timeout"),
            (r#"{"error":"x","message":"y"}"#, "x"),
        ] {
            let body = serde_json::from_str(body).unwrap();
            assert_eq!(error_in(&body).as_deref(), Some(says), "{body}");
        }
    }

    #[test]
    fn a_record_with_a_status_is_no_error() {
        let json = |text| serde_json::from_str(text).unwrap();
        assert!(is_error(&json(r#"{"error":"x"}"#)));
        assert!(is_error(&json(r#"{"status":{"error_message":"x"}}"#)));
        assert!(!is_error(&json(r#"{"id":1,"status":"x"}"#)));
        assert!(!is_error(&json(r#"{"status":{"id":1}}"#)));
    }
}

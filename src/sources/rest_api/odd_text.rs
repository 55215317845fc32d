//! Owns how an answer is kept that is JSON but for numbers that JSON does not have: as a text within JSON, from
//! which it comes back exactly as it came.

use serde_json::{Map, Value, json};

use crate::sources::{SourceError, SourceErrorKind};

/// The key of the text.
const AS_IT_CAME: &str = "as_it_came";

/// The JSON text that it is kept as.
pub(super) fn kept(body: &str) -> String {
    json!({ AS_IT_CAME: body }).to_string()
}

/// What mapping has to know of it. The same text may be a page of its own.
pub(super) fn context() -> Value {
    json!({ AS_IT_CAME: true })
}

/// What was kept by [`kept`], if the context says that it was.
///
/// # Errors
/// When the text is another.
pub(super) fn unkept(text: &str, context: &Value) -> Result<Option<String>, SourceError> {
    if context.get(AS_IT_CAME).is_none() {
        return Ok(None);
    }
    let kept = serde_json::from_str(text).ok().and_then(|mut kept: Map<_, _>| {
        match kept.remove(AS_IT_CAME) {
            Some(Value::String(body)) => Some(body),
            _ => None,
        }
    });
    kept.map(Some).ok_or_else(|| {
        let message = "the page is not kept as its context says";
        SourceError::new(SourceErrorKind::InvalidState, message)
    })
}

//! Owns that no two records become one because a secret was replaced in their keys: such a row is set aside, with the
//! reason.

use serde_json::{Map, Value};

use super::http::redact_json::REDACTED;
use crate::domain::reject::{Defect, ReasonCode};
use crate::mapping::Mapping;
use crate::values::row::Row;

/// The key, in the context of a page, that says that secrets were replaced in it.
const IS_REDACTED: &str = "redacted";

/// The context of a page, in so many places of which a secret was replaced.
pub(super) fn context(context: Value, redacted: u64) -> Value {
    if redacted == 0 {
        return context;
    }
    let mut fields = match context {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.insert(IS_REDACTED.to_owned(), true.into());
    Value::Object(fields)
}

/// Whether secrets were replaced in a page, by its context.
pub(super) fn of_context(context: &Value) -> bool {
    context.get(IS_REDACTED).is_some()
}

/// What is wrong with a row of such a page, if a secret was replaced in its key.
pub(super) fn defect(mapping: &Mapping, row: &dyn Row) -> Option<Defect> {
    let part = mapping.key_part_with(row, REDACTED)?;
    let message = format!(
        "{part}: holds a secret of the request, in whose place `{REDACTED}` is stored (expected a key that tells \
         records apart without it)"
    );
    Some(Defect::without_value(Some(part.to_owned()), ReasonCode::RedactedKey, message))
}

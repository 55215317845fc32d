//! Owns which records of an API say of themselves that they are deleted.

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::sources::{SourceError, SourceErrorKind};
use crate::values::json_path;

/// A filter, such as `$[?@.status == 'deleted']`, over a list of one record.
#[derive(Debug)]
pub(super) struct Deleted(JsonPath);

impl Deleted {
    /// The filter of a job file.
    ///
    /// # Errors
    /// Permanent, when it is no JSONPath, or finds values within records instead of records.
    pub fn new(text: &str) -> Result<Self, SourceError> {
        let wrong = |problem: String| {
            SourceError::new(
                SourceErrorKind::InvalidConfig,
                format!("`rest_api.deleted` = `{text}` {problem}"),
            )
            .advise("write a filter over records, such as \"$[?@.status == 'deleted']\"")
        };
        let path =
            json_path::parse(text).map_err(|error| wrong(format!("is no JSONPath: {error}")))?;
        let is_filter = text.starts_with("$[?") && text.ends_with(']');
        if !is_filter {
            return Err(wrong("is no filter".to_owned()));
        }
        Ok(Self(path))
    }

    /// Whether a record, given as its text, says so.
    pub fn is_said_by(&self, record: &str) -> bool {
        // What is no JSON is set aside, and no record.
        let Ok(record) = serde_json::from_str::<Value>(record) else { return false };
        !self.0.query(&Value::Array(vec![record])).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_finds_the_records_that_say_so() {
        let deleted = Deleted::new("$[?@.status == 'deleted' || @.archived == true]").unwrap();
        for (record, said) in [
            (r#"{"status": "deleted"}"#, true),
            (r#"{"status": "open", "archived": true}"#, true),
            (r#"{"status": "open"}"#, false),
            ("{}", false),
            ("no JSON", false),
        ] {
            assert_eq!(deleted.is_said_by(record), said, "{record}");
        }
    }

    #[test]
    fn what_is_no_filter_over_records_is_refused() {
        for text in ["$.status", "status == 'deleted'", "$[0]", "$[?@.a", "$[?@.a].b"] {
            let error = Deleted::new(text).unwrap_err().text();
            assert!(
                error.contains("`rest_api.deleted`") && error.contains("$[?@.status"),
                "{error}"
            );
        }
    }
}

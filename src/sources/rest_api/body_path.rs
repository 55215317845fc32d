//! Owns JSONPaths to a single value of an answer, such as its total.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::json_size::JsonSize;
use crate::sources::rows::path::{Path, invalid};
use crate::sources::{SourceError, SourceErrorKind};

/// The most values of a page that a query looks through: it is parsed as a whole.
pub(super) const MAX_QUERIED: usize = 4_000_000;

/// A path to a value of an answer.
#[derive(Debug)]
pub(super) struct BodyPath {
    key: &'static str,
    text: String,
    path: Path,
}

impl BodyPath {
    /// Compiles the path that the job file has under `key`.
    ///
    /// # Errors
    /// When it is no JSONPath.
    pub fn parse(key: &'static str, text: &str) -> Result<Self, SourceError> {
        let path = Path::parse(text).map_err(|error| invalid(key, text, &error))?;
        Ok(Self { key, text: text.to_owned(), path })
    }

    /// The first value that the path leads to in a body, if it leads anywhere.
    ///
    /// # Errors
    /// When the body holds too much to be searched, or JSON that cannot be looked into.
    pub fn find(&self, body: &str) -> Result<Option<Value>, SourceError> {
        let Self { key, text, path } = self;
        if matches!(path, Path::Query(_)) && JsonSize::of(body).values > MAX_QUERIED {
            let message = format!(
                "the answer holds more than {MAX_QUERIED} values, too many for `{key}` = `{text}`"
            );
            return Err(SourceError::new(SourceErrorKind::TooLarge, message).advise(
                "ask for smaller pages, or name the value by keys alone, such as `$.meta.total`",
            ));
        }
        let unreadable = |error| unreadable(text, error);
        let found = path.find(body).map_err(unreadable)?;
        let first = found.into_iter().next();
        let value = first.map(|value: Cow<'_, str>| serde_json::from_str(&value));
        value.transpose().map_err(unreadable)
    }
}

/// Why a path cannot look into an answer.
pub(super) fn unreadable(path: &str, error: serde_json::Error) -> SourceError {
    let invalid = |message| SourceError::new(SourceErrorKind::InvalidResponse, message);
    match error.is_data() {
        true => invalid(format!("`{path}` cannot be followed in the answer: {error}")),
        false => {
            invalid(format!("the answer has JSON that `{path}` cannot look into")).caused_by(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_keys_and_by_a_query() {
        let body = r#"[{"page":1,"total":7,"deep":{"n":null}},[{"id":1}]]"#;
        let find = |path: &str, body: &str| {
            BodyPath::parse("total_path", path).unwrap().find(body).unwrap()
        };
        assert_eq!(find("$[0].total", body), Some(7.into()));
        assert_eq!(find("$[0].deep.n", body), Some(Value::Null));
        assert_eq!(find("$[0].totl", body), None);
        assert_eq!(find("$.total", body), None);
        assert_eq!(find("$.meta.total", r#"{"meta":{"total":"7"}}"#), Some("7".into()));
        let twice = BodyPath::parse("has_more_path", "$.more")
            .unwrap()
            .find(r#"{"more":true,"more":false}"#);
        let says = "`$.more` cannot be followed in the answer: the key \"more\" is there twice, and it is unknown \
                    which value counts";
        assert_eq!(twice.unwrap_err().text(), says);
        let error = BodyPath::parse("total_path", "total").unwrap_err();
        assert!(error.text().starts_with("`total_path` = `total` is no JSONPath"), "{error}");
    }
}

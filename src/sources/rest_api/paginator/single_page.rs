//! Owns the API that has one page.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::end_keys::EndKeys;
use super::paginate::{Came, Paginate, Way, position};
use crate::sources::SourceError;
use crate::sources::rest_api::request::RequestParts;

/// There is one page. An answer that shows more of them makes the run degraded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinglePage {
    /// Whether the first page is all that is wanted, however many there are.
    #[serde(default)]
    first_page_only: bool,
}

/// The only one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    #[serde(rename = "page")]
    _page: u64,
}

impl Paginate for SinglePage {
    fn way(&self) -> Way<'_> {
        Way::Single { first_page_only: self.first_page_only }
    }

    fn end_keys(&self) -> EndKeys<'_> {
        EndKeys::default()
    }

    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        Vec::new()
    }

    fn first(&self) -> Value {
        json!({ "page": 1 })
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        position::<Position>(at).map(|_| 1)
    }

    fn ask_for(&self, at: &Value, _request: &mut RequestParts) -> Result<(), SourceError> {
        position::<Position>(at).map(drop)
    }

    fn next(&self, _at: &Value, _came: Came<'_>) -> Result<Option<Value>, SourceError> {
        Ok(None)
    }
}

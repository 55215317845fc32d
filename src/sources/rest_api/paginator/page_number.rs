//! Owns the API whose pages are numbered.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::end_keys::{EndKeys, with_end_keys};
use super::paginate::{
    Came, Paginate, Way, number_and_size, numbered_graphql, position, size_problems,
};
use crate::sources::rest_api::body_params::BodyParams;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

with_end_keys! {
    /// Pages are numbered. A full sync ends with the first page without records, or with one that is shorter
    /// than those before it.
    pub struct PageNumber {
        /// The query parameter that takes the page's number.
        #[serde(default = "page")]
        param: String,
        /// The number of the first page.
        #[serde(default = "one")]
        start: u64,
        /// The query parameter that takes the number of records a page, when the API has one.
        size_param: Option<String>,
        /// Records a page. The API may give fewer.
        #[schemars(range(min = 1))]
        size: Option<u32>,
        /// How many pages are asked for side by side, once the first has said how many there are.
        #[schemars(range(min = 1))]
        concurrency: Option<u32>,
    }
}

fn page() -> String {
    "page".to_owned()
}

fn one() -> u64 {
    1
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// The number of the page.
    page: u64,
}

impl Paginate for PageNumber {
    fn way(&self) -> Way<'_> {
        Way::Numbered { param: &self.param, size: self.size, by_records: false }
    }

    fn end_keys(&self) -> EndKeys<'_> {
        EndKeys { concurrency: self.concurrency, ..self.keys() }
    }

    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        size_problems(self.size_param.as_deref(), self.size)
    }

    fn request_problems(&self, body: &BodyParams<'_>) -> Vec<(Option<&'static str>, String)> {
        numbered_graphql(body)
    }

    fn query_params(&self) -> Vec<(&'static str, &str)> {
        number_and_size(&self.param, self.size_param.as_deref())
    }

    fn first(&self) -> Value {
        json!({ "page": self.start })
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        let Position { page } = position(at)?;
        Ok(page.saturating_sub(self.start).saturating_add(1))
    }

    fn name(&self, at: &Value) -> Result<String, SourceError> {
        Ok(format!("page {}", position::<Position>(at)?.page))
    }

    fn ask_for(&self, at: &Value, request: &mut RequestParts) -> Result<(), SourceError> {
        let Position { page } = position(at)?;
        if let (Some(name), Some(size)) = (&self.size_param, self.size) {
            request.add_query(name, &size.to_string());
        }
        request.add_query(&self.param, &page.to_string());
        Ok(())
    }

    fn ahead(&self, at: &Value, pages: u64, _records: u64) -> Option<Value> {
        let page = position::<Position>(at).ok()?.page.checked_add(pages)?;
        Some(json!({ "page": page }))
    }

    fn next(&self, at: &Value, _came: Came<'_>) -> Result<Option<Value>, SourceError> {
        let Position { page } = position(at)?;
        let next = page.checked_add(1).ok_or_else(|| {
            let message = format!("there is no page behind {page}, the largest number");
            SourceError::new(SourceErrorKind::NoFurtherPage, message)
        })?;
        Ok(Some(json!({ "page": next })))
    }
}

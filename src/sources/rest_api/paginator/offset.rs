//! Owns the API that is told how many records come before a page. It steps by what came, never by `size`: an
//! API that gives fewer records a page than it is asked for loses none.

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
    /// The API is told how many records come before a page. The last page is the first without records,
    /// or the one with which `total_path` is reached.
    pub struct Offset {
        /// The query parameter that takes the number of records that come before the page.
        #[serde(default = "offset")]
        param: String,
        /// The offset of the first page.
        #[serde(default)]
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

fn offset() -> String {
    "offset".to_owned()
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// How many records come before it, and `start`.
    offset: u64,
    /// Which page of the full sync it is, from 1.
    page: u64,
}

impl Paginate for Offset {
    fn way(&self) -> Way<'_> {
        Way::Numbered { param: &self.param, size: self.size, by_records: true }
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
        json!({ "offset": self.start, "page": 1 })
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        position::<Position>(at).map(|position| position.page)
    }

    fn name(&self, at: &Value) -> Result<String, SourceError> {
        Ok(format!("the page at {} = {}", self.param, position::<Position>(at)?.offset))
    }

    fn ask_for(&self, at: &Value, request: &mut RequestParts) -> Result<(), SourceError> {
        let Position { offset, .. } = position(at)?;
        if let (Some(name), Some(size)) = (&self.size_param, self.size) {
            request.add_query(name, &size.to_string());
        }
        request.add_query(&self.param, &offset.to_string());
        Ok(())
    }

    fn ahead(&self, at: &Value, pages: u64, records: u64) -> Option<Value> {
        let Position { offset, page } = position(at).ok()?;
        let (offset, page) = (offset.checked_add(records)?, page.checked_add(pages)?);
        Some(json!({ "offset": offset, "page": page }))
    }

    fn next(&self, at: &Value, came: Came<'_>) -> Result<Option<Value>, SourceError> {
        let Position { offset, page } = position(at)?;
        let next = offset.checked_add(came.records()).zip(page.checked_add(1));
        let (offset, page) = next.ok_or_else(|| {
            let message = format!(
                "there is no page behind the page at {} = {offset}: numbers end there",
                self.param
            );
            SourceError::new(SourceErrorKind::NoFurtherPage, message)
        })?;
        Ok(Some(json!({ "offset": offset, "page": page })))
    }

    fn records_before(&self, at: &Value) -> Option<u64> {
        Some(position::<Position>(at).ok()?.offset.saturating_sub(self.start))
    }
}

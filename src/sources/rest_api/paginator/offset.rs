//! Owns the API that is told how many records come before a page. It steps by what came, never by `size`: an
//! API that gives fewer records a page than it is asked for loses none.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::end_keys::{EndKeys, with_end_keys};
use super::paginate::{Came, Paginate, Way, position, size_problems};
use super::target::{Asks, Param, Target, Targets};
use crate::sources::{SourceError, SourceErrorKind};

with_end_keys! {
    /// The API is told how many records come before a page. The last page is the first without records,
    /// or the one with which `total_path` is reached.
    pub struct Offset {
        /// The query parameter that takes the number of records that come before the page.
        #[serde(default = "offset")]
        #[schemars(with = "String")]
        param: Param,
        /// Where it goes in the body of the request, instead of `param`: an exact JSONPath such as `$.offset`.
        body_path: Option<String>,
        /// The variable of the GraphQL query that takes it, instead of `param`.
        variable: Option<String>,
        /// The path of each page below `base_url`, instead of `param` and of `path` under `[rest_api]`: with
        /// `${page.offset}` where it stands, such as `"items/offset/${page.offset}"`.
        path: Option<String>,
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

fn offset() -> Param {
    Param::unless_set("offset")
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

impl Offset {
    fn target(&self) -> Target<'_> {
        let target = self.targets().and_then(|targets| targets.target());
        target.unwrap_or(Target::Param("offset"))
    }

    /// The name of the page behind so many records.
    fn named(&self, offset: u64) -> String {
        let name = match self.target() {
            Target::Param(name) | Target::Variable(name) => name,
            Target::Body(_) | Target::Path(_) => "offset",
        };
        format!("the page at {name} = {offset}")
    }
}

impl Paginate for Offset {
    fn way(&self) -> Way<'_> {
        Way::Numbered { target: self.target(), size: self.size, by_records: true }
    }

    fn end_keys(&self) -> EndKeys<'_> {
        EndKeys { concurrency: self.concurrency, ..self.keys() }
    }

    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        size_problems(self.size_param.as_deref(), self.size)
    }

    fn targets(&self) -> Option<Targets<'_>> {
        let others = [&self.body_path, &self.variable, &self.path];
        Some(Targets::numbered(Asks::Offset, &self.param, others))
    }

    fn asks_by(&self, at: &Value) -> Result<Option<Value>, SourceError> {
        Ok(Some(position::<Position>(at)?.offset.into()))
    }

    fn page_size(&self) -> (Option<&str>, Option<u32>) {
        (self.size_param.as_deref(), self.size)
    }

    fn first(&self) -> Value {
        json!({ "offset": self.start, "page": 1 })
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        position::<Position>(at).map(|position| position.page)
    }

    fn name(&self, at: &Value) -> Result<String, SourceError> {
        Ok(self.named(position::<Position>(at)?.offset))
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
            let page = self.named(offset);
            let message = format!("there is no page behind {page}: numbers end there");
            SourceError::new(SourceErrorKind::NoFurtherPage, message)
        })?;
        Ok(Some(json!({ "offset": offset, "page": page })))
    }

    fn records_before(&self, at: &Value) -> Option<u64> {
        Some(position::<Position>(at).ok()?.offset.saturating_sub(self.start))
    }
}

//! Owns the API whose pages are numbered.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::end_keys::{EndKeys, with_end_keys};
use super::paginate::{Came, Paginate, Way, position, size_problems};
use super::target::{Asks, Param, Target, Targets};
use crate::sources::{SourceError, SourceErrorKind};

with_end_keys! {
    /// Pages are numbered. A full sync ends with the first page without records, or with one that is shorter
    /// than those before it.
    pub struct PageNumber {
        /// The query parameter that takes the page's number.
        #[serde(default = "page")]
        #[schemars(with = "String")]
        param: Param,
        /// Where it goes in the body of the request, instead of `param`: an exact JSONPath such as `$.page`.
        body_path: Option<String>,
        /// The variable of the GraphQL query that takes it, instead of `param`.
        variable: Option<String>,
        /// The path of each page below `base_url`, instead of `param` and of `path` under `[rest_api]`: with
        /// `${page.number}` where it stands, such as `"items/page/${page.number}"`.
        path: Option<String>,
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

fn page() -> Param {
    Param::unless_set("page")
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

impl PageNumber {
    fn target(&self) -> Target<'_> {
        let target = self.targets().and_then(|targets| targets.target());
        target.unwrap_or(Target::Param("page"))
    }
}

impl Paginate for PageNumber {
    fn way(&self) -> Way<'_> {
        Way::Numbered { target: self.target(), size: self.size, by_records: false }
    }

    fn end_keys(&self) -> EndKeys<'_> {
        EndKeys { concurrency: self.concurrency, ..self.keys() }
    }

    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        size_problems(self.size_param.as_deref(), self.size)
    }

    fn targets(&self) -> Option<Targets<'_>> {
        let others = [&self.body_path, &self.variable, &self.path];
        Some(Targets::numbered(Asks::Number, &self.param, others))
    }

    fn asks_by(&self, at: &Value) -> Result<Option<Value>, SourceError> {
        Ok(Some(position::<Position>(at)?.page.into()))
    }

    fn page_size(&self) -> (Option<&str>, Option<u32>) {
        (self.size_param.as_deref(), self.size)
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

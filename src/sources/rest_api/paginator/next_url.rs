//! Owns the API whose answers hold the address of the next page.

use serde_json::Value;

use super::end_keys::{EndKeys, path_problem, with_end_keys};
use super::links;
use super::page_view::PageView;
use super::paginate::{Came, Paginate, Way};
use crate::sources::rest_api::body_path::BodyPath;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

with_end_keys! {
    /// The body holds the address of the next page. On the last page it is null, empty or not there.
    pub struct NextUrl {
        /// JSONPath of the address, such as `$.links.next`.
        #[serde(default = "next")]
        next_url_path: String,
    }
}

fn next() -> String {
    "$.next".to_owned()
}

impl Paginate for NextUrl {
    fn way(&self) -> Way<'_> {
        Way::Referenced
    }

    fn end_keys(&self) -> EndKeys<'_> {
        self.keys()
    }

    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let problem = path_problem("next_url_path", &self.next_url_path);
        problem.map(|problem| (Some("next_url_path"), problem)).into_iter().collect()
    }

    fn leads_by_number(&self, _at: &Value, page: &PageView<'_>, next: &Value) -> bool {
        links::lead_by_number(page, next)
    }

    fn first(&self) -> Value {
        links::first()
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        links::ordinal(at)
    }

    fn ask_for(&self, at: &Value, request: &mut RequestParts) -> Result<(), SourceError> {
        links::ask_for(at, request)
    }

    fn next(&self, at: &Value, came: Came<'_>) -> Result<Option<Value>, SourceError> {
        let Came::Page(page) = came else { return Ok(None) };
        let path = &self.next_url_path;
        let found = BodyPath::parse("next_url_path", path)?.find(page.body)?;
        // Some have an object with the address in it, as HAL does.
        let found = match found {
            Some(Value::Object(mut link)) => link.remove("href"),
            found => found,
        };
        match found {
            None | Some(Value::Null | Value::Bool(false)) => Ok(None),
            Some(Value::String(link)) if link.trim().is_empty() => Ok(None),
            Some(Value::String(link)) => links::next(at, &page, &link).map(Some),
            Some(other) => {
                let message =
                    format!("`paginator.next_url_path` = `{path}` leads to no address: {other}");
                Err(SourceError::new(SourceErrorKind::InvalidResponse, message)
                    .advise("if it is a cursor, use the paginator `cursor`"))
            }
        }
    }
}

//! Owns the API that links to the next page in the header `Link`.

use serde_json::Value;

use super::end_keys::{EndKeys, with_end_keys};
use super::links;
use super::page_view::PageView;
use super::paginate::{Came, Paginate, Way};
use crate::sources::SourceError;
use crate::sources::rest_api::request::RequestParts;

with_end_keys! {
    /// The header `Link` leads to the next page (RFC 8288). The last page has no such link.
    pub struct LinkHeader {
        /// The relation of the link to the next page.
        #[serde(default = "next")]
        rel: String,
    }
}

fn next() -> String {
    "next".to_owned()
}

impl Paginate for LinkHeader {
    fn way(&self) -> Way<'_> {
        Way::Referenced
    }

    fn end_keys(&self) -> EndKeys<'_> {
        self.keys()
    }

    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let bad = self.rel.is_empty() || self.rel.contains(char::is_whitespace);
        let problem = "expected one relation, such as \"next\"".to_owned();
        bad.then_some((Some("rel"), problem)).into_iter().collect()
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
        let link = links::related(page.headers, &self.rel);
        link.map(|link| links::next(at, &page, &link)).transpose()
    }
}

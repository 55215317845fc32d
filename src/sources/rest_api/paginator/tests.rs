//! What the tests of paginators share: an answer, and what one makes of it.

use std::borrow::Cow;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::page_view::PageView;
use super::paginate::{Paginate, Step};
use crate::domain::hash::ContentHash;
use crate::sources::SourceError;
use crate::sources::rest_api::http::said::Said;

/// An answer of the test.
pub struct Answered {
    body: String,
    records: Vec<Cow<'static, str>>,
}

impl Answered {
    /// An answer with so many records, each of which stands in it.
    pub fn with(records: usize) -> Self {
        Self::saying("{}", (0..records).map(|n| format!("{{\"id\":{n}}}")))
    }

    /// An answer with these records, and this JSON around them.
    pub fn saying(around: &str, records: impl IntoIterator<Item = String>) -> Self {
        let records: Vec<_> = records.into_iter().map(Cow::Owned).collect();
        let body = format!("{{\"around\":{around},\"records\":[{}]}}", records.join(","));
        Self { body, records }
    }

    pub fn hash(&self) -> ContentHash {
        ContentHash::of(self.body.as_bytes())
    }

    /// What a paginator makes of it at a position.
    pub fn next(&self, paginator: &dyn Paginate, at: &Value) -> Result<Step, SourceError> {
        let asked = Url::parse("https://api.example.com/coins").expect("an address");
        let (headers, hash) = (HeaderMap::new(), self.hash());
        let (body, records) = (self.body.as_str(), self.records.as_slice());
        let (asked, headers) = (&asked, &headers);
        let (came, said) = (records.len(), Said::Page);
        paginator
            .next(at, PageView { asked, status: 200, headers, body, hash, came, records, said })
    }
}

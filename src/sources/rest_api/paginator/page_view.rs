//! Owns what a paginator sees of an answer.

use std::borrow::Cow;

use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::domain::hash::{ContentHash, ContentHasher};
use crate::sources::rest_api::http::said::Said;

/// A page, as a paginator sees it.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) struct PageView<'a> {
    /// The address that was asked, without secrets.
    pub asked: &'a Url,
    /// The HTTP status, 200 for a recorded page.
    pub status: u16,
    /// The headers, without secrets.
    pub headers: &'a HeaderMap,
    /// The body: valid JSON.
    pub body: &'a str,
    /// Hash of the body.
    pub hash: ContentHash,
    /// How many records the API gave; a filter of the job file leaves some of them out of `records`.
    pub came: usize,
    /// The JSON text of its records, in order.
    pub records: &'a [Cow<'a, str>],
    /// Hash of the set of their keys, where each has one.
    pub keys: Option<ContentHash>,
    /// What the response says besides; unless it is a page it has no records.
    pub said: Said,
    /// What it says itself is wrong with it.
    pub complaint: Option<&'a str>,
}

impl PageView<'_> {
    /// What pages with the same records have in common: the keys of those. What else stands in and around them, such as
    /// the time, may change, and so may their order. Where they have no keys it is a hash of their text.
    pub fn content(&self) -> ContentHash {
        if let Some(keys) = self.keys {
            return keys;
        }
        if self.records.is_empty() {
            return self.hash;
        }
        let mut hasher = ContentHasher::default();
        for record in self.records {
            hasher.update(record.as_bytes());
            hasher.update(b"\n");
        }
        hasher.take()
    }
}

/// What stands around the records of a page and may say that there are more, although no key of the job file
/// names it. Looked for only where a full sync would end.
pub(in crate::sources::rest_api) trait Surroundings {
    /// What shows that there are more pages than this only one.
    fn evidence_of_more(&self) -> Option<String>;
    /// Where it says itself that there are more behind it, which is the last of several.
    fn says_more(&self) -> Option<String>;
    /// Whether it says itself that it is the last.
    fn says_last(&self) -> bool;
    /// How many records there are on all pages, and where it says so.
    fn total(&self) -> Option<(String, u64)>;
    /// The same, but also of a mere count, such as `count`; nothing where only what is new is asked for: some APIs
    /// count the rest as well.
    fn claim(&self) -> Option<(String, u64)>;
}

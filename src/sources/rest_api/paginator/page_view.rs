//! Owns what a paginator sees of an answer.

use std::borrow::Cow;

use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::domain::hash::ContentHash;
use crate::sources::rest_api::http::said::Said;

/// A page, as a paginator sees it.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) struct PageView<'a> {
    /// The address that was asked, without secrets.
    #[allow(dead_code, reason = "for paginators by links, which are relative to it")]
    pub asked: &'a Url,
    /// The HTTP status, 200 for a recorded page.
    #[allow(dead_code, reason = "for the rules by which a full sync ends")]
    pub status: u16,
    /// The headers, without secrets; none of a recorded page.
    #[allow(dead_code, reason = "for paginators by the header `Link`")]
    pub headers: &'a HeaderMap,
    /// The body: valid JSON.
    pub body: &'a str,
    /// Hash of the body.
    pub hash: ContentHash,
    /// How many records the API gave; a filter of the job file leaves some of them out of `records`.
    pub came: usize,
    /// The JSON text of its records, in order.
    pub records: &'a [Cow<'a, str>],
    /// What the response says besides; unless it is a page it has no records.
    #[allow(dead_code, reason = "for the rules by which a full sync ends")]
    pub said: Said,
}

//! Owns what a page is, and how it becomes a slice.

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::children;
use super::http::said::{self, Said};
use super::incremental::Cursors;
use super::odd_text;
use super::redacted_keys;
use crate::domain::chain_end::ChainEnd;
use crate::domain::hash::ContentHash;
use crate::domain::known_page::Validators;
use crate::domain::shape::Shape;
use crate::domain::slice::SliceId;
use crate::sources::{
    Document, Finding, LedNowhere, Met, News, NextSlice, RateState, RawSlice, SliceContent,
    SliceNotes,
};

/// One API page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The address asked, without secrets.
    pub url: String,
    /// Fingerprint of the request: its method, its address without secrets, and its body. The same
    /// for each attempt, with any key, and where a recording is read.
    pub request: ContentHash,
    /// HTTP status, 200 for a recorded page.
    pub status: u16,
    /// The body, exactly as it came, but for the secrets of the request, should it repeat them.
    pub body: String,
    /// Whether it is valid JSON, and not just but for numbers that JSON does not have.
    pub is_json: bool,
    /// Hash of the body.
    pub hash: ContentHash,
    /// Number of records in it.
    pub records: i64,
    /// What the records look like.
    pub shape: Shape,
    /// The locators that lead into fields and led nowhere in any of the records.
    pub leading_nowhere: Vec<LedNowhere>,
    /// How many of the records say that they are deleted.
    pub deleted: u64,
    /// What those of them look like that no run before has read, where some have been.
    pub news: Option<News>,
    /// Whether it has the records of the page before it, and counts as the end, or as none.
    pub repeats: bool,
    /// Where the next page is; `None` when this was the last.
    pub next: Option<Value>,
    /// Where further pages are, that are asked for side by side, and how many pages on.
    pub ahead: Vec<(u32, Value)>,
    /// Where pages are that could not be had and are asked for again, in front of the next one.
    pub again: Vec<Value>,
    /// How it is named in messages.
    pub name: String,
    /// What no other page of the chain may have: hashes of its request and of its records.
    pub met: Vec<ContentHash>,
    /// How the chain of pages ended, when this was the last.
    pub end: Option<ChainEnd>,
    /// The message when the API has pages that no task will fetch.
    pub more: Option<String>,
    /// What the answer says is wrong with it, such as `` `error`: quota exceeded ``.
    pub complaint: Option<String>,
    /// What the records say of the cursor of an incremental source.
    pub(super) cursors: Option<Cursors>,
    /// Records that a filter of the job file left out.
    pub filtered: u64,
    /// In how many places of the body a secret of the request stood.
    pub redacted: u64,
    /// The API's clock, when it answered.
    pub date: Option<DateTime<Utc>>,
    /// The cursor at which a later run can go on, if the chain ended here and has everything.
    pub(super) cursor: Option<Value>,
    /// What the page leaves for the end of its run.
    pub watermark: Option<Value>,
    /// The headers of the response, without secrets.
    pub headers: HeaderMap,
    /// What was found, when that was asked for.
    pub findings: Vec<Finding>,
    /// What the response said besides; unless it is a page it has no records.
    pub said: Said,
    /// By what the server tells whether it has changed, where the job file asks for that.
    pub validators: Option<Validators>,
    /// Whether the server said that it has not changed, and sent nothing.
    pub not_modified: bool,
    /// What the response said of rates.
    pub rate: RateState,
    /// What is known of the parent of all of its records, as JSON.
    pub parent: Option<String>,
}

impl Page {
    /// The page as the slice that it was read as; the next page is the next slice.
    pub(super) fn into_slice(self, slice: SliceId) -> SliceContent {
        let Self { request, url, status, body, hash, records, shape, next, .. } = self;
        let Self { leading_nowhere, complaint, findings, said, is_json, .. } = self;
        let Self { rate, validators, not_modified, deleted, news, .. } = self;
        let (body, hash) = match is_json {
            true => (body, hash),
            false => {
                let kept = odd_text::kept(&body);
                let hash = ContentHash::of(kept.as_bytes());
                (kept, hash)
            }
        };
        let context = match said {
            Said::Page | Said::Last => {
                let context = if is_json { Value::Null } else { odd_text::context() };
                let context = redacted_keys::context(context, self.redacted);
                children::context(context, self.parent.as_deref())
            }
            Said::End | Said::Ignored | Said::ParentGone | Said::Nothing => said::context(),
        };
        let validators = validators.map(Box::new);
        let document =
            Document { request, url, status, text: body, hash, context, validators, not_modified };
        let next = (1..).zip(self.again.into_iter().chain(next)).chain(self.ahead);
        let next =
            next.map(|(places, position)| NextSlice { slice: slice.ahead(places), position });
        let met = Met { name: self.name, hashes: self.met };
        SliceContent {
            // What was not sent was not read.
            bytes: if not_modified { 0 } else { document.text.len() as u64 },
            raw: RawSlice::Document(document),
            rows: records,
            shape,
            news,
            next: next.collect(),
            continues_at: None,
            end: self.end,
            watermark: self.watermark,
            met: Some(met).filter(|met| !met.hashes.is_empty()),
            // Of what the chain may lack its end says.
            notes: SliceNotes {
                leading_nowhere,
                deleted,
                complaint,
                rate,
                findings,
                ..SliceNotes::default()
            },
        }
    }
}

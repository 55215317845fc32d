//! Owns what a response holds as a page: its records, their shape, what comes behind it, and what
//! there is to say of it. Pure, and takes long for a long body.
//!
//! Must not know how the response was had.

use std::borrow::Cow;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap};
use serde_json::Value;
use serde_json::value::RawValue;

use super::answers::Answers;
use super::children;
use super::data_selector::DataSelector;
use super::deleted::Deleted;
use super::explode::Explode;
use super::http::body_text;
use super::http::redact_json::REDACTED;
use super::http::response::Response;
use super::http::said::{self, Said};
use super::incremental::{Cursors, Tracker};
use super::more_pages::LastPage;
use super::page::Page;
use super::paginator::{PageView, Paginator, Verdict, Way};
use super::position::Window;
use super::record_keys::RecordKeys;
use super::request::Asked;
use crate::domain::chain_end::ChainEnd;
use crate::domain::hash::ContentHash;
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, Reject};
use crate::domain::text;
use crate::mapping::{Frozen, Mapped};
use crate::sources::rows::json::{self, JsonRow, JsonRowReader};
use crate::sources::rows::no_number::{self, Mended};
use crate::sources::{News, RawRow, SourceError, SourceErrorKind};

/// Reads the pages of a source.
#[derive(Debug)]
pub(super) struct PageReader {
    pub selector: DataSelector,
    pub rows: JsonRowReader,
    pub paginator: Paginator,
    pub answers: Answers,
    /// The list within each record whose elements are the records.
    pub explode: Option<Explode>,
    /// Which records say that they are deleted.
    pub deleted: Option<Deleted>,
    /// What tells records from others, where the mapping names a key and there may be several pages.
    pub keys: Option<RecordKeys>,
    /// What of the API is new, where the job file says so.
    pub tracker: Option<Tracker>,
}

impl PageReader {
    /// The page at a position, out of the response; `window` are the bounds of an incremental run.
    ///
    /// # Errors
    /// When the response is no page, or no way leads on from it; named by where it came from.
    pub fn page(
        &self,
        at: (&Value, Option<&Window>),
        asked: &Asked,
        response: Response,
    ) -> Result<Page, SourceError> {
        let from = response.from.clone();
        let rate = response.rate;
        let page = self.answers.judge(response).and_then(|r| self.page_of(at, asked, r));
        page.map_err(|error| {
            let error = error.with_rate(rate);
            if error.message.starts_with(&from) { error } else { error.at(&from) }
        })
    }

    fn page_of(
        &self,
        (position, window): (&Value, Option<&Window>),
        asked: &Asked,
        response: Response,
    ) -> Result<Page, SourceError> {
        let Response { from, status, headers, body, redacted, said, rate, refused } = response;
        // Whoever has children is there.
        let is_gone_late = said == Said::ParentGone && self.paginator.ordinal(position)? > 1;
        let said = match is_gone_late {
            true if !said::may_be_the_end(status) => return Err(gone_late(status)),
            true => Said::Nothing,
            false => said,
        };
        // Some APIs answer so when nothing is new.
        let is_no_news = status == 204 && self.tracker.is_some();
        if said == Said::Nothing && !is_no_news && !self.paginator.may_be_the_end(position)? {
            let refused = refused.map(SourceError::from).unwrap_or_else(|| match is_gone_late {
                true => gone_late(status),
                false => {
                    let message = format!("the API answered {status} and nothing else");
                    SourceError::new(SourceErrorKind::InvalidResponse, message)
                }
            });
            return Err(refused);
        }
        let said = match said {
            Said::Last if !self.has_records(&body, &headers) => Said::End,
            said => said,
        };
        let is_page = said.is_page();
        let no_page = |body: &str, error| self.answers.no_page(status, rate, body, error);
        let (body, is_json) = match is_page {
            true => text_of(body, &headers).map_err(|error| no_page("", error))?,
            false => (said::kept(status, &body), true),
        };
        let mended = if is_json { None } else { Mended::of(&body) };
        // What everything but the records is read from.
        let json = mended.as_ref().map_or(body.as_str(), Mended::twin);
        let records = match is_page {
            true => self.selector.select(&body).map_err(|error| no_page(json, error))?,
            false => Vec::new(),
        };
        // A status document is no record.
        let is_whole = records.len() == 1 && records[0].trim() == body.trim();
        if status == 202 && is_page && (records.is_empty() || is_whole) {
            return Err(self.answers.preparing(rate));
        }
        let complaint = match is_page {
            true => self.answers.complaint(json, &self.selector, records.is_empty(), rate)?,
            false => None,
        };
        let hash = ContentHash::of(body.as_bytes());
        let raw_ref = RawRef::Page(hash.into()).to_string();
        let parent = asked.parent.clone();
        let told = parent.as_deref().map(|parent| children::told(&records, parent, body.len()));
        let told = told.transpose()?;
        let children = told.as_ref().unwrap_or(&records);
        let exploded = self.exploded(&body, children)?;
        let rows = exploded.as_ref().unwrap_or(children);
        let mut keys = self.keys.as_ref().map(RecordKeys::page);
        let (shape, leading_nowhere) = self.rows.shape_of_each(rows, &raw_ref, |text, record| {
            if let Some(keys) = &mut keys {
                keys.take(text, record);
            }
        });
        let count = rows.len() as i64;
        let deleted = rows.iter().filter(|row| self.is_deleted(row)).count() as u64;
        let Asked { url, fingerprint, .. } = asked;
        let came = if is_page { self.selector.came(json, records.len())? } else { 0 };
        let (headers, body_text, records) = (&headers, json, records.as_slice());
        let complaint_said = complaint.as_deref();
        let view = PageView {
            asked: url,
            status,
            headers,
            body: body_text,
            hash,
            came,
            records,
            keys: keys.and_then(|keys| keys.hash(rows.len())),
            said,
            complaint: complaint_said,
        };
        let place = &self.selector.place;
        let (end_values, asks_for_news) = (self.paginator.end_values(), self.tracker.is_some());
        let last = LastPage { page: view, status, place, end_values, asks_for_news };
        let Verdict { again, next, ahead, mut end, repeats, places } =
            self.paginator.verdict(position, view, &last)?;
        let by_secret =
            |next: &Value| self.paginator.own_words(next).to_string().contains(REDACTED);
        if redacted > 0 && next.as_ref().is_some_and(by_secret) {
            let message =
                "the cursor of the next page holds a secret of the request, which is not stored";
            return Err(SourceError::new(SourceErrorKind::InvalidResponse, message).advise(
                "use another paginator, or another key for kasparro than the one that the API repeats",
            ));
        }
        // The total counts what is taken apart here.
        if let Some(end) = end.as_mut().filter(|_| self.explode.is_some()) {
            end.spare = None;
        }
        let met = match self.paginator.way() {
            _ if repeats || !is_page => Vec::new(),
            Way::Single { .. } => Vec::new(),
            Way::Numbered { .. } => (came > 0).then(|| view.content()).into_iter().collect(),
            Way::Referenced => {
                let content = (came > 0).then(|| view.content());
                content.into_iter().chain([*fingerprint]).collect()
            }
        };
        let more = match refused.filter(|_| said == Said::Nothing) {
            Some(refused) => Some(refused.message),
            None => end.as_ref().and_then(incomplete),
        };
        let mut cursors = self.tracker.as_ref().map(|tracker| tracker.cursors(records));
        // Nothing moves from one page to another where there is one.
        let is_one_of_several = end.is_none() || self.paginator.ordinal(position)? > 1;
        if let (Some(tracker), Some(cursors)) = (&self.tracker, &mut cursors)
            && is_one_of_several
            && !repeats
        {
            cursors.met = tracker.met(rows);
            // Whether pages are places in a list may show only at a later page.
            cursors.by_reference = !places;
        }
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok()).map(Into::into);
        let filtered = came.saturating_sub(records.len()) as u64;
        let (name, headers) = (self.paginator.name(position)?, headers.clone());
        let cursor = match &end {
            Some(end) if end.complete => self.paginator.last_cursor(position, view)?,
            Some(_) | None => None,
        };
        // What is past the end has come already.
        let (said, count) = if repeats { (Said::End, 0) } else { (said, count) };
        let news = match (window, &cursors) {
            (Some(window), Some(cursors)) if count > 0 => {
                self.news(window, cursors, &body, children)?
            }
            _ => None,
        };
        let (shape, leading_nowhere) =
            if repeats { Default::default() } else { (shape, leading_nowhere) };
        Ok(Page {
            url: from,
            request: *fingerprint,
            status,
            body,
            is_json,
            hash,
            records: count,
            shape,
            leading_nowhere,
            deleted,
            news,
            repeats,
            next,
            again,
            ahead,
            end,
            name,
            met,
            more,
            complaint,
            cursors,
            filtered,
            redacted,
            date,
            cursor,
            watermark: None,
            headers,
            findings: Vec::new(),
            said,
            validators: None,
            not_modified: false,
            rate,
            parent,
        })
    }

    /// What those of the records of a body look like that no run before has read, by their cursors; `None` where that
    /// holds of all of them.
    fn news(
        &self,
        window: &Window,
        cursors: &Cursors,
        body: &str,
        records: &[Cow<'_, str>],
    ) -> Result<Option<News>, SourceError> {
        let known = self.tracker.as_ref().and_then(|it| it.came_before(window, cursors));
        let Some(known) = known else { return Ok(None) };
        let new = records.iter().zip(known).filter(|(_, is_known)| !is_known);
        let records: Vec<Cow<'_, str>> = new.map(|(record, _)| Cow::Borrowed(&**record)).collect();
        let exploded = match records.is_empty() {
            true => None,
            false => self.exploded(body, &records)?,
        };
        let rows = exploded.as_deref().unwrap_or(&records);
        let (shape, leading_nowhere) = self.rows.shape_of(rows, "");
        let records = rows.iter().filter(|row| !self.is_deleted(row)).count() as u64;
        Ok(Some(News { shape, leading_nowhere, records }))
    }

    /// Whether a record, given as its text, says that it is deleted.
    pub fn is_deleted(&self, record: &str) -> bool {
        self.deleted.as_ref().is_some_and(|deleted| deleted.is_said_by(record))
    }

    /// Whether records can be found in a body.
    fn has_records(&self, body: &[u8], headers: &HeaderMap) -> bool {
        let body = text_of(body.to_vec(), headers);
        body.is_ok_and(|(body, _)| self.selector.select(&body).is_ok())
    }

    /// The records within the records, where the job file says so.
    fn exploded<'b>(
        &self,
        body: &str,
        records: &[Cow<'b, str>],
    ) -> Result<Option<Vec<Cow<'b, str>>>, SourceError> {
        let Some(explode) = &self.explode else { return Ok(None) };
        explode.records(records, body.len(), self.selector.empty_is_ok).map(Some)
    }

    /// The record of that number, from 1, as it came: without what is known of its parent.
    ///
    /// # Errors
    /// When the body has no records under this job file.
    pub fn raw_row(&self, body: &str, number: i64) -> Result<Option<RawRow>, SourceError> {
        let Some(at) = number.checked_sub(1).and_then(|at| usize::try_from(at).ok()) else {
            return Ok(None);
        };
        let records = self.selector.select(body)?;
        let record = match &self.explode {
            Some(explode) => explode.element(&records, at),
            None => records.get(at).map(AsRef::as_ref),
        };
        Ok(record.map(|record| RawRow {
            bytes: record.as_bytes().to_vec(),
            // What a query has found is written anew.
            pointer: no_number::offset_in(body, record)
                .map(|offset| no_number::pointer(&body[..offset])),
            line: None,
            byte_range: None,
        }))
    }

    /// Calls `map` for each record with its number, from 1; what is no object is a reject. `parent` is what is known
    /// of that of all of them.
    pub fn each_row(
        &self,
        (body, parent): (&str, Option<&str>),
        raw: RawRef,
        out: &mut Mapped,
        map: impl Fn(&JsonRow<'_>, &str, i64, &mut Mapped) -> Result<(), Frozen>,
    ) -> Result<(), SourceError> {
        out.records.enter_raw(raw);
        let mut records = self.selector.select(body)?;
        if let Some(parent) = parent {
            records = children::told(&records, parent, body.len())?;
        }
        let records = self.exploded(body, &records)?.unwrap_or(records);
        for (raw_row, text) in (1..).zip(records) {
            match json::record(&text) {
                Ok(record) => map(&self.rows.row(&record), &text, raw_row, out)
                    .map_err(SourceError::frozen)?,
                Err(defect) => {
                    let defect = at_byte(defect, body, &text);
                    out.rejects.push(raw, reject(&text, raw_row, vec![defect]));
                }
            }
        }
        Ok(())
    }
}

/// The defect of a record that cannot be read, with where the record is on its page.
fn at_byte(defect: Defect, body: &str, record: &str) -> Defect {
    match no_number::offset_in(body, record) {
        Some(at) => {
            let message = format!("{}; the record begins at byte {at} of the page", defect.message);
            Defect { message, ..defect }
        }
        None => defect,
    }
}

/// A record that is set aside.
pub(super) fn reject(text: &str, raw_row: i64, defects: Vec<Defect>) -> Reject {
    let raw = &text.as_bytes()[..text.len().min(Reject::MAX_RAW)];
    let (line, byte_range, key) = (None, None, None);
    Reject { raw_row, line, byte_range, key, raw: raw.to_vec(), defects }
}

/// What it is when a parent is said to be gone whose children have come, as far as the page before this one.
fn gone_late(status: u16) -> SourceError {
    let message = format!(
        "answered {status} for a later page of a parent, and those before it were there: it is not gone, and children \
         may be missing"
    );
    SourceError::new(SourceErrorKind::InvalidResponse, message).advise(
        "the next run asks for it again; `skip_parent` of `rest_api.responses` is for first pages, `end` says that \
         there are no more",
    )
}

/// What there is to say of a chain that may lack something.
fn incomplete(end: &ChainEnd) -> Option<String> {
    end.note.clone().filter(|_| !end.complete)
}

/// A body as text, and whether it is JSON from end to end: it may have numbers in it that JSON does not have.
fn text_of(body: Vec<u8>, headers: &HeaderMap) -> Result<(String, bool), SourceError> {
    let body = body_text::decode(body, headers)?;
    let Err(error) = serde_json::from_str::<&RawValue>(&body) else { return Ok((body, true)) };
    if Mended::of(&body).is_some() {
        return Ok((body, false));
    }
    if error.is_eof() {
        return Err(
            SourceError::new(SourceErrorKind::BrokenOff, "the JSON ends early").caused_by(error)
        );
    }
    let message = match body.trim_start().starts_with(['{', '[']) {
        true => no_json_from(&body, &error),
        false => {
            let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = text::beginning(content_type.unwrap_or("text"));
            let what = match body_text::markup_of(&body) {
                Some(markup) if content_type.contains("json") => {
                    format!("{markup}, though it says that it is {content_type}")
                }
                _ => content_type,
            };
            format!("the answer is {what}, no JSON: {}", text::beginning(&body))
        }
    };
    Err(SourceError::new(SourceErrorKind::InvalidResponse, message).caused_by(error))
}

/// The bytes that are shown around the place where a text is no JSON.
const AROUND: usize = 40;

/// Where a text that begins like JSON is none.
fn no_json_from(body: &str, error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let before =
        body.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let at = body.floor_char_boundary(before + column.saturating_sub(1));
    let from = body.floor_char_boundary(at.saturating_sub(AROUND));
    let to = body.ceil_char_boundary((at + AROUND).min(body.len()));
    let (cut, more) = (if from > 0 { "…" } else { "" }, if to < body.len() { "…" } else { "" });
    let around = text::visible(&body[from..to]);
    let hint = match body[at..].chars().next() {
        Some('\'') => "; texts of JSON stand in double quotes",
        _ => "",
    };
    format!(
        "the answer is no JSON from line {line}, column {column} (byte {at}) on, at `{cut}{around}{more}`{hint}"
    )
}

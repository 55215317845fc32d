//! Owns how a page leads on within the bounds of its run: to the next page of its chain, to a new chain where a query
//! gives no more, and to one without a cursor where the API refuses that of the run before.

use serde_json::json;

use super::http::response::Response;
use super::http::said::{self, Said};
use super::incremental::{FILTERED, REDACTED, Tracker};
use super::page::Page;
use super::page_reader::PageReader;
use super::position::{PagePosition, Window};
use super::request::Asked;
use crate::domain::chain_end::StopReason;
use crate::domain::hash::ContentHash;
use crate::domain::shape::Shape;
use crate::domain::text;
use crate::sources::{SourceError, SourceErrorKind};

/// The page at a position, whose next one is of the same chain. An answer that refuses the cursor at which the
/// run before ended is none: behind it the chain begins anew, without a cursor.
pub(super) fn along(
    reader: &PageReader,
    position: &PagePosition,
    asked: &Asked,
    response: Response,
) -> Result<Page, SourceError> {
    if !goes_on_from_before(reader, position)? {
        return walked(reader, position, asked, response);
    }
    let answer = response.clone();
    match walked(reader, position, asked, response) {
        Ok(page) if page.said == Said::Page && (page.records > 0 || page.complaint.is_none()) => {
            Ok(page)
        }
        Ok(page) => {
            let said = page.complaint.unwrap_or_else(|| format!("answered {}", answer.status));
            refused_cursor(reader, position, asked, answer, said)
        }
        Err(error) if refuses(error.kind) => {
            refused_cursor(reader, position, asked, answer, error.text())
        }
        Err(error) => Err(error),
    }
}

/// Whether the page at a position is asked for by the cursor at which the run before ended.
fn goes_on_from_before(reader: &PageReader, at: &PagePosition) -> Result<bool, SourceError> {
    let resumed = at.window.as_ref().is_some_and(|window| window.resumed);
    Ok(resumed && reader.paginator.ordinal(&at.at)? == 1)
}

/// Whether an error may be of what was asked for: then something else is.
fn refuses(kind: SourceErrorKind) -> bool {
    matches!(
        kind,
        SourceErrorKind::Rejected | SourceErrorKind::NotFound | SourceErrorKind::InvalidResponse
    )
}

/// What the answer becomes that refuses a cursor: a page without records, which leads to the first one of the
/// same bounds.
fn refused_cursor(
    reader: &PageReader,
    position: &PagePosition,
    asked: &Asked,
    answer: Response,
    said: String,
) -> Result<Page, SourceError> {
    let window = position.window.clone().map(|window| Window { resumed: false, ..window });
    let first = PagePosition { at: reader.paginator.first(), window, ..position.clone() };
    let body = said::kept(answer.status, &answer.body);
    let trace =
        reader.tracker.as_ref().and_then(|tracker| tracker.trace(position, None, None, None));
    Ok(Page {
        url: answer.from,
        request: asked.fingerprint,
        status: answer.status,
        hash: ContentHash::of(body.as_bytes()),
        body,
        is_json: true,
        headers: answer.headers,
        findings: Vec::new(),
        records: 0,
        shape: Shape::default(),
        leading_nowhere: Vec::new(),
        deleted: 0,
        news: None,
        repeats: false,
        next: Some(first.to_json()),
        ahead: Vec::new(),
        again: Vec::new(),
        name: reader.paginator.name(&position.at)?,
        met: vec![asked.fingerprint],
        end: None,
        more: None,
        complaint: None,
        cursors: None,
        filtered: 0,
        redacted: answer.redacted,
        date: None,
        cursor: None,
        watermark: trace
            .map(|trace| trace.refused(text::beginning(&said)).redacted(answer.redacted).to_json()),
        said: Said::Ignored,
        validators: None,
        not_modified: false,
        rate: answer.rate,
        parent: None,
    })
}

/// The page at a position, whose next one is of the same chain.
fn walked(
    reader: &PageReader,
    position: &PagePosition,
    asked: &Asked,
    response: Response,
) -> Result<Page, SourceError> {
    let mut page = reader.page((&position.at, position.window.as_ref()), asked, response)?;
    let mut position = position.clone();
    let mut onward = None;
    if let (Some(tracker), Some(window)) = (&reader.tracker, position.window.as_mut()) {
        *window = tracker.reached(window, page.cursors.as_ref());
        if let Some(from) = &window.from {
            // A chain that goes on from the last record begins with records that came already.
            let of_chain =
                |hash: &ContentHash| ContentHash::of(&[hash.as_bytes(), from.as_bytes()].concat());
            page.met = page.met.iter().map(of_chain).collect();
        }
        onward = beyond(tracker, window, &mut page);
    }
    page.watermark = match &reader.tracker {
        Some(tracker) => {
            let (cursors, end) = (page.cursors.take(), page.end.clone());
            let trace = tracker.trace(&position, cursors, page.date, end);
            let trace = trace.map(|trace| trace.filtered(page.filtered).redacted(page.redacted));
            trace.map(|trace| trace.ending_at(page.cursor.take()).to_json())
        }
        // Nothing but what the run says of it.
        None => (page.filtered > 0 || page.redacted > 0)
            .then(|| json!({ FILTERED: page.filtered, REDACTED: page.redacted })),
    };
    let next = page.next.map(|at| position.next(at).to_json());
    let again = page.again.into_iter().map(|at| position.next(at).to_json()).collect();
    let ahead = page.ahead.into_iter();
    let ahead = ahead.map(|(pages, at)| (pages, position.next(at).to_json())).collect();
    let onward = onward.map(|window| {
        let (at, window) = (reader.paginator.first(), Some(window));
        PagePosition { window, ..position.next(at) }.to_json()
    });
    Ok(Page { next: next.or(onward), again, ahead, ..page })
}

/// Where a chain goes on that came to the most records of one query; then it has not ended.
fn beyond(tracker: &Tracker, window: &Window, page: &mut Page) -> Option<Window> {
    let end =
        page.end.as_mut().filter(|end| end.reason == StopReason::MaxRecords && !end.complete)?;
    match tracker.beyond(window) {
        Ok(window) => {
            (page.end, page.more) = (None, None);
            Some(window)
        }
        Err(why) => {
            let note = end.note.take().unwrap_or_default();
            let note = match tracker.is_sorted() {
                true => format!("{note}; {why}"),
                false => note,
            };
            end.note = Some(note.clone());
            page.more = Some(note);
            None
        }
    }
}

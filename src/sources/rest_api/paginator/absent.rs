//! Owns what follows from a page that is not there: the end, or one that cannot be had and is asked for again on its
//! own.

use serde_json::Value;

use super::chain::{Chain, Missing};
use super::paginate::{Came, Paginate, Way};
use super::rules::{Rules, Verdict};
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::number::grouped;
use crate::sources::rest_api::full_page::fills_a_page;
use crate::sources::{SourceError, SourceErrorKind};

impl Rules<'_> {
    /// The position of a page that could not be had, to be asked for on its own: the chain went on behind it.
    pub(super) fn again(&self, missing: &Missing) -> Option<Value> {
        // What has failed as a task is tried again as that task.
        missing.status?;
        let chain = Chain { again: Some(missing.records), ..Chain::default() };
        // Its own name and number are those of its position.
        let pages = self.kind.ordinal(&missing.position).unwrap_or(1).saturating_sub(1);
        Some(Chain { pages, ..chain }.join(missing.position.clone()))
    }

    pub(super) fn had_again(&self, expected: u64) -> Result<Verdict, SourceError> {
        let by_records = matches!(self.way, Way::Numbered { by_records: true, .. });
        if by_records && self.came < expected {
            let (name, came) = (self.name()?, self.came);
            let message = format!(
                "{name} has {came} records, and the next page began {expected} records behind it: the list has \
                 changed meanwhile"
            );
            return Err(SourceError::new(SourceErrorKind::InvalidResponse, message)
                .advise("a new run reads the list as it is now"));
        }
        Ok(Verdict::default())
    }

    /// Nothing is there: the end, or a page that cannot be had.
    pub(super) fn nothing(&mut self) -> Result<Verdict, SourceError> {
        let (status, reached) = (self.page.status, self.is_reached());
        // The total of the first page may be that of the page alone.
        let reached = reached && (self.chain.pages > 1 || self.chain.missing.is_some());
        // A first page that is short may be cut, and this one missing.
        let is_short = self.chain.longest_pages > 1 && self.last_was_short();
        let reached = reached || self.all_pages_came() || is_short;
        if self.chain.missing.is_none() && (reached || self.chain.said_last) {
            return Ok(self.ended(self.proven(StopReason::End)));
        }
        // These say that there is nothing, and no more.
        if self.chain.missing.is_none() && matches!(status, 204 | 410 | 416) {
            let end = self.behind_the_end(status)?;
            return Ok(self.ended(end));
        }
        if let Some(missing) = &self.chain.missing {
            // One cannot be had, or the list ended with the first of the two, which was answered alike.
            if missing.status == Some(status) {
                self.chain.missing = None;
            }
            let end = self.behind_the_end(status)?;
            return Ok(self.ended(end));
        }
        let records = self.chain.stride().unwrap_or(0);
        let by_records = matches!(self.way, Way::Numbered { by_records: true, .. });
        if by_records && records == 0 {
            let end = self.behind_the_end(status)?;
            return Ok(self.ended(end));
        }
        let Some(next) = self.kind.next(&self.own, Came::Lost(records))? else {
            let end = self.behind_the_end(status)?;
            return Ok(self.ended(end));
        };
        self.chain.pages = self.chain.pages.saturating_add(1);
        self.chain.missing =
            Some(Missing { position: self.own.clone(), status: Some(status), records });
        if let Some(end) = self.bound()? {
            return Ok(self.ended(end));
        }
        Ok(Verdict { next: Some(self.chain.join(next)), ..Verdict::default() })
    }

    /// The end behind which nothing is.
    fn behind_the_end(&self, status: u16) -> Result<ChainEnd, SourceError> {
        let name = self.name()?;
        let records = grouped(self.chain.records);
        // A single page that is short may be the most that the API gives a page.
        let Chain { longest, longest_pages, .. } = self.chain;
        let is_short = self.last_was_short() && (longest_pages > 1 || !fills_a_page(longest));
        let proven = self.is_reached() || self.all_pages_came() || is_short;
        if is_natural(status) && !self.may_be_a_limit() || proven {
            return Ok(self.proven(StopReason::End));
        }
        let note = format!(
            "{name} was answered {status} after {records} records on full pages: that may be the end, or a limit of \
             the API; if it is the end, say so with `rest_api.responses` (action = \"end\"), or name the total with \
             `total_path` of `rest_api.paginator`"
        );
        Ok(ChainEnd::incomplete(StopReason::End, note))
    }
}

/// Whether a status says that there is no such page, and nothing else.
fn is_natural(status: u16) -> bool {
    !matches!(status, 400 | 422)
}

/// Whether a response that holds nothing may be the end at this position.
///
/// # Errors
/// When it is no position of the paginator.
pub(super) fn may_be_the_end(kind: &dyn Paginate, at: &Value) -> Result<bool, SourceError> {
    let (_, chain) = Chain::of(kind, at)?;
    let numbered = matches!(kind.way(), Way::Numbered { .. }) && chain.aside.is_none();
    Ok(numbered && chain.again.is_none() && (chain.records > 0 || chain.partial))
}

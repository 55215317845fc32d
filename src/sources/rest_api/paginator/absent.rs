//! Owns what follows from a page that is not there: the end, or one that cannot be had and is asked for again on its
//! own.

use serde_json::Value;

use super::chain::{Chain, MOST_MISSING, Missing};
use super::paginate::{Came, Paginate, Way};
use super::rules::{Rules, Verdict, complained};
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::number::grouped;
use crate::sources::rest_api::full_page::fills_a_page;
use crate::sources::rest_api::http::said::Said;
use crate::sources::{SourceError, SourceErrorKind};

impl Rules<'_> {
    /// The positions of the pages that could not be had, to be asked for on their own.
    pub(super) fn again(&self) -> Vec<Value> {
        // What has failed as a task is tried again as that task.
        let answered = self.chain.missing.iter().filter(|missing| missing.status.is_some());
        answered.map(|missing| self.position_of(missing)).collect()
    }

    fn position_of(&self, missing: &Missing) -> Value {
        let chain = Chain { again: Some(missing.records), ..Chain::default() };
        // Its own name and number are those of its position.
        let pages = self.kind.ordinal(&missing.position).unwrap_or(1).saturating_sub(1);
        Chain { pages, ..chain }.join(missing.position.clone())
    }

    /// Says how many records the pages must have that could not be had and are asked for again, and counts these
    /// among those of the chain: whether that has everything is known only with them, and each of them says so itself if
    /// it has fewer. `behind` says that the list goes on behind them; where it ends, they must have what a total says.
    pub(super) fn expect_missing(&mut self, behind: bool) {
        let (chain, tolerance) = (&mut self.chain, self.keys.total_tolerance);
        let several = chain.missing.iter_mut().filter(|missing| missing.status.is_some());
        let mut several = several.peekable();
        while let Some(missing) = several.next() {
            // Whether those in front of the last of several are the end only that shows.
            let behind = behind || chain.total.is_none() && several.peek().is_some();
            missing.records = match (behind, chain.total) {
                (true, _) => missing.records.max(1),
                (false, Some(total)) => {
                    let lacking = total.saturating_sub(chain.records.saturating_add(tolerance));
                    missing.records.min(lacking)
                }
                (false, None) => 0,
            };
            chain.records = chain.records.saturating_add(missing.records);
            if missing.records == chain.longest && chain.longest > 0 {
                chain.longest_pages = chain.longest_pages.saturating_add(1);
            }
        }
    }

    /// A page that is asked for again on its own: it has what its first asking lacked, or something is missing.
    pub(super) fn had_again(&self, expected: u64) -> Result<Verdict, SourceError> {
        let by_records = matches!(self.way, Way::Numbered { by_records: true, .. });
        let (said, came) = (self.page.said, self.came);
        if by_records && said.is_page() && came < expected {
            let name = self.name()?;
            let message = format!(
                "{name} has {came} records, and the next page began {expected} records behind it: the list has \
                 changed meanwhile"
            );
            return Err(SourceError::new(SourceErrorKind::InvalidResponse, message)
                .advise("a new run reads the list as it is now"));
        }
        let is_had = match said {
            Said::Page | Said::Last => came >= expected,
            Said::End => expected == 0,
            Said::Ignored | Said::ParentGone | Said::Nothing => false,
        };
        let end = match (is_had, &self.chain.complaint) {
            (true, None) => None,
            (true, Some(said)) => Some(ChainEnd::incomplete(StopReason::End, complained(said))),
            (false, complaint) => {
                let (name, reason) = (self.name()?, reason_of(said, came));
                let what = match (said, complaint) {
                    (Said::Page | Said::Last, None) => format!("had {}", records(came)),
                    (Said::Page | Said::Last, Some(said)) => {
                        format!("had {}, and said {said}", records(came))
                    }
                    _ => format!("was answered {}", self.page.status),
                };
                let lacks = match expected {
                    0 => String::new(),
                    _ => format!(" where {} at least should be", records(expected)),
                };
                let note = format!(
                    "{name} could not be had at first, and {what}{lacks} when it was asked for again: records may be \
                     missing"
                );
                Some(ChainEnd::incomplete(reason, note))
            }
        };
        Ok(Verdict { end, ..Verdict::default() })
    }

    /// Nothing is there: the end, or a page that cannot be had.
    pub(super) fn nothing(&mut self) -> Result<Verdict, SourceError> {
        let (status, reached) = (self.page.status, self.is_reached());
        let is_first = self.chain.missing.is_empty();
        // The total of the first page may be that of the page alone.
        let reached = reached && (self.chain.pages > 1 || !is_first);
        // A first page that is short may be cut, and this one missing.
        let is_short = self.chain.longest_pages > 1 && self.last_was_short();
        let reached = reached || self.all_pages_came() || is_short;
        if is_first && (reached || self.chain.said_last) {
            return Ok(self.ended(self.proven(StopReason::End)));
        }
        // These say that there is nothing, and no more.
        if is_first && matches!(status, 204 | 410 | 416) {
            let end = self.behind_the_end(status)?;
            return Ok(self.ended(end));
        }
        // Only two that are answered alike may be the end.
        let alike = |missing: &Missing| missing.status == Some(status);
        let may_be_the_end = self.chain.missing.last().is_some_and(alike);
        let goes_on = self.chain.more_is_known() || !may_be_the_end;
        if !is_first && (!goes_on || self.chain.missing.len() >= MOST_MISSING) {
            // Some cannot be had, or the list ended with the first of those that were answered alike.
            while self.chain.missing.pop_if(|missing| alike(missing)).is_some() {
                self.chain.pages = self.chain.pages.saturating_sub(1);
            }
            return self.ended_with_nothing(status);
        }
        let records = self.chain.stride().unwrap_or(0);
        let by_records = matches!(self.way, Way::Numbered { by_records: true, .. });
        if by_records && records == 0 {
            return self.ended_with_nothing(status);
        }
        let Some(next) = self.kind.next(&self.own, Came::Lost(records))? else {
            return self.ended_with_nothing(status);
        };
        self.chain.pages = self.chain.pages.saturating_add(1);
        let position = self.own.clone();
        self.chain.missing.push(Missing { position, status: Some(status), records });
        if let Some(end) = self.bound()? {
            self.expect_missing(false);
            return Ok(self.ended(end));
        }
        Ok(Verdict { next: Some(self.chain.join(next)), ..Verdict::default() })
    }

    fn ended_with_nothing(&mut self, status: u16) -> Result<Verdict, SourceError> {
        self.expect_missing(false);
        let end = self.behind_the_end(status)?;
        Ok(self.ended(end))
    }

    /// The end behind which nothing is.
    fn behind_the_end(&self, status: u16) -> Result<ChainEnd, SourceError> {
        let name = self.name()?;
        let records = grouped(self.chain.records);
        // A single page that is short may be the most that the API gives a page.
        let Chain { longest, longest_pages, .. } = self.chain;
        let is_short = self.last_was_short() && (longest_pages > 1 || !fills_a_page(longest));
        let proven = self.is_reached() || self.all_pages_came() || is_short;
        // Of a total that is named more is said.
        if is_natural(status) && !self.may_be_a_limit() || proven || self.lacks(self.chain.total) {
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

/// Why nothing more is expected of a page that was asked for again in vain.
fn reason_of(said: Said, came: u64) -> StopReason {
    match (said, came) {
        (Said::Ignored, _) => StopReason::Ignored,
        (Said::Page | Said::Last, 0) => StopReason::Empty,
        (Said::Page | Said::Last, _) => StopReason::Short,
        _ => StopReason::End,
    }
}

fn records(count: u64) -> String {
    match count {
        0 => "no records".to_owned(),
        1 => "1 record".to_owned(),
        count => format!("{} records", grouped(count)),
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

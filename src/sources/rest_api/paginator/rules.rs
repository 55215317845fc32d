//! Owns how a full sync ends, for all paginators: they say where the next page would be, the page says what it
//! says, and here it is decided what follows. `reasons` owns why it ends, `proof` whether everything has come, `absent`
//! what follows from a page that is not there, `repeats` from one that repeats another, and `beside` which pages are
//! asked for side by side.
//!
//! A page that is short proves nothing by itself, and what is not proven is not complete. What contradicts
//! itself fails. A full sync ends, whatever an API answers.

use serde_json::Value;

use super::chain::Chain;
use super::end_keys::EndKeys;
use super::page_view::{PageView, Surroundings};
use super::paginate::{Came, Paginate, Way};
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::number::grouped;
use crate::domain::text::cut;
use crate::sources::rest_api::http::said::Said;
use crate::sources::{SourceError, SourceErrorKind};

/// The most pages without records that are asked for in a row.
const MOST_EMPTY: u64 = 100;
/// The most bytes of what an answer says is wrong with it that are remembered.
const MOST_COMPLAINT: usize = 300;

/// What there is to say of numbered pages that became longer.
const GREW: &str = "the pages were equally long, and then longer: what is between the short ones and the long ones has \
    come on no page; set `size` to what the API always gives, or name the total with `total_path` of \
    `rest_api.paginator`";

/// What follows from a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::sources::rest_api) struct Verdict {
    /// Pages that could not be had and are asked for again, each on its own, now that it is known what is behind them.
    pub again: Vec<Value>,
    /// The next page.
    pub next: Option<Value>,
    /// Further ones, and how many pages behind this one they are.
    pub ahead: Vec<(u32, Value)>,
    /// How the chain ended, when it has.
    pub end: Option<ChainEnd>,
    /// Whether it is a page past the end that repeats the last one: its records have come already.
    pub repeats: bool,
    /// Whether pages are places in a list: what moves in it while it is read may be missed.
    pub places: bool,
}

/// What decides.
pub(super) struct Rules<'a> {
    pub(super) kind: &'a dyn Paginate,
    pub(super) keys: EndKeys<'a>,
    pub(super) way: Way<'a>,
    pub(super) page: PageView<'a>,
    pub(super) around: &'a dyn Surroundings,
    /// The page's position, in the paginator's own words.
    pub(super) own: Value,
    /// What the pages before said.
    pub(super) chain: Chain,
    pub(super) came: u64,
}

/// What a page says by the keys of the job file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Says {
    pub(super) total: Option<u64>,
    pub(super) has_more: Option<bool>,
    pub(super) is_last: bool,
}

impl<'a> Rules<'a> {
    /// For the page at a position.
    ///
    /// # Errors
    /// When it is no position of the paginator.
    pub fn of(
        kind: &'a dyn Paginate,
        at: &Value,
        page: PageView<'a>,
        around: &'a dyn Surroundings,
    ) -> Result<Self, SourceError> {
        let (own, mut chain) = Chain::of(kind, at)?;
        let (keys, way, came) = (kind.end_keys(), kind.way(), page.came as u64);
        if let (None, Some(said)) = (&chain.complaint, page.complaint) {
            chain.complaint = Some(cut(said, MOST_COMPLAINT).into());
        }
        Ok(Self { kind, keys, way, page, around, own, chain, came })
    }

    /// What follows from the page.
    ///
    /// # Errors
    /// When the page shows that the API is not walked this way, or can be walked no further.
    pub fn decide(mut self) -> Result<Verdict, SourceError> {
        let verdict = self.decided()?;
        let places = self.chain.places || matches!(self.way, Way::Numbered { .. });
        Ok(Verdict { places, ..verdict })
    }

    fn decided(&mut self) -> Result<Verdict, SourceError> {
        if let Some(expected) = self.chain.again {
            return self.had_again(expected);
        }
        if let Some(aside) = self.chain.aside {
            return self.beside(aside);
        }
        if let Some(probe) = self.chain.probe.take() {
            return self.probed(probe);
        }
        match self.page.said {
            Said::Page | Said::Last => self.page(),
            Said::Nothing => self.nothing(),
            Said::End | Said::ParentGone => Ok(self.ended(self.proven(StopReason::End))),
            Said::Ignored => {
                let name = self.name()?;
                let status = self.page.status;
                let note = format!(
                    "{name} was answered {status}, which the job file ignores, and ends the full sync"
                );
                Ok(self.ended(ChainEnd::incomplete(StopReason::Ignored, note)))
            }
        }
    }

    fn page(&mut self) -> Result<Verdict, SourceError> {
        let says = Says {
            total: self.total()?,
            has_more: self.keys.has_more_of(&self.page)?,
            is_last: self.keys.is_last(&self.page)?,
        };
        let page_count = self.keys.pages_of(&self.page)?;
        // The number of this page may be taken for that of all.
        self.chain.pages_foretold |= page_count.is_some_and(|all| all > self.chain.pages + 1);
        self.chain.page_count = self.chain.page_count.max(page_count);
        if self.came > 0 && self.is_page_before() {
            return self.repeated(says);
        }
        let before = self.chain.records;
        if self.chain.pages == 0 && self.keys.total.is_none() {
            let claim = self.around.claim();
            (self.chain.claimed_at, self.chain.claimed) = claim.unzip();
        }
        self.count(says);
        let goes_on = says.has_more == Some(true)
            || self.chain.page_count.is_some_and(|count| count > self.chain.pages);
        self.expect_missing(self.came > 0 || goes_on);
        let next = self.kind.next(&self.own, Came::Page(self.page));
        let next = match (self.came, next) {
            // Behind the last number there is no page, and none is needed behind an empty one.
            (0, Err(error)) if error.kind == SourceErrorKind::NoFurtherPage => None,
            (_, next) => next?,
        };
        if matches!(self.way, Way::Referenced) && next.is_none() && says.has_more == Some(true) {
            return Err(self.no_reference()?);
        }
        let reason = self.reason(says, before, next.is_some());
        // The API gives no more for a query, and leads nowhere behind that.
        let cut = match reason {
            Some(StopReason::NoNext) if !self.is_reached() => self.bound()?,
            _ => None,
        };
        let cut = cut.filter(|end| end.reason == StopReason::MaxRecords);
        let end = match (cut, reason) {
            (Some(end), _) => Some(end),
            (None, Some(reason)) => Some(self.proven(reason)),
            (None, None) => self.bound()?,
        };
        if end.is_none() {
            let ahead = self.side_by_side();
            if !ahead.is_empty() {
                return Ok(Verdict { ahead, ..Verdict::default() });
            }
        }
        match (end, next) {
            (None, Some(next)) => self.go_on(next),
            (None, None) => Ok(self.ended(self.proven(StopReason::NoNext))),
            (Some(end), _) => Ok(self.ended(end)),
        }
    }

    /// The total that the page says. Some APIs say it with the first page only.
    pub(super) fn total(&self) -> Result<Option<u64>, SourceError> {
        match self.keys.total_of(&self.page) {
            Err(_) if self.chain.total.is_some() => Ok(None),
            total => total,
        }
    }

    /// Adds the page to what is known.
    fn count(&mut self, says: Says) {
        let (chain, came) = (&mut self.chain, self.came);
        chain.pages = chain.pages.saturating_add(1);
        let had_short = chain.records > chain.longest.saturating_mul(chain.longest_pages);
        chain.records = chain.records.saturating_add(came);
        chain.total = chain.total.max(says.total);
        if chain.pages == 1 {
            chain.first_total = says.total;
        }
        if came == 0 {
            chain.empty = chain.empty.saturating_add(1);
            return;
        }
        chain.empty = 0;
        chain.total_false |= chain.total_reached;
        chain.last = Some(self.page.content().into());
        chain.last_body = Some(self.page.hash.into());
        chain.repeats = 0;
        // That it is shorter than those before shows with the next one.
        // Whoever counts pages of so many passes over some that the API gave no page of.
        chain.grew |= came > chain.longest && !had_short && chain.longest_pages > 1;
        if chain.pages > 1 && came > chain.longest && chain.longest > 0 {
            chain.uneven = true;
        }
        if came > chain.longest {
            (chain.longest, chain.longest_pages) = (came, 1);
        } else if came == chain.longest {
            chain.longest_pages = chain.longest_pages.saturating_add(1);
        }
    }

    /// The end that the job file, or the guard against APIs without one, sets.
    pub(super) fn bound(&self) -> Result<Option<ChainEnd>, SourceError> {
        let Chain { pages, records, empty, .. } = self.chain;
        if self.keys.first_pages_only && pages >= self.keys.most_pages() {
            return Ok(Some(ChainEnd::complete(StopReason::MaxPages)));
        }
        let (reason, what) = if pages >= self.keys.most_pages() {
            (StopReason::MaxPages, format!("`max_pages` = {} was reached", self.keys.most_pages()))
        } else if let Some(most) = self.keys.max_records.filter(|most| records >= *most) {
            (StopReason::MaxRecords, format!("`max_records` = {most} was reached"))
        } else if empty >= MOST_EMPTY {
            let name = self.name()?;
            (StopReason::EmptyPages, format!("the {MOST_EMPTY} pages up to {name} have no records"))
        } else {
            return Ok(None);
        };
        let advice = match reason {
            StopReason::MaxPages => {
                "raise it in `rest_api.paginator`, or ask for less in `rest_api.params`; if the first pages are all you \
                 want, set `first_pages_only = true` beside it"
            }
            StopReason::MaxRecords => {
                "raise it in `rest_api.paginator`, or ask for less in `rest_api.params`"
            }
            _ => "ask for less in `rest_api.params`",
        };
        let records = grouped(records);
        let note = format!("{what} after {records} records, and there may be more: {advice}");
        Ok(Some(ChainEnd::incomplete(reason, note)))
    }

    fn go_on(&mut self, next: Value) -> Result<Verdict, SourceError> {
        self.chain.places |= self.kind.leads_by_number(&self.own, &self.page, &next);
        if matches!(self.way, Way::Referenced) && self.leads_to_itself(&next) {
            return Err(self.in_a_circle(&self.name()?, "leads to itself"));
        }
        self.chain.total_reached |=
            self.chain.total.is_some_and(|total| self.chain.records >= total) && self.came > 0;
        let numbered = matches!(self.way, Way::Numbered { .. });
        self.chain.said_last = numbered && self.around.says_last();
        let again = self.again();
        self.chain.missing.clear();
        Ok(Verdict { again, next: Some(self.chain.join(next)), ..Verdict::default() })
    }

    pub(super) fn ended(&self, end: ChainEnd) -> Verdict {
        let again = self.again();
        let end = match (&self.chain.complaint, end.complete) {
            (Some(said), true) => ChainEnd::incomplete(end.reason, complained(said)),
            (None, true) if self.skipped_some() => ChainEnd::incomplete(end.reason, GREW),
            _ => end,
        };
        let end = ChainEnd { spare: self.spare(), ..end };
        Verdict { again, end: Some(end), ..Verdict::default() }
    }

    /// Whether numbered pages grew while they were read, and nothing shows that everything came all the same.
    fn skipped_some(&self) -> bool {
        let by_pages = matches!(self.way, Way::Numbered { by_records: false, .. });
        by_pages && self.chain.grew && !(self.keys.total.is_some() && self.is_reached())
    }

    /// How many records of a list of several pages may have come twice, for it moved, without any being missed.
    fn spare(&self) -> Option<u64> {
        let numbered = !matches!(self.way, Way::Single { .. }) && !self.chain.partial;
        let claimed = || self.chain.claimed.filter(|_| self.keys.total.is_none());
        // What was added since may be where nobody looks any more.
        let total = self.chain.first_total.or_else(claimed).filter(|_| numbered)?;
        let came = self.chain.records.saturating_add(self.keys.total_tolerance);
        came.checked_sub(total)
    }

    fn no_reference(&self) -> Result<SourceError, SourceError> {
        let name = self.name()?;
        let path = self.keys.has_more.unwrap_or_default();
        let message =
            format!("{name} says that there are more by `{path}`, and does not lead to them");
        Ok(SourceError::new(SourceErrorKind::InvalidResponse, message)
            .advise("see where `rest_api.paginator` looks for the next page"))
    }

    pub(super) fn name(&self) -> Result<String, SourceError> {
        self.kind.name(&self.own)
    }
}

/// What there is to say when an answer says itself that something is wrong with it: what it lacks is asked for again.
pub(super) fn complained(said: &str) -> String {
    format!("something may be missing: an answer says {said}")
}

/// Whether earlier versions ended a full sync before this position: their recordings end there.
///
/// # Errors
/// When it is no position of the paginator.
pub(super) fn ended_before(kind: &dyn Paginate, at: &Value) -> Result<bool, SourceError> {
    let (_, chain) = Chain::of(kind, at)?;
    // None asked for a page far behind, and most for none behind one that was repeated.
    if chain.probe.is_some() || chain.repeats > 0 {
        return Ok(true);
    }
    let Way::Numbered { size: Some(size), by_records: false, .. } = kind.way() else {
        return Ok(false);
    };
    // Of a run that an earlier version began only what came since is known.
    let is_cut = chain.partial && chain.longest > 0 && chain.longest < u64::from(size);
    Ok(is_cut || chain.ends_short(size))
}

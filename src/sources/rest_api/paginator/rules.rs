//! Owns how a full sync ends, for all paginators: they say where the next page would be, the page says what it
//! says, and here it is decided whether there is one, and whether everything has come.
//!
//! A page that is short proves nothing by itself, and what is not proven is not complete. What contradicts
//! itself fails. A full sync ends, whatever an API answers.

use serde_json::Value;

use super::chain::{Aside, Chain, Missing, Probe};
use super::end_keys::EndKeys;
use super::page_view::{PageView, Surroundings};
use super::paginate::{Came, Paginate, Way};
use super::shortfall::Shortfall;
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::number::grouped;
use crate::domain::text::cut;
use crate::sources::rest_api::full_page::fills_a_page;
use crate::sources::rest_api::http::said::Said;
use crate::sources::rest_api::side_by_side;
use crate::sources::{SourceError, SourceErrorKind};

/// A number of records that is a multiple of this may be no more than the most that the API gives.
const ROUND: u64 = 1_000;
/// The most pages without records that are asked for in a row.
const MOST_EMPTY: u64 = 100;
/// The most bytes of what an answer says is wrong with it that are remembered.
const MOST_COMPLAINT: usize = 300;
/// How many pages behind one that repeats the page before it the probe is: no list moves so far between two
/// requests.
const FAR: u64 = 100;
/// The most pages in a row that may repeat the one before them in a list that moves.
const MOST_REPEATS: u64 = 10;

/// What follows from a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::sources::rest_api) struct Verdict {
    /// A page that could not be had and is asked for again on its own, now that others behind it were had.
    pub again: Option<Value>,
    /// The next page.
    pub next: Option<Value>,
    /// Further ones, and how many pages behind this one they are.
    pub ahead: Vec<(u32, Value)>,
    /// How the chain ended, when it has.
    pub end: Option<ChainEnd>,
    /// Whether it is a page past the end that repeats the last one: its records have come already.
    pub repeats: bool,
}

/// What decides.
pub(super) struct Rules<'a> {
    kind: &'a dyn Paginate,
    keys: EndKeys<'a>,
    way: Way<'a>,
    page: PageView<'a>,
    around: &'a dyn Surroundings,
    /// The page's position, in the paginator's own words.
    own: Value,
    /// What the pages before said.
    chain: Chain,
    came: u64,
}

/// What a page says by the keys of the job file.
#[derive(Debug, Clone, Copy)]
struct Says {
    total: Option<u64>,
    has_more: Option<bool>,
    is_last: bool,
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
        if let Some(expected) = self.chain.again {
            let verdict = self.had_again(expected)?;
            let end = self.chain.complaint.as_deref().map(complained);
            let end = end.map(|note| ChainEnd::incomplete(StopReason::End, note));
            return Ok(Verdict { end, ..verdict });
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
        let next = self.kind.next(&self.own, Came::Page(self.page));
        let next = match (self.came, next) {
            // Behind the last number there is no page, and none is needed behind an empty one.
            (0, Err(error)) if error.kind == SourceErrorKind::NoFurtherPage => None,
            (_, next) => next?,
        };
        if matches!(self.way, Way::Referenced) && next.is_none() && says.has_more == Some(true) {
            return Err(self.no_reference()?);
        }
        let end = match self.reason(says, before, next.is_some()) {
            Some(reason) => Some(self.proven(reason)),
            None => self.bound()?,
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
    fn total(&self) -> Result<Option<u64>, SourceError> {
        match self.keys.total_of(&self.page) {
            Err(_) if self.chain.total.is_some() => Ok(None),
            total => total,
        }
    }

    /// Adds the page to what is known.
    fn count(&mut self, says: Says) {
        let (chain, came) = (&mut self.chain, self.came);
        chain.pages = chain.pages.saturating_add(1);
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
        if chain.pages > 1 && came > chain.longest && chain.longest > 0 {
            chain.uneven = true;
        }
        if came > chain.longest {
            (chain.longest, chain.longest_pages) = (came, 1);
        } else if came == chain.longest {
            chain.longest_pages = chain.longest_pages.saturating_add(1);
        }
    }

    /// Why the full sync ends with this page, if it does.
    fn reason(&self, says: Says, before: u64, leads_on: bool) -> Option<StopReason> {
        if self.page.said == Said::Last {
            return Some(StopReason::End);
        }
        if says.has_more == Some(false) {
            return Some(StopReason::HasMore);
        }
        if says.is_last {
            return Some(StopReason::EndPath);
        }
        match self.way {
            Way::Single { .. } => Some(StopReason::OnlyPage),
            Way::Referenced if leads_on => None,
            Way::Referenced if self.came == 0 => Some(StopReason::Empty),
            Way::Referenced => Some(StopReason::NoNext),
            Way::Numbered { by_records, .. } if self.came == 0 => {
                // Some APIs leave records out behind the counting of pages.
                let more = says.has_more == Some(true)
                    || self.chain.page_count.is_some_and(|count| count > self.chain.pages);
                (by_records || !more).then_some(StopReason::Empty)
            }
            Way::Numbered { size, .. } => self.counted(says, size, before),
        }
    }

    /// The pages to ask for side by side behind the first one, which says how many there are.
    fn side_by_side(&self) -> Vec<(u32, Value)> {
        let step = self.keys.concurrency.map(|step| step.min(side_by_side::MOST));
        let Some(step) = step.filter(|step| *step > 1) else { return Vec::new() };
        let (records, chain) = (self.came, &self.chain);
        if chain.pages != 1 || records == 0 {
            return Vec::new();
        }
        let Some(last) = chain.page_count.or(chain.total.map(|total| total.div_ceil(records)))
        else {
            return Vec::new();
        };
        let bound = self.keys.max_records.is_some_and(|most| last.saturating_mul(records) > most);
        if last < 3 || last > self.keys.most_pages() || bound || last > u64::from(u32::MAX) {
            return Vec::new();
        }
        let aside = Aside { page: 1, step, last, records };
        let pages = 2..=last.min(u64::from(step) + 1);
        pages.filter_map(|page| page_aside(self.kind, &self.own, chain, aside, page)).collect()
    }

    /// One of several pages that are asked for side by side: it must be as those that were expected.
    fn beside(&self, aside: Aside) -> Result<Verdict, SourceError> {
        let says_so = self.page.said == Said::Page && self.came == aside.records;
        let end = match (says_so, &self.chain.complaint) {
            (true, None) => None,
            (true, Some(said)) => Some(ChainEnd::incomplete(StopReason::Short, complained(said))),
            (false, _) => {
                let (name, came) = (self.name()?, grouped(self.came));
                let note = format!(
                    "{name} has {came} records, and the first page {}: pages that are asked for side by side must \
                     have equally many; ask for them one after the other, without `concurrency`",
                    grouped(aside.records)
                );
                Some(ChainEnd::incomplete(StopReason::Short, note))
            }
        };
        let chain = Chain {
            total: self.chain.total,
            first_total: self.chain.first_total,
            page_count: self.chain.page_count,
            ..Chain::default()
        };
        let next = aside.page.saturating_add(aside.step.into());
        let ahead = page_aside(self.kind, &self.own, &chain, aside, next);
        Ok(Verdict { ahead: ahead.into_iter().collect(), end, ..Verdict::default() })
    }

    /// Why numbered pages end with this one, which has records.
    fn counted(&self, says: Says, size: Option<u32>, before: u64) -> Option<StopReason> {
        // What was asked for side by side may have grown meanwhile.
        if self.chain.was_aside {
            return None;
        }
        let Chain { total_reached, pages, page_count, longest, uneven, .. } = self.chain;
        let is_cut = size.is_some_and(|size| longest < u64::from(size));
        // What has come beyond a total shows that it is none.
        if !total_reached && says.total.is_some_and(|total| self.is_whole(before, total)) {
            return Some(StopReason::Total);
        }
        // Who counts pages by what was asked for, and gives fewer records, has more pages than he says.
        let may_lie = is_cut && self.came == longest || pages == 1;
        if page_count == Some(pages) && !may_lie {
            return Some(StopReason::Total);
        }
        let says_more =
            says.has_more == Some(true) || page_count.is_some_and(|count| count > pages);
        // Who is not told how many to give may give what he likes.
        let is_told = size.is_some() && !matches!(self.way, Way::Numbered { by_records: true, .. });
        let is_short = is_told && pages > 1 && self.came < longest && !uneven;
        if !is_short || says_more || self.lacks(self.chain.total) {
            return None;
        }
        // A page in the middle may be short as well, where records are left out after paging. What nobody asked it
        // counts: if it agrees, no further page is needed.
        let agrees = self.keys.total.is_none()
            && self.around.total().is_some_and(|(_, total)| total == self.chain.records);
        (agrees && self.around.says_more().is_none()).then_some(StopReason::Short)
    }

    /// Whether the records up to here are all that there are.
    ///
    /// Some APIs count the records of the page only, others no further than to a round number. Where
    /// it may be so, one more page is asked for; if that has records, the total is none.
    fn is_whole(&self, before: u64, total: u64) -> bool {
        let may_count_the_page = before == 0;
        let may_be_a_limit = total.is_multiple_of(ROUND);
        // An estimate that is too low may be met by a page that is full.
        let is_full = self.came == self.chain.longest;
        self.chain.records == total && !may_count_the_page && !may_be_a_limit && !is_full
    }

    /// Whether the page has as many records as a page may have at most, for all that is known.
    fn may_be_cut(&self, size: Option<u32>) -> bool {
        size.is_none_or(|size| self.came >= u64::from(size)) || fills_a_page(self.came)
    }

    /// Whether fewer records came than a total says that there are.
    fn lacks(&self, total: Option<u64>) -> bool {
        let came = self.chain.records.saturating_add(self.keys.total_tolerance);
        !self.chain.partial && total.is_some_and(|total| total > came)
    }

    /// Whether as many records came as there are, by a total that can be believed.
    fn is_reached(&self) -> bool {
        !self.chain.total_false && self.chain.total.is_some() && !self.lacks(self.chain.total)
    }

    /// Whether as many pages came as an earlier one said that there are. Who counts pages by what was asked for, and
    /// gives fewer records, has more pages than he says.
    fn all_pages_came(&self) -> bool {
        let Chain { page_count, pages, pages_foretold, longest, .. } = self.chain;
        let is_cut = match self.way {
            Way::Numbered { size: Some(size), .. } => longest < u64::from(size),
            _ => false,
        };
        let came = pages - u64::from(self.chain.missing.is_some());
        pages_foretold && page_count == Some(came) && !is_cut
    }

    /// Whether the last page had fewer records than it could have had.
    fn last_was_short(&self) -> bool {
        let Way::Numbered { size: Some(size), by_records: false, .. } = self.way else {
            return false;
        };
        self.chain.ends_short(size)
    }

    /// Whether the full sync may have come to the most that the API gives for one query.
    fn may_be_a_limit(&self) -> bool {
        let Chain { records, longest, uneven, .. } = self.chain;
        records > 0 && records.is_multiple_of(ROUND) && longest > 0 && !uneven
    }

    /// The end for a reason, which is complete if nothing contradicts it.
    fn proven(&self, reason: StopReason) -> ChainEnd {
        match self.contradiction(reason) {
            Some(note) => ChainEnd::incomplete(reason, note),
            None => {
                let note = self.fewer_than_asked().or_else(|| self.led_nowhere(reason));
                ChainEnd { note, ..ChainEnd::complete(reason) }
            }
        }
    }

    /// What there is to say when the first page is full, and the place that leads on is not in it: that place may be
    /// misspelt, or taken out on the way.
    fn led_nowhere(&self, reason: StopReason) -> Option<String> {
        let first = reason == StopReason::NoNext && self.chain.pages == 1;
        (first && fills_a_page(self.came)).then(|| {
            format!(
                "the first page has {} records and leads to no other: if there are more, correct where \
                 `rest_api.paginator` looks for the next page",
                grouped(self.came)
            )
        })
    }

    fn contradiction(&self, reason: StopReason) -> Option<String> {
        if self.lacks(self.chain.total)
            && let Some((place, total)) = self.keys.total.zip(self.chain.total)
        {
            return Some(self.shortfall(reason, total).of_total(&place.shown()));
        }
        if reason == StopReason::Empty
            && let Some((place, count)) = self.keys.total_pages.zip(self.chain.page_count)
            && count >= self.chain.pages
            && !(self.chain.records == 0 && count <= 1)
        {
            let (pages, place) = (self.chain.pages.saturating_sub(1), place.shown());
            return Some(format!(
                "the full sync ends after {pages} pages, and by {place} there are {count}: records may be missing"
            ));
        }
        if let Some((place, total)) = self.claim_above()
            && !matches!(self.way, Way::Single { .. })
            && reason != StopReason::End
        {
            return Some(self.shortfall(reason, total).of_claim(&place));
        }
        match (reason, self.way) {
            (_, Way::Single { first_page_only: true }) => None,
            // The job file says where to look, and that counts.
            (StopReason::HasMore | StopReason::EndPath | StopReason::End, _) => None,
            (StopReason::OnlyPage, _) => self.around.evidence_of_more().map(more_than_one),
            (StopReason::NoNext, _) if self.chain.pages == 1 => {
                self.around.evidence_of_more().map(|evidence| not_led_on(&evidence))
            }
            (StopReason::NoNext, _) => {
                self.around.says_more().map(|evidence| not_led_on(&evidence))
            }
            (StopReason::Empty, _) => self.around.says_more().map(more_behind_nothing),
            _ => self.around.says_more().map(more_than_counted),
        }
    }

    fn shortfall(&self, reason: StopReason, total: u64) -> Shortfall<'_> {
        let Chain { records: came, longest, .. } = self.chain;
        let (has_more, end) = (self.keys.has_more, self.keys.end);
        Shortfall { way: self.way, reason, came, total, longest, has_more, end }
    }

    /// What the first or the last page seems to say that there are, when that is more than came.
    fn claim_above(&self) -> Option<(String, u64)> {
        if self.keys.total.is_some() || self.chain.partial {
            return None;
        }
        let first = self.chain.claimed_at.clone().zip(self.chain.claimed);
        let claims = first.into_iter().chain(self.around.claim());
        let (place, total) = claims.max_by_key(|(_, total)| *total)?;
        self.lacks(Some(total)).then_some((place, total))
    }

    /// What there is to say once when the API gives fewer records a page than it is asked for.
    fn fewer_than_asked(&self) -> Option<String> {
        let Way::Numbered { size: Some(size), .. } = self.way else { return None };
        let Chain { longest, longest_pages, .. } = self.chain;
        (longest_pages > 1 && longest < u64::from(size)).then(|| {
            format!(
                "a page was asked for {size} records, and the longest has {longest}: with `size` = {longest} the job \
                 file says what the API does"
            )
        })
    }

    /// The end that the job file, or the guard against APIs without one, sets.
    fn bound(&self) -> Result<Option<ChainEnd>, SourceError> {
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
        if matches!(self.way, Way::Referenced) && self.leads_to_itself(&next) {
            return Err(self.in_a_circle(&self.name()?, "leads to itself"));
        }
        self.chain.total_reached |=
            self.chain.total.is_some_and(|total| self.chain.records >= total) && self.came > 0;
        let numbered = matches!(self.way, Way::Numbered { .. });
        self.chain.said_last = numbered && self.around.says_last();
        let missing = self.chain.missing.take();
        let again = missing.and_then(|missing| self.again(&missing));
        Ok(Verdict { again, next: Some(self.chain.join(next)), ..Verdict::default() })
    }

    fn ended(&self, end: ChainEnd) -> Verdict {
        let again = self.chain.missing.as_ref().and_then(|missing| self.again(missing));
        let end = match (&self.chain.complaint, end.complete) {
            (Some(said), true) => ChainEnd::incomplete(end.reason, complained(said)),
            _ => end,
        };
        let end = ChainEnd { spare: self.spare(), ..end };
        Verdict { again, end: Some(end), ..Verdict::default() }
    }

    /// How many records of a numbered list may have come twice, for it moved, without any being missed.
    fn spare(&self) -> Option<u64> {
        let numbered = matches!(self.way, Way::Numbered { .. }) && !self.chain.partial;
        let claimed = || self.chain.claimed.filter(|_| self.keys.total.is_none());
        // What was added since may be where nobody looks any more.
        let total = self.chain.first_total.or_else(claimed).filter(|_| numbered)?;
        let came = self.chain.records.saturating_add(self.keys.total_tolerance);
        came.checked_sub(total)
    }

    /// The position of a page that could not be had, to be asked for on its own: the chain went on behind it.
    fn again(&self, missing: &Missing) -> Option<Value> {
        // What has failed as a task is tried again as that task.
        missing.status?;
        let chain = Chain { again: Some(missing.records), ..Chain::default() };
        // Its own name and number are those of its position.
        let pages = self.kind.ordinal(&missing.position).unwrap_or(1).saturating_sub(1);
        Some(Chain { pages, ..chain }.join(missing.position.clone()))
    }

    fn had_again(&self, expected: u64) -> Result<Verdict, SourceError> {
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
    fn nothing(&mut self) -> Result<Verdict, SourceError> {
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

    /// Whether the page has the records of the one directly before it.
    fn is_page_before(&self) -> bool {
        let Some(last) = self.chain.last else { return false };
        last == self.page.content().into() || last == self.page.hash.into()
    }

    /// The page has the records of the one directly before it: APIs do that behind their last page, and where
    /// they do not know the parameter. A list that moved by a page meanwhile does it too, and goes on behind it: a
    /// page far behind, which only the former answer alike, tells.
    fn repeated(&mut self, says: Says) -> Result<Verdict, SourceError> {
        let Way::Numbered { .. } = self.way else {
            let name = self.name()?;
            return Err(self.in_a_circle(&name, "is the page before it again, record for record"));
        };
        self.chain.total = self.chain.total.max(says.total);
        // Byte for byte the first page again: either there is one page only, or nobody heeds the number.
        let is_same =
            self.repeats_the_first() && self.chain.last_body == Some(self.page.hash.into());
        if !is_same && !self.chain.partial && self.chain.repeats < MOST_REPEATS {
            let far = FAR.saturating_mul(self.chain.longest.max(1));
            if let Some((far, back)) = self
                .kind
                .ahead(&self.own, FAR, far)
                .zip(self.kind.next(&self.own, Came::Page(self.page))?)
            {
                self.chain.probe = Some(Probe { repeated: self.own.clone(), back });
                let next = Some(self.chain.join(far));
                return Ok(Verdict { next, repeats: true, ..Verdict::default() });
            }
        }
        self.repeats_for_good(says)
    }

    /// The page far behind one that repeats the page before it.
    fn probed(&mut self, probe: Probe) -> Result<Verdict, SourceError> {
        let is_alike = self.page.said == Said::Page && self.came > 0 && self.is_page_before();
        if !is_alike {
            self.chain.repeats = self.chain.repeats.saturating_add(1);
            let next = Some(self.chain.join(probe.back));
            return Ok(Verdict { next, repeats: true, ..Verdict::default() });
        }
        // It is the repeated page that messages name.
        self.own = probe.repeated;
        let says = Says {
            total: self.total()?,
            has_more: self.keys.has_more_of(&self.page)?,
            is_last: false,
        };
        self.repeats_for_good(says)
    }

    /// Whether it is the first page that is repeated.
    fn repeats_the_first(&self) -> bool {
        self.chain.pages <= 1 && !self.chain.partial
    }

    /// However far one asks, the same page comes.
    fn repeats_for_good(&self, says: Says) -> Result<Verdict, SourceError> {
        let Way::Numbered { size, .. } = self.way else { return Err(self.repeats_itself()?) };
        let (reached, is_first) = (self.is_reached(), self.repeats_the_first());
        // Its total may be that of the page.
        let (cut, proven) = (is_first && self.may_be_cut(size), reached && !is_first);
        if self.lacks(self.chain.total) || cut && !reached || self.chain.partial {
            return Err(self.repeats_itself()?);
        }
        let doubt = if says.has_more == Some(true) {
            Some("and says that there are more")
        } else if is_first && !proven {
            Some(
                "which is the first: either there is one page only, or the API does not know the parameter",
            )
        } else if self.may_be_a_limit() && !reached {
            Some("which may be the last that the API gives, and not the last that there is")
        } else if self.chain.repeats >= MOST_REPEATS {
            Some("and so have those before, while one far behind has others")
        } else {
            None
        };
        let end = match doubt {
            None => ChainEnd {
                note: self.fewer_than_asked(),
                ..ChainEnd::complete(StopReason::Repeated)
            },
            Some(doubt) => {
                let (name, records) = (self.name()?, grouped(self.chain.records));
                ChainEnd::incomplete(
                    StopReason::Repeated,
                    repeated_in_doubt(&name, doubt, &records),
                )
            }
        };
        Ok(Verdict { repeats: true, ..self.ended(end) })
    }

    fn leads_to_itself(&self, next: &Value) -> bool {
        let reference = |at: &Value| {
            let mut at = at.clone();
            at.as_object_mut().map(|fields| fields.remove("page"));
            at
        };
        reference(&self.own) == reference(next)
    }

    fn repeats_itself(&self) -> Result<SourceError, SourceError> {
        let name = self.name()?;
        let param = match self.way {
            Way::Numbered { param, .. } => param,
            Way::Single { .. } | Way::Referenced => "page",
        };
        let message = format!(
            "the paginator repeats itself: {name} is the page before it, record for record"
        );
        let advice =
            format!("the API may know no query parameter `{param}`: see `rest_api.paginator`");
        Ok(SourceError::new(SourceErrorKind::RepeatedPage, message).advise(advice))
    }

    fn in_a_circle(&self, name: &str, what: &str) -> SourceError {
        let message = format!("the paginator repeats itself: {name} {what}");
        SourceError::new(SourceErrorKind::RepeatedPage, message).advise(
            "the API may not know the parameter that takes the cursor: see `rest_api.paginator`",
        )
    }

    fn no_reference(&self) -> Result<SourceError, SourceError> {
        let name = self.name()?;
        let path = self.keys.has_more.unwrap_or_default();
        let message =
            format!("{name} says that there are more by `{path}`, and does not lead to them");
        Ok(SourceError::new(SourceErrorKind::InvalidResponse, message)
            .advise("see where `rest_api.paginator` looks for the next page"))
    }

    fn name(&self) -> Result<String, SourceError> {
        self.kind.name(&self.own)
    }
}

/// Whether a status says that there is no such page, and nothing else.
fn is_natural(status: u16) -> bool {
    !matches!(status, 400 | 422)
}

/// What there is to say when an answer says itself that something is wrong with it: what it lacks is asked for again.
fn complained(said: &str) -> String {
    format!("something may be missing: an answer says {said}")
}

/// What there is to say when the last page that came is repeated, and may not be the last that there is.
fn repeated_in_doubt(name: &str, doubt: &str, records: &str) -> String {
    format!(
        "{name} has the records of the page before it, {doubt}; {records} records came: name the total with \
         `total_path` of `rest_api.paginator`, or use `single_page` if there is one page only"
    )
}

/// What there is to say when more pages show than the only one that is read.
fn more_than_one(evidence: String) -> String {
    format!(
        "the answer is one page of several ({evidence}), and only this one is read: set \
         `rest_api.paginator`, or ask for larger pages in `rest_api.params`; if the first page is all \
         you want, write paginator = {{ type = \"single_page\", first_page_only = true }}"
    )
}

/// What there is to say of a last page without records that says that there are more.
fn more_behind_nothing(evidence: String) -> String {
    format!(
        "the last page has no records, and says all the same that there are more ({evidence}): records may be \
         missing"
    )
}

/// What there is to say when more pages show behind the last by count.
fn more_than_counted(evidence: String) -> String {
    format!(
        "the last page that is read says that there are more ({evidence}): see `size` and \
         `total_path` of `rest_api.paginator`, which make it the last; without them the full sync ends \
         with the first page without records"
    )
}

/// What there is to say when a page leads to no other and shows that there are more.
fn not_led_on(evidence: &str) -> String {
    format!(
        "the last page that is read says that there are more ({evidence}), and `rest_api.paginator` finds no way \
         to them: correct where it looks"
    )
}

/// The position of a page that is asked for side by side with others, and how far it is behind that of `aside`.
fn page_aside(
    kind: &dyn Paginate,
    own: &Value,
    chain: &Chain,
    aside: Aside,
    page: u64,
) -> Option<(u32, Value)> {
    let pages = page.checked_sub(aside.page).filter(|_| page <= aside.last)?;
    let at = kind.ahead(own, pages, pages.checked_mul(aside.records)?)?;
    let Chain { total, first_total, page_count, .. } = *chain;
    let chain = match page == aside.last {
        false => {
            let aside = Some(Aside { page, ..aside });
            Chain { total, first_total, page_count, aside, ..Chain::default() }
        }
        // Each of those before has as many as the first, or says so itself.
        true => Chain {
            pages: page - 1,
            records: (page - 1).checked_mul(aside.records)?,
            longest: aside.records,
            longest_pages: page - 1,
            total,
            first_total,
            page_count,
            pages_foretold: page_count.is_some(),
            was_aside: true,
            ..Chain::default()
        },
    };
    Some((u32::try_from(pages).ok()?, chain.join(at)))
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

/// Whether a response that holds nothing may be the end at this position.
///
/// # Errors
/// When it is no position of the paginator.
pub(super) fn may_be_the_end(kind: &dyn Paginate, at: &Value) -> Result<bool, SourceError> {
    let (_, chain) = Chain::of(kind, at)?;
    let numbered = matches!(kind.way(), Way::Numbered { .. }) && chain.aside.is_none();
    Ok(numbered && chain.again.is_none() && (chain.records > 0 || chain.partial))
}

/// The page that can be asked for though the one at this position could not be had: its number is known.
///
/// # Errors
/// When it is no position of the paginator.
pub(super) fn behind_a_failure(
    kind: &dyn Paginate,
    at: &Value,
) -> Result<Option<(u32, Value)>, SourceError> {
    let (own, mut chain) = Chain::of(kind, at)?;
    if let Some(aside) = chain.aside {
        let next = aside.page.saturating_add(aside.step.into());
        return Ok(page_aside(kind, &own, &chain, aside, next));
    }
    if let Some(probe) = chain.probe.take() {
        chain.repeats = chain.repeats.saturating_add(1);
        return Ok(Some((1, chain.join(probe.back))));
    }
    let Way::Numbered { size, by_records, .. } = kind.way() else { return Ok(None) };
    let known = chain.page_count.is_some_and(|count| chain.pages.saturating_add(1) < count)
        || chain.total.zip(chain.stride()).is_some_and(|(total, stride)| {
            chain.pages.saturating_add(1).saturating_mul(stride) < total
        });
    if chain.again.is_some() || chain.records == 0 || (chain.missing.is_some() && !known) {
        return Ok(None);
    }
    // A page that is had later must have as many records: nobody tells those behind it.
    let stride =
        chain.stride().filter(|stride| size.is_some_and(|size| *stride == u64::from(size)));
    let records = match (by_records, stride) {
        (true, None) => return Ok(None),
        (true, Some(stride)) => stride,
        (false, _) => 0,
    };
    chain.pages = chain.pages.saturating_add(1);
    chain.missing = Some(Missing { position: own.clone(), status: None, records });
    Ok(kind.next(&own, Came::Lost(records))?.map(|next| (1, chain.join(next))))
}

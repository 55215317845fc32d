//! Owns why a full sync ends with a page, by what that says and by what is known of those before.

use super::chain::Chain;
use super::paginate::Way;
use super::rules::{Rules, Says};
use crate::domain::chain_end::StopReason;
use crate::sources::rest_api::full_page::fills_a_page;
use crate::sources::rest_api::http::said::Said;

/// A number of records that is a multiple of this may be no more than the most that the API gives.
const ROUND: u64 = 1_000;

impl Rules<'_> {
    /// Why the full sync ends with this page, if it does.
    pub(super) fn reason(&self, says: Says, before: u64, leads_on: bool) -> Option<StopReason> {
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
    pub(super) fn may_be_cut(&self, size: Option<u32>) -> bool {
        size.is_none_or(|size| self.came >= u64::from(size)) || fills_a_page(self.came)
    }

    /// Whether fewer records came than a total says that there are.
    pub(super) fn lacks(&self, total: Option<u64>) -> bool {
        let came = self.chain.records.saturating_add(self.keys.total_tolerance);
        !self.chain.partial && total.is_some_and(|total| total > came)
    }

    /// Whether as many records came as there are, by a total that can be believed.
    pub(super) fn is_reached(&self) -> bool {
        !self.chain.total_false && self.chain.total.is_some() && !self.lacks(self.chain.total)
    }

    /// Whether as many pages came as an earlier one said that there are. Who counts pages by what was asked for, and
    /// gives fewer records, has more pages than he says.
    pub(super) fn all_pages_came(&self) -> bool {
        let Chain { page_count, pages, pages_foretold, longest, .. } = self.chain;
        let is_cut = match self.way {
            Way::Numbered { size: Some(size), .. } => longest < u64::from(size),
            _ => false,
        };
        let came = pages.saturating_sub(self.chain.missing.len() as u64);
        pages_foretold && page_count == Some(came) && !is_cut
    }

    /// Whether the last page had fewer records than it could have had.
    pub(super) fn last_was_short(&self) -> bool {
        let Way::Numbered { size: Some(size), by_records: false, .. } = self.way else {
            return false;
        };
        self.chain.ends_short(size)
    }

    /// Whether the full sync may have come to the most that the API gives for one query.
    pub(super) fn may_be_a_limit(&self) -> bool {
        let Chain { records, longest, uneven, .. } = self.chain;
        records > 0 && records.is_multiple_of(ROUND) && longest > 0 && !uneven
    }
}

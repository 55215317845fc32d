//! Owns whether a full sync that ends has everything: what contradicts that, and what there is to say of it.

use super::chain::Chain;
use super::paginate::Way;
use super::rules::Rules;
use super::shortfall::Shortfall;
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::number::grouped;
use crate::sources::rest_api::full_page::fills_a_page;

impl Rules<'_> {
    /// The end for a reason, which is complete if nothing contradicts it.
    pub(super) fn proven(&self, reason: StopReason) -> ChainEnd {
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
        // That of an empty page is not among those that came.
        let pages = match reason {
            StopReason::Empty => Some(self.chain.pages.saturating_sub(1)),
            StopReason::End => Some(self.chain.pages),
            _ => None,
        };
        if let Some(pages) = pages
            && let Some((place, count)) = self.keys.total_pages.zip(self.chain.page_count)
            && count > pages
            && !(self.chain.records == 0 && count <= 1)
        {
            let place = place.shown();
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
    pub(super) fn fewer_than_asked(&self) -> Option<String> {
        let Way::Numbered { size: Some(size), .. } = self.way else { return None };
        let Chain { longest, longest_pages, .. } = self.chain;
        (longest_pages > 1 && longest < u64::from(size)).then(|| {
            format!(
                "a page was asked for {size} records, and the longest has {longest}: with `size` = {longest} the job \
                 file says what the API does"
            )
        })
    }
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

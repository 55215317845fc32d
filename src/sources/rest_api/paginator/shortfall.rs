//! Owns what there is to say when fewer records came than the API counts: how many, and which setting is the likely cause.

use super::paginate::Way;
use crate::domain::chain_end::StopReason;
use crate::domain::number::grouped;

/// A number of records that is a multiple of this may be no more than the most that the API gives.
const ROUND: u64 = 1_000;

/// Fewer records than there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortfall<'a> {
    pub way: Way<'a>,
    /// Why the full sync ended.
    pub reason: StopReason,
    /// How many records came, …
    pub came: u64,
    /// … and how many there are.
    pub total: u64,
    /// The most records of a page.
    pub longest: u64,
    /// The path that says whether there are more, if the job file has one.
    pub has_more: Option<&'a str>,
    /// The same of what is true on the last page.
    pub end: Option<&'a str>,
}

impl Shortfall<'_> {
    /// Where the job file names the place of the total.
    pub fn of_total(&self, place: &str) -> String {
        let (came, total, cause) = (grouped(self.came), grouped(self.total), self.cause());
        format!(
            "the pages end after {came} records, and by {place} there are {total}: {cause}. If it counts otherwise, see \
             `total_tolerance` of `rest_api.paginator`"
        )
    }

    /// Where an answer seems to say so, and no key names the place.
    pub fn of_claim(&self, place: &str) -> String {
        let (came, total, cause) = (grouped(self.came), grouped(self.total), self.cause());
        format!(
            "the pages end after {came} records, and {place} of the answers is {total}: {cause}. If that number counts \
             something else, name the right one with `total_path`, or see `total_tolerance`"
        )
    }

    /// The likely cause, as the end of a sentence.
    fn cause(&self) -> String {
        let missing = self.total.saturating_sub(self.came);
        let is_round = self.came > 0 && self.came.is_multiple_of(ROUND);
        match (self.way, self.reason) {
            (Way::Numbered { by_records: false, .. }, _) if missing == self.longest => {
                "as many are missing as a page has, so the API may number its pages from 0 and `start` be too high by one"
                    .to_owned()
            }
            (Way::Numbered { by_records: true, .. }, _) if missing > 0 && missing <= 2 => {
                "`start` may be too high: most APIs count what comes before a page from 0".to_owned()
            }
            (_, StopReason::HasMore) => format!(
                "`has_more_path` = `{}` said that there are no more; it may speak of something else",
                self.has_more.unwrap_or_default()
            ),
            (_, StopReason::EndPath) => format!(
                "`end_path` = `{}` said that this is the end; it may speak of something else",
                self.end.unwrap_or_default()
            ),
            (_, StopReason::End) => {
                "the API had no page there: it may give no more for one query, so ask for less in `rest_api.params`, in \
                 several sources if need be"
                    .to_owned()
            }
            _ if is_round => {
                "that is a round number, and likely the most that the API gives for a query: ask for less in \
                 `rest_api.params`, in several sources or in windows (`incremental.step`)"
                    .to_owned()
            }
            (Way::Numbered { target, size, .. }, StopReason::Repeated) => {
                let size = size.map_or_else(String::new, |size| format!(" with {size} records each"));
                format!("behind them the same page comes again{size}: does the API know {target}?")
            }
            (Way::Numbered { .. }, _) => {
                "records may be left out on some pages or were deleted while they were read; does the full sync begin \
                 with a later page (`start`), or do `rest_api.params` ask for other records than are counted?"
                    .to_owned()
            }
            (Way::Referenced, _) => {
                "the last page led to no other, so the paginator may look for the next one in the wrong place (its \
                 `cursor_path`, `next_url_path` or `rel`), or records were deleted while they were read"
                    .to_owned()
            }
            (Way::Single { .. }, _) => {
                "only one page is read: set `rest_api.paginator`, or ask for larger pages in `rest_api.params`".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::Target;
    use super::*;

    fn numbered(by_records: bool) -> Way<'static> {
        Way::Numbered { target: Target::Param("page"), size: Some(50), by_records }
    }

    #[test]
    fn each_shortfall_names_its_likely_cause() {
        for (way, reason, came, total, says) in [
            (numbered(false), StopReason::Empty, 187, 237, "from 0 and `start`"),
            (numbered(false), StopReason::Empty, 180, 237, "begin with a later page"),
            (numbered(true), StopReason::Empty, 236, 237, "`start` may be too high"),
            (numbered(true), StopReason::Empty, 10_000, 23_000, "a round number"),
            (numbered(false), StopReason::Repeated, 100, 237, "does the API know `page`?"),
            (numbered(false), StopReason::End, 150, 237, "no more for one query"),
            (Way::Referenced, StopReason::NoNext, 187, 237, "the wrong place"),
            (Way::Referenced, StopReason::HasMore, 187, 237, "`has_more_path` = `$.more`"),
            (Way::Referenced, StopReason::EndPath, 187, 237, "`end_path` = `$.end`"),
            (
                Way::Single { first_page_only: false },
                StopReason::OnlyPage,
                50,
                237,
                "only one page",
            ),
        ] {
            let (has_more, end, longest) = (Some("$.more"), Some("$.end"), 50);
            let shortfall = Shortfall { way, reason, came, total, longest, has_more, end };
            for said in [shortfall.of_total("`$.total`"), shortfall.of_claim("`total`")] {
                assert!(said.contains(says) && said.contains(&grouped(total)), "{said}");
            }
        }
    }
}

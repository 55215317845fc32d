//! Owns pages that are asked for though the one before them is not known: side by side with it, or behind one that
//! could not be had.

use serde_json::Value;

use super::chain::{Aside, Chain, MOST_MISSING, Missing};
use super::paginate::{Came, Paginate, Way};
use super::rules::{Rules, Verdict, complained};
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::number::grouped;
use crate::sources::SourceError;
use crate::sources::rest_api::http::said::Said;
use crate::sources::rest_api::side_by_side;

impl Rules<'_> {
    /// The pages to ask for side by side behind the first one, which says how many there are.
    pub(super) fn side_by_side(&self) -> Vec<(u32, Value)> {
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
    pub(super) fn beside(&self, aside: Aside) -> Result<Verdict, SourceError> {
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
    let is_second = !chain.missing.is_empty() && !chain.more_is_known();
    if chain.again.is_some() || chain.records == 0 || is_second {
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
    // What is not read on its own need not be remembered: its task is there.
    chain.missing.retain(|missing| missing.status.is_some());
    if chain.missing.len() >= MOST_MISSING {
        return Ok(None);
    }
    chain.missing.push(Missing { position: own.clone(), status: None, records });
    Ok(kind.next(&own, Came::Lost(records))?.map(|next| (1, chain.join(next))))
}

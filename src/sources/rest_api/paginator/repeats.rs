//! Owns what follows from a page that repeats the one before it: the end, a list that moved, or an API that is not
//! walked this way.

use serde_json::Value;

use super::chain::Probe;
use super::paginate::{Came, Way};
use super::rules::{Rules, Says, Verdict};
use super::target::Target;
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::number::grouped;
use crate::sources::rest_api::http::said::Said;
use crate::sources::{SourceError, SourceErrorKind};

/// How many pages behind one that repeats the page before it the probe is: no list moves so far between two
/// requests.
const FAR: u64 = 100;
/// The most pages in a row that may repeat the one before them in a list that moves.
const MOST_REPEATS: u64 = 10;

impl Rules<'_> {
    /// Whether the page has the records of the one directly before it.
    pub(super) fn is_page_before(&self) -> bool {
        let Some(last) = self.chain.last else { return false };
        last == self.page.content().into() || last == self.page.hash.into()
    }

    /// The page has the records of the one directly before it: APIs do that behind their last page, and where
    /// they do not know the parameter. A list that moved by a page meanwhile does it too, and goes on behind it: a
    /// page far behind, which only the former answer alike, tells.
    pub(super) fn repeated(&mut self, says: Says) -> Result<Verdict, SourceError> {
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
    pub(super) fn probed(&mut self, probe: Probe) -> Result<Verdict, SourceError> {
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
    fn repeats_for_good(&mut self, says: Says) -> Result<Verdict, SourceError> {
        self.expect_missing(false);
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

    pub(super) fn leads_to_itself(&self, next: &Value) -> bool {
        let reference = |at: &Value| {
            let mut at = at.clone();
            at.as_object_mut().map(|fields| fields.remove("page"));
            at
        };
        reference(&self.own) == reference(next)
    }

    fn repeats_itself(&self) -> Result<SourceError, SourceError> {
        let name = self.name()?;
        let cause = match self.way {
            Way::Numbered { target: Target::Param(name), .. } => {
                format!("know no query parameter `{name}`")
            }
            Way::Numbered { target, .. } => format!("not heed {target}"),
            Way::Single { .. } | Way::Referenced => "know no query parameter `page`".to_owned(),
        };
        let message = format!(
            "the paginator repeats itself: {name} is the page before it, record for record"
        );
        let advice = format!("the API may {cause}: see `rest_api.paginator`");
        Ok(SourceError::new(SourceErrorKind::RepeatedPage, message).advise(advice))
    }

    pub(super) fn in_a_circle(&self, name: &str, what: &str) -> SourceError {
        let message = format!("the paginator repeats itself: {name} {what}");
        SourceError::new(SourceErrorKind::RepeatedPage, message).advise(
            "the API may not know the parameter that takes the cursor: see `rest_api.paginator`",
        )
    }
}

/// What there is to say when the last page that came is repeated, and may not be the last that there is.
fn repeated_in_doubt(name: &str, doubt: &str, records: &str) -> String {
    format!(
        "{name} has the records of the page before it, {doubt}; {records} records came: name the total with \
         `total_path` of `rest_api.paginator`, or use `single_page` if there is one page only"
    )
}

//! Owns noticing that there are pages behind the last one of a full sync: behind the only one that the job
//! file knows of, or behind the last by count. Nobody would miss the rest.
//!
//! `headers` is what the headers say, `findings` what they and what stands around the records come to. It looks at what stands around the records, never into them: a record may well have a field
//! `next`. What an API says explicitly ("no more") counts more than what its figures suggest.

mod findings;
mod headers;

#[cfg(test)]
mod tests;

use self::findings::Findings;
use self::headers::PageHeaders;
use super::around::{self, RecordsPlace};
use super::paginator::PageView;

/// The last page of a full sync.
pub(super) struct LastPage<'a> {
    /// The page.
    pub page: PageView<'a>,
    /// HTTP status.
    pub status: u16,
    /// Where the records are in it.
    pub place: &'a RecordsPlace,
}

impl LastPage<'_> {
    /// What shows that there are more pages than this only one, as the end of a sentence; `None` when
    /// nothing does.
    pub fn evidence_of_more(&self) -> Option<String> {
        let headers = PageHeaders::among(self.page.headers);
        let mut findings = Findings::new(self.page.asked.as_str());
        if let Some(evidence) = headers.look(self.status, &mut findings) {
            return Some(evidence);
        }
        let listed = around::look(self.page.body, self.place, &mut findings);
        let records = if self.place.is_whole() { Some(self.page.records.len()) } else { listed };
        findings.evidence(records.map(|records| records as u64))
    }

    /// Where it says itself that there are more pages behind this one, which is the last by count.
    /// Its figures say nothing: they are of all pages.
    pub fn says_more(&self) -> Option<String> {
        let headers = PageHeaders::among(self.page.headers);
        let mut findings = Findings::new(self.page.asked.as_str());
        // Of a part its status says no more than that it is one.
        if let Some(evidence) = headers.look(200, &mut findings) {
            return Some(evidence);
        }
        around::look(self.page.body, self.place, &mut findings);
        findings.says_more()
    }
}

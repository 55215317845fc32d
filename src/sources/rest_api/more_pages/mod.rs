//! Owns noticing that there are pages behind the last one of a full sync: behind the only one that the job
//! file knows of, or behind the last by count. Nobody would miss the rest.
//!
//! `headers` is what the headers say, `findings` what they and what stands around the records come to. It looks at what stands around the records, never into them: a record may well have a field
//! `next`. What an API says explicitly ("no more") counts more than what its figures suggest.

mod findings;
mod headers;

#[cfg(test)]
mod tests;

use serde_json::Value;

use self::findings::Findings;
use self::headers::PageHeaders;
use super::around::{self, RecordsPlace};
use super::paginator::{PageView, Surroundings};

/// The last page of a full sync.
pub(super) struct LastPage<'a> {
    /// The page.
    pub page: PageView<'a>,
    /// HTTP status.
    pub status: u16,
    /// Where the records are in it.
    pub place: &'a RecordsPlace,
    /// The cursors that say that there is no next page.
    pub end_values: &'a [Value],
    /// Whether only what is new is asked for.
    pub asks_for_news: bool,
}

impl LastPage<'_> {
    fn nothing_yet(&self) -> Findings<'_> {
        Findings::new(self.page.asked.as_str(), self.place.key(), self.end_values)
    }

    /// What it says, unless the headers alone show for certain that there is more.
    fn findings(&self) -> Result<Findings<'_>, String> {
        let headers = PageHeaders::among(self.page.headers);
        let mut findings = self.nothing_yet();
        // Of a part its status says no more than that it is one.
        match headers.look(200, &mut findings) {
            Some(evidence) => Err(evidence),
            None => {
                around::look(self.page.body, self.place, &mut findings);
                Ok(findings)
            }
        }
    }
}

impl Surroundings for LastPage<'_> {
    /// As the end of a sentence; `None` when nothing does.
    fn evidence_of_more(&self) -> Option<String> {
        let headers = PageHeaders::among(self.page.headers);
        let mut findings = self.nothing_yet();
        if let Some(evidence) = headers.look(self.status, &mut findings) {
            return Some(evidence);
        }
        let listed = around::look(self.page.body, self.place, &mut findings);
        let records = if self.place.is_whole() { Some(self.page.records.len()) } else { listed };
        findings.evidence(records.map(|records| records as u64))
    }

    /// Its figures say nothing: they are of all pages.
    fn says_more(&self) -> Option<String> {
        match self.findings() {
            Err(evidence) => Some(evidence),
            Ok(findings) => findings.says_more(),
        }
    }

    fn says_last(&self) -> bool {
        self.findings().is_ok_and(|findings| findings.is_last())
    }

    fn total(&self) -> Option<(String, u64)> {
        self.findings().ok()?.total()
    }

    fn claim(&self) -> Option<(String, u64)> {
        if self.asks_for_news {
            return None;
        }
        self.findings().ok()?.claim(self.page.came as u64)
    }
}

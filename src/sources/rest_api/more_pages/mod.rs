//! Owns noticing that an answer is one page of several, though the job file knows of one only: the
//! full sync would end after the first page, and the rest would be missing unnoticed.
//!
//! `headers` is what the headers say, `around` what surrounds the records, `findings` what both
//! amount to. It looks at what surrounds the records, never into them: a record may well have a field
//! `next`. What an API says explicitly ("no more") counts more than what its figures suggest.

mod around;
mod findings;
mod headers;

#[cfg(test)]
mod tests;

pub(super) use self::around::{Looks, RecordsPlace, look as look_around};
use self::findings::Findings;
pub(super) use self::findings::{join, plain};
pub use self::headers::PageHeaders;

/// An answer that is to be the only one.
pub(super) struct OnlyPage<'a> {
    /// The address that was asked, without secrets.
    pub asked: &'a str,
    /// HTTP status.
    pub status: u16,
    /// What of its headers tells pages apart.
    pub headers: &'a PageHeaders,
    /// The body.
    pub body: &'a str,
    /// Where the records are in it.
    pub place: &'a RecordsPlace,
    /// How many were found.
    pub records: usize,
}

impl OnlyPage<'_> {
    /// What shows that there are more pages than this one, as the end of a sentence; `None` when nothing
    /// does.
    pub fn evidence_of_more(&self) -> Option<String> {
        let mut findings = Findings::new(self.asked);
        if let Some(evidence) = self.headers.look(self.status, &mut findings) {
            return Some(evidence);
        }
        let listed = around::look(self.body, self.place, &mut findings);
        let records = if self.place.is_whole() { Some(self.records) } else { listed };
        findings.evidence(records.map(|records| records as u64))
    }
}

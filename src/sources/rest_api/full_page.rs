//! Owns what a full page looks like, where nobody said how many records a page has.

/// Whether this many records are what APIs give on a full page: a round number, or 2, 3, 5 … times 16.
pub(super) fn fills_a_page(records: u64) -> bool {
    records >= 10
        && (records.is_multiple_of(10) || records.is_multiple_of(25) || records.is_multiple_of(16))
}

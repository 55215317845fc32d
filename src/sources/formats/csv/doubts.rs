//! Owns what the start of a file may have made believe wrongly, and the rest of it shows: then the file is
//! understood anew, without that.

use crate::sources::files::format::Doubts;

/// A CR that no LF follows ends a line.
pub(super) const LONE_RETURNS: Doubts = Doubts(1);
/// An apostrophe is no quote.
pub(super) const APOSTROPHES: Doubts = Doubts(2);
/// No character is a quote.
pub(super) const QUOTES: Doubts = Doubts(4);
/// The space behind a delimiter is not part of it.
pub(super) const SPACES: Doubts = Doubts(8);

/// What to do about a file that raises doubts and cannot be read again.
pub(super) fn advice(doubts: Doubts) -> &'static str {
    if doubts.has(LONE_RETURNS) {
        "some of its lines end in CR, and some in LF: let all of them end alike"
    } else if doubts.has(QUOTES) {
        "quotes mean nothing in it: set csv.quote = \"none\""
    } else if doubts.has(APOSTROPHES) {
        "apostrophes are no quotes in it: set csv.quote = \"\\\"\""
    } else {
        "set csv.delimiter = \",\""
    }
}

//! Owns what of an API is new: where a run begins to read (`asks`), how its requests say so (`tracker`), what its
//! pages say of the cursor (`trace`), where a chain goes on from its last record (`onward`), what shows that records
//! moved from page to page while they were read (`moved`, of `identities`), how far the watermark may move at the end of the run
//! (`watermark`), and what there is to say of all that (`remarks`).
//!
//! The watermark is the highest cursor of which everything lower has been read. Nothing moves it but a run
//! whose chains all ended complete, and never beyond the API's own clock.

mod asks;
mod identities;
mod moved;
mod onward;
mod remarks;
mod trace;
mod tracker;
mod watermark;
mod windows;

pub(super) use self::trace::{Cursors, FILTERED, REDACTED, Trace};
pub(super) use self::tracker::Tracker;
pub(super) use self::windows::lanes_with_others_missing;

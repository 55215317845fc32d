//! Sources that are files: what they have in common, whatever stands in them and wherever they are.
//!
//! Two seams cut what differs: `store::Store` says where bytes come from, [`format::RowFormat`]
//! what rows are in them. `plan` reads a file once as a stream and cuts it between rows; `read` and
//! `map` then work on single chunks and blocks, in any order and any number of times. All three see
//! the same rows because they share one reader of rows, made of one stored layout.
//!
//! Must not know: the database, the queue, runs, any format or place by name, what a mapping does
//! with a cell.

pub(super) mod blocks;
pub mod columns;
pub mod file_source;
pub mod first_bytes;
pub mod format;
mod inspect;
mod kind;
pub mod location;
mod params;
mod plan;
pub mod planning;
mod source;
mod store;
mod stream;

pub use columns::Wanted;
pub use kind::kind;
pub use params::FilesParams;
pub use source::Files;

//! Sources that are files: what they have in common, whatever stands in them and wherever they are.
//!
//! Files that are there are planned first; `landing` cuts what comes as a stream while it comes, and `unpack` unpacks it.
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
mod contents;
mod damage;
pub mod encodings;
pub mod file_source;
pub mod first_bytes;
pub mod format;
pub(super) mod inspect;
mod kind;
pub(super) mod landing;
pub mod location;
pub(super) mod off_thread;
pub(super) mod params;
pub mod places;
mod plan;
pub mod planning;
pub mod readable;
mod source;
pub mod spool;
mod store;
mod stream;
pub mod transcode;
pub mod unpack;

pub use columns::Wanted;
pub use kind::kind;
pub use params::FilesParams;
pub use source::Files;
pub use unpack::Compression;

//! Rows that are lines with a JSON object on each: as files have them, or as other files are turned into while they are
//! read. A row ends where its line ends, whatever is wrong with it, so a broken line costs no other.
//!
//! `reader` finds and reads rows, `survey` looks at them for what a file has, `layout` is what is kept of a file, and
//! `format` is a format of such rows but for what tells one from another.

mod format;
mod layout;
mod reader;
mod survey;

pub use format::{Limits, LinesFormat, LinesKind};
#[cfg(feature = "parquet")]
pub use layout::Described;
pub use reader::{Lines, LinesReader, NO_VALUE, Record};

//! Values: how the text and the JSON of a source become values of the types that fields declare,
//! exactly or not at all, and in the one form in which they are stored. Pure.
//!
//! Must not know: job files as they are written, contracts, records, kinds of sources.

pub mod calendar;
pub mod content;
mod conversion_error;
pub mod convert;
mod epoch;
mod epoch_unit;
pub(crate) mod exact_numbers;
pub mod field;
mod iso;
pub mod json;
pub mod json_path;
mod json_scan;
pub mod number_text;
pub mod object;
pub mod row;
pub mod time_error;
pub mod timestamp;
pub mod transform;

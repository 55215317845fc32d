//! Rows of formats that several kinds of sources read: JSON objects, and JSONPaths into them.
//!
//! `json` is an object as a row, `path` a compiled JSONPath, `segments` one taken apart, `spans` where in a text a value
//! is, `places` the same of many at once, `scan` what both go over it by, `inspect` what job files say wrongly of such rows,
//! `repeated_keys` what they leave open. `lines` are files with such an object on each line.
//!
//! Must not know how the text was had: from an API or a file.

pub(super) mod inspect;
pub(super) mod json;
pub(super) mod lines;
pub(super) mod no_number;
pub(super) mod path;
mod places;
mod repeated_keys;
mod scan;
pub(super) mod segments;
pub(super) mod spans;

//! Rows of formats that several kinds of sources read: JSON objects, and JSONPaths into them.
//!
//! `json` is an object as a row, `path` a compiled JSONPath, `segments` one taken apart, `spans` where in a text a value
//! is, `inspect` what job files say wrongly of such rows, `repeated_keys` what they leave open. `lines` are files with such
//! an object on each line.
//!
//! Must not know how the text was had: from an API or a file.

pub(super) mod inspect;
pub(super) mod json;
pub(super) mod lines;
pub(super) mod no_number;
pub(super) mod path;
mod repeated_keys;
pub(super) mod segments;
pub(super) mod spans;

//! The kind `json`: files that are one JSON document with a list of objects in it.
//!
//! Its rows go on as JSON Lines: `selector` says which values are rows, `splitter` cuts them out while the document is
//! read, and `path_walk` knows where in it that is.

mod path_walk;
mod selector;
mod splitter;
#[cfg(test)]
mod tests;

use std::io::{self, Cursor, Read};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::sources::files::encodings;
use crate::sources::files::location::ParamProblem;
use crate::sources::files::unpack::Bytes;
use crate::sources::rows::lines::{Limits, LinesFormat, LinesKind};
use crate::sources::rows::path::Path;
use crate::sources::rows::segments::{Asks, asks, end_of};
use crate::sources::{SourceError, SourceErrorKind};
use selector::{Selector, Way};
use splitter::Splitter;

/// The most bytes of a document that is asked as a whole: it takes many times as much memory.
const MAX_QUERIED: u64 = 64 << 20;

/// How JSON documents are read. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonParams {
    /// JSONPath (RFC 9535) of the rows: `"$[*]"`, the elements of the document, or the list under a key, such as
    /// `"$.items[*]"`. A path of keys, numbers and `[*]` is followed while the document is read, however large that is.
    pub data_selector: String,
    /// Encoding of the files: `"auto"` is UTF-8, or UTF-16 as their first bytes say; any other by its WHATWG label, such
    /// as `"windows-1252"` or `"shift_jis"`.
    pub encoding: String,
    /// Rows of more bytes are set aside. A file with a row that is longer than this and than 64 MiB is not read.
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_row_bytes: u64,
    /// Bytes after which rows are a chunk, to be stored and normalized.
    #[schemars(range(min = 1))]
    pub chunk_size: u64,
}

impl Default for JsonParams {
    fn default() -> Self {
        Self {
            data_selector: "$[*]".to_owned(),
            encoding: encodings::AUTO.to_owned(),
            max_row_bytes: 64 << 20,
            chunk_size: 4 << 20,
        }
    }
}

/// JSON documents.
pub type Json = LinesFormat<JsonDocuments>;

/// What tells JSON documents from other formats of lines.
#[derive(Debug)]
pub struct JsonDocuments;

impl LinesKind for JsonDocuments {
    const NAME: &'static str = "json";
    const ENDLESS_ROW: &'static str = "does json.data_selector lead to the list of rows? If it does, raise \
                                       json.max_row_bytes";
    const TITLE: &'static str = "JSON";
    const CONVERTED: bool = true;

    type Params = JsonParams;

    fn limits(params: &JsonParams) -> Limits {
        Limits { max_row_bytes: params.max_row_bytes, chunk_size: params.chunk_size }
    }

    fn encoding(params: &JsonParams) -> &str {
        &params.encoding
    }

    fn problems(params: &JsonParams) -> Vec<ParamProblem> {
        Selector::new(&params.data_selector).err().into_iter().collect()
    }

    fn made_of(params: &JsonParams) -> Option<String> {
        Some(params.data_selector.clone())
    }

    fn content(params: &JsonParams, file: &str, bytes: Bytes, _: u64) -> io::Result<Bytes> {
        let selector = Selector::new(&params.data_selector)
            .map_err(|problem| io::Error::other(problem.of_table(Self::NAME)))?;
        match selector.way {
            Way::Steps(steps) => {
                Ok(Box::new(Splitter::of(bytes, &selector.text, steps, selector.wants_list)))
            }
            Way::Query(ref path) => whole(file, bytes, path, &selector),
        }
    }
}

/// The rows that a query finds in the whole document.
fn whole(file: &str, bytes: Bytes, path: &Path, selector: &Selector) -> io::Result<Bytes> {
    let mut text = Vec::new();
    bytes.take(MAX_QUERIED + 1).read_to_end(&mut text)?;
    found(file, &text, path, selector).map_err(io::Error::other)
}

fn found(file: &str, text: &[u8], path: &Path, selector: &Selector) -> Result<Bytes, SourceError> {
    let wrong =
        |what: String| SourceError::new(SourceErrorKind::InvalidFile, format!("{file} {what}"));
    let selector_text = &selector.text;
    if text.len() as u64 > MAX_QUERIED {
        let what = format!("has more than {MAX_QUERIED} bytes, too many for `{selector_text}`");
        return Err(wrong(what).advise("name the list by keys alone, such as `$.data[*]`"));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = std::str::from_utf8(text).map_err(|error| {
        wrong(format!("is no UTF-8 at byte {}", error.valid_up_to() + 1))
            .advise("name json.encoding")
    })?;
    let found = path.find(text).map_err(|error| wrong(format!("is no JSON document: {error}")))?;
    if found.is_empty() {
        refuse_gone(text, selector_text).map_err(wrong)?;
    }
    let mut lines = Vec::new();
    for value in found {
        // As it is written, a line each.
        let is_list = selector.wants_list;
        match value.as_bytes().first() {
            Some(b'[') if is_list => {
                let steps = Vec::new();
                let bytes = Box::new(Cursor::new(value.into_owned().into_bytes()));
                let mut rows = Splitter::of(bytes, selector_text, steps, true);
                rows.read_to_end(&mut lines).map_err(|error| wrong(error.to_string()))?;
            }
            Some(b'n') if is_list => {}
            _ if is_list => {
                return Err(wrong(format!("has no list where `{selector_text}` expects one")));
            }
            _ => {
                lines.extend_from_slice(value.as_bytes());
                lines.push(b'\n');
            }
        }
    }
    Ok(Box::new(Cursor::new(lines)))
}

/// Refuses a document in which a key of the path is not there, which is no empty list.
fn refuse_gone(text: &str, selector: &str) -> Result<(), String> {
    let document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match end_of(selector, &document) {
        Some(end) if matches!(asks(end.lacks), Asks::Key(_) | Asks::KeyBelow(_)) => Err(format!(
            "has nothing where `json.data_selector` = `{selector}` leads: `{}{}` is not there",
            end.before, end.lacks
        )),
        _ => Ok(()),
    }
}

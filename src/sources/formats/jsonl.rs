//! The kind `jsonl`: files with a JSON object on each line, as JSON Lines and NDJSON are.

use memchr::memchr;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::sources::files::encodings;
use crate::sources::rows::lines::{Limits, LinesFormat, LinesKind};

/// How JSON Lines are read. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlParams {
    /// Encoding of the files: `"auto"` is UTF-8, or UTF-16 as their first bytes say; any other by its WHATWG label, such
    /// as `"windows-1252"` or `"shift_jis"`.
    pub encoding: String,
    /// Lines of more bytes are set aside. A file with a line that is longer than this and than 64 MiB
    /// is not read.
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_row_bytes: u64,
    /// Bytes after which a file is cut at the next line, to be read in parallel.
    #[schemars(range(min = 1))]
    pub chunk_size: u64,
}

impl Default for JsonlParams {
    fn default() -> Self {
        Self { encoding: encodings::AUTO.to_owned(), max_row_bytes: 64 << 20, chunk_size: 4 << 20 }
    }
}

/// JSON Lines.
pub type Jsonl = LinesFormat<JsonLines>;

/// What tells JSON Lines from other formats of lines.
#[derive(Debug)]
pub struct JsonLines;

impl LinesKind for JsonLines {
    const NAME: &'static str = "jsonl";
    const ENDLESS_ROW: &'static str = "is this a file of JSON Lines, with an object on each line? If it \
                                       is, raise jsonl.max_row_bytes";
    const TITLE: &'static str = "JSON Lines";

    type Params = JsonlParams;

    fn limits(params: &JsonlParams) -> Limits {
        Limits { max_row_bytes: params.max_row_bytes, chunk_size: params.chunk_size }
    }

    fn encoding(params: &JsonlParams) -> &str {
        &params.encoding
    }

    fn other(text: &[u8], complete: bool) -> Option<(&'static str, &'static str)> {
        other_json(text, complete)
    }
}

/// The first line, and the beginning of the next that is not blank; `None` where more bytes are needed.
fn first_lines(text: &[u8], complete: bool) -> (&[u8], Option<u8>) {
    match memchr(b'\n', text) {
        Some(end) => (&text[..end], text[end..].trim_ascii_start().first().copied()),
        None if complete => (text, None),
        None => (&[], None),
    }
}

/// What a text is that is JSON and no JSON Lines, and what to do.
fn other_json(text: &[u8], complete: bool) -> Option<(&'static str, &'static str)> {
    let (line, next) = first_lines(text, complete);
    let start = text.trim_ascii_start().first().copied()?;
    let whole = serde_json::from_slice::<IgnoredAny>(line);
    let is_cut = || whole.as_ref().is_err_and(serde_json::Error::is_eof);
    match (start, next) {
        (b'[', Some(b'[')) if whole.is_ok() => Some((
            "has a list on each line, and rows are objects",
            "give each value its name, for example with `jq -c '{id: .[0], name: .[1]}'`",
        )),
        (b'[', _) => Some((
            "is one JSON document, a list, and not JSON Lines, which have an object on each line",
            "write kind = \"json\", which reads such files",
        )),
        (b'{', Some(b'"' | b'}')) if is_cut() => Some((
            "is one JSON document over several lines, and not JSON Lines, which have an object on each \
             line",
            "write kind = \"json\", which reads such files, and in [json] where the rows are: data_selector = \"$.items[*]\"",
        )),
        (b'{', _) if whole.is_err() && has_lone_returns(line) => Some((
            "has lines that end in CR",
            "convert them first, for example with `tr '\\r' '\\n'`",
        )),
        _ => None,
    }
}

/// Whether objects follow each other in a line with a CR between them.
fn has_lone_returns(line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b'\r').map(<[u8]>::trim_ascii);
    let is_object = |part: &[u8]| part.starts_with(b"{") && part.ends_with(b"}");
    parts.next().is_some_and(is_object) && parts.next().is_some_and(is_object)
}

#[cfg(test)]
#[path = "jsonl_tests.rs"]
mod tests;

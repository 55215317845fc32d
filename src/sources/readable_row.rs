//! Owns a raw row as people read it: its text, and where in it the values of one field are.

use std::borrow::Cow;
use std::ops::Range;

/// A raw row, read for people. It may be one that was cut, or that no mapping can use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadableRow<'r> {
    /// Its text; `None` when its bytes are none in the encoding of its file.
    pub text: Option<Cow<'r, str>>,
    /// That encoding, when it is not UTF-8.
    pub encoding: Option<&'static str>,
    /// Where the values of the field are: in the text, or in the bytes where they are no text. None when the row has none,
    /// and when nobody can tell.
    pub values: Vec<Range<usize>>,
}

impl<'r> ReadableRow<'r> {
    /// A row of which nobody can tell where its fields are.
    pub fn unmarked(raw: &'r [u8]) -> Self {
        let text = std::str::from_utf8(raw).ok().map(Cow::Borrowed);
        Self { text, encoding: None, values: Vec::new() }
    }
}

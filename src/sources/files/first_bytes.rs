//! Owns what the first bytes of a file say that it is: a text with a byte order mark, or no text at all.

use crate::sources::{SourceError, SourceErrorKind};

/// Length of UTF-8's byte order mark, or 0.
///
/// # Errors
/// Permanent, when the file begins like one of another kind: says which, and what to do to have it in
/// the `wanted` format.
pub fn byte_order_mark(file: &str, text: &[u8], wanted: &str) -> Result<usize, SourceError> {
    let (other, advice) = match text {
        [0xEF, 0xBB, 0xBF, ..] => return Ok(3),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => (
            "is UTF-16, which cannot be read",
            "convert it first, for example with `iconv -f UTF-16 -t UTF-8`".to_owned(),
        ),
        [0x1F, 0x8B, ..] => {
            ("is packed with gzip", "unpack it first, for example with `gunzip`".to_owned())
        }
        [b'P', b'K', 3, 4, ..] => (
            "is a ZIP archive, as spreadsheets (.xlsx, .ods) are",
            format!("unpack it, or export the table as {wanted}"),
        ),
        _ => return Ok(0),
    };
    Err(SourceError::new(SourceErrorKind::InvalidFile, format!("{file} {other}")).advise(advice))
}

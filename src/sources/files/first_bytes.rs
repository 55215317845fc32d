//! Owns what the first bytes of a file say that it is: a text with a byte order mark, or no text at all.

use crate::sources::{SourceError, SourceErrorKind};

/// How many bytes say what a file is.
pub const ENOUGH: usize = 64;
/// What every ZIP archive is said to be.
const ZIP: &str = "is a ZIP archive, as spreadsheets (.xlsx, .ods) are";

/// What a Parquet file begins with.
pub const PARQUET: &[u8] = b"PAR1";
/// The same with the first byte of its first page, which no text has there.
const PARQUET_PAGE: &[u8] = b"PAR1\x15";
const PARQUET_KIND: &str = "write kind = \"parquet\", which reads such files";

/// Length of UTF-8's byte order mark, or 0.
///
/// # Errors
/// Permanent, when the file begins like one of another kind: says which, and what to do to have it in
/// the `wanted` format.
pub fn byte_order_mark(file: &str, text: &[u8], wanted: &str) -> Result<usize, SourceError> {
    let (other, advice) = match text {
        [0xEF, 0xBB, 0xBF, rest @ ..] if other_kind(rest).is_none() => return Ok(3),
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => (
            "is UTF-32, which cannot be read",
            "convert it first, for example with `iconv -f UTF-32 -t UTF-8`".to_owned(),
        ),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => (
            "starts with the byte order mark of UTF-16, but the job file says that it is in another encoding",
            "leave its `encoding` out".to_owned(),
        ),
        [0x1F, 0x8B, ..] => {
            ("is packed with gzip", "unpack it first, for example with `gunzip`".to_owned())
        }
        [b'P', b'K', 3, 4, ..] => (ZIP, format!("unpack it, or export the table as {wanted}")),
        text => match other_kind(text) {
            Some((other, advice)) => (other, advice.replace("{wanted}", wanted)),
            None => return Ok(0),
        },
    };
    Err(SourceError::new(SourceErrorKind::InvalidFile, format!("{file} {other}")).advise(advice))
}

/// What a file is that begins so, if no rows can be told in it and it is not packed with gzip: `is XML`.
pub fn without_rows(text: &[u8]) -> Option<&'static str> {
    match text {
        [b'P', b'K', 3, 4, ..] => Some(ZIP),
        text => other_kind(text).map(|(is, _)| is),
    }
}

/// What to do about a file that begins so, if no rows can be told in it as a text and a kind of its own reads it.
pub fn kind(text: &[u8]) -> Option<String> {
    text.starts_with(PARQUET_PAGE).then(|| PARQUET_KIND.to_owned())
}

/// What a text is that is JSON beyond doubt, and the kind that reads it.
pub fn json(text: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = text.trim_ascii_start();
    let is_object = |text: &[u8]| {
        let key = text.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
        let colon = |key: &[u8]| {
            ["\":", "\" :"].iter().any(|end| memchr::memmem::find(key, end.as_bytes()).is_some())
        };
        key.is_some_and(|key| key.starts_with(b"\"") && colon(key))
    };
    let list = text.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    if list.is_some_and(is_object) {
        return Some(("a JSON document, a list of objects", "json"));
    }
    if !is_object(text) {
        return None;
    }
    let (line, rest) = match memchr::memchr(b'\n', text) {
        Some(end) => text.split_at(end),
        None => (text, &[][..]),
    };
    let ends = line.trim_ascii_end().ends_with(b"}");
    match ends && rest.trim_ascii_start().starts_with(b"{") {
        true => Some(("JSON Lines, with an object on each line", "jsonl")),
        false => Some(("a JSON document", "json")),
    }
}

/// What a file is by its first bytes, and what to do to have rows.
fn other_kind(text: &[u8]) -> Option<(&'static str, &'static str)> {
    const UNPACK: &str = "unpack it first";
    const KINDS: &[(&[u8], &str, &str)] = &[
        (
            b"%PDF-",
            "is a PDF document",
            "ask for the table as {wanted}: no rows can be told in a PDF",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "is an Excel workbook (.xls)",
            "export the table as {wanted}",
        ),
        (b"{\\rtf", "is a text document (RTF)", "export the table as {wanted}"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", UNPACK),
        (b"\x28\xb5\x2f\xfd", "is packed with zstd", UNPACK),
        (b"\xfd7zXZ\0", "is packed with xz", UNPACK),
        (b"BZh9", "is packed with bzip2", UNPACK),
        (PARQUET_PAGE, "is a Parquet file", PARQUET_KIND),
        (b"SQLite format 3\0", "is an SQLite database", "export the table as {wanted}"),
    ];
    let magic = KINDS.iter().find(|(magic, ..)| text.starts_with(magic));
    if let Some((_, what, advice)) = magic {
        return Some((what, advice));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    let begins = |start: &str| {
        text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    };
    if ["<!doctype html", "<html", "<head", "<body"].into_iter().any(begins) {
        let advice = "what was saved is mostly a page that says what went wrong, or asks for a login: look at it, \
                      and fetch the file again";
        return Some(("is an HTML page", advice));
    }
    begins("<?xml").then_some(("is XML", "export the table as {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_a_header_that_has_braces() {
        let kind = |text: &str| json(text.as_bytes()).map(|(_, kind)| kind);
        assert_eq!(kind("{\"id\":1}\n{\"id\":2}\n"), Some("jsonl"));
        assert_eq!(kind("\n{ \"id\" : 1 }\r\n{\"id\":2}"), Some("jsonl"));
        assert_eq!(kind("{\"items\":[{\"id\":1}]}"), Some("json"));
        assert_eq!(kind("{\n  \"items\": []\n}\n"), Some("json"));
        assert_eq!(kind("[\n {\"id\":1},\n {\"id\":2}]"), Some("json"));
        for text in [
            "{id},name\n",
            "[id],[name]\n",
            "{\"id\",\"name\"}\n",
            "",
            "{",
            "id,\"{\"\"a\"\":1}\"\n",
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_said_to_be_one() {
        for (text, what) in [
            (&b"%PDF-1.7 ..."[..], "is a PDF document"),
            (b"\n<!DOCTYPE HTML><html>", "is an HTML page"),
            (b"<?xml version=\"1.0\"?>", "is XML"),
            (b"BZh91AY", "is packed with bzip2"),
            (b"\xef\xbb\xbf \n<?XML version=", "is XML"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1..", "is an Excel workbook"),
            (b"PAR1\x15\0", "is a Parquet file; write kind = \"parquet\""),
        ] {
            let error = byte_order_mark("f.csv", text, "CSV").unwrap_err().text();
            assert!(error.starts_with(&format!("f.csv {what}")), "{error}");
            assert!(!error.contains("{wanted}"), "{error}");
        }
        assert_eq!(byte_order_mark("f.csv", b"BZ,name\n", "CSV").unwrap(), 0);
        assert_eq!(byte_order_mark("f.csv", b"\xef\xbb\xbfid", "CSV").unwrap(), 3);
        assert_eq!(
            without_rows(b"PK\x03\x04"),
            Some("is a ZIP archive, as spreadsheets (.xlsx, .ods) are")
        );
        for rows in [&b"id,<html>\n"[..], b"{\"a\":1}", b"", b"<", b"\x1f\x8b"] {
            assert_eq!(without_rows(rows), None);
        }
    }
}

//! Owns how the bytes of a body become text: JSON is UTF-8, and where it is not, what it is encoded in is declared or
//! seen. Says what a body is that is no JSON at all.
//!
//! Must not know what the text says.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::domain::text;
use crate::sources::{SourceError, SourceErrorKind};

/// How much of what cannot be read is shown.
const SHOWN: usize = 24;

/// The text of a body, in UTF-8 and without a byte order mark.
///
/// # Errors
/// When it is none, or not what its `Content-Type` says.
pub(in crate::sources::rest_api) fn decode(
    body: Vec<u8>,
    headers: &HeaderMap,
) -> Result<String, SourceError> {
    if let Some(kind) = kind_of(&body) {
        return Err(unreadable(format!("the answer is {kind}, no JSON")));
    }
    let declared = declared(headers);
    let Some(encoding) = encoding_of(&body, declared) else {
        let bad = std::str::from_utf8(&body).err();
        let at = bad.map_or(0, |error| error.valid_up_to());
        let message =
            format!("the answer is no UTF-8 text: at byte {at} stands {}", around(&body, at));
        return Err(match declared {
            Some(encoding) => {
                unreadable(format!("{message}, and it says that it is {}", encoding.name()))
            }
            None => unreadable(message)
                .advise("its `Content-Type` names no other charset; ask the API for UTF-8"),
        });
    };
    if encoding == UTF_8 {
        let body = String::from_utf8(body).map_err(|error| {
            unreadable("the answer is no UTF-8 text".to_owned()).caused_by(error)
        })?;
        // Some servers begin with a byte order mark, which is no JSON: RFC 8259 lets readers drop it.
        return Ok(match body.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => body,
        });
    }
    match encoding.decode_with_bom_removal(&body) {
        (text, false) => Ok(text.into_owned()),
        (_, true) => {
            let name = encoding.name();
            Err(unreadable(format!(
                "the answer says that it is {name}, and has bytes that are none"
            )))
        }
    }
}

/// The text of a body that is in another encoding than UTF-8; `None` where it is not, or cannot be read.
pub(super) fn not_in_utf_8(body: &[u8], headers: &HeaderMap) -> Option<String> {
    let declared = declared(headers);
    let encoding = encoding_of(body, declared).filter(|encoding| *encoding != UTF_8)?;
    match encoding.decode_with_bom_removal(body) {
        (text, false) => Some(text.into_owned()),
        (_, true) => None,
    }
}

/// What can be read of an answer that may be no text, or be cut, for people: in whichever encoding it is, so that a
/// secret in it is found.
pub(super) fn readable(body: &[u8], headers: &HeaderMap) -> String {
    let whole = match std::str::from_utf8(body) {
        // Cut within a character.
        Err(error) if error.error_len().is_none() => &body[..error.valid_up_to()],
        _ => body,
    };
    let declared = declared(headers);
    let encoding = encoding_of(whole, declared).unwrap_or(UTF_8);
    let text = encoding.decode_with_bom_removal(if encoding == UTF_8 { whole } else { body }).0;
    // Where it is in yet another encoding, zeros stand between its letters.
    text.replace('\0', "")
}

/// Says of a text that is UTF-8 now that it is, if its headers say something else.
pub(super) fn declare_utf_8(headers: &mut HeaderMap) {
    if let Some(declared) = declared(headers)
        && declared != UTF_8
    {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
}

fn unreadable(message: String) -> SourceError {
    SourceError::new(SourceErrorKind::InvalidResponse, message)
}

/// What a body is encoded in. JSON is UTF-8 whatever `Content-Type` says: servers declare their usual charset for it.
/// It counts where the bytes cannot be UTF-8, or mean something else in it.
fn encoding_of(body: &[u8], declared: Option<&'static Encoding>) -> Option<&'static Encoding> {
    if let Some((marked, _)) = Encoding::for_bom(body) {
        return Some(marked);
    }
    // No JSON has a zero in it: in UTF-16 its first character has one.
    match body {
        [0, second, ..] if *second != 0 => return Some(UTF_16BE),
        [first, 0, ..] if *first != 0 => return Some(UTF_16LE),
        _ => {}
    }
    let is_utf_8 = std::str::from_utf8(body).is_ok();
    match declared {
        // Written in ASCII, which it would be mistaken for.
        Some(declared) if !declared.is_ascii_compatible() => Some(declared),
        _ if is_utf_8 => Some(UTF_8),
        Some(declared) if declared != UTF_8 => Some(declared),
        _ => None,
    }
}

/// The charset of `Content-Type`. A label that nobody knows says nothing.
pub fn declared(headers: &HeaderMap) -> Option<&'static Encoding> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let charset = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    });
    let charset = charset.filter(|charset| !charset.is_empty())?;
    Encoding::for_label_no_replacement(charset.as_bytes())
}

/// What bytes are that are no text.
fn kind_of(body: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 12] = [
        (b"PK\x03\x04", "a zip archive, or a spreadsheet"),
        (b"PK\x05\x06", "an empty zip archive"),
        (b"%PDF-", "a PDF"),
        (b"BZh", "packed with bzip2"),
        (b"\xfd7zXZ\0", "packed with xz"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x1f\x8b", "packed with gzip, twice or more"),
        (b"\x28\xb5\x2f\xfd", "packed with zstd, twice or more"),
        (b"\x89PNG\r\n", "a picture (PNG)"),
        (b"\xff\xd8\xff", "a picture (JPEG)"),
        (b"GIF8", "a picture (GIF)"),
        (b"PAR1", "a parquet file"),
    ];
    KINDS.iter().find(|(magic, _)| body.starts_with(magic)).map(|(_, kind)| *kind)
}

/// What a text is that is no JSON, after its first characters; `None` where they do not tell.
pub(in crate::sources::rest_api) fn markup_of(body: &str) -> Option<&'static str> {
    let body = body.trim_start();
    let begins =
        |start: &str| body.get(..start.len()).is_some_and(|b| b.eq_ignore_ascii_case(start));
    if begins("<!doctype html") || begins("<html") || begins("<head") || begins("<body") {
        return Some("an HTML page");
    }
    if begins("<?xml") {
        return Some("XML");
    }
    body.starts_with('<').then_some("HTML or XML")
}

/// Bytes as a message shows them.
fn around(body: &[u8], at: usize) -> String {
    let end = (at + SHOWN).min(body.len());
    let hex: Vec<String> =
        body[at..end.min(at + 4)].iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = String::from_utf8_lossy(&body[at.saturating_sub(SHOWN)..end]).into_owned();
    format!("{} in `{}`", hex.join(" "), text::printable(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(content_type: &str, body: &[u8]) -> Result<String, String> {
        let headers = [(CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
        decode(body.to_vec(), &headers).map_err(|error| error.text())
    }

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn json_in_any_declared_or_marked_encoding_becomes_utf_8() {
        let text = "[{\"name\":\"Zürich – 東京\"}]";
        let json = "application/json";
        assert_eq!(decoded(json, text.as_bytes()).unwrap(), text);
        assert_eq!(decoded(json, &[b"\xef\xbb\xbf", text.as_bytes()].concat()).unwrap(), text);
        for (bytes, mark) in [
            (u16::to_le_bytes as fn(u16) -> [u8; 2], [0xff, 0xfe]),
            (u16::to_be_bytes, [0xfe, 0xff]),
        ] {
            let body = utf_16(text, bytes);
            assert_eq!(decoded(json, &body).unwrap(), text, "seen by its zeros");
            assert_eq!(decoded(json, &[&mark[..], &body].concat()).unwrap(), text);
            assert_eq!(
                decoded("application/json; charset=utf-16", &[&mark[..], &body].concat()).unwrap(),
                text
            );
        }
        for (charset, body, text) in [
            ("ISO-8859-1", &b"[\"Z\xfcrich\"]"[..], "[\"Zürich\"]"),
            ("\"windows-1252\"", b"[\"5 \x80\"]", "[\"5 €\"]"),
            ("Shift_JIS", b"[\"\x93\x8c\x8b\x9e\"]", "[\"東京\"]"),
            ("iso-2022-jp", b"[\"\x1b$BEl5~\x1b(B\"]", "[\"東京\"]"),
            ("gb18030", b"[\"\xb6\xab\xbe\xa9\"]", "[\"东京\"]"),
        ] {
            let content_type = format!("application/json; Charset={charset}");
            assert_eq!(decoded(&content_type, body).unwrap(), text, "{charset}");
        }
    }

    #[test]
    fn what_can_be_read_of_a_text_is_in_whichever_encoding_it_is_and_wherever_it_is_cut() {
        let readable = |content_type: &str, body: &[u8]| {
            let headers = [(CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
            super::readable(body, &headers)
        };
        let text = "the key abc – 東京 is wrong";
        let (little, big) = (utf_16(text, u16::to_le_bytes), utf_16(text, u16::to_be_bytes));
        for body in [text.as_bytes(), &little, &big, &[&b"\xff\xfe"[..], &little].concat()] {
            assert_eq!(readable("text/plain", body), text);
        }
        assert_eq!(readable("text/plain; charset=utf-16le", &little), text);
        assert_eq!(readable("text/plain; charset=shift_jis", text.as_bytes()), text);
        assert_eq!(readable("text/plain; charset=windows-1252", b"5 \x80 abc"), "5 € abc");
        // Cut within a character.
        let cut = "abc –".as_bytes();
        assert_eq!(readable("text/plain; charset=windows-1252", &cut[..cut.len() - 1]), "abc ");
        assert_eq!(readable("text/plain", &utf_16("abc", u16::to_le_bytes)[..5]), "ab\u{fffd}");
        // In one that nobody tells: UTF-32, and UTF-16 that does not begin with a letter of ASCII.
        let wide: Vec<u8> = "key abc".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        assert_eq!(readable("text/plain", &wide), "key abc");
        let body = utf_16("日abc", u16::to_le_bytes);
        assert!(readable("text/plain", &body).contains("abc"));
        assert_eq!(readable("text/plain", b"no \xff text abc"), "no \u{fffd} text abc");
        assert_eq!(readable("text/plain", b""), "");
    }

    #[test]
    fn what_is_utf_8_stays_so_whatever_it_declares() {
        for charset in ["ISO-8859-1", "windows-1251", "utf-8", "shift_jis", "made-up"] {
            let content_type = format!("application/json; charset={charset}");
            assert_eq!(decoded(&content_type, "[\"Zürich\"]".as_bytes()).unwrap(), "[\"Zürich\"]");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let error = decoded("application/json", b"[\"Z\xfcrich\"]").unwrap_err();
        for part in ["no UTF-8 text: at byte 3 stands fc 72 69 63", "names no other charset"] {
            assert!(error.contains(part), "{error}");
        }
        let error = decoded("application/json; charset=utf-8", b"[\"Z\xfcrich\"]").unwrap_err();
        assert!(error.contains("it says that it is UTF-8"), "{error}");
        let error = decoded("text/x; charset=shift_jis", b"[\"\x93\"]").unwrap_err();
        assert!(
            error.contains("says that it is Shift_JIS, and has bytes that are none"),
            "{error}"
        );
        for (body, kind) in [
            (&b"%PDF-1.7\n"[..], "a PDF"),
            (b"PK\x03\x04abc", "a zip archive"),
            (b"BZh91AY", "packed with bzip2"),
            (b"PAR1....", "a parquet file"),
        ] {
            let error = decoded("application/json", body).unwrap_err();
            assert!(error.contains(kind) && error.ends_with("no JSON"), "{error}");
        }
        assert_eq!(markup_of("\n <!DOCTYPE HTML>"), Some("an HTML page"));
        assert_eq!(markup_of("<?xml version='1.0'?>"), Some("XML"));
        assert_eq!(markup_of("<rows/>"), Some("HTML or XML"));
        assert_eq!(markup_of("[1]"), None);
    }
}

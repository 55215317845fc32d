//! Owns writing JSON that PostgreSQL's `jsonb` takes, in one form whatever the source's spelling:
//! no white space, keys of objects in byte order and without repeats (the last one wins), so that
//! equal content has equal text and with it an equal content hash. Numbers keep their digits.

use serde_json::Value;

use crate::domain::decimal::{self, DecimalNotation};

/// The most bytes of one JSON text; `jsonb` holds 256 MB and spends some on its own structure.
pub(super) const MAX_BYTES: usize = 200 * 1_000_000;
/// Numbers up to this length without exponent are within `numeric`'s range for sure.
const PLAIN_NUMBER: usize = 1_000;
/// Nesting that the fast path follows; deeper texts go the slow way.
const PLAIN_DEPTH: usize = 16;

/// Why a JSON value cannot be stored, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonError {
    #[error("is not JSON ({0})")]
    Invalid(String),
    #[error("contains U+0000, which PostgreSQL cannot store")]
    Nul,
    #[error("contains a number with more digits than PostgreSQL's numeric can hold")]
    Number,
    #[error("is longer than 200 MB")]
    TooLong,
}

/// Appends the JSON that `text` holds.
pub(super) fn write_text(text: &str, out: &mut String) -> Result<(), JsonError> {
    if text.len() > MAX_BYTES {
        return Err(JsonError::TooLong);
    }
    let start = out.len();
    if copy_plain(text, out) {
        return Ok(());
    }
    out.truncate(start);
    let value: Value =
        serde_json::from_str(text).map_err(|error| JsonError::Invalid(error.to_string()))?;
    write_value(&value, out)
}

/// Appends a parsed value.
pub(super) fn write_value(value: &Value, out: &mut String) -> Result<(), JsonError> {
    let start = out.len();
    append(value, out)?;
    if out.len() - start > MAX_BYTES { Err(JsonError::TooLong) } else { Ok(()) }
}

/// Recursion ends where serde_json's parser did: at 128 levels.
fn append(value: &Value, out: &mut String) -> Result<(), JsonError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number.as_str(), out)?,
        Value::String(text) => write_string(text, out)?,
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                append(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) if members.keys().is_sorted() => {
            write_members(members.iter(), out)?;
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            write_members(members.into_iter(), out)?;
        }
    }
    Ok(())
}

fn write_members<'v>(
    members: impl Iterator<Item = (&'v String, &'v Value)>,
    out: &mut String,
) -> Result<(), JsonError> {
    out.push('{');
    for (i, (key, value)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(key, out)?;
        out.push(':');
        append(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_number(digits: &str, out: &mut String) -> Result<(), JsonError> {
    let exponent = digits.contains(['e', 'E']);
    if exponent || digits.len() > PLAIN_NUMBER {
        decimal::write_canonical(digits, DecimalNotation::PLAIN, &mut String::new())
            .map_err(|_| JsonError::Number)?;
    }
    out.push_str(digits);
    Ok(())
}

/// Appends a JSON string.
pub(super) fn write_string(text: &str, out: &mut String) -> Result<(), JsonError> {
    out.push('"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[copied..at]);
        copied = at + 1;
        match byte {
            0 => return Err(JsonError::Nul),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => out.push_str(&format!("\\u{other:04x}")),
        }
    }
    out.push_str(&text[copied..]);
    out.push('"');
    Ok(())
}

/// The fast path: checks and copies JSON in the plain spelling that most rows have, several times
/// faster than parsing it into a tree. `false` says nothing about the text but that it has an
/// escape, an exponent, keys out of order, great depth or an error, which serde_json looks into.
fn copy_plain(text: &str, out: &mut String) -> bool {
    let mut scan = Scan { text: text.trim_matches(WHITE), at: 0 };
    memchr::memchr(b'\\', text.as_bytes()).is_none()
        && scan.value(PLAIN_DEPTH, out).is_some()
        && scan.at == scan.text.len()
}

const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte behind white space, which is then passed.
    fn token(&mut self) -> Option<u8> {
        while matches!(self.peek()?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn value(&mut self, depth: usize, out: &mut String) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.token()? {
            b'{' => self.object(depth, out),
            b'[' => self.array(depth, out),
            b'"' => self.string(out).map(|_| ()),
            b't' => self.word("true", out),
            b'f' => self.word("false", out),
            b'n' => self.word("null", out),
            b'-' | b'0'..=b'9' => self.number(out),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize, out: &mut String) -> Option<()> {
        out.push('{');
        let mut last = None;
        loop {
            match self.token()? {
                b'}' if last.is_none() => break,
                b'"' => {}
                _ => return None,
            }
            let key = self.string(out)?;
            if last.is_some_and(|last| last >= key) || self.token()? != b':' {
                return None;
            }
            last = Some(key);
            out.push(':');
            self.value(depth, out)?;
            match self.token()? {
                b',' => out.push(','),
                b'}' => break,
                _ => return None,
            }
        }
        out.push('}');
        Some(())
    }

    fn array(&mut self, depth: usize, out: &mut String) -> Option<()> {
        out.push('[');
        let mut empty = true;
        loop {
            match self.token()? {
                b']' if empty => break,
                _ => self.at -= 1,
            }
            empty = false;
            self.value(depth, out)?;
            match self.token()? {
                b',' => out.push(','),
                b']' => break,
                _ => return None,
            }
        }
        out.push(']');
        Some(())
    }

    /// Behind the opening quote; the whole text is known to have no backslash.
    fn string(&mut self, out: &mut String) -> Option<&'t str> {
        let rest = self.text.get(self.at..)?;
        let length = rest.bytes().position(|byte| byte == b'"' || byte < b' ')?;
        let content = &rest[..length];
        if rest.as_bytes()[length] != b'"' {
            return None;
        }
        out.push('"');
        out.push_str(content);
        out.push('"');
        self.at += length + 1;
        Some(content)
    }

    fn word(&mut self, word: &str, out: &mut String) -> Option<()> {
        self.at -= 1;
        self.text.get(self.at..)?.starts_with(word).then(|| {
            out.push_str(word);
            self.at += word.len();
        })
    }

    fn number(&mut self, out: &mut String) -> Option<()> {
        self.at -= 1;
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        let plain = !matches!(self.peek(), Some(b'e' | b'E')) && self.at - start <= PLAIN_NUMBER;
        plain.then(|| out.push_str(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> Result<String, JsonError> {
        let mut out = String::from("before");
        write_text(text, &mut out).map(|()| out["before".len()..].to_owned())
    }

    #[test]
    fn the_spelling_of_a_source_does_not_matter() {
        let expected = r#"{"a":[1,-2.50,true,null],"b":{"x":"é","y":""},"c":"d"}"#;
        for text in [
            expected,
            " {\"a\" : [1, -2.50,\ttrue , null],\n\"b\":{\"x\":\"é\",\"y\":\"\"}, \"c\":\"d\" } ",
            r#"{"c":"d","b":{"y":"","x":"\u00e9"},"a":[1,-2.50,true,null]}"#,
            r#"{"a":0,"c":"d","b":{"y":"","x":"é"},"a":[1,-2.50,true,null]}"#,
        ] {
            assert_eq!(written(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn digits_are_kept_as_written() {
        let digits = "0.10000000000000000000000000000000000000000000000000000000000001";
        assert_eq!(written(digits).as_deref(), Ok(digits));
        assert_eq!(written("1e-7").as_deref(), Ok("1e-7"));
    }

    #[test]
    fn what_jsonb_refuses_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            "-",
            "+1",
            "nul",
            "\"\u{1}\"",
            "{'a':1}",
            "1 2",
            "\"\\ud800\"",
            "NaN",
            "[,1]",
            "{,}",
        ] {
            assert!(matches!(written(text), Err(JsonError::Invalid(_))), "{text:?}");
        }
        assert_eq!(written(r#"["a\u0000b"]"#), Err(JsonError::Nul));
        assert_eq!(written(r#"{"a\u0000b":1}"#), Err(JsonError::Nul));
        assert_eq!(written("1e200000"), Err(JsonError::Number));
        assert_eq!(written(&"9".repeat(200_000)), Err(JsonError::Number));
        assert!(matches!(written(&"[".repeat(100_000)), Err(JsonError::Invalid(_))));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(written(r#""\u001f\n\"\\/""#).as_deref(), Ok(r#""\u001f\n\"\\/""#));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~é]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[a-d\"\\\\]{0,3}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_ways_write_the_same(value in any_json()) {
            let mut canonical = String::new();
            write_value(&value, &mut canonical).unwrap();
            prop_assert_eq!(written(&value.to_string()), Ok(canonical.clone()));
            prop_assert_eq!(written(&canonical), Ok(canonical.clone()));
            prop_assert_eq!(serde_json::from_str::<Value>(&canonical).unwrap(), value);
        }

        #[test]
        fn the_fast_path_takes_json_only(text in "[\\[\\]{}:,\"a0-9.eE truefalsn-]{0,24}") {
            if copy_plain(&text, &mut String::new()) {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}

//! Owns writing JSON that PostgreSQL's `jsonb` takes, in one form whatever the source's spelling:
//! no white space, keys of objects in byte order and without repeats, so that
//! equal content has equal text and with it an equal content hash. Numbers keep their digits.

use serde_json::Value;

use super::json_scan::{PLAIN_NUMBER, copy_plain};
use crate::domain::decimal::{self, DecimalNotation};
use crate::domain::json_size::{JsonSize, values_of};

/// The most bytes of one JSON text; `jsonb` holds 256 MB and spends some on its own structure.
pub(crate) const MAX_BYTES: usize = 200 * 1_000_000;

/// Why a JSON value cannot be stored, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("is not JSON ({0})")]
    Invalid(String),
    #[error("has a key twice in one object, and it is unknown which value counts")]
    Repeated,
    #[error("contains U+0000, which PostgreSQL cannot store")]
    Nul,
    #[error("contains a number with more than 1,000 digits when it is written out")]
    Number,
    #[error("is longer than 200 MB when it is written out")]
    TooLong,
}

/// Appends the JSON that `text` holds.
pub(crate) fn write_text(text: &str, out: &mut String) -> Result<(), JsonError> {
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
    // Parsed, an object has each key once.
    if values_of(&value) != JsonSize::of(text).values {
        return Err(JsonError::Repeated);
    }
    write_value(&value, out)
}

/// Appends a parsed value.
pub(crate) fn write_value(value: &Value, out: &mut String) -> Result<(), JsonError> {
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
    // In one spelling, so that equal numbers have equal text.
    match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => {
            out.push_str(digits);
            out.push('e');
            out.push_str(if exponent.starts_with(['+', '-']) { "" } else { "+" });
            out.push_str(exponent);
        }
        None => out.push_str(digits),
    }
    Ok(())
}

/// The length of JSON that was written here as PostgreSQL writes it: its numbers have no exponents.
pub(crate) fn written_out(json: &str) -> usize {
    let (mut length, mut at, mut quoted) = (json.len(), 0, false);
    let bytes = json.as_bytes();
    let mut digits = String::new();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => at += 1,
            b'-' | b'0'..=b'9' if !quoted => {
                let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let number = bytes[at..].iter().take_while(|b| is_part(b)).count();
                let text = &json[at..at + number];
                if text.contains(['e', 'E']) {
                    digits.clear();
                    let written =
                        decimal::write_canonical(text, DecimalNotation::PLAIN, &mut digits);
                    length += if written.is_ok() { digits.len() } else { 0 };
                }
                at += number - 1;
            }
            _ => {}
        }
        at += 1;
    }
    length
}

/// Appends a JSON string.
pub(crate) fn write_string(text: &str, out: &mut String) -> Result<(), JsonError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> Result<String, JsonError> {
        let mut out = String::from("before");
        write_text(text, &mut out).map(|()| out["before".len()..].to_owned())
    }

    #[test]
    fn a_text_with_a_key_twice_in_one_object_is_none_whose_value_is_known() {
        let write = |text: &str| write_text(text, &mut String::new());
        for text in [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1, "\u0061":1}}]"#, r#"{"b":1,"a":2,"b":1}"#]
        {
            assert_eq!(write(text), Err(JsonError::Repeated), "{text}");
        }
        for text in [
            r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#,
            r#"{"b":"{\"a\":1,\"a\":2}","a":[]}"#,
            "{}",
            "[[],{}]",
        ] {
            assert_eq!(write(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_spelling_of_a_source_does_not_matter() {
        let expected = r#"{"a":[1,-2.50,true,null],"b":{"x":"é","y":""},"c":"d"}"#;
        for text in [
            expected,
            " {\"a\" : [1, -2.50,\ttrue , null],\n\"b\":{\"x\":\"é\",\"y\":\"\"}, \"c\":\"d\" } ",
            r#"{"c":"d","b":{"y":"","x":"\u00e9"},"a":[1,-2.50,true,null]}"#,
            r#"{"c":"d","b":{"y":"","x":"é"},"a":[1,-2.50,true,null]}"#,
        ] {
            assert_eq!(written(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn digits_are_kept_as_written() {
        let digits = "0.10000000000000000000000000000000000000000000000000000000000001";
        assert_eq!(written(digits).as_deref(), Ok(digits));
        assert_eq!(written("1e-7").as_deref(), Ok("1e-7"));
        for text in ["1e7", "1E7", "1e+7", "1E+7"] {
            assert_eq!(written(text).as_deref(), Ok("1e+7"));
            let value = super::super::exact_numbers::parse(text).unwrap();
            let mut out = String::new();
            write_value(&value, &mut out).unwrap();
            assert_eq!(out, "1e+7");
        }
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
        assert_eq!(written("1e131000"), Err(JsonError::Number));
        assert_eq!(written(r#"{"a":[1e-1001]}"#), Err(JsonError::Number));
        assert_eq!(written(&"9".repeat(200_000)), Err(JsonError::Number));
        assert!(matches!(written(&"[".repeat(100_000)), Err(JsonError::Invalid(_))));
    }

    #[test]
    fn numbers_count_as_they_are_written_out() {
        for (json, more) in [
            ("[1,-2.5,\"1e9\",\"\\\"1e9\"]", 0),
            ("[1e9]", 10),
            (r#"{"1e9":-1E+2,"b":[5e-3,12]}"#, 4 + 5),
        ] {
            assert_eq!(written_out(json), json.len() + more, "{json}");
        }
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
    }
}

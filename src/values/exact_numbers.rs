//! Owns parsing JSON so that its numbers keep the text that they came with: serde_json writes `1e3` as `1e+3`.
//! A number may be a key, and keys are compared as texts.

use serde_json::{Number, Value};

/// Parses a JSON text.
///
/// # Errors
/// When it is none.
pub(crate) fn parse(json: &str) -> Result<Value, serde_json::Error> {
    let value: Value = serde_json::from_str(json)?;
    // Nothing else is ever written in another way.
    let has_exponent = numbers(json).any(|number| number.contains(['e', 'E']));
    if !has_exponent {
        return Ok(value);
    }
    let mut exact = value.clone();
    let mut numbers = numbers(json);
    let all = restore(&mut exact, &mut numbers).is_some() && numbers.next().is_none();
    // A key that comes twice hides numbers: then nobody can tell which is which.
    Ok(if all { exact } else { value })
}

/// Gives the numbers of a value their texts; `None` when one is another number.
fn restore<'t>(value: &mut Value, numbers: &mut impl Iterator<Item = &'t str>) -> Option<()> {
    match value {
        Value::Number(number) => {
            let text = numbers.next()?;
            if number.as_str() != text {
                let same = serde_json::from_str::<Number>(text).is_ok_and(|other| other == *number);
                *number = same.then(|| Number::from_string_unchecked(text.to_owned()))?;
            }
            Some(())
        }
        Value::Array(elements) => elements.iter_mut().try_for_each(|e| restore(e, numbers)),
        Value::Object(fields) => fields.values_mut().try_for_each(|v| restore(v, numbers)),
        Value::Null | Value::Bool(_) | Value::String(_) => Some(()),
    }
}

/// The numbers of a JSON text, in order.
fn numbers(json: &str) -> impl Iterator<Item = &str> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            let begin = at;
            at += 1;
            match byte {
                b'"' => loop {
                    match bytes.get(at) {
                        None => break,
                        Some(b'"') => {
                            at += 1;
                            break;
                        }
                        Some(b'\\') => at += 2,
                        Some(_) => at += 1,
                    }
                },
                b'-' | b'0'..=b'9' => {
                    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                    at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                    return Some(&json[begin..at]);
                }
                _ => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_keep_the_text_that_they_came_with() {
        let long = format!("-{}.{}", "9".repeat(100), "1".repeat(100));
        for number in ["1e3", "1E3", "1E+3", "1.50e-07", "-0", "-0.0", "1e0", "100", &long] {
            assert_eq!(parse(number).unwrap().to_string(), number);
            let json = format!("{{\"1e9\":[\"2e9\\\"3e9\",{number}],\"b\":{{\"c\":{number}}}}}");
            assert_eq!(parse(&json).unwrap().to_string(), json);
        }
        assert!(parse("1e").is_err() && parse("01").is_err());
        // As serde_json has it.
        let twice = parse(r#"{"a":1e3,"a":2e3,"b":1e3}"#).unwrap();
        assert_eq!(twice.to_string(), r#"{"a":2e+3,"b":1e+3}"#);
    }

    proptest! {
        #[test]
        fn nothing_but_the_text_of_numbers_is_another(json in "[\\[\\]{}:,\"0-9eE.+-]{0,24}") {
            match (parse(&json), serde_json::from_str::<Value>(&json)) {
                (Ok(exact), Ok(value)) => {
                    let again: Value = serde_json::from_str(&exact.to_string()).unwrap();
                    prop_assert_eq!(again, value);
                }
                (exact, value) => prop_assert_eq!(exact.is_ok(), value.is_ok()),
            }
        }
    }
}

//! Owns how rising row numbers are kept as JSON: one text such as `"3-9,12"`. A number each would take
//! hundreds of bytes of memory when it is read, and there may be millions of them. Earlier versions have
//! stored them so, and that is read as well.

use std::fmt::{self, Write};

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

/// Writes the numbers.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(numbers: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::new();
    for run in numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a text cannot fail.
        let _ = match run {
            [one] => write!(text, "{comma}{one}"),
            [first, .., last] => write!(text, "{comma}{first}-{last}"),
            [] => Ok(()),
        };
    }
    serializer.serialize_str(&text)
}

/// Reads them.
///
/// # Errors
/// What is neither such a text nor a list of numbers.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    deserializer.deserialize_any(Numbers)
}

struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = Vec<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("row numbers such as \"3-9,12\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<i64>, E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
        let mut numbers = Vec::new();
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let parse = |number: &str| number.parse::<i64>().map_err(|_| wrong());
            numbers.extend(parse(first)?..=parse(last)?);
        }
        Ok(numbers)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<i64>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element()? {
            numbers.push(number);
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kept(#[serde(with = "super")] Vec<i64>);

    #[test]
    fn row_numbers_are_read_as_they_were_written_and_as_lists_of_earlier_versions() {
        for (numbers, text) in [
            (vec![], ""),
            (vec![7], "7"),
            (vec![1, 2, 3], "1-3"),
            (vec![1, 3, 4, 9, 11, 12, 13], "1,3-4,9,11-13"),
            (vec![i64::MAX - 1, i64::MAX], "9223372036854775806-9223372036854775807"),
        ] {
            assert_eq!(serde_json::to_value(Kept(numbers.clone())).unwrap(), json!(text));
            assert_eq!(serde_json::from_value::<Kept>(json!(text)).unwrap(), Kept(numbers.clone()));
            assert_eq!(serde_json::from_value::<Kept>(json!(numbers)).unwrap(), Kept(numbers));
        }
        for wrong in [json!("1-x"), json!("a"), json!({}), json!(["1"])] {
            assert!(serde_json::from_value::<Kept>(wrong).is_err());
        }
    }

    #[test]
    fn millions_of_rows_in_a_row_are_a_few_bytes() {
        let all = Kept((1..=3_000_000).collect());
        assert_eq!(serde_json::to_string(&all).unwrap(), "\"1-3000000\"");
    }
}

//! Owns pages of lists: the limit, the opaque cursor, and the shape of a page.
//!
//! A cursor is the key of the last item of a page, so a page costs the same wherever it is, and
//! nothing is shown twice or left out when rows are added meanwhile.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{
    ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type,
};
use serde_json::Value;

use super::problem::{Kind, Problem};
use crate::api::openapi::enums::text_type;

/// About the most bytes of a page, unless a single item has more. Lists whose items have no bound of
/// their own end a page there; [`Page::cut`] says so.
pub(crate) const MAX_BYTES: i64 = 16 << 20;

/// How many items a page may hold, 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(usize);

impl Limit {
    const MAX: usize = 1000;

    /// Items asked for.
    pub(crate) fn items(self) -> i64 {
        self.0 as i64
    }

    /// Rows to ask the database for: one more than fits tells whether there is a next page.
    pub(crate) fn rows(self) -> i64 {
        self.0 as i64 + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl Type for Limit {
    text_type!(Limit, "Limit");

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            minimum: Some(1.0),
            maximum: Some(Self::MAX as f64),
            ..MetaSchema::new_with_format("integer", "int32")
        }))
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(limit @ 1..=Self::MAX) => Ok(Self(limit)),
            _ => Err(format!("{text:?} is not a whole number from 1 to {}", Self::MAX)),
        }
    }
}

impl ParseFromParameter for Limit {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        text.parse().map_err(|error: String| ParseError::custom(error))
    }
}

impl ToJSON for Limit {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.into())
    }
}

/// A part of a list.
#[derive(Debug, Object)]
pub(crate) struct Page<T: ParseFromJSON + ToJSON> {
    /// In the order of the list.
    pub(crate) items: Vec<T>,
    /// Give it as `cursor` to get the next part; null when this was the last.
    #[oai(nullable)]
    pub(crate) next_cursor: Option<String>,
}

impl<T: ParseFromJSON + ToJSON> Page<T> {
    /// Makes a page of the rows that [`Limit::rows`] asked for. `key` is what the cursor keeps of
    /// the last item.
    pub(crate) fn new<R: Into<T>, const N: usize>(
        mut rows: Vec<R>,
        limit: Limit,
        list: &str,
        key: impl FnOnce(&R) -> [String; N],
    ) -> Self {
        let more = rows.len() > limit.0;
        rows.truncate(limit.0);
        Self::ending(rows, more, list, key)
    }

    /// Makes a page of rows of which fewer fit than were asked for.
    pub(crate) fn cut<R: Into<T>, const N: usize>(
        rows: Vec<R>,
        list: &str,
        key: impl FnOnce(&R) -> [String; N],
    ) -> Self {
        Self::ending(rows, true, list, key)
    }

    fn ending<R: Into<T>, const N: usize>(
        rows: Vec<R>,
        more: bool,
        list: &str,
        key: impl FnOnce(&R) -> [String; N],
    ) -> Self {
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|row| encode(list, &key(row)));
        Self { items: rows.into_iter().map(Into::into).collect(), next_cursor }
    }
}

/// Parts are parted by U+0000, which no text of PostgreSQL can hold.
pub(crate) fn encode<const N: usize>(list: &str, key: &[String; N]) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}\0{}", key.join("\0")))
}

/// The key within a cursor of that list.
///
/// # Errors
/// A problem when it is not a cursor that this list gave out.
pub(crate) fn decode<const N: usize>(list: &str, cursor: &str) -> Result<[String; N], Problem> {
    parts(list, cursor).ok_or_else(foreign)
}

/// The key within a cursor of that list, when it is a single number.
///
/// # Errors
/// A problem when it is not a cursor that this list gave out.
pub(crate) fn decode_number(list: &str, cursor: &str) -> Result<i64, Problem> {
    let [part] = decode(list, cursor)?;
    number(&part)
}

/// A part of a key that is a number.
///
/// # Errors
/// A problem when it is none.
pub(crate) fn number(part: &str) -> Result<i64, Problem> {
    part.parse().map_err(|_| foreign())
}

fn parts<const N: usize>(list: &str, cursor: &str) -> Option<[String; N]> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let key = text.strip_prefix(list)?.strip_prefix('\0')?;
    key.split('\0').map(str::to_owned).collect::<Vec<_>>().try_into().ok()
}

fn foreign() -> Problem {
    Problem::new(
        Kind::InvalidParameter,
        "parameter `cursor`: give the `next_cursor` of a page of this list, or leave it out to \
         start from the beginning",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &[i64], limit: usize) -> Page<i64> {
        Page::new(rows.to_vec(), Limit(limit), "runs", |row| [row.to_string()])
    }

    #[test]
    fn a_cursor_round_trips_whatever_the_key_holds() {
        let key = ["a|b\\u0000".to_owned(), "ä/\"%".to_owned(), String::new()];
        let cursor = encode("records", &key);
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(decode("records", &cursor).unwrap(), key);
    }

    #[test]
    fn a_cursor_of_another_list_or_of_nowhere_is_refused() {
        let cursor = encode("runs", &["7".to_owned()]);
        assert_eq!(decode_number("runs", &cursor).unwrap(), 7);
        assert!(decode::<1>("tasks", &cursor).is_err());
        assert!(decode::<2>("runs", &cursor).is_err());
        assert!(decode_number("runs", &encode("runs", &["x".to_owned()])).is_err());
        for bad in ["", "7", "%%%", "cnVucw", "gIGC"] {
            assert!(decode::<1>("runs", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let first = page(&[9, 8, 7], 2);
        assert_eq!(first.items, [9, 8]);
        assert_eq!(decode_number("runs", &first.next_cursor.unwrap()).unwrap(), 8);
        assert_eq!(page(&[9, 8], 2).next_cursor, None);
        assert_eq!(page(&[], 2).next_cursor, None);
    }

    #[test]
    fn a_limit_is_from_1_to_1000() {
        assert_eq!(Limit::parse_from_parameter("1000").unwrap(), Limit(1000));
        for bad in ["0", "1001", "-1", "x", "", "99999999999999999999"] {
            assert!(Limit::parse_from_parameter(bad).is_err(), "{bad}");
        }
    }
}

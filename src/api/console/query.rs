//! Owns what the fields of a filter say in an address.

use std::fmt::Display;
use std::str::FromStr;

use crate::api::http::problem::{Kind, Problem};

/// The text of a field, if it says anything.
///
/// # Errors
/// A problem that names the field, when no text of the database can be so.
pub(crate) fn given<'t>(name: &str, text: &'t str) -> Result<Option<&'t str>, Problem> {
    match text.trim() {
        "" => Ok(None),
        text if text.contains('\0') => Err(wrong(name, "no text holds U+0000")),
        text => Ok(Some(text)),
    }
}

/// The word of a field, if it says anything.
///
/// # Errors
/// A problem that names the field and says which words there are.
pub(crate) fn word<T: FromStr<Err = E>, E: Display>(
    name: &str,
    text: &str,
) -> Result<Option<T>, Problem> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| wrong(name, error)),
    }
}

fn wrong(name: &str, why: impl Display) -> Problem {
    Problem::new(Kind::InvalidParameter, format!("parameter `{name}`: {why}"))
}

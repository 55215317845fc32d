//! Owns the view of a source's row that a mapping works on. Source kinds implement it.

use serde_json::Value;

use super::content::RowContent;
use crate::domain::shape::FieldType;

/// The value that a locator finds in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// The row has no such field.
    Missing,
    /// JSON null, or a CSV cell that is empty or one of the declared null values.
    Null,
    /// A CSV cell, or a JSON string.
    Text(&'a str),
    /// Any other JSON value: boolean, number (its digits as written), object or list.
    Json(&'a Value),
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
pub struct RowPlace<'a> {
    /// What its file is called in keys, escaped; empty where rows come from no file.
    pub file: &'a str,
    /// Its number there, from 1.
    pub number: i64,
}

/// A row of a source, as a mapping sees it.
pub trait Row {
    /// The value under locator number `locator` of `Definition::locators`.
    fn cell(&self, locator: usize) -> Cell<'_>;

    /// Whether values carry their type, as in JSON. A CSV row is not typed: all its cells are text.
    fn typed(&self) -> bool;

    /// All that the row holds; `None` when it has no value at all. What says where the row stands is no part of it.
    fn content(&self) -> Option<RowContent> {
        None
    }

    /// Where it stands in its file, if that is something else than its number there.
    fn place(&self) -> Option<String> {
        None
    }

    /// Visits every top-level field with its type; `None` is null.
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, Option<FieldType>));
}

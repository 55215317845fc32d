//! Owns what every paginator does: it finds the next page, and leaves it to `rules` whether that is asked for.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::end_keys::EndKeys;
use super::page_view::PageView;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

/// A way to walk an API page by page. Its positions are its own: they travel as JSON in task payloads
/// and checkpoints, and nobody else looks into them.
pub(in crate::sources::rest_api) trait Paginate:
    fmt::Debug + Send + Sync
{
    /// How pages are found.
    fn way(&self) -> Way<'_>;

    /// What the job file says of how a full sync ends.
    fn end_keys(&self) -> EndKeys<'_>;

    /// What serde cannot check of its own parameters: the key below `rest_api.paginator`, or `None` for the
    /// table itself, and what is wrong there.
    fn problems(&self) -> Vec<(Option<&'static str>, String)>;

    /// The position of the first page.
    fn first(&self) -> Value;

    /// Which page of the full sync a position is, from 1: recorded pages are named by it.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    fn ordinal(&self, position: &Value) -> Result<u64, SourceError>;

    /// How a page is named in messages: "page 3".
    ///
    /// # Errors
    /// When it is no position of this paginator.
    fn name(&self, position: &Value) -> Result<String, SourceError> {
        Ok(format!("page {}", self.ordinal(position)?))
    }

    /// Changes the parts of the request so that they ask for the page at a position.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    fn ask_for(&self, position: &Value, request: &mut RequestParts) -> Result<(), SourceError>;

    /// The position of the page behind this one, if the page leads to one; of numbered pages there is always
    /// one. `None` for a page that could not be had: `records` stands for what it would have held.
    ///
    /// # Errors
    /// When the page cannot be walked any further.
    fn next(&self, at: &Value, came: Came<'_>) -> Result<Option<Value>, SourceError>;

    /// The position so many pages behind this one, which have so many records; `None` where nobody knows.
    fn ahead(&self, _at: &Value, _pages: u64, _records: u64) -> Option<Value> {
        None
    }

    /// How many records come before a position, where that says so by itself.
    fn records_before(&self, _position: &Value) -> Option<u64> {
        None
    }
}

/// What came for a position.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) enum Came<'a> {
    /// A page.
    Page(PageView<'a>),
    /// Nothing that could be read; so many records would have been there.
    Lost(u64),
}

impl Came<'_> {
    /// How many records.
    pub fn records(&self) -> u64 {
        match self {
            Self::Page(page) => page.came as u64,
            Self::Lost(records) => *records,
        }
    }
}

/// How pages are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::rest_api) enum Way<'a> {
    /// There is one page.
    Single {
        /// Whether no other is wanted, however many there are.
        first_page_only: bool,
    },
    /// By number.
    Numbered {
        /// The query parameter that takes it.
        param: &'a str,
        /// How many records a page is asked for.
        size: Option<u32>,
        /// Whether the number moves on by the records that came.
        by_records: bool,
    },
    /// By what the page before says.
    Referenced,
}

/// Reads a position.
///
/// # Errors
/// When it is none of that type.
pub(super) fn position<P: DeserializeOwned>(json: &Value) -> Result<P, SourceError> {
    P::deserialize(json).map_err(|error| {
        let message = format!("{json} is no position of a paginated API: {error}");
        SourceError::new(SourceErrorKind::InvalidState, message)
    })
}

/// What is wrong with the number of records a page and the parameter that takes it.
pub(super) fn size_problems(
    size_param: Option<&str>,
    size: Option<u32>,
) -> Vec<(Option<&'static str>, String)> {
    let mut problems = Vec::new();
    if size_param.is_some() && size.is_none() {
        problems.push((None, "has a `size_param` but no `size`".to_owned()));
    }
    if size == Some(0) {
        problems.push((Some("size"), "expected a whole number from 1 on, found 0".to_owned()));
    }
    problems
}

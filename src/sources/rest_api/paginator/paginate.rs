//! Owns what every paginator does.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::page_view::PageView;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

/// A way to walk an API page by page. Its positions are its own: they travel as JSON in task payloads
/// and checkpoints, and nobody else looks into them.
pub(in crate::sources::rest_api) trait Paginate:
    fmt::Debug + Send + Sync
{
    /// What serde cannot check of its parameters: the key below `rest_api.paginator`, or `None` for the
    /// table itself, and what is wrong there.
    fn problems(&self) -> Vec<(Option<&'static str>, String)>;

    /// The position of the first page.
    fn first(&self) -> Value;

    /// Which page of the full sync a position is, from 1: recorded pages are named by it.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    fn ordinal(&self, position: &Value) -> Result<u64, SourceError>;

    /// Changes the parts of the request so that they ask for the page at a position.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    fn ask_for(&self, position: &Value, request: &mut RequestParts) -> Result<(), SourceError>;

    /// What comes behind the page at a position.
    ///
    /// # Errors
    /// When the page shows that the API is not walked this way, or can be walked no further.
    fn next(&self, position: &Value, page: PageView<'_>) -> Result<Step, SourceError>;
}

/// What comes behind a page.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::sources::rest_api) enum Step {
    /// Another page, at this position.
    Next(Value),
    /// Nothing.
    End(End),
}

/// Why there is no other page, which decides what of the last page would be a surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources::rest_api) enum End {
    /// There is to be one page only: whatever shows that there are more is a surprise.
    OnlyPage,
    /// The paginator takes it for the last: that it says itself that there are more is a surprise.
    Counted,
    /// It is empty: nothing is behind it, and that it says itself that there is would be a surprise.
    Empty,
    /// Nothing would be a surprise: the job file wants no more.
    Certain,
    /// It is empty, although there should be more records: what the run's note says of it.
    TooEarly(String),
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
    max_pages: Option<u32>,
) -> Vec<(Option<&'static str>, String)> {
    let mut problems = Vec::new();
    if size_param.is_some() && size.is_none() {
        problems.push((None, "has a `size_param` but no `size`".to_owned()));
    }
    for (key, number) in [("size", size), ("max_pages", max_pages)] {
        if number == Some(0) {
            problems.push((Some(key), "expected a whole number from 1 on, found 0".to_owned()));
        }
    }
    problems
}

//! Owns what every paginator does: it finds the next page, and leaves it to `rules` whether that is asked for.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::end_keys::EndKeys;
use super::page_view::PageView;
use super::target::{Target, Targets};
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

    /// Where the request takes the number or cursor of a page; `None` where the address of a page comes from the one
    /// before.
    fn targets(&self) -> Option<Targets<'_>> {
        None
    }

    /// The number or cursor that asks for the page at a position; `None` where nothing does.
    ///
    /// # Errors
    /// When it is no position of the paginator.
    fn asks_by(&self, position: &Value) -> Result<Option<Value>, SourceError> {
        let _ = position;
        Ok(None)
    }

    /// The query parameter that takes the number of records a page, and that number.
    fn page_size(&self) -> (Option<&str>, Option<u32>) {
        (None, None)
    }

    /// Whether a run goes on at the cursor at which the one before ended.
    fn resumes(&self) -> bool {
        false
    }

    /// The position of the first page of a run that goes on at a cursor; `None` where none does.
    fn resumed(&self, cursor: &Value) -> Option<Value> {
        let _ = cursor;
        None
    }

    /// The cursor at which a later run goes on, when the page at this position is the last and has everything.
    ///
    /// # Errors
    /// When it cannot be found in the page.
    fn last_cursor(&self, at: &Value, page: PageView<'_>) -> Result<Option<Value>, SourceError> {
        let _ = (at, page);
        Ok(None)
    }

    /// Whether the page at a position is asked for by a cursor that holds the beginning as well.
    fn asks_by_cursor(&self, at: &Value) -> bool {
        let _ = at;
        false
    }

    /// The cursors that say that there is no next page.
    fn end_values(&self) -> &[Value] {
        &[]
    }

    /// Whether what a page gives to lead to the next one counts pages or records, as a link with `page=3` does: then
    /// pages are places in a list, as those are that are asked for by number, and what moves in it may be missed.
    fn leads_by_number(&self, at: &Value, page: &PageView<'_>, next: &Value) -> bool {
        let _ = (at, page, next);
        false
    }

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
    fn ask_for(&self, position: &Value, request: &mut RequestParts) -> Result<(), SourceError> {
        if let (Some(name), Some(size)) = self.page_size() {
            request.add_query(name, &size.to_string());
        }
        let target = self.targets().and_then(|targets| targets.target());
        match target.zip(self.asks_by(position)?) {
            Some((target, value)) => target.set(request, value),
            None => Ok(()),
        }
    }

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
        /// What of the request takes it.
        target: Target<'a>,
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

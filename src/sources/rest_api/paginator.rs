//! Owns how an API is walked page by page: what a position is, and whether there is a next one.
//!
//! Must not know HTTP: it sees how many records a page held and the hash of its body.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::hash::{ContentHash, StoredHash};
use crate::sources::SourceError;

/// How an answer leads to the next page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Paginator {
    /// There is one page. An answer that shows more of them makes the run degraded.
    SinglePage {
        /// Whether the first page is all that is wanted, however many there are.
        #[serde(default)]
        first_page_only: bool,
    },
    /// Pages are numbered. The last is the first that is empty or holds fewer than `size` records.
    PageNumber {
        /// The query parameter that takes the page's number.
        #[serde(default = "page")]
        param: String,
        /// The number of the first page.
        #[serde(default = "one")]
        start: u64,
        /// The query parameter that takes the number of records a page, when the API has one.
        size_param: Option<String>,
        /// Records a page. Without it the full sync ends at the first empty page.
        size: Option<NonZeroU32>,
        /// The most pages of a full sync.
        max_pages: Option<NonZeroU32>,
    },
}

impl Default for Paginator {
    fn default() -> Self {
        Self::SinglePage { first_page_only: false }
    }
}

fn page() -> String {
    "page".to_owned()
}

fn one() -> u64 {
    1
}

/// Where a page is. Its JSON form travels in task payloads and checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The number of the page.
    pub page: u64,
    /// Hash of the body before, to notice an API that answers the same page for ever. One of an
    /// old kind is like no page: that is noticed a page later then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<StoredHash>,
}

impl Position {
    /// Reads what [`Position::to_json`] wrote.
    pub fn of_json(json: &Value) -> Result<Self, SourceError> {
        Self::deserialize(json).map_err(|error| {
            SourceError::permanent(format!("{json} is no position of a paginated API: {error}"))
        })
    }

    /// The form that is stored.
    pub fn to_json(&self) -> Value {
        match self.previous {
            Some(hash) => serde_json::json!({ "page": self.page, "previous": hash.to_string() }),
            None => serde_json::json!({ "page": self.page }),
        }
    }
}

impl Paginator {
    /// What serde cannot check.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::PageNumber { size_param: Some(_), size: None, .. } => {
                Some("has a `size_param` but no `size`")
            }
            Self::PageNumber { .. } | Self::SinglePage { .. } => None,
        }
    }

    pub(super) fn first(&self) -> Position {
        let page = match self {
            Self::SinglePage { .. } => 1,
            Self::PageNumber { start, .. } => *start,
        };
        Position { page, previous: None }
    }

    /// Which page of the full sync a position is, from 1.
    pub(super) fn ordinal(&self, position: &Position) -> u64 {
        position.page.saturating_sub(self.first().page).saturating_add(1)
    }

    /// Whether more pages than one would be a surprise.
    pub(super) fn expects_one(&self) -> bool {
        matches!(self, Self::SinglePage { first_page_only: false })
    }

    /// The query parameters that ask for a page.
    pub(super) fn query(&self, position: &Position) -> Vec<(&str, String)> {
        let Self::PageNumber { param, size_param, size, .. } = self else {
            return Vec::new();
        };
        let size = size_param.as_deref().zip(*size).map(|(name, size)| (name, size.to_string()));
        size.into_iter().chain([(param.as_str(), position.page.to_string())]).collect()
    }

    /// Where the page after this one is; `None` when this was the last.
    ///
    /// # Errors
    /// When the page holds records and is the one before it again, or has the largest number.
    pub(super) fn next(
        &self,
        position: &Position,
        records: usize,
        hash: ContentHash,
    ) -> Result<Option<Position>, SourceError> {
        let Self::PageNumber { param, size, max_pages, .. } = self else {
            return Ok(None);
        };
        if records > 0 && position.previous == Some(hash.into()) {
            let page = position.page;
            return Err(SourceError::permanent(format!(
                "the paginator repeats itself: page {page} is the page before it, byte for byte; \
                 the API may know no query parameter `{param}`: see `rest_api.paginator`"
            )));
        }
        let is_short = size.is_some_and(|size| records < size.get() as usize);
        let is_limit = max_pages.is_some_and(|most| self.ordinal(position) >= most.get().into());
        if records == 0 || is_short || is_limit {
            return Ok(None);
        }
        let page = position.page.checked_add(1).ok_or_else(|| {
            let last = position.page;
            SourceError::permanent(format!("there is no page behind {last}, the largest number"))
        })?;
        Ok(Some(Position { page, previous: Some(hash.into()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    fn a() -> ContentHash {
        ContentHash::of(b"a")
    }

    fn numbered(text: &str) -> Paginator {
        toml::from_str(&format!("type = \"page_number\"\n{text}")).unwrap()
    }

    fn at(page: u64) -> Position {
        Position { page, previous: None }
    }

    #[test]
    fn a_full_page_leads_to_the_next_and_a_short_one_ends_the_sweep() {
        let paginator = numbered("size = 2");
        let next = paginator.next(&at(1), 2, a()).unwrap().unwrap();
        assert_eq!(next, Position { page: 2, previous: Some(a().into()) });
        assert_eq!(paginator.next(&at(1), 1, a()).unwrap(), None);
    }

    #[test]
    fn without_a_size_an_empty_page_ends_the_sweep() {
        let paginator = numbered("");
        assert!(paginator.next(&at(1), 1, a()).unwrap().is_some());
        assert_eq!(paginator.next(&at(2), 0, a()).unwrap(), None);
    }

    #[test]
    fn max_pages_counts_pages_and_not_page_numbers() {
        let paginator = numbered("start = 0\nmax_pages = 2");
        assert!(paginator.next(&at(0), 1, a()).unwrap().is_some());
        assert_eq!(paginator.next(&at(1), 1, a()).unwrap(), None);
    }

    #[test]
    fn the_same_page_twice_in_a_row_is_an_error_unless_it_is_empty() {
        let paginator = numbered("");
        let again = Position { page: 2, previous: Some(a().into()) };
        let error = paginator.next(&again, 1, a()).unwrap_err();
        assert_eq!(error.class, FailureClass::Permanent);
        assert!(error.message.contains("repeats itself"), "{}", error.message);
        assert_eq!(paginator.next(&again, 0, a()).unwrap(), None);
    }

    #[test]
    fn behind_the_last_page_number_there_is_no_page() {
        let paginator = numbered("start = 0");
        let error = paginator.next(&at(u64::MAX), 1, a()).unwrap_err();
        assert_eq!(error.class, FailureClass::Permanent);
        assert!(error.message.contains("no page behind 18446744073709551615"), "{error}");
        assert_eq!(paginator.next(&at(u64::MAX), 0, a()).unwrap(), None);
        assert_eq!(paginator.ordinal(&at(u64::MAX)), u64::MAX);
    }

    #[test]
    fn a_position_survives_its_stored_form() {
        for previous in [None, Some(a().into())] {
            let position = Position { page: 3, previous };
            assert_eq!(Position::of_json(&position.to_json()).unwrap(), position);
        }
        assert!(Position::of_json(&serde_json::json!({ "offset": 3 })).is_err());
    }

    #[test]
    fn a_size_param_needs_a_size() {
        assert!(numbered("size_param = \"per_page\"").problem().is_some());
        assert!(numbered("size_param = \"per_page\"\nsize = 9").problem().is_none());
    }
}

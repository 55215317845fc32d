//! Owns the API whose pages are numbered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::page_view::PageView;
use super::paginate::{End, Paginate, Step, position, size_problems};
use super::repeated;
use crate::domain::hash::StoredHash;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

/// Pages are numbered. The last is the first that is empty or holds fewer than `size` records.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageNumber {
    /// The query parameter that takes the page's number.
    #[serde(default = "page")]
    param: String,
    /// The number of the first page.
    #[serde(default = "one")]
    start: u64,
    /// The query parameter that takes the number of records a page, when the API has one.
    size_param: Option<String>,
    /// Records a page. Without it the full sync ends at the first empty page.
    #[schemars(range(min = 1))]
    size: Option<u32>,
    /// The most pages of a full sync.
    #[schemars(range(min = 1))]
    max_pages: Option<u32>,
}

fn page() -> String {
    "page".to_owned()
}

fn one() -> u64 {
    1
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// The number of the page.
    page: u64,
    /// Hash of the body before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<StoredHash>,
}

impl Position {
    fn to_json(self) -> Value {
        match self.previous {
            Some(hash) => json!({ "page": self.page, "previous": hash.to_string() }),
            None => json!({ "page": self.page }),
        }
    }
}

impl PageNumber {
    fn ordinal_of(&self, position: Position) -> u64 {
        position.page.saturating_sub(self.start).saturating_add(1)
    }
}

impl Paginate for PageNumber {
    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        size_problems(self.size_param.as_deref(), self.size, self.max_pages)
    }

    fn first(&self) -> Value {
        Position { page: self.start, previous: None }.to_json()
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        Ok(self.ordinal_of(position(at)?))
    }

    fn ask_for(&self, at: &Value, request: &mut RequestParts) -> Result<(), SourceError> {
        let position: Position = position(at)?;
        if let (Some(name), Some(size)) = (&self.size_param, self.size) {
            request.add_query(name, &size.to_string());
        }
        request.add_query(&self.param, &position.page.to_string());
        Ok(())
    }

    fn next(&self, at: &Value, page: PageView<'_>) -> Result<Step, SourceError> {
        let position: Position = position(at)?;
        let number = position.page;
        let records = page.came;
        if records == 0 {
            // Behind the end there is nothing, unless it says that there is.
            return Ok(Step::End(End::Empty));
        }
        repeated::refuse(position.previous, page.hash, &format!("page {number}"), &self.param)?;
        if self.max_pages.is_some_and(|most| self.ordinal_of(position) >= u64::from(most)) {
            return Ok(Step::End(End::Certain));
        }
        if self.size.is_some_and(|size| records < size as usize) {
            return Ok(Step::End(End::Counted));
        }
        let next = number.checked_add(1).ok_or_else(|| {
            let message = format!("there is no page behind {number}, the largest number");
            SourceError::new(SourceErrorKind::NoFurtherPage, message)
        })?;
        Ok(Step::Next(Position { page: next, previous: Some(page.hash.into()) }.to_json()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Answered;
    use super::*;
    use crate::domain::failure::FailureClass;

    fn numbered(text: &str) -> PageNumber {
        toml::from_str(text).unwrap()
    }

    fn at(page: u64) -> Value {
        Position { page, previous: None }.to_json()
    }

    fn next(paginator: &PageNumber, at: &Value, records: usize) -> Result<Step, SourceError> {
        Answered::with(records).next(paginator, at)
    }

    #[test]
    fn a_full_page_leads_to_the_next_and_a_short_one_ends_the_full_sync() {
        let paginator = numbered("size = 2");
        let page = Answered::with(2);
        let behind = Position { page: 2, previous: Some(page.hash().into()) }.to_json();
        assert_eq!(page.next(&paginator, &at(1)).unwrap(), Step::Next(behind));
        assert_eq!(next(&paginator, &at(1), 1).unwrap(), Step::End(End::Counted));
    }

    #[test]
    fn without_a_size_an_empty_page_ends_the_full_sync() {
        let paginator = numbered("");
        assert!(matches!(next(&paginator, &at(1), 1).unwrap(), Step::Next(_)));
        assert_eq!(next(&paginator, &at(2), 0).unwrap(), Step::End(End::Empty));
    }

    #[test]
    fn max_pages_counts_pages_and_not_page_numbers() {
        let paginator = numbered("start = 0\nmax_pages = 2");
        assert!(matches!(next(&paginator, &at(0), 1).unwrap(), Step::Next(_)));
        assert_eq!(next(&paginator, &at(1), 1).unwrap(), Step::End(End::Certain));
    }

    #[test]
    fn the_same_page_twice_in_a_row_is_an_error_unless_it_is_empty() {
        let paginator = numbered("");
        for records in [0, 1] {
            let page = Answered::with(records);
            let again = Position { page: 2, previous: Some(page.hash().into()) }.to_json();
            match page.next(&paginator, &again) {
                Ok(step) => assert_eq!((records, step), (0, Step::End(End::Empty))),
                Err(error) => {
                    assert_eq!((records, error.class()), (1, FailureClass::Permanent));
                    assert!(error.text().contains("repeats itself: page 2 is"), "{error}");
                }
            }
        }
    }

    #[test]
    fn behind_the_last_page_number_there_is_no_page() {
        let paginator = numbered("start = 0");
        let error = next(&paginator, &at(u64::MAX), 1).unwrap_err();
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains("no page behind 18446744073709551615"), "{error}");
        assert_eq!(next(&paginator, &at(u64::MAX), 0).unwrap(), Step::End(End::Empty));
        assert_eq!(paginator.ordinal(&at(u64::MAX)).unwrap(), u64::MAX);
    }

    #[test]
    fn a_position_survives_its_stored_form_and_those_of_earlier_versions_are_understood() {
        for previous in [None, Some(Answered::with(1).hash().into())] {
            let stored = Position { page: 3, previous };
            assert_eq!(position::<Position>(&stored.to_json()).unwrap(), stored);
        }
        let xxh3 = json!({ "page": 7, "previous": "0000000000000000000000000000000a" });
        assert_eq!(numbered("").ordinal(&xxh3).unwrap(), 7);
        assert!(matches!(next(&numbered(""), &xxh3, 1).unwrap(), Step::Next(_)));
        let error = numbered("").ordinal(&json!({ "offset": 3 })).unwrap_err();
        assert!(error.text().contains("is no position of a paginated API"), "{error}");
    }

    #[test]
    fn a_size_param_needs_a_size() {
        let problems = |text: &str| numbered(text).problems();
        let message = "has a `size_param` but no `size`".to_owned();
        assert_eq!(problems("size_param = \"per_page\""), [(None, message)]);
        assert_eq!(problems("size_param = \"per_page\"\nsize = 9"), []);
    }
}

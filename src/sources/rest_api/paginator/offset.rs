//! Owns the API that is told how many records come before a page.
//!
//! A full sync steps by what came, never by `size`: an API that gives fewer records a page than it is
//! asked for loses none. And it ends only where the end is proven, by a page without records or by
//! the API's own total; a short page proves nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page_view::PageView;
use super::paginate::{End, Paginate, Step, position, size_problems};
use super::repeated;
use crate::domain::hash::StoredHash;
use crate::sources::rest_api::body_path::BodyPath;
use crate::sources::rest_api::full_page::fills_a_page;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

/// A total that is a multiple of this may be no more than the most that the API counts to.
const ROUND: u64 = 1_000;

/// The API is told how many records come before a page. The last page is the first without records,
/// or the one with which `total_path` is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// The query parameter that takes the number of records that come before the page.
    #[serde(default = "offset")]
    param: String,
    /// The offset of the first page.
    #[serde(default)]
    start: u64,
    /// The query parameter that takes the number of records a page, when the API has one.
    size_param: Option<String>,
    /// Records a page. The API may give fewer.
    #[schemars(range(min = 1))]
    size: Option<u32>,
    /// JSONPath of the number of all records in an answer, such as `$.meta.total`.
    total_path: Option<String>,
    /// The most pages of a full sync.
    #[schemars(range(min = 1))]
    max_pages: Option<u32>,
}

fn offset() -> String {
    "offset".to_owned()
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// How many records come before it, and `start`.
    offset: u64,
    /// Which page of the full sync it is, from 1.
    page: u64,
    /// Hash of the body before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<StoredHash>,
    /// The most records that a page before said that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// Whether the pages before have as many records as the API said that there are, or more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    total_reached: bool,
}

impl Position {
    #[expect(clippy::expect_used, reason = "serde_json writes every number and text")]
    fn to_json(self) -> Value {
        serde_json::to_value(self).expect("numbers and a text")
    }
}

impl Offset {
    /// How many records there are by the API's own count.
    fn total(&self, page: PageView<'_>) -> Result<Option<u64>, SourceError> {
        let Some(path) = &self.total_path else { return Ok(None) };
        let found = BodyPath::parse("total_path", path)?.find(page.body)?;
        let total = found.as_ref().and_then(|total| match total {
            Value::String(text) => text.trim().parse().ok(),
            // Some write 95.0.
            total => total.as_u64().or_else(|| {
                total.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64)
            }),
        });
        match total {
            None if page.came > 0 => {
                let message = format!(
                    "`paginator.total_path` = `{path}` leads to no number of records in the answer"
                );
                let advice = "correct it, or remove it, and the full sync ends with the first page \
                              without records";
                Err(SourceError::new(SourceErrorKind::InvalidResponse, message).advise(advice))
            }
            total => Ok(total),
        }
    }

    /// Whether the records up to here are all that there are.
    ///
    /// Some APIs count the records of the page only, others no further than to a round number. Where
    /// it may be so, one more page is asked for; if that has records, the total is none.
    fn is_whole(&self, before: u64, records: u64, total: u64) -> bool {
        let fills_size = self.size.is_none_or(|size| records >= u64::from(size));
        let may_count_the_page = before == 0 && (fills_size || fills_a_page(records));
        let may_be_cut = total.is_multiple_of(ROUND);
        before.saturating_add(records) == total && !may_count_the_page && !may_be_cut
    }
}

impl Paginate for Offset {
    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let mut problems = size_problems(self.size_param.as_deref(), self.size, self.max_pages);
        if let Some(path) = &self.total_path
            && let Err(error) = BodyPath::parse("total_path", path)
        {
            let text = error.text();
            let message = text.trim_start_matches("`total_path` = ");
            problems.push((Some("total_path"), message.to_owned()));
        }
        problems
    }

    fn first(&self) -> Value {
        Position { offset: self.start, page: 1, previous: None, total: None, total_reached: false }
            .to_json()
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        position::<Position>(at).map(|position| position.page)
    }

    fn ask_for(&self, at: &Value, request: &mut RequestParts) -> Result<(), SourceError> {
        let position: Position = position(at)?;
        if let (Some(name), Some(size)) = (&self.size_param, self.size) {
            request.add_query(name, &size.to_string());
        }
        request.add_query(&self.param, &position.offset.to_string());
        Ok(())
    }

    fn next(&self, at: &Value, answer: PageView<'_>) -> Result<Step, SourceError> {
        let Position { offset, page: number, previous, total: said, total_reached } = position(at)?;
        let before = offset.saturating_sub(self.start);
        let total = self.total(answer)?;
        let hash = answer.hash;
        let records = answer.came as u64;
        if records == 0 {
            // An empty page may know nothing of what those before it said.
            return Ok(Step::End(match (total.max(said), &self.total_path) {
                (Some(total), Some(path)) if total > before => {
                    End::TooEarly(too_early(before, total, path))
                }
                // Behind the end there is nothing, unless it says that there is.
                _ => End::Empty,
            }));
        }
        let named = format!("the page at {} = {offset}", self.param);
        repeated::refuse(previous, hash, &named, &self.param)?;
        if self.max_pages.is_some_and(|most| number >= u64::from(most)) {
            return Ok(Step::End(End::Certain));
        }
        // What has come beyond a total shows that it is none.
        if !total_reached && total.is_some_and(|total| self.is_whole(before, records, total)) {
            return Ok(Step::End(End::Counted));
        }
        let came = before.saturating_add(records);
        let total_reached = total_reached || total.is_some_and(|total| came >= total);
        let next = offset.checked_add(records).zip(number.checked_add(1));
        let (offset, page) = next.ok_or_else(|| {
            let message = format!("there is no page behind {named}: numbers end there");
            SourceError::new(SourceErrorKind::NoFurtherPage, message)
        })?;
        Ok(Step::Next(
            Position {
                offset,
                page,
                previous: Some(hash.into()),
                total: total.max(said),
                total_reached,
            }
            .to_json(),
        ))
    }
}

fn too_early(came: u64, total: u64, path: &str) -> String {
    format!(
        "the pages end after {came} records, and by `{path}` there are {total}: the rest may be \
         behind a limit of the API; ask for less in `rest_api.params`, in several sources if need be, \
         or remove `total_path` if it counts something else"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::Answered;
    use super::*;
    use crate::domain::failure::FailureClass;

    fn by_offset(text: &str) -> Offset {
        toml::from_str(text).unwrap()
    }

    fn at(offset: u64, page: u64) -> Value {
        Position { offset, page, previous: None, total: None, total_reached: false }.to_json()
    }

    fn page(records: usize, total: impl Into<Value>) -> Answered {
        let around = serde_json::json!({ "total": total.into() }).to_string();
        Answered::saying(&around, (0..records).map(|n| format!("{{\"id\":{n}}}")))
    }

    /// What comes behind a page: its offset, or the end.
    fn step(paginator: &Offset, at: &Value, answer: &Answered) -> Result<u64, End> {
        match answer.next(paginator, at).unwrap() {
            Step::Next(position) => Ok(position["offset"].as_u64().unwrap()),
            Step::End(end) => Err(end),
        }
    }

    const TOTAL: &str = "total_path = '$.around.total'\n";

    #[test]
    fn a_full_sync_steps_by_what_came_and_not_by_what_was_asked_for() {
        let paginator = by_offset("size_param = 'limit'\nsize = 100");
        assert_eq!(step(&paginator, &at(0, 1), &Answered::with(50)), Ok(50));
        assert_eq!(step(&paginator, &at(50, 2), &Answered::with(7)), Ok(57));
        assert_eq!(step(&paginator, &at(57, 3), &Answered::with(0)), Err(End::Empty));
    }

    #[test]
    fn the_total_ends_a_full_sync_when_as_many_records_came_and_only_then() {
        let paginator = by_offset(&format!("{TOTAL}size = 3"));
        for (before, records, total, expected) in [
            (0, 3, 8.into(), Ok(3)),
            (3, 3, Value::from("8"), Ok(6)),
            (6, 2, 8.into(), Err(End::Counted)),
            (6, 3, 9.into(), Err(End::Counted)),
            (0, 2, 2.into(), Err(End::Counted)),
            // More came than there should be: the total is none.
            (6, 3, 8.into(), Ok(9)),
            (9, 3, 8.into(), Ok(12)),
            (12, 0, 8.into(), Err(End::Empty)),
            (12, 0, Value::Null, Err(End::Empty)),
            // It may count the page, or be the most that is counted to.
            (0, 3, 3.into(), Ok(3)),
            (3, 3, 3.into(), Ok(6)),
            (9_998, 2, 10_000.into(), Ok(10_000)),
            (0, 3, 0.into(), Ok(3)),
        ] {
            let found = step(&paginator, &at(before, 2), &page(records, total.clone()));
            assert_eq!(found, expected, "{before} and {records} of {total}");
        }
    }

    #[test]
    fn the_total_counts_from_the_start() {
        let paginator = by_offset(&format!("{TOTAL}start = 1\nsize = 2"));
        assert_eq!(paginator.first(), serde_json::json!({ "offset": 1, "page": 1 }));
        assert_eq!(step(&paginator, &at(1, 1), &page(2, 3)), Ok(3));
        assert_eq!(step(&paginator, &at(3, 2), &page(1, 3)), Err(End::Counted));
    }

    #[test]
    fn pages_that_end_before_the_total_are_told() {
        let paginator = by_offset(TOTAL);
        let Err(End::TooEarly(note)) = step(&paginator, &at(300, 4), &page(0, 500)) else {
            panic!("expected a note");
        };
        let says = "the pages end after 300 records, and by `$.around.total` there are 500";
        assert!(note.starts_with(says), "{note}");
        // An empty page may say 0, or nothing at all: what the pages before have said counts.
        let next = page(50, 150).next(&paginator, &at(0, 1)).unwrap();
        let Step::Next(second) = next else { panic!("there is more") };
        for says in [Value::Null, 0.into(), 50.into()] {
            let end = step(&paginator, &second, &page(0, says));
            assert!(matches!(end, Err(End::TooEarly(_))), "{end:?}");
        }
        assert_eq!(step(&paginator, &at(0, 1), &page(95, 95.0)), Ok(95), "one more is asked for");
    }

    #[test]
    fn a_total_that_is_no_number_fails_the_page_unless_it_is_empty() {
        let paginator = by_offset("total_path = '$.totl'");
        let error = page(1, 1).next(&paginator, &at(0, 1)).unwrap_err();
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().starts_with("`paginator.total_path` = `$.totl` leads to"), "{error}");
        assert_eq!(step(&paginator, &at(1, 2), &page(0, 1)), Err(End::Empty));
    }

    #[test]
    fn the_same_page_twice_in_a_row_is_an_error_also_when_the_total_is_reached() {
        let paginator = by_offset(TOTAL);
        let answer = page(2, 4);
        let previous = Some(answer.hash().into());
        let again = Position { offset: 2, page: 2, previous, total: None, total_reached: false };
        let error = answer.next(&paginator, &again.to_json()).unwrap_err();
        assert_eq!(error.class(), FailureClass::Permanent);
        let says = "the paginator repeats itself: the page at offset = 2 is the page before it";
        assert!(error.text().starts_with(says), "{error}");
    }

    #[test]
    fn max_pages_ends_a_full_sync_and_numbers_end() {
        let paginator = by_offset("max_pages = 2");
        assert_eq!(step(&paginator, &at(0, 1), &Answered::with(3)), Ok(3));
        assert_eq!(step(&paginator, &at(3, 2), &Answered::with(3)), Err(End::Certain));
        let error = Answered::with(1).next(&by_offset(""), &at(u64::MAX, 7)).unwrap_err();
        assert!(error.text().contains("no page behind the page at offset = 1844674"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        let keys = |text: &str| -> Vec<_> {
            by_offset(text).problems().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys("size_param = 'limit'"), [None]);
        assert_eq!(keys("size = 0\nmax_pages = 0"), [Some("size"), Some("max_pages")]);
        assert_eq!(keys("total_path = '$['"), [Some("total_path")]);
        assert_eq!(keys("size = 1\nsize_param = 'limit'\ntotal_path = '$[0].total'"), []);
    }

    #[test]
    fn a_position_survives_its_stored_form() {
        for previous in [None, Some(Answered::with(1).hash().into())] {
            let stored =
                Position { offset: 7, page: 3, previous, total: None, total_reached: false };
            assert_eq!(position::<Position>(&stored.to_json()).unwrap(), stored);
            assert_eq!(by_offset("").ordinal(&stored.to_json()).unwrap(), 3);
        }
        assert!(by_offset("").ordinal(&serde_json::json!({ "page": 3 })).is_err());
    }

    /// What an API says of its total.
    #[derive(Debug, Clone, Copy)]
    enum Says {
        Nothing,
        TheTruth,
        TheRecordsOfThePage,
        TheRecordsSoFar,
        Always(u64),
    }

    fn says() -> impl Strategy<Value = Says> {
        prop_oneof![
            Just(Says::Nothing),
            Just(Says::TheTruth),
            Just(Says::TheRecordsOfThePage),
            Just(Says::TheRecordsSoFar),
            (0..300_u64).prop_map(Says::Always),
        ]
    }

    proptest! {
        /// Whatever an API caps its pages at, every record comes once, or the note of the run says that
        /// some are missing; and the full sync ends. Only a total that is made up is believed.
        #[test]
        fn no_record_is_lost(
            all in 0..200_u64,
            cap in prop::sample::select(vec![10_u64, 16, 20, 25, 50]),
            size in prop::option::of(1..60_u32),
            says in says(),
        ) {
            let size_line = size.map(|size| format!("size = {size}\n")).unwrap_or_default();
            let total_line = if matches!(says, Says::Nothing) { "" } else { TOTAL };
            let paginator = by_offset(&format!("{size_line}{total_line}"));
            let mut position = paginator.first();
            let (mut came, mut pages) = (0, 0);
            let (end, said) = loop {
                pages += 1;
                prop_assert!(pages <= all + 2, "it does not end");
                let offset = position["offset"].as_u64().unwrap();
                prop_assert_eq!(offset, came, "records are left out, or come twice");
                let most = size.map_or(cap, |size| cap.min(size.into()));
                let records = most.min(all.saturating_sub(offset));
                came += records;
                let said = match says {
                    Says::Nothing => None,
                    Says::TheTruth => Some(all),
                    Says::TheRecordsOfThePage => Some(records),
                    Says::TheRecordsSoFar => Some(came),
                    Says::Always(number) => Some(number),
                };
                let ids = (offset..offset + records).map(|n| format!("{{\"id\":{n}}}"));
                let around = serde_json::json!({ "total": said }).to_string();
                match Answered::saying(&around, ids).next(&paginator, &position).unwrap() {
                    Step::Next(next) => position = next,
                    Step::End(end) => break (end, said),
                }
            };
            match end {
                End::Counted if matches!(says, Says::Always(_)) => prop_assert_eq!(Some(came), said),
                End::TooEarly(_) => prop_assert!(came == all && said > Some(came)),
                End::Counted | End::Empty | End::Certain => prop_assert_eq!(came, all),
                End::OnlyPage => prop_assert!(false, "there are several"),
            }
        }
    }
}

//! How full syncs end: random APIs against a model of what they hold, and the rules one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::header::{HeaderMap, HeaderValue, LINK};
use serde_json::Value;

use super::*;
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::slice::SliceId;
use crate::sources::{Source, SourceErrorKind};

/// The numbers of records that are added while a list is read.
const ADDED: u64 = 1_000_000;
/// For how many requests records are added: then it ends.
const GROWS_FOR: u64 = 12;

/// How an API finds a page.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Walk {
    PageNumber,
    Offset,
    Cursor,
    LastRecord,
    Link,
    NextUrl,
}

/// What an API says of its total.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Total {
    Nothing,
    Truth,
    OfThePage,
    SoFar,
    TooMany(u64),
    /// The truth, and less with each page: records are deleted meanwhile, which shifts those behind them.
    Falling(u64),
}

/// What an API does behind its last page.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behind {
    Empty,
    LastPageAgain,
    FirstPageAgain,
    Status(u16),
}

/// What an API answers when it is asked for a page again that it had refused.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Page,
    Part,
    Empty,
    PartAndError,
    Ended,
}

/// An API.
#[derive(Debug, Clone)]
struct Api {
    walk: Walk,
    records: u64,
    /// The most records of a page.
    cap: u64,
    /// How many the job file asks for.
    size: Option<u64>,
    total: Total,
    behind: Behind,
    /// Whether it says whether there are more.
    has_more: bool,
    /// Whether it does not know the parameter that asks for a page.
    deaf: bool,
    /// Whether the time stands in each answer.
    stamped: bool,
    /// Pages that are left empty, as by a filter behind the paging.
    holes: BTreeSet<u64>,
    /// Pages that are refused.
    refused: BTreeMap<u64, u16>,
    /// What some of them are when they are asked for again.
    then: BTreeMap<u64, Then>,
    /// Whether the pages go round in a circle from the last one.
    circle: bool,
    /// How many records somebody puts before the others between two requests.
    grows: u64,
    max_pages: u64,
    /// How many pages are asked for side by side.
    concurrency: Option<u64>,
}

/// What an API answers.
struct Answer {
    status: u16,
    body: String,
    link: Option<String>,
    ids: Vec<u64>,
}

impl Api {
    fn random(rng: &mut StdRng) -> Self {
        let walks = [
            Walk::PageNumber,
            Walk::PageNumber,
            Walk::Offset,
            Walk::Offset,
            Walk::Cursor,
            Walk::LastRecord,
            Walk::Link,
            Walk::NextUrl,
        ];
        let walk = *walks.choose(rng).unwrap();
        let cap = rng.random_range(1..=25);
        let records = match rng.random_range(0..4) {
            0 => cap * rng.random_range(0..=6),
            _ => rng.random_range(0..=90),
        };
        let numbered = matches!(walk, Walk::PageNumber | Walk::Offset);
        let total = match rng.random_range(0..9) {
            0 => Total::Truth,
            1 => Total::OfThePage,
            2 => Total::SoFar,
            3 => Total::TooMany(records + rng.random_range(1..50)),
            4 if walk == Walk::Offset => Total::Falling(rng.random_range(1..=2)),
            _ => Total::Nothing,
        };
        let behind = match rng.random_range(0..9) {
            0 | 1 => Behind::LastPageAgain,
            2 => Behind::FirstPageAgain,
            3 => Behind::Status(*[404, 400, 422, 204, 410, 200].choose(rng).unwrap()),
            _ => Behind::Empty,
        };
        let pages = records.div_ceil(cap).max(1);
        let some = |chance: f64, rng: &mut StdRng| -> BTreeSet<u64> {
            (0..pages).filter(|_| rng.random_bool(chance)).collect()
        };
        let holes = match walk {
            Walk::Cursor | Walk::Link | Walk::NextUrl if rng.random_bool(0.3) => some(0.3, rng),
            _ => BTreeSet::new(),
        };
        let mut refused = match numbered && rng.random_bool(0.2) {
            true => some(0.2, rng)
                .into_iter()
                .map(|page| (page, *[404, 422, 500, 200, 400].choose(rng).unwrap()))
                .collect(),
            false => BTreeMap::new(),
        };
        // Two pages in a row that are not there: nobody can tell that from the end.
        let twice = |page: &u64, status: &u16| {
            let is_last = page + 1 == pages && behind == Behind::Status(*status);
            is_last || refused.get(&(page + 1)) == Some(status)
        };
        let twice: Vec<_> = refused
            .iter()
            .filter(|(page, status)| twice(page, status))
            .map(|(page, _)| *page)
            .collect();
        refused.retain(|page, _| !twice.contains(page));
        let thens = [Then::Page, Then::Part, Then::Empty, Then::PartAndError, Then::Ended];
        let then = refused.iter().filter(|(_, status)| **status != 500 && rng.random_bool(0.6));
        let then: Vec<u64> = then.map(|(page, _)| *page).collect();
        // Behind the last page nothing shows that there was more.
        let then: BTreeMap<u64, Then> = then
            .into_iter()
            .map(|page| match page + 1 >= pages && total != Total::Truth {
                true => (page, Then::Page),
                false => (page, *thens.choose(rng).unwrap()),
            })
            .collect();
        let deaf = rng.random_bool(0.1);
        // An API that heeds no number and has other records each time cannot be told from one that has them all.
        let moves = numbered && !deaf && !matches!(total, Total::Falling(_));
        Self {
            walk,
            records,
            cap,
            size: rng.random_bool(0.7).then(|| rng.random_range(1..=30)),
            total,
            behind,
            has_more: rng.random_bool(0.2),
            deaf,
            stamped: rng.random_bool(0.4),
            holes,
            circle: !numbered && rng.random_bool(0.1),
            grows: match moves && then.is_empty() && rng.random_bool(0.3) {
                true => *[1, cap, rng.random_range(1..=2 * cap)].choose(rng).unwrap(),
                false => 0,
            },
            concurrency: (numbered && total != Total::Nothing && rng.random_bool(0.5))
                .then(|| rng.random_range(2..=4)),
            max_pages: if rng.random_bool(0.1) { rng.random_range(1..5) } else { 150 },
            refused,
            then,
        }
    }

    /// The records that it gives to whom asks for all pages.
    fn all(&self) -> u64 {
        let size = self.page_size();
        (0..self.records).filter(|id| !self.holes.contains(&(id / size))).count() as u64
    }

    /// Whether it does nothing that leaves a doubt.
    fn is_honest(&self) -> bool {
        !self.deaf
            && !self.circle
            && self.refused.is_empty()
            && self.grows == 0
            && self.max_pages == 150
            && match self.total {
                Total::Nothing => true,
                Total::Truth => self.holes.is_empty(),
                _ => false,
            }
    }

    fn page_size(&self) -> u64 {
        self.size.unwrap_or(u64::MAX).min(self.cap)
    }

    fn job(&self) -> String {
        let kind = match self.walk {
            Walk::PageNumber => "type = 'page_number'",
            Walk::Offset => "type = 'offset'",
            Walk::Cursor => "type = 'cursor', cursor_path = '$.next', param = 'c'",
            Walk::LastRecord => "type = 'cursor', cursor_path = '$.items[-1].id', param = 'c'",
            Walk::Link => "type = 'link_header'",
            Walk::NextUrl => "type = 'next_url'",
        };
        let sized = !matches!(self.walk, Walk::Link | Walk::NextUrl);
        let size = self.size.filter(|_| sized);
        let size = size.map(|size| format!(", size_param = 'n', size = {size}"));
        let total = if self.total == Total::Nothing { "" } else { ", total_path = '$.total'" };
        let aside = self.concurrency.map(|pages| format!(", concurrency = {pages}"));
        let total = format!("{total}{}", aside.unwrap_or_default());
        let more = if self.has_more { ", has_more_path = '$.has_more'" } else { "" };
        format!(
            "data_selector = '$.items[*]'\npaginator = {{ {kind}{}{total}{more}, max_pages = {} }}",
            size.unwrap_or_default(),
            self.max_pages
        )
    }

    /// The records of a page, which begins behind so many.
    fn answer(&self, at: &Value, asked: u64) -> Answer {
        let size = self.page_size();
        let number = |key: &str| at.get(key).and_then(Value::as_u64);
        let linked = at.get("url").and_then(Value::as_str);
        let linked = linked.and_then(|url| url.rsplit_once("from=")?.1.parse::<u64>().ok());
        let from = match self.walk {
            Walk::PageNumber => (number("page").unwrap() - 1) * size,
            Walk::Offset => number("offset").unwrap(),
            Walk::Cursor => number("cursor").unwrap_or(0),
            Walk::LastRecord => number("cursor").map_or(0, |id| id + 1),
            Walk::Link | Walk::NextUrl => linked.unwrap_or(0),
        };
        let from = if self.deaf { 0 } else { from };
        let gone = match self.total {
            Total::Falling(by) => ((asked - 1) * by).min(self.records),
            _ => 0,
        };
        let added = self.grows * (asked - 1).min(GROWS_FOR);
        let records = self.records + added;
        let index = from / size;
        let is_again = at.pointer("/chain/again").is_some();
        let then = self.then.get(&index).filter(|_| is_again && from < records);
        if then == Some(&Then::Ended) {
            return Answer { status: 418, body: String::new(), link: None, ids: Vec::new() };
        }
        if let Some(status) = self.refused.get(&index).filter(|_| from < records && then.is_none())
        {
            return Answer { status: *status, body: String::new(), link: None, ids: Vec::new() };
        }
        let last_page = records.saturating_sub(1) / size * size;
        let is_behind = from >= records.max(1);
        let from = match self.behind {
            _ if !is_behind => from,
            Behind::LastPageAgain => last_page,
            Behind::FirstPageAgain => 0,
            Behind::Status(status) => {
                return Answer { status, body: String::new(), link: None, ids: Vec::new() };
            }
            Behind::Empty => from,
        };
        let until = (from + size).min(records);
        // What was added stands before the others, the last first.
        let id = |at: u64| at.checked_sub(added).unwrap_or(ADDED + added - at);
        let mut ids: Vec<u64> =
            (from..until).map(|at| at + gone).filter(|at| *at < records).map(id).collect();
        let more = until < records;
        let next = if more { Some(until) } else { self.circle.then_some(0) };
        if self.holes.contains(&index) {
            ids.clear();
        }
        match then {
            Some(Then::Part | Then::PartAndError) => ids.truncate(ids.len() / 2),
            Some(Then::Empty) => ids.clear(),
            Some(Then::Page | Then::Ended) | None => {}
        }
        let total = match self.total {
            Total::Nothing => Value::Null,
            Total::Truth => records.into(),
            Total::OfThePage => ids.len().into(),
            Total::SoFar => (from + ids.len() as u64).into(),
            Total::TooMany(total) => total.into(),
            Total::Falling(_) => (records - gone).into(),
        };
        let items: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        let mut body = json!({ "items": items, "total": total, "has_more": more });
        if !self.has_more {
            body.as_object_mut().unwrap().remove("has_more");
        }
        if then == Some(&Then::PartAndError) {
            body["error"] = "boom".into();
        }
        if self.stamped {
            body["served_at"] = asked.into();
        }
        let to = |next: u64| format!("?from={next}");
        match self.walk {
            Walk::Cursor => body["next"] = next.map_or(Value::Null, Value::from),
            Walk::NextUrl => body["next"] = next.map_or(Value::Null, |next| to(next).into()),
            _ => {}
        }
        let link = next.filter(|_| self.walk == Walk::Link);
        let link = link.map(|next| format!("<{}>; rel=\"next\"", to(next)));
        Answer { status: 200, body: body.to_string(), link, ids }
    }
}

/// What a run of an API came to.
#[derive(Debug, Default)]
struct Outcome {
    ids: BTreeSet<u64>,
    requests: u64,
    ends: Vec<ChainEnd>,
    errors: Vec<String>,
    doubled: u64,
}

impl Outcome {
    fn is_success(&self) -> bool {
        self.errors.is_empty() && !self.ends.is_empty() && self.ends.iter().all(|end| end.complete)
    }
}

/// Does what the engine does with the source.
fn run(api: &Api) -> Outcome {
    let source = source("https://api.example.com/", &api.job());
    let mut outcome = Outcome::default();
    let mut open = BTreeMap::from([(SliceId::FIRST, source.first())]);
    let (mut known, mut met) = (BTreeSet::from([SliceId::FIRST]), HashMap::new());
    while let Some((slice, at)) = open.pop_first() {
        outcome.requests += 1;
        assert!(outcome.requests < 500, "it does not end: {api:?}");
        let answer = api.answer(&at, outcome.requests);
        let mut headers = HeaderMap::new();
        if let Some(link) = &answer.link {
            headers.insert(LINK, HeaderValue::from_str(link).unwrap());
        }
        let nothing = answer.body.is_empty();
        let response = Response {
            from: "fake".to_owned(),
            status: answer.status,
            headers,
            body: answer.body.into_bytes(),
            said: match answer.status {
                418 => Said::End,
                _ if nothing => Said::Nothing,
                _ => Said::Page,
            },
            ..Response::default()
        };
        let read = match answer.status {
            500 => Err(SourceError::new(SourceErrorKind::ServerError, "500")),
            _ => source.read(&at, response),
        };
        let next = match read {
            Ok(page) => {
                let counted = page.records as usize == answer.ids.len();
                assert!(counted || page.records == 0, "{api:?}");
                if counted {
                    let new = answer.ids.iter().filter(|id| outcome.ids.insert(**id)).count();
                    outcome.doubled += (answer.ids.len() - new) as u64;
                }
                let content = page.into_slice(slice);
                let mut circle = false;
                for hash in content.met.into_iter().flat_map(|met| met.hashes) {
                    circle |= met.insert(hash, slice).is_some_and(|other| other != slice);
                }
                match circle {
                    true => {
                        outcome.errors.push("in a circle".to_owned());
                        Vec::new()
                    }
                    false => {
                        outcome.ends.extend(content.end);
                        content.next
                    }
                }
            }
            Err(error) => {
                let next = match error.kind.is_of_a_part() {
                    true => source.source.behind_a_failure(&at, slice),
                    false => Vec::new(),
                };
                outcome.errors.push(error.text());
                next
            }
        };
        for next in next {
            assert!(next.slice > slice, "{api:?}");
            if known.insert(next.slice) {
                open.insert(next.slice, next.position);
            }
        }
    }
    outcome
}

#[test]
fn no_full_sync_of_any_api_is_a_success_that_lacks_a_record_and_each_ends() {
    let mut successes = 0;
    for seed in 0..4_000 {
        let api = Api::random(&mut StdRng::seed_from_u64(seed));
        let outcome = run(&api);
        let all = outcome.ids.range(..ADDED).count() as u64 == api.all();
        assert!(!outcome.is_success() || all, "{seed}: lacks records: {api:?} {outcome:?}");
        assert!(!outcome.errors.is_empty() || !outcome.ends.is_empty(), "{seed}: {api:?}");
        if api.is_honest() && api.behind == Behind::Empty {
            assert!(outcome.is_success(), "{seed}: {api:?} {outcome:?}");
        }
        successes += u64::from(outcome.is_success());
    }
    assert!(successes > 1_500, "{successes}");
}

/// Behind the last page APIs do what they like: none of it fails a full sync that has everything.
#[test]
fn an_api_that_has_given_everything_does_not_fail() {
    for seed in 0..2_000 {
        let api = Api::random(&mut StdRng::seed_from_u64(seed));
        let outcome = run(&api);
        let one_page = api.records <= api.page_size();
        let numbered = matches!(api.walk, Walk::PageNumber | Walk::Offset);
        let odd = api.behind == Behind::FirstPageAgain || one_page || !numbered;
        if api.is_honest() && !odd {
            assert!(outcome.errors.is_empty(), "{seed}: {api:?} {outcome:?}");
            assert_eq!(outcome.ids.len() as u64, api.all(), "{seed}: {api:?} {outcome:?}");
        }
    }
}

/// An API with numbered pages and nothing odd.
fn api_of(records: u64, cap: u64) -> Api {
    Api {
        walk: Walk::PageNumber,
        records,
        cap,
        size: Some(100),
        total: Total::Nothing,
        behind: Behind::Empty,
        has_more: false,
        deaf: false,
        stamped: false,
        holes: BTreeSet::new(),
        refused: BTreeMap::new(),
        then: BTreeMap::new(),
        circle: false,
        grows: 0,
        max_pages: 150,
        concurrency: None,
    }
}

fn end_of(api: &Api) -> (StopReason, bool, u64, usize) {
    let outcome = run(api);
    assert!(outcome.errors.is_empty(), "{api:?} {outcome:?}");
    let [end] = &outcome.ends[..] else { panic!("{api:?} {outcome:?}") };
    (end.reason, end.complete, outcome.requests, outcome.ids.len())
}

#[test]
fn an_api_that_gives_fewer_per_page_than_asked_loses_nothing_and_says_so_once() {
    let api = api_of(70, 20);
    assert_eq!(end_of(&api), (StopReason::Empty, true, 5, 70));
    let note = run(&api).ends[0].note.clone().unwrap();
    assert!(note.starts_with("a page was asked for 100 records, and the longest has 20"), "{note}");
    assert_eq!(end_of(&api_of(80, 20)), (StopReason::Empty, true, 5, 80));
    // The first page may be cut: one more is asked for.
    assert_eq!(end_of(&api_of(7, 20)), (StopReason::Empty, true, 2, 7));
    let total = Api { total: Total::Truth, ..api_of(60, 20) };
    // A total that a full page reaches may be an estimate.
    assert_eq!(end_of(&total), (StopReason::Empty, true, 4, 60));
}

#[test]
fn pages_past_the_end_that_repeat_the_last_one_end_the_full_sync() {
    for stamped in [false, true] {
        for walk in [Walk::PageNumber, Walk::Offset] {
            let behind = Behind::LastPageAgain;
            let api = Api { behind, stamped, walk, size: Some(10), ..api_of(30, 10) };
            assert_eq!(end_of(&api), (StopReason::Repeated, true, 5, 30));
        }
    }
    let deaf = Api { deaf: true, stamped: true, ..api_of(237, 50) };
    let outcome = run(&deaf);
    assert!(outcome.errors[0].contains("the paginator repeats itself: page 2 is"), "{outcome:?}");
    assert_eq!((outcome.requests, outcome.ids.len()), (3, 50));
}

#[test]
fn an_answer_that_says_that_something_is_wrong_leaves_its_chain_incomplete() {
    let (fault, good) =
        (r#"{"items":[{"id":1}],"error":"quota exceeded"}"#, r#"{"items":[{"id":2}]}"#);
    let (empty, both) = (r#"{"items":[]}"#, r#"{"items":[],"error":"quota exceeded"}"#);
    for (paginator, bodies) in [
        ("page_number", &[fault, good, empty][..]),
        ("page_number", &[good, fault, empty][..]),
        ("page_number", &[good, both][..]),
        ("offset", &[fault, empty][..]),
        ("single_page", &[both][..]),
        ("link_header", &[fault][..]),
        ("next_url", &[both][..]),
    ] {
        let lines = format!("data_selector = '$.items[*]'\npaginator = {{ type = '{paginator}' }}");
        let source = source("https://api.example.com/", &lines);
        let (mut at, mut end) = (source.first(), None);
        for body in bodies {
            let body = body.as_bytes().to_vec();
            let response = Response { status: 200, body, ..Response::default() };
            let page = source.read(&at, response).unwrap();
            at = page.next.unwrap_or(Value::Null);
            end = page.end;
        }
        let end = end.unwrap_or_else(|| panic!("{paginator} {bodies:?}"));
        assert!(!end.complete, "{paginator} {bodies:?} {end:?}");
        assert!(end.note.as_deref().unwrap_or_default().contains("quota exceeded"), "{end:?}");
    }
}

#[test]
fn a_full_first_page_that_leads_to_no_other_is_an_end_with_a_note() {
    for walk in [Walk::Link, Walk::NextUrl, Walk::Cursor] {
        for (records, says_so) in [(50, true), (7, false)] {
            let api = Api { walk, size: None, ..api_of(records, 50) };
            let [end] = &run(&api).ends[..] else { panic!("{api:?}") };
            assert_eq!((end.reason, end.complete), (StopReason::NoNext, true), "{api:?}");
            let note = end.note.as_deref().unwrap_or_default();
            assert_eq!(note.contains("leads to no other: if there are more"), says_so, "{note}");
        }
    }
}

#[test]
fn what_is_answered_behind_the_last_page_is_its_end() {
    for status in [404, 204, 410, 200] {
        let api = Api { behind: Behind::Status(status), size: Some(10), ..api_of(30, 10) };
        let (reason, complete, _, records) = end_of(&api);
        assert_eq!((reason, complete, records), (StopReason::End, true, 30), "{status}");
    }
    // These may be a limit, unless the total says otherwise.
    for status in [400, 422] {
        let api = Api { behind: Behind::Status(status), size: Some(10), ..api_of(30, 10) };
        assert!(!end_of(&api).1, "{status}");
        let api = Api { has_more: true, ..api };
        assert!(end_of(&api).1, "{status}");
    }
}

#[test]
fn a_page_that_cannot_be_had_is_missed_and_those_behind_it_are_read() {
    for status in [422, 404, 500, 200] {
        let refused = BTreeMap::from([(1, status)]);
        let outcome = run(&Api { size: Some(10), refused, ..api_of(40, 10) });
        assert_eq!(outcome.ids.len(), 30, "{status}: {outcome:?}");
        assert_eq!(outcome.errors.len(), 1, "{status}: {outcome:?}");
    }
}

/// What is asked for again has what its first asking lacked, or the full sync is not complete.
#[test]
fn a_page_that_is_asked_for_again_has_what_it_lacked_or_leaves_its_chain_incomplete() {
    for walk in [Walk::PageNumber, Walk::Offset] {
        for total in [Total::Nothing, Total::Truth] {
            for (page, records) in [(1, 40), (2, 40), (3, 40), (4, 43)] {
                let (refused, then) =
                    (BTreeMap::from([(page, 404)]), BTreeMap::from([(page, Then::Page)]));
                let api = Api { walk, total, refused, then, size: Some(10), ..api_of(records, 10) };
                let outcome = run(&api);
                assert!(outcome.is_success(), "{api:?} {outcome:?}");
                assert_eq!(outcome.ids.len() as u64, records, "{api:?} {outcome:?}");
                // Where no total is said, the last page may be empty.
                let is_known = total == Total::Truth || page < 3;
                for answered in [Then::Part, Then::Empty, Then::PartAndError, Then::Ended] {
                    let api = Api { then: BTreeMap::from([(page, answered)]), ..api.clone() };
                    let outcome = run(&api);
                    let is_said = answered == Then::PartAndError;
                    assert!(!outcome.is_success() || !is_known && !is_said, "{api:?} {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn a_total_that_falls_leaves_a_doubt() {
    let api = Api { walk: Walk::Offset, total: Total::Falling(2), size: None, ..api_of(60, 20) };
    let outcome = run(&api);
    assert!(!outcome.is_success() && outcome.ids.len() < 60, "{outcome:?}");
    assert!(outcome.ends[0].note.as_ref().unwrap().contains("deleted"), "{outcome:?}");
}

#[test]
fn max_pages_and_max_records_are_no_proper_end() {
    let api = Api { max_pages: 2, size: Some(10), ..api_of(40, 10) };
    assert_eq!(end_of(&api), (StopReason::MaxPages, false, 2, 20));
    let note = run(&api).ends[0].note.clone().unwrap();
    assert!(note.starts_with("`max_pages` = 2 was reached after 20 records"), "{note}");
    // What ends by itself is not cut.
    let api = Api { max_pages: 4, size: Some(10), ..api_of(25, 10) };
    assert_eq!(end_of(&api), (StopReason::Empty, true, 4, 25));
}

#[test]
fn empty_pages_with_a_reference_go_on_and_a_hundred_in_a_row_end_it() {
    for walk in [Walk::Cursor, Walk::Link, Walk::NextUrl] {
        let holes = BTreeSet::from([0, 2, 3]);
        let api = Api { walk, holes, size: None, ..api_of(50, 10) };
        assert_eq!(end_of(&api), (StopReason::NoNext, true, 5, 20));
        let holes = (1..120).collect();
        let api = Api { walk, holes, size: None, ..api_of(1_300, 10) };
        let (reason, complete, requests, _) = end_of(&api);
        assert_eq!((reason, complete, requests), (StopReason::EmptyPages, false, 101));
    }
}

#[test]
fn a_circle_of_pages_fails_and_names_both() {
    for walk in [Walk::Cursor, Walk::Link, Walk::NextUrl] {
        let outcome = run(&Api { walk, circle: true, size: None, ..api_of(20, 10) });
        assert_eq!(outcome.errors, ["in a circle"], "{walk:?}");
        assert_eq!(outcome.requests, 3, "{walk:?}");
    }
}

#[test]
fn pages_side_by_side_are_those_that_are_read_one_by_one() {
    for walk in [Walk::PageNumber, Walk::Offset] {
        for (records, requests) in [(100, 11), (95, 11), (21, 4), (20, 3), (7, 2)] {
            let api = Api { walk, size: Some(10), total: Total::Truth, ..api_of(records, 10) };
            let one_by_one = run(&api);
            let outcome = run(&Api { concurrency: Some(4), ..api.clone() });
            assert!(outcome.is_success(), "{outcome:?}");
            assert_eq!(outcome.ids, one_by_one.ids);
            assert_eq!((outcome.ids.len() as u64, outcome.doubled), (records, 0));
            assert_eq!(outcome.requests, requests, "{records}");
            // A page that cannot be had hides no other.
            let refused = BTreeMap::from([(2, 422)]);
            let outcome = run(&Api { concurrency: Some(4), refused, ..api });
            let lost = records.saturating_sub(20).min(10);
            assert_eq!(outcome.ids.len() as u64, records - lost, "{outcome:?}");
            assert!(lost == 0 || !outcome.is_success(), "{outcome:?}");
        }
    }
}

/// How a chain of pages with so many records each ends.
fn end_of_pages(paginator: &str, pages: &[u64]) -> ChainEnd {
    let lines = format!("data_selector = '$.items[*]'\npaginator = {{ {paginator} }}");
    let source = source("https://api.example.com/", &lines);
    let (mut at, mut from, mut end) = (source.first(), 0, None);
    for (number, records) in pages.iter().enumerate() {
        let items: Vec<_> = (from..from + records).map(|id| json!({ "id": id })).collect();
        from += records;
        let next = (number + 1 < pages.len()).then_some(number);
        let body = json!({ "items": items, "next": next, "n": pages.iter().sum::<u64>() })
            .to_string()
            .into_bytes();
        let page = source.read(&at, Response { status: 200, body, ..Response::default() }).unwrap();
        (at, end) = (page.next.unwrap_or_default(), page.end);
    }
    end.unwrap_or_else(|| panic!("{paginator} {pages:?}"))
}

#[test]
fn pages_that_were_equally_long_and_then_are_longer_leave_a_doubt() {
    let sized = "type = 'page_number', size_param = 'n', size = 100";
    let grown = end_of_pages(sized, &[50, 50, 100, 100, 0]);
    assert_eq!((grown.reason, grown.complete), (StopReason::Empty, false), "{grown:?}");
    assert!(grown.note.unwrap().contains("were equally long, and then longer"));
    for pages in [&[100, 100, 0][..], &[99, 100, 50, 0], &[100, 100, 7, 0], &[9, 8, 10, 0]] {
        assert!(end_of_pages(sized, pages).complete, "{pages:?}");
    }
    // These count what came, and the total proves it.
    let counted = format!("{sized}, total_path = '$.n'");
    assert!(end_of_pages(&counted, &[50, 50, 100, 100, 0]).complete);
    assert!(
        end_of_pages("type = 'offset', size_param = 'n', size = 100", &[50, 50, 100, 0]).complete
    );
}

#[test]
fn max_records_is_a_limit_also_where_the_last_page_leads_to_no_other() {
    let cursor = "type = 'cursor', cursor_path = '$.next', param = 'c', max_records = 300";
    let cut = end_of_pages(cursor, &[100, 100, 100]);
    assert_eq!((cut.reason, cut.complete), (StopReason::MaxRecords, false), "{cut:?}");
    let all = end_of_pages(&format!("{cursor}, total_path = '$.n'"), &[100, 100, 100]);
    assert_eq!((all.reason, all.complete), (StopReason::NoNext, true), "{all:?}");
    let less = end_of_pages(cursor, &[100, 100, 99]);
    assert_eq!((less.reason, less.complete), (StopReason::NoNext, true), "{less:?}");
}

fn decide(paginator: &str, body: &str) -> Result<Page, SourceError> {
    read(&format!("data_selector = '$.items[*]'\npaginator = {{ {paginator} }}"), body)
}

#[test]
fn has_more_is_needed_where_it_is_declared_and_is_no_way_without_a_cursor() {
    let cursor = "type = 'cursor', cursor_path = '$.c', param = 'c', has_more_path = '$.more'";
    let error = decide(cursor, r#"{"items":[{}],"c":"x"}"#).unwrap_err();
    assert!(error.text().contains("`paginator.has_more_path` = `$.more` leads nowhere"), "{error}");
    let error = decide(cursor, r#"{"items":[{}],"more":true}"#).unwrap_err();
    assert!(error.text().contains("there are more by `$.more`, and does not lead to"), "{error}");
    let page = decide(cursor, r#"{"items":[{}],"more":false,"c":"x"}"#).unwrap();
    assert_eq!(page.end, Some(ChainEnd::complete(StopReason::HasMore)));
    let page = decide(cursor, r#"{"items":[{}],"more":"true","c":0}"#).unwrap();
    assert_eq!(page.next.unwrap()["cursor"], 0);
}

#[test]
fn end_path_ends_and_a_total_that_is_not_reached_contradicts_it() {
    let cursor = "type = 'cursor', cursor_path = '$.c', param = 'c', end_path = '$.end'";
    let page = decide(cursor, r#"{"items":[{}],"end":true,"c":"x"}"#).unwrap();
    assert_eq!(page.end, Some(ChainEnd::complete(StopReason::EndPath)));
    let page = decide(cursor, r#"{"items":[{}],"end":false,"c":"x"}"#).unwrap();
    assert_eq!((page.end, page.next.unwrap()["cursor"].as_str()), (None, Some("x")));
    let counted = format!("{cursor}, total_path = '$.n'");
    let page = decide(&counted, r#"{"items":[{}],"end":true,"n":3}"#).unwrap();
    assert!(!page.end.as_ref().unwrap().complete, "{page:?}");
    let tolerant = format!("{counted}, total_tolerance = 2");
    let page = decide(&tolerant, r#"{"items":[{}],"end":true,"n":3}"#).unwrap();
    assert!(page.end.as_ref().unwrap().complete, "{page:?}");
}

#[test]
fn a_cursor_of_the_last_record_that_is_not_there_fails_the_page() {
    let last = "type = 'cursor', cursor_path = '$.items[-1].uid', param = 'after'";
    let error = decide(last, r#"{"items":[{"id":1}]}"#).unwrap_err();
    assert!(error.text().contains("leads nowhere in an answer with records"), "{error}");
    assert_eq!(
        decide(last, r#"{"items":[]}"#).unwrap().end,
        Some(ChainEnd::complete(StopReason::Empty))
    );
    // A wrong path to a cursor that stands around the records shows by the right one.
    let wrong = "type = 'cursor', cursor_path = '$.cursor', param = 'after'";
    let page = decide(wrong, r#"{"items":[{"id":1}],"next_cursor":"x"}"#).unwrap();
    assert!(page.more.unwrap().contains("finds no way to them"));
}

#[test]
fn positions_of_earlier_versions_are_understood() {
    for (kind, position) in [
        ("page_number", json!({ "page": 7, "previous": "0000000000000000000000000000000a" })),
        ("page_number", json!({ "page": 7 })),
        ("offset", json!({ "offset": 40, "page": 3, "total": 70, "total_reached": true })),
    ] {
        let lines = format!("paginator = {{ type = '{kind}' }}");
        let source = source("https://api.example.com/", &lines);
        let response = |body: &str| Response {
            from: "fake".to_owned(),
            status: 200,
            body: body.as_bytes().to_vec(),
            ..Response::default()
        };
        let page = source.read(&position, response("[{\"id\":1}]")).unwrap();
        assert!(page.next.is_some() && page.end.is_none(), "{page:?}");
        let page = source.read(&position, response("[]")).unwrap();
        assert_eq!(page.end.unwrap().reason, StopReason::Empty);
    }
    let body = r#"[{"id":1}]"#;
    let hash = ContentHash::of(body.as_bytes()).to_string();
    let source = source("https://api.example.com/", "paginator = { type = 'page_number' }");
    let response = Response {
        from: "fake".to_owned(),
        status: 200,
        body: body.as_bytes().to_vec(),
        ..Response::default()
    };
    let error = source.read(&json!({ "page": 3, "previous": hash }), response).unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::RepeatedPage);
}

#[test]
fn what_cannot_work_is_named_by_its_key() {
    for (paginator, key, says) in [
        ("type = 'page_number', size_param = 'n'", "", "has a `size_param` but no `size`"),
        ("type = 'page_number', size = 0", ".size", "expected a whole number from 1 on"),
        ("type = 'offset', max_pages = 0", ".max_pages", "expected a whole number from 1 on"),
        ("type = 'offset', max_records = 0", ".max_records", "expected a whole number from 1 on"),
        ("type = 'offset', total_path = 'total'", ".total_path", "is no JSONPath"),
        ("type = 'page_number', total_pages = { header = 'a b' }", ".total_pages", "cannot be one"),
        ("type = 'link_header', end_path = 'x'", ".end_path", "is no JSONPath"),
        ("type = 'offset', first_pages_only = true", ".first_pages_only", "which is not set"),
        ("type = 'offset', concurrency = 4", ".concurrency", "needs `total_path` or `total_pages`"),
        ("type = 'link_header', rel = ''", ".rel", "expected one relation"),
        ("type = 'next_url', next_url_path = 'next'", ".next_url_path", "is no JSONPath"),
        ("type = 'next_url', total_tolerance = 3", ".total_tolerance", "no `total_path` names one"),
        ("type = 'cursor', param = 'c'", "", "needs one of `cursor_path` and `cursor_header`"),
        (
            "type = 'cursor', cursor_path = '$.c'",
            "",
            "needs one of `param`, `body_path`, `variable` and",
        ),
        ("type = 'cursor', cursor_header = 'a b', param = 'c'", ".cursor_header", "cannot be one"),
    ] {
        let text = format!("base_url = 'https://a.example/'\npaginator = {{ {paginator} }}");
        let params: RestApiParams = toml::from_str(&text).unwrap();
        let error = RestApiSource::new(params, PathBuf::new(), vec![]).unwrap_err().text();
        let begins = format!("`rest_api.paginator{key}` ");
        assert!(error.starts_with(&begins) && error.contains(says), "{paginator}: {error}");
    }
}

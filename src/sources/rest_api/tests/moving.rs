//! Lists that move while they are read by number: a record that is changed leaves its place, and moves others onto
//! pages that were read already. Whatever happens, what was not met is asked for by the next run.

use std::collections::BTreeMap;

use chrono::DateTime;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::header::{DATE, HeaderMap, LINK};
use serde_json::{Value, json};

use super::*;
use crate::domain::remark::Remark;
use crate::domain::run::{Mode, RunId};
use crate::domain::slice::SliceId;
use crate::sources::{PlanRequest, Source};

const HISTORIES: u64 = 150;
/// When the history begins, in milliseconds since 1970.
const BEGIN: i64 = 1_700_000_000_000;
const SIZE: usize = 5;

/// In which order the API lists.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// The one that was changed last is the last.
    Ascending,
    /// It is the first.
    Descending,
    /// That of the ids, whatever was changed.
    ById,
}

/// What somebody writes while pages are read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Writes {
    /// Records are added.
    New,
    /// Records are added and changed.
    All,
}

/// A record as the API shows it now.
#[derive(Debug, Clone, Copy)]
struct Shown {
    number: u64,
    updated: i64,
}

/// One API and the runs against it.
struct Moving {
    seed: u64,
    dice: StdRng,
    order: Order,
    grain: i64,
    /// Records a page.
    size: usize,
    /// By how much the clock that stamps records is late, or ahead where it is negative.
    late: i64,
    /// How long a request takes at the least.
    pause: i64,
    /// The parameter of links that counts, where pages are asked for by them.
    by_links: Option<&'static str>,
    source: Arc<RestApiSource>,
    records: BTreeMap<u64, Shown>,
    now: i64,
    state: Value,
    /// The highest number of each id that was loaded.
    loaded: BTreeMap<u64, u64>,
}

/// The source of an API whose cursor is of this type.
fn source(kind: &str, paginator: &str) -> Arc<RestApiSource> {
    let lines = format!(
        "base_url = \"https://api.example.com/\"\ndata_selector = \"$.items[*]\"\npaginator = {paginator}\n\
         incremental = {{ cursor_path = \"$.updated\", type = \"{kind}\", start_param = \"since\" }}"
    );
    let source =
        RestApiSource::new(toml::from_str(&lines).unwrap(), PathBuf::new(), vec![]).unwrap();
    Arc::new(source.keyed_by(&[Locator::of_source_field("id")]).unwrap())
}

/// What a run said, and whether all its pages were read.
struct Ran {
    remarks: Vec<Remark>,
    complete: bool,
}

impl Ran {
    fn moved(&self) -> Option<&Remark> {
        self.remarks.iter().find(|remark| remark.text.contains("while the pages were read"))
    }
}

impl Moving {
    fn new(seed: u64, order: Order) -> Self {
        Self::of(seed, order, SIZE, 0, 1, 40)
    }

    /// Pages that are asked for by links, which count pages or records.
    fn linked(seed: u64, order: Order) -> Self {
        let mut moving = Self::new(seed, order);
        moving.by_links = Some(if moving.dice.random() { "page" } else { "offset" });
        let kind = if moving.grain == 1_000 { "epoch" } else { "epoch_ms" };
        moving.source = source(kind, "{ type = \"link_header\" }");
        moving
    }

    /// Pages of any size, and a clock that is late by up to 90 minutes, or ahead. Some have a record from the future.
    fn late(seed: u64, order: Order) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ 0x5eed);
        let late = match dice.random_range(0..6) {
            0 => dice.random_range(-20_000..=0),
            1 | 2 => dice.random_range(0..=120_000),
            _ => dice.random_range(0..=90 * 60_000),
        };
        let size = dice.random_range(1..=6);
        let mut moving = Self::of(seed, order, size, late, 1_000, 2 + 4 * size);
        if dice.random_bool(0.3) {
            let some = dice.random_range(0..moving.records.len() as u64);
            moving.records.entry(some).and_modify(|record| record.updated = BEGIN * 11 / 10);
        }
        moving
    }

    fn of(seed: u64, order: Order, size: usize, late: i64, pause: i64, most: usize) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let (kind, grain) = match dice.random_range(0..3) {
            0 => ("epoch", 1_000),
            1 => ("epoch_ms", 1),
            _ => ("epoch_ms", 60_000),
        };
        let paginator = match dice.random() {
            true => "{ type = \"page_number\" }".to_owned(),
            false => format!("{{ type = \"offset\", size = {size} }}"),
        };
        let mut moving = Self {
            seed,
            dice,
            order,
            grain,
            size,
            late,
            pause,
            by_links: None,
            source: source(kind, &paginator),
            records: BTreeMap::new(),
            now: BEGIN,
            state: Value::Null,
            loaded: BTreeMap::new(),
        };
        for _ in 0..moving.dice.random_range(1..most) {
            moving.write(Writes::All);
            moving.now += moving.dice.random_range(0..50_000);
        }
        moving
    }

    /// Somebody writes a record.
    fn write(&mut self, writes: Writes) {
        let known = self.records.len() as u64;
        let is_new = writes == Writes::New || known == 0 || self.dice.random_bool(0.4);
        let id = if is_new { known } else { self.dice.random_range(0..known) };
        let number = self.records.get(&id).map_or(1, |record| record.number + 1);
        let updated = (self.now - self.late) / self.grain * self.grain;
        self.records.insert(id, Shown { number, updated });
    }

    /// What the API lists.
    fn list(&self, since: Option<i64>) -> Vec<(u64, Shown)> {
        let wanted = |(_, record): &(u64, Shown)| since.is_none_or(|since| record.updated >= since);
        let records = self.records.iter().map(|(id, record)| (*id, *record));
        let mut list: Vec<_> = records.filter(wanted).collect();
        match self.order {
            Order::Ascending => list.sort_by_key(|(id, record)| (record.updated, *id)),
            Order::Descending => {
                list.sort_by_key(|(id, record)| std::cmp::Reverse((record.updated, *id)));
            }
            Order::ById => {}
        }
        list
    }

    /// From where on a request asks, in milliseconds.
    fn since(&self, url: &reqwest::Url) -> Option<i64> {
        let (_, since) = url.query_pairs().find(|(name, _)| name == "since")?;
        let since: i64 = since.parse().unwrap();
        Some(if self.grain == 1_000 { since * 1_000 } else { since })
    }

    async fn first(&self) -> Value {
        let request = PlanRequest {
            run: RunId(1),
            now: DateTime::from_timestamp_millis(self.now).unwrap(),
            mode: Mode::Incremental,
            access: Access::Network,
            state: self.state.clone(),
            state_of: None,
            files: BTreeMap::new(),
            broken_off: None,
            unreadable: BTreeMap::new(),
        };
        self.source.clone().plan(request).await.unwrap().slices[0].position.clone()
    }

    /// A run, while somebody writes between its pages.
    async fn run(&mut self, writes: Option<Writes>) -> Ran {
        let (mut next, mut watermarks, mut complete) = (Some(self.first().await), vec![], true);
        while let Some(position) = next {
            let url = self.source.unsent(&position).unwrap().url;
            let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
            let skipped = match query.get("page") {
                Some(page) => (page.parse::<usize>().unwrap() - 1) * self.size,
                None => query.get("offset").map_or(0, |offset| offset.parse().unwrap()),
            };
            let list = self.list(self.since(&url));
            let leads_on = list.len() > skipped + self.size;
            let page: Vec<_> = list.into_iter().skip(skipped).take(self.size).collect();
            for (id, record) in &page {
                let known = self.loaded.entry(*id).or_default();
                *known = record.number.max(*known);
            }
            let cursor = |at: i64| if self.grain == 1_000 { json!(at / 1_000) } else { json!(at) };
            let items: Vec<_> = page
                .iter()
                .map(|(id, record)| json!({ "id": id, "n": record.number, "updated": cursor(record.updated) }))
                .collect();
            let mut headers = HeaderMap::new();
            let time = DateTime::<chrono::Utc>::from_timestamp_millis(self.now).unwrap();
            headers.insert(DATE, httpdate::fmt_http_date(time.into()).parse().unwrap());
            if let Some(param) = self.by_links.filter(|_| leads_on) {
                let behind = skipped + self.size;
                let number = if param == "page" { behind / self.size + 1 } else { behind };
                let mut link = url.clone();
                link.set_query(None);
                let kept = query.iter().filter(|(name, _)| *name != param);
                link.query_pairs_mut().extend_pairs(kept).append_pair(param, &number.to_string());
                headers.insert(LINK, format!("<{link}>; rel=\"next\"").parse().unwrap());
            }
            let body = json!({ "items": items, "skipped": skipped }).to_string().into_bytes();
            let response = Response { status: 200, headers, body, ..Response::default() };
            let page = match (*self.source).read(&position, response) {
                Ok(page) => page,
                // Of pages that are small the list may move by whole ones, and repeat itself: the run fails.
                Err(_) if self.size < SIZE => return Ran { remarks: Vec::new(), complete: false },
                Err(error) => panic!("seed {}: {error}", self.seed),
            };
            complete &= page.end.as_ref().is_none_or(|end| end.complete);
            next = page.next.clone();
            watermarks.extend(page.into_slice(SliceId::FIRST).watermark);
            self.now += self.dice.random_range(self.pause..self.pause + 1_500);
            if let Some(writes) = writes {
                for _ in 0..self.dice.random_range(0..3) {
                    self.write(writes);
                }
            }
        }
        self.state = self.source.advance(&self.state, &watermarks, complete);
        Ran { remarks: self.source.remarks(&watermarks), complete }
    }

    /// What the API shows is loaded, or the next run asks for it.
    async fn check(&self) {
        let since = self.since(&self.source.unsent(&self.first().await).unwrap().url);
        for (id, record) in &self.records {
            let loaded = self.loaded.get(id).copied().unwrap_or_default();
            let is_asked_for = since.is_none_or(|since| record.updated >= since);
            assert!(
                loaded == record.number || is_asked_for,
                "seed {}, {:?}: {id} {record:?} is lost, loaded is {loaded}, since {since:?}",
                self.seed,
                self.order
            );
        }
    }
}

type New = fn(u64, Order) -> Moving;

/// Each order of a list, asked for by number and by links.
fn in_all_orders() -> impl Iterator<Item = (Order, New)> {
    let ways = [Moving::new as New, Moving::linked as New];
    let orders = [Order::Ascending, Order::Descending, Order::ById];
    orders.into_iter().flat_map(move |order| ways.map(|new| (order, new)))
}

#[tokio::test]
async fn what_moved_onto_a_page_that_was_read_is_asked_for_by_the_next_run() {
    let mut runs_that_moved = 0;
    for seed in 0..HISTORIES {
        for (order, new) in in_all_orders() {
            let mut moving = new(seed, order);
            for _ in 0..4 {
                let ran = moving.run(Some(Writes::All)).await;
                runs_that_moved += u32::from(ran.moved().is_some());
                moving.check().await;
                for _ in 0..moving.dice.random_range(0..20) {
                    moving.write(Writes::All);
                    moving.now += moving.dice.random_range(0..20_000);
                }
            }
            // While nobody writes, one run has everything, and the next is told nothing.
            moving.now += 120_000;
            let ran = moving.run(None).await;
            assert!(ran.complete, "seed {seed}");
            moving.check().await;
            let shown: BTreeMap<_, _> =
                moving.records.iter().map(|(id, record)| (*id, record.number)).collect();
            assert_eq!(moving.loaded, shown, "seed {seed}, {order:?}");
            moving.now += 120_000;
            let ran = moving.run(None).await;
            assert_eq!(ran.moved(), None, "seed {seed}, {order:?}");
        }
    }
    assert!(runs_that_moved > 25, "{runs_that_moved}");
}

#[tokio::test]
async fn what_was_changed_behind_a_late_clock_is_asked_for_by_the_next_run() {
    for seed in 0..HISTORIES {
        for order in [Order::Ascending, Order::Descending, Order::ById] {
            let mut moving = Moving::late(seed, order);
            for _ in 0..3 {
                moving.run(Some(Writes::All)).await;
                moving.check().await;
                for _ in 0..moving.dice.random_range(0..10) {
                    moving.write(Writes::All);
                    moving.now += moving.dice.random_range(0..20_000);
                }
            }
            // While nobody writes, one run has everything, and is told nothing.
            moving.now += 120_000;
            let ran = moving.run(None).await;
            assert!(ran.complete && ran.moved().is_none(), "seed {seed}");
            let shown: BTreeMap<_, _> =
                moving.records.iter().map(|(id, record)| (*id, record.number)).collect();
            assert_eq!(moving.loaded, shown, "seed {seed}, {order:?}");
        }
    }
}

/// A list that grows between its runs, or does not: none of them is told anything, each goes on, and what is read
/// again is what a run takes.
#[tokio::test]
async fn behind_a_late_clock_runs_go_on_and_read_again_no_more_than_they_take() {
    for seed in 0..HISTORIES / 3 {
        for order in [Order::Ascending, Order::Descending, Order::ById] {
            let mut moving = Moving::late(seed, order);
            let mut before = None;
            for news in [6, 0, 1, 0, 0] {
                moving.now += 120_000;
                for _ in 0..news {
                    moving.write(Writes::All);
                    moving.now += moving.dice.random_range(0..20_000);
                }
                let begun = moving.now;
                let ran = moving.run(None).await;
                assert!(ran.complete && ran.remarks.is_empty(), "seed {seed}: {:?}", ran.remarks);
                let took = moving.now - begun;
                let since = moving.since(&moving.source.unsent(&moving.first().await).unwrap().url);
                assert!(since >= before, "seed {seed}, {order:?}: {before:?} {since:?}");
                before = since;
                let stamped = moving.records.values().map(|record| record.updated);
                let highest = stamped.filter(|updated| *updated <= begun).max();
                let least = highest.map(|highest| highest - took - 2_000 - moving.grain);
                assert!(since >= least, "seed {seed}, {order:?}: {since:?} {highest:?} {took}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_that_only_grows_moves_nothing_whatever_its_order() {
    for seed in 0..HISTORIES {
        for (order, new) in in_all_orders() {
            if order == Order::Descending {
                continue;
            }
            let mut moving = new(seed, order);
            for _ in 0..3 {
                let ran = moving.run(Some(Writes::New)).await;
                assert_eq!(ran.moved(), None, "seed {seed}, {order:?}");
                moving.check().await;
                moving.now += 120_000;
            }
        }
    }
}

/// The records of pages, each with its id, its cursor as seconds behind noon, and the second at which the page was
/// answered: where the watermark is then, and what there is to say.
fn left(
    keys: &str,
    pages: &[(&[(u64, i64)], i64)],
    before: Option<i64>,
) -> (Option<i64>, Vec<Remark>) {
    let noon: DateTime<chrono::Utc> = "2026-11-28T12:00:00Z".parse().unwrap();
    let lines = format!(
        "base_url = \"https://api.example.com/\"\npaginator = {{ type = \"page_number\" }}\n\
         incremental = {{ cursor_path = \"$.at\", type = \"epoch\", start_param = \"since\" {keys} }}"
    );
    let source =
        RestApiSource::new(toml::from_str(&lines).unwrap(), PathBuf::new(), vec![]).unwrap();
    let source = source.keyed_by(&[Locator::of_source_field("id")]).unwrap();
    let time = |second: i64| noon + chrono::TimeDelta::seconds(second);
    let text = |second: i64| time(second).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let mut window = json!({ "planned": noon, "fresh": before.is_none() });
    let mut state = source.state().unwrap();
    if let Some(before) = before {
        window["start"] = text(before).into();
        state.watermark = Some(text(before));
    }
    let mut position = Some(json!({ "at": source.first(), "window": window }));
    let mut watermarks = Vec::new();
    for (records, answered) in pages {
        let items: Vec<_> = records
            .iter()
            .map(|(id, at)| json!({ "id": id, "at": time(*at).timestamp() }))
            .collect();
        let mut headers = HeaderMap::new();
        headers.insert(DATE, httpdate::fmt_http_date(time(*answered).into()).parse().unwrap());
        let body = serde_json::to_vec(&items).unwrap();
        let response = Response { status: 200, headers, body, ..Response::default() };
        let page = source.read(&position.expect("a further page"), response).unwrap();
        position = page.next.clone();
        watermarks.extend(page.into_slice(SliceId::FIRST).watermark);
    }
    assert_eq!(position, None, "the last page was not read");
    let state = source.advance(&state.to_json(), &watermarks, true);
    let watermark = state.pointer("/rest/watermark").and_then(Value::as_str);
    let watermark =
        watermark.map(|text| (text.parse::<DateTime<chrono::Utc>>().unwrap() - noon).num_seconds());
    (watermark, source.remarks(&watermarks))
}

#[test]
fn the_watermark_stays_in_front_of_the_page_onto_which_others_moved() {
    const OLD: i64 = -100_000;
    type Pages<'p> = &'p [(&'p [(u64, i64)], i64)];
    let one: &[(u64, i64)] = &[(1, -900), (2, -800)];
    let two: &[(u64, i64)] = &[(4, -600), (5, -500)];
    let three: &[(u64, i64)] = &[(6, -400), (1, 5)];
    let in_order: Pages<'_> = &[(one, 0), (two, 10), (three, 20), (&[], 30)];
    let (watermark, said) = left("", in_order, Some(OLD));
    assert_eq!(watermark, Some(-800), "3 was not met");
    assert!(!said[0].degrades && said[0].text.contains("1 record was changed"), "{said:?}");
    assert!(said[0].text.contains("since 2026-11-28T11:46:40Z"), "{said:?}");
    // A run that reads everything has not.
    let (watermark, said) = left("", in_order, None);
    assert_eq!((watermark, said[0].degrades), (Some(-800), true), "{said:?}");
    // What was read before the change is whole, on whichever page the record had been.
    let late: Pages<'_> = &[
        (one, 0),
        (two, 1_000),
        (&[(6, -400), (7, -300)], 2_000),
        (&[(1, 2_500)], 3_000),
        (&[], 3_010),
    ];
    assert_eq!(left("", late, Some(OLD)).0, Some(-300));
    // Searches lag behind: the change may have been earlier.
    assert_eq!(left(", settle = \"10m\"", late, Some(OLD)).0, Some(-800));
    // Nobody knows what is missing where records are in no order.
    let no_order: Pages<'_> =
        &[(&[(2, -800), (1, -900)], 0), (two, 10), (&[(1, 5)], 20), (&[], 30)];
    let (watermark, said) = left("", no_order, Some(OLD));
    assert_eq!((watermark, said[0].degrades), (Some(OLD), true), "{said:?}");
    assert!(said[0].text.contains("asks for the same again"), "{said:?}");
    // A clock that is late by 5 minutes, by 33, and by hours: the highest cursor says how much.
    for late in [300, 33 * 60, 5 * 3_600] {
        let behind = |second: i64| second - late;
        let one = [(1, behind(-900)), (2, behind(-800))];
        let (two, three) =
            ([(4, behind(-600)), (5, behind(-500))], [(6, behind(-400)), (1, behind(5))]);
        let pages: Pages<'_> = &[(&one, 0), (&two, 10), (&three, 20), (&[], 30)];
        let (watermark, said) = left("", pages, Some(OLD));
        assert_eq!(watermark, Some(behind(-800)), "late by {late}: 3 was not met");
        assert!(!said[0].degrades && said[0].text.contains("1 record was changed"), "{said:?}");
    }
    // The end of a log of changes at which nothing happens any more may look the same, and is read in steps.
    let rest: Pages<'_> = &[(&[(2, -800), (1, -700)], 0), (&[(2, -600)], 10), (&[], 20)];
    assert_eq!(left("", rest, Some(-800)).0, Some(-700));
    // So may what moved where all of the first page is as old as the start: the next run asks for the same again.
    let same: Pages<'_> = &[(&[(1, -800), (2, -800)], 0), (&[(2, -790)], 10), (&[], 20)];
    let (watermark, said) = left("", same, Some(-800));
    assert_eq!((watermark, said.len(), said[0].degrades), (Some(-800), 1, false), "{said:?}");
    // For a day: then no clock is that late.
    let old: Pages<'_> =
        &[(&[(1, -800), (2, -800)], 90_000), (&[(2, -790)], 90_010), (&[], 90_020)];
    assert_eq!(left("", old, Some(-800)), (Some(-790), vec![]));
    // A log of changes, also one that shows a key twice on a page, the same version twice, and what is new only.
    for pages in [
        &[(one, 0), (&[(1, -700), (2, -600)], 10), (&[], 20)][..],
        &[(&[(1, -900), (1, -850), (2, -800)], 0), (&[(2, -600)], 10), (&[], 20)],
        &[(one, 0), (&[(2, -800), (4, -600)], 10), (&[], 20)],
        &[(one, 0), (&[(4, -600), (9, 5)], 10), (&[], 20)],
        &[(&[(9, -5), (8, -10)], 0), (&[(9, -5), (7, -20)], 10), (&[], 20)],
    ] as [Pages<'_>; 5]
    {
        let (watermark, said) = left("", pages, Some(OLD));
        assert!(said.is_empty() && watermark > Some(-612), "{pages:?}: {said:?}");
    }
}

#[test]
fn the_watermark_stays_so_far_in_front_of_the_highest_cursor_as_the_run_took_to_it() {
    type Pages<'p> = &'p [(&'p [(u64, i64)], i64)];
    let (one, two, three) = ([(1, -900), (2, -800)], [(4, -600), (5, -500)], [(6, -400)]);
    let left = |pages: Pages<'_>| {
        let (watermark, said) = left("", pages, Some(-1_000));
        assert!(said.is_empty(), "{pages:?}: {said:?}");
        watermark.unwrap()
    };
    // What was changed since noon is stamped at -421 at the earliest, if it is stamped as the last one was.
    assert_eq!(left(&[(&one, 0), (&two, 10), (&three, 20), (&[], 30)]), -421);
    // The lists of others begin with the highest, or have it in between.
    assert_eq!(left(&[(&three, 0), (&two, 10), (&one, 20), (&[], 30)]), -400);
    assert_eq!(left(&[(&one, 0), (&three, 10), (&two, 20), (&[], 30)]), -411);
    // So much is sure by the first page alone, and by two of which nobody knows which one came first.
    assert_eq!(left(&[(&two, 0), (&three, 300), (&[], 310)]), -500);
    assert_eq!(left(&[(&one, 0), (&two, 0), (&three, 300), (&[], 310)]), -501);
    // All within a second.
    assert_eq!(left(&[(&one, 0), (&two, 0), (&three, 0), (&[], 1)]), -400);
    // None is stamped by a clock that is later than the answer, and one of a day before is no late clock.
    assert_eq!(left(&[(&one, 0), (&two, 0), (&[(6, 9_000)], 0), (&[], 0)]), -500);
    assert_eq!(left(&[(&one, 0), (&two, 10), (&[(6, 9_000)], 20), (&[], 30)]), -511);
    assert_eq!(left(&[(&one, 90_000), (&two, 90_010), (&three, 90_020), (&[], 90_030)]), -400);
    assert_eq!(left(&[(&[(6, 9_000)], 0), (&[], 0)]), -1_000);
    let (fresh, said) = super::moving::left("", &[(&[(6, 9_000)], 0), (&[], 0)], None);
    assert_eq!((fresh, said), (Some(-86_400), vec![]));
}

#[test]
fn an_api_that_ignores_where_to_begin_is_told_of() {
    let old: &[(u64, i64)] = &[(1, -900_000), (2, -800_000), (3, -100)];
    let (watermark, said) = left("", &[(old, 0), (&[], 0)], Some(-500));
    assert_eq!((watermark, said.len(), said[0].degrades), (Some(-100), 1, false), "{said:?}");
    assert!(
        said[0].text.starts_with(
            "2 of 3 records are older than what was asked for: the API seems to ignore `since`"
        ),
        "{said:?}"
    );
    for (pages, before) in [
        // One that filters by the day.
        (&[(&[(1, -80_000), (2, -70_000), (3, -100)][..], 0), (&[][..], 0)][..], Some(-500)),
        // A first run asks for everything.
        (&[(old, 0), (&[], 0)], None),
        // A few may be there for another reason.
        (&[(&[(1, -900_000), (2, -400), (3, -100)], 0), (&[], 0)], Some(-500)),
    ] {
        assert!(left("", pages, before).1.is_empty(), "{pages:?}");
    }
}

//! Incremental runs against a model: whatever happens between and within runs, nothing that the API ever
//! showed is lost.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::header::{DATE, HeaderMap};
use serde_json::{Value, json};

use super::super::state::State;
use super::*;
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::run::{Mode, RunId};
use crate::domain::slice::SliceId;
use crate::sources::{Plan, PlanRequest, Source};

const HISTORIES: u64 = 1_000;
/// When the history begins, in milliseconds since 1970.
const BEGIN: i64 = 1_700_000_000_000;
/// How late a record may appear, in milliseconds.
const LOOKBACK: i64 = 60_000;
/// The most records a page: about as many as may be written between two requests, so that the list moves by whole
/// pages.
const LARGEST_PAGE: usize = 6;

/// How an API filters.
#[derive(Debug, Clone, Copy)]
struct Filter {
    /// The lines of the job file.
    lines: &'static str,
    /// The cursor of a time.
    cursor: fn(i64) -> Value,
    /// The time of a start that was asked for.
    asked: fn(&str) -> i64,
    /// The finest that the cursor says, in milliseconds.
    grain: i64,
    inclusive: bool,
}

fn iso(millis: i64) -> Value {
    DateTime::from_timestamp_millis(millis).unwrap().to_rfc3339().into()
}

fn of_iso(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

const FILTERS: [Filter; 6] = [
    Filter { lines: "", cursor: iso, asked: of_iso, grain: 1, inclusive: true },
    Filter { lines: ", inclusive = false", cursor: iso, asked: of_iso, grain: 1, inclusive: false },
    Filter {
        lines: ", type = \"epoch\"",
        cursor: |millis| (millis / 1000).into(),
        asked: |text| text.parse::<i64>().unwrap() * 1000,
        grain: 1000,
        inclusive: true,
    },
    Filter {
        lines: ", type = \"epoch\", inclusive = false",
        cursor: |millis| (millis / 1000).to_string().into(),
        asked: |text| text.parse::<i64>().unwrap() * 1000,
        grain: 1000,
        inclusive: false,
    },
    Filter {
        lines: ", type = \"epoch_ms\"",
        cursor: |millis| millis.into(),
        asked: |text| text.parse().unwrap(),
        grain: 1,
        inclusive: true,
    },
    Filter {
        lines: ", format = \"%Y-%m-%d %H:%M\", time_zone = \"Europe/Berlin\"",
        cursor: iso,
        asked: |text| {
            let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
            let berlin = local.and_local_timezone(chrono_tz::Europe::Berlin);
            berlin.earliest().unwrap().timestamp_millis()
        },
        grain: 1,
        inclusive: true,
    },
];

/// A version of a record, and from when on the API shows it.
#[derive(Debug, Clone)]
struct Version {
    id: u64,
    number: u64,
    updated: i64,
    visible: i64,
}

/// One API and the runs against it.
struct History {
    seed: u64,
    dice: StdRng,
    filter: Filter,
    /// Records a page.
    size: usize,
    source: Arc<RestApiSource>,
    versions: Vec<Version>,
    now: i64,
    state: Value,
    /// The highest number of each id that was loaded.
    loaded: BTreeMap<u64, u64>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let filter = FILTERS[dice.random_range(0..FILTERS.len())];
        let initial = match dice.random() {
            true => ", initial_value = \"2020-01-01T00:00:00Z\"",
            false => "",
        };
        let lines = format!(
            "base_url = \"https://api.example.com/\"\ndata_selector = \"$.items[*]\"\n\
             paginator = {{ type = \"page_number\" }}\n\
             incremental = {{ cursor_path = \"$.updated\", start_param = \"since\", lookback = \"1m\"{}{initial} }}",
            filter.lines
        );
        let params = toml::from_str(&lines).unwrap();
        let source = Arc::new(RestApiSource::new(params, PathBuf::new(), vec![]).unwrap());
        let size = dice.random_range(1..=LARGEST_PAGE);
        let (versions, loaded) = (Vec::new(), BTreeMap::new());
        Self { seed, dice, filter, size, source, versions, now: BEGIN, state: Value::Null, loaded }
    }

    /// Somebody writes records: at the same moment, late, in the future. `new` ones only while a list is
    /// read: what is moved within it is lost by the API itself.
    fn write(&mut self, new_only: bool) {
        for _ in 0..self.dice.random_range(0..6) {
            let known = self.versions.len() as u64;
            let id = match new_only || known == 0 || self.dice.random_bool(0.6) {
                true => known,
                false => self.versions[self.dice.random_range(0..self.versions.len())].id,
            };
            let visible = self.now;
            let updated = match self.dice.random_range(0..10) {
                0..4 => visible,
                4..7 => visible - self.dice.random_range(0..LOOKBACK - 1_000),
                7 => visible / 1000 * 1000,
                8 => visible + self.dice.random_range(0..5_000),
                _ => visible + 50 * 365 * 86_400_000,
            };
            let number = 1 + self.versions.iter().filter(|v| v.id == id).count() as u64;
            self.versions.push(Version { id, number, updated, visible });
        }
    }

    /// What the API lists, by the start that is asked for.
    fn list(&self, since: Option<&str>) -> Vec<Value> {
        let mut current: BTreeMap<u64, &Version> = BTreeMap::new();
        for version in self.versions.iter().filter(|version| version.visible <= self.now) {
            current.insert(version.id, version);
        }
        let since = since.map(self.filter.asked);
        let cursor = |version: &Version| version.updated / self.filter.grain * self.filter.grain;
        let wanted = |version: &&&Version| match since {
            None => true,
            Some(since) if self.filter.inclusive => cursor(version) >= since,
            Some(since) => cursor(version) > since,
        };
        let mut list: Vec<_> = current.values().filter(wanted).collect();
        list.sort_by_key(|version| (version.updated, version.id));
        let json = |version: &&&Version| json!({ "id": version.id, "n": version.number, "updated": (self.filter.cursor)(version.updated) });
        list.iter().map(json).collect()
    }

    fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.now).unwrap()
    }

    /// A run; whether it had everything.
    async fn run(&mut self) -> bool {
        let request = PlanRequest {
            run: RunId(1),
            // Another clock, which goes wrong.
            now: self.time() + chrono::TimeDelta::hours(self.dice.random_range(-2..48)),
            mode: if self.dice.random_bool(0.05) { Mode::Full } else { Mode::Incremental },
            access: Access::Network,
            state: self.state.clone(),
            state_of: None,
            files: BTreeMap::new(),
            broken_off: None,
            unreadable: BTreeMap::new(),
        };
        let Plan { slices, .. } = self.source.clone().plan(request).await.unwrap();
        let mut next = slices.into_iter().next().map(|slice| slice.position);
        let mut watermarks = Vec::new();
        let mut complete = self.dice.random_bool(0.9);
        while let Some(position) = next {
            if self.dice.random_bool(0.08) {
                // Killed.
                return false;
            }
            let asked = self.source.unsent(&position).unwrap().url;
            let query: BTreeMap<_, _> = asked.query_pairs().into_owned().collect();
            let all = self.list(query.get("since").map(String::as_str));
            let page: usize = query["page"].parse().unwrap();
            let items: Vec<_> =
                all.into_iter().skip((page - 1) * self.size).take(self.size).collect();
            for item in &items {
                let [id, number] = ["id", "n"].map(|key| item[key].as_u64().unwrap());
                let known = self.loaded.entry(id).or_default();
                *known = number.max(*known);
            }
            let mut headers = HeaderMap::new();
            headers.insert(DATE, httpdate::fmt_http_date(self.time().into()).parse().unwrap());
            let body = json!({ "items": items, "page": page }).to_string().into_bytes();
            let response = Response { status: 200, headers, body, ..Response::default() };
            let page = match (*self.source).read(&position, response) {
                Ok(page) => page,
                Err(error) => panic!("seed {}: {error}", self.seed),
            };
            complete &= page.end.as_ref().is_none_or(|end| end.complete);
            next = page.next.clone();
            watermarks.extend(page.into_slice(SliceId::FIRST).watermark);
            self.now += self.dice.random_range(1..1_500);
            self.write(true);
        }
        self.state = self.source.advance(&self.state, &watermarks, complete);
        complete
    }

    async fn check(mut self) {
        for _ in 0..self.dice.random_range(2..9) {
            self.write(false);
            self.now += self.dice.random_range(0..200_000);
            let began = self.now;
            if !self.run().await {
                continue;
            }
            // What was there when the run began is loaded, in its last version or a later one.
            for version in self.versions.iter().filter(|version| version.visible <= began) {
                let loaded = self.loaded.get(&version.id).copied().unwrap_or_default();
                assert!(
                    loaded >= version.number,
                    "seed {}: {version:?} is lost, loaded is {loaded}; {:?}, state {}",
                    self.seed,
                    self.filter.lines,
                    self.state
                );
            }
            self.now += 1;
        }
    }
}

#[tokio::test]
async fn no_record_is_lost_in_a_thousand_random_histories() {
    for seed in 0..HISTORIES {
        History::new(seed).check().await;
    }
}

/// A source with these keys of `incremental`, its plan for a state, and what is asked first.
async fn asked(
    keys: &str,
    state: Value,
    mode: Mode,
) -> (RestApiSource, Option<String>, Vec<String>) {
    let lines = format!(
        "base_url = \"https://api.example.com/\"\nincremental = {{ cursor_path = \"$.at\", {keys} }}"
    );
    let open =
        || RestApiSource::new(toml::from_str(&lines).unwrap(), PathBuf::new(), vec![]).unwrap();
    let source = Arc::new(open());
    let now = "2026-11-28T12:00:00Z".parse().unwrap();
    let (run, state_of, files, broken_off) = (RunId(9), Some(RunId(7)), BTreeMap::new(), None);
    let request = PlanRequest {
        run,
        now,
        mode,
        access: Access::Network,
        state,
        state_of,
        files,
        broken_off,
        unreadable: BTreeMap::new(),
    };
    let plan = source.clone().plan(request).await.unwrap();
    let first = plan.slices.first().map(|slice| source.unsent(&slice.position).unwrap().url);
    let query = first.map(|url| url.query().unwrap_or_default().to_owned());
    (open(), query, plan.remarks.into_iter().map(|remark| remark.text).collect())
}

/// The state that a good run of this source leaves with this watermark.
fn state(source: &RestApiSource, watermark: &str) -> Value {
    let asks = source.state().expect("a request that can be made");
    let since = Some("2020-01-01T00:00:00Z".to_owned());
    State { watermark: Some(watermark.to_owned()), since, ..asks }.to_json()
}

#[tokio::test]
async fn a_run_asks_from_the_watermark_less_lookback_on_and_a_changed_request_from_the_beginning() {
    let keys = "start_param = \"since\", initial_value = \"2020-01-01\", lookback = \"10m\", max_age = \"30d\"";
    let (source, first, _) = asked(keys, Value::Null, Mode::Incremental).await;
    assert_eq!(first.as_deref(), Some("since=2020-01-01T00%3A00%3A00Z"));
    let good = state(&source, "2026-11-27T10:05:00Z");
    let (_, next, said) = asked(keys, good.clone(), Mode::Incremental).await;
    assert_eq!(
        (next.as_deref(), said.as_slice()),
        (Some("since=2026-11-27T09%3A55%3A00Z"), &[][..])
    );
    for (keys, mode, state, says) in [
        (keys.to_owned(), Mode::Full, good.clone(), None),
        (
            keys.replace("since", "from"),
            Mode::Incremental,
            good.clone(),
            Some("asks the API for something else than run 7 did"),
        ),
        (
            keys.to_owned(),
            Mode::Incremental,
            state(&source, "2026-10-27T10:05:00Z"),
            Some("older than `incremental.max_age`"),
        ),
    ] {
        let (_, query, said) = asked(&keys, state, mode).await;
        assert!(query.unwrap().ends_with("=2020-01-01T00%3A00%3A00Z"), "{keys}");
        assert!(
            match says {
                None => said.is_empty(),
                Some(says) => said.len() == 1 && said[0].contains(says),
            },
            "{said:?}"
        );
    }
    // Looking back further asks for nothing else.
    let further = keys.replace("10m", "20m");
    let (_, query, said) = asked(&further, good, Mode::Incremental).await;
    assert_eq!((query.as_deref(), said.len()), (Some("since=2026-11-27T09%3A45%3A00Z"), 0));
}

#[tokio::test]
async fn each_kind_of_cursor_is_asked_for_in_its_own_words() {
    for (keys, watermark, query) in [
        ("type = \"integer\", start_param = \"min_id\", lookback = 10", "99", "min_id=89"),
        ("type = \"integer\", start_param = \"after\", inclusive = false", "99", "after=98"),
        ("type = \"text\", start_param = \"after\"", "01JD", "after=01JD"),
        (
            "type = \"date\", start_param = \"day\", lookback = \"7d\"",
            "2026-11-27",
            "day=2026-11-20",
        ),
        (
            "type = \"epoch\", start_param = \"a\", end_param = \"b\", settle = \"1m\"",
            "2026-11-28T11:00:00Z",
            "a=1795863600&b=1795867140",
        ),
    ] {
        let (source, first, _) = asked(keys, Value::Null, Mode::Incremental).await;
        let start = query.split_once('=').map_or(query, |(param, _)| param);
        let first = first.unwrap_or_default();
        assert!(!first.starts_with(start), "the first run begins at the beginning: {first}");
        let (_, asked, said) = asked(keys, state(&source, watermark), Mode::Incremental).await;
        assert_eq!((asked.as_deref(), said.len()), (Some(query), 0), "{keys}");
    }
}

#[tokio::test]
async fn windows_are_read_side_by_side_and_follow_each_other_without_a_gap() {
    let keys = "type = \"epoch\", start_param = \"a\", end_param = \"b\", inclusive = false, step = \"10d\", \
                concurrency = 3, initial_value = \"2026-08-01\"";
    let lines = format!(
        "base_url = \"https://api.example.com/\"\nincremental = {{ cursor_path = \"$.at\", {keys} }}"
    );
    let source =
        RestApiSource::new(toml::from_str(&lines).unwrap(), PathBuf::new(), vec![]).unwrap();
    let source = Arc::new(source);
    let request = PlanRequest {
        run: RunId(1),
        now: "2026-11-28T12:00:00.5Z".parse().unwrap(),
        access: Access::Network,
        mode: Mode::Incremental,
        state: Value::Null,
        state_of: None,
        files: BTreeMap::new(),
        broken_off: None,
        unreadable: BTreeMap::new(),
    };
    let plan = source.clone().plan(request).await.unwrap();
    assert_eq!(plan.slices.len(), 3);
    let mut all = plan.slices;
    let mut at = 0;
    while at < all.len() {
        let behind = source.behind(&all[at].position, all[at].slice).unwrap();
        all.extend(behind);
        at += 1;
    }
    all.sort_by_key(|slice| slice.slice);
    let mut before: Option<i64> = None;
    for (lane, slice) in all.iter().enumerate() {
        assert_eq!(slice.slice, SliceId::new(lane as u32, 0));
        let url = source.unsent(&slice.position).unwrap().url;
        let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        let [start, end] = ["a", "b"].map(|name| query[name].parse::<i64>().unwrap());
        // What leaves out its start is asked for a second less.
        assert_eq!(before.unwrap_or(1_785_542_400), start + 1);
        before = Some(end);
    }
    assert_eq!((all.len(), before), (12, Some(1_795_867_200)));

    // The watermark moves up to the first window that lacks something.
    let done = serde_json::to_value(ChainEnd::complete(StopReason::Empty)).unwrap();
    let cut = serde_json::to_value(ChainEnd::incomplete(StopReason::MaxPages, "")).unwrap();
    let left = |lacking: Option<usize>| {
        let traces = all.iter().enumerate().map(|(lane, slice)| {
            let end = if lacking == Some(lane) { &cut } else { &done };
            json!({ "window": slice.position["window"], "records": 0, "end": end })
        });
        let traces: Vec<_> = traces.collect();
        let state = source.advance(&Value::Null, &traces, lacking.is_none());
        state.pointer("/rest/watermark").and_then(Value::as_str).map(str::to_owned)
    };
    assert_eq!(left(None).as_deref(), Some("2026-11-28T12:00:00Z"));
    assert_eq!(left(Some(2)).as_deref(), Some("2026-08-21T00:00:00Z"));
    assert_eq!(left(Some(0)), None);
}

#[tokio::test]
async fn a_recording_holds_where_the_run_began_and_the_address() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("[{\"at\":\"2026-01-01\"}]");
    Mock::given(path("/coins")).respond_with(answer).mount(&server).await;
    let lines = "recording = \"r\"\njson = { q = \"${run.date}\" }\n\
                 incremental = { cursor_path = \"$.at\", start_param = \"a\", end_param = \"b\" }";
    let opened = source(&server.uri(), lines);
    let base_dir = opened._folder.path();
    let request = |day: u32, access| PlanRequest {
        run: RunId(1),
        now: format!("2026-11-{day}T12:00:00Z").parse().unwrap(),
        access,
        mode: Mode::Incremental,
        state: Value::Null,
        state_of: None,
        files: BTreeMap::new(),
        broken_off: None,
        unreadable: BTreeMap::new(),
    };
    let open = || Arc::new(source_with(&server.uri(), lines, base_dir, &[]));
    let plan = open().plan(request(20, Access::Record)).await.unwrap();
    let recorded = open().fetch(&plan.slices[0].position, Access::Record).await.unwrap();
    // On another day, and where nobody knows the address.
    let index = base_dir.join("r/recording.json");
    let mut known: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    known["base_url"] = server.uri().into();
    std::fs::write(&index, known.to_string()).unwrap();
    let text =
        format!("base_url = {{ env = 'KASPARRO_TEST_NEVER_SET' }}\npath = \"coins\"\n{lines}");
    let offline = RestApiSource::new(toml::from_str(&text).unwrap(), base_dir.to_owned(), vec![]);
    let offline = Arc::new(offline.unwrap());
    let plan = offline.clone().plan(request(25, Access::Offline)).await.unwrap();
    let read = offline.fetch(&plan.slices[0].position, Access::Offline).await.unwrap();
    assert_eq!((read.body, read.request), (recorded.body, recorded.request));
    assert_eq!(offline.state(), open().state());
    assert!(offline.first_recorded().unwrap().exists());
}

/// The watermark that is left by pages with these cursors, read on 28 November at noon.
fn left(keys: &str, pages: &[&[&str]], end: ChainEnd, before: Option<&str>) -> Option<String> {
    let lines = format!(
        "base_url = \"https://api.example.com/\"\npaginator = {{ type = \"page_number\" }}\n\
         incremental = {{ cursor_path = \"$.at\", start_param = \"since\", {keys} }}"
    );
    let source =
        RestApiSource::new(toml::from_str(&lines).unwrap(), PathBuf::new(), vec![]).unwrap();
    let window = json!({ "planned": "2026-11-28T13:00:00Z", "fresh": before.is_none() });
    let state = before.map_or(Value::Null, |watermark| state(&source, watermark));
    let mut watermarks = Vec::new();
    for (at, cursors) in pages.iter().enumerate() {
        let records: Vec<_> = cursors.iter().map(|at| json!({ "at": at })).collect();
        let body = serde_json::to_vec(&records).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Sat, 28 Nov 2026 12:00:00 GMT".parse().unwrap());
        let response = Response { status: 200, headers, body, ..Response::default() };
        let position = json!({ "at": source.first(), "window": window });
        let mut content = source.read(&position, response).unwrap().into_slice(SliceId::FIRST);
        let trace = content.watermark.as_mut().unwrap();
        let last = at + 1 == pages.len();
        trace["end"] = if last { serde_json::to_value(&end).unwrap() } else { Value::Null };
        watermarks.push(content.watermark.unwrap());
    }
    let state = source.advance(&state, &watermarks, end.complete);
    state.pointer("/rest/watermark").and_then(Value::as_str).map(str::to_owned)
}

#[test]
fn the_watermark_moves_to_what_was_read_and_never_beyond_the_clock_of_the_api() {
    let done = || ChainEnd::complete(StopReason::Empty);
    let cut = || ChainEnd::incomplete(StopReason::MaxPages, "cut");
    let (one, two) = ("2026-11-27T10:00:00Z", "2026-11-27T11:00:00Z");
    let future = "2099-01-01T00:00:00Z";
    let late = Some("2026-11-27T12:00:00Z");
    for (keys, pages, end, before, after) in [
        ("", &[&[two, one][..]][..], done(), None, Some(two)),
        ("", &[&[one][..], &[]][..], done(), None, Some(one)),
        ("", &[&["soon", one][..]][..], done(), None, Some(one)),
        ("", &[&[][..]][..], done(), None, None),
        // No clock stamped what is from the future, and that of the API may be late.
        ("", &[&[one, future][..]][..], done(), None, Some(one)),
        ("", &[&[one, future][..]][..], done(), late, late),
        ("settle = \"1h\"", &[&[future][..]][..], done(), None, Some("2026-11-27T11:00:00Z")),
        // Nothing that was read before is read again because nothing is new.
        ("", &[&[one][..]][..], done(), late, late),
        ("", &[&[][..]][..], done(), late, late),
        // What is not complete moves nothing, unless what is missing is higher.
        ("", &[&[one][..]][..], cut(), None, None),
        ("", &[&[future][..]][..], cut(), late, late),
        ("sorted = \"asc\"", &[&[one][..], &[two][..]][..], cut(), None, Some(two)),
        ("sorted = \"asc\"", &[&[two][..], &[one][..]][..], cut(), None, None),
        ("sorted = \"desc\"", &[&[two][..], &[one][..]][..], cut(), None, None),
        (
            "sorted = \"asc\"",
            &[&[one][..]][..],
            ChainEnd::incomplete(StopReason::Ignored, "ignored"),
            None,
            None,
        ),
    ] {
        let left = left(keys, pages, end, before);
        assert_eq!(left.as_deref(), after, "{keys} {pages:?} {before:?}");
    }
}

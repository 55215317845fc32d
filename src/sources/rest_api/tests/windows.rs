//! Windows of which some fail, against a model of an API and a table: no record is lost, and none ends as an older
//! version of itself.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::run::{Mode, ReadRange, RunId};
use crate::sources::{NextSlice, Plan, PlanRequest, ReadLanes, Source};

/// As many as take a few seconds.
const HISTORIES: u64 = 150;
/// A midnight, in seconds since 1970.
const BEGIN: i64 = 1_700_006_400;
const DAY: i64 = 86_400;

/// A version of a record: its cursor, its key, its value. Higher values are newer.
type Version = (i64, u64, u64);

/// What the runs of a history keep of one that failed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keeps {
    /// What the source says.
    Prefix,
    /// The windows behind one that failed as well: they are not asked for again. That was tried.
    Holes,
    /// Nothing takes back what a run that reads everything has overwritten, when it is broken off.
    NoRestart,
}

/// What became of a window of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Whole,
    /// The chain ended, and lacks something.
    Short,
    /// A page could not be had, behind others or not.
    Failed {
        came: bool,
    },
}

/// An API whose records come in the order of their cursors, the runs against it, and their table.
struct History {
    seed: u64,
    keeps: Keeps,
    dice: StdRng,
    source: Arc<RestApiSource>,
    now: i64,
    versions: Vec<Version>,
    state: Value,
    /// The number of the run, of that which left the state, and of the last that changed something and did not end well.
    run: i64,
    state_of: Option<i64>,
    broken_off: Option<i64>,
    table: BTreeMap<u64, u64>,
    /// The windows that were read whole, where they are remembered.
    read: BTreeSet<(i64, i64)>,
    range: Option<ReadRange>,
}

/// A run under way.
struct Run {
    /// The windows, by their lanes: their first slices, their bounds, and what became of them.
    windows: BTreeMap<u32, (NextSlice, (i64, i64), Fate)>,
    changed: bool,
}

fn stored(at: i64) -> String {
    DateTime::from_timestamp(at, 0).unwrap().to_rfc3339()
}

fn seconds(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp()
}

impl History {
    fn new(seed: u64, keeps: Keeps) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let lookback = if dice.random_bool(0.3) { dice.random_range(1..5) * DAY / 2 } else { 0 };
        let (step, concurrency) = (dice.random_range(1..4), dice.random_range(1..5));
        let look =
            if lookback > 0 { format!(", lookback = \"{lookback}s\"") } else { String::new() };
        let text = format!(
            "base_url = \"https://api.example.com/\"\nincremental = {{ cursor_path = \"$.at\", type = \"epoch\", \
             start_param = \"a\", end_param = \"b\", initial_value = \"{}\", step = \"{step}d\", concurrency = \
             {concurrency}{look} }}",
            stored(BEGIN)
        );
        let source =
            RestApiSource::new(toml::from_str(&text).unwrap(), PathBuf::new(), vec![]).unwrap();
        let is_log = dice.random_bool(0.5);
        let now = BEGIN + dice.random_range(0..30 * DAY);
        let range = dice.random_bool(0.2).then(|| ReadRange {
            from: stored(BEGIN - dice.random_range(0..9) * DAY),
            to: dice.random_bool(0.5).then(|| stored(BEGIN + 12 * DAY + 7)),
        });
        let mut versions = Vec::new();
        for day in -9..40 {
            for _ in 0..dice.random_range(0..4) {
                let at = BEGIN + day * DAY + dice.random_range(0..DAY);
                let key = if is_log { dice.random_range(0..9) } else { versions.len() as u64 };
                versions.push((at, key, 0));
            }
        }
        versions.sort_unstable();
        for (number, version) in (0..).zip(&mut versions) {
            version.2 = number;
        }
        Self {
            seed,
            keeps,
            dice,
            source: Arc::new(source),
            now,
            versions,
            state: Value::Null,
            run: 0,
            state_of: None,
            broken_off: None,
            table: BTreeMap::new(),
            read: BTreeSet::new(),
            range,
        }
    }

    fn bounds(&self, position: &Value) -> (i64, i64) {
        let url = self.source.unsent(position).unwrap().url;
        let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        let [start, end] = ["a", "b"].map(|name| query[name].parse::<i64>().unwrap());
        (start, end)
    }

    /// What comes of a window.
    fn rows(&self, (start, end): (i64, i64), fate: Fate) -> Vec<Version> {
        let within = self.versions.iter().filter(|(at, ..)| (start..end).contains(at));
        let mut rows: Vec<Version> = within.copied().collect();
        match fate {
            Fate::Whole => {}
            Fate::Short | Fate::Failed { came: true } => rows.truncate(rows.len() / 2),
            Fate::Failed { came: false } => rows.clear(),
        }
        rows
    }

    /// Asks for windows, those of these slices and those behind them.
    fn ask(&mut self, run: &mut Run, mut next: Vec<NextSlice>, failing: f64) {
        while let Some(slice) = next.pop() {
            let bounds = self.bounds(&slice.position);
            let fate = match self.dice.random_bool(failing) {
                false => Fate::Whole,
                true if self.dice.random_bool(0.3) => Fate::Short,
                true => Fate::Failed { came: self.dice.random() },
            };
            if !matches!(fate, Fate::Failed { .. }) {
                next.extend(self.source.behind(&slice.position, slice.slice).unwrap());
            }
            run.windows.insert(slice.slice.lane(), (slice, bounds, fate));
        }
    }

    /// Puts the rows into the table, lane by lane.
    fn normalize(&mut self, run: &mut Run, from: u32) {
        for (_, bounds, fate) in run.windows.range(from..).map(|(_, window)| window) {
            if self.keeps == Keeps::Holes && self.read.contains(bounds) {
                continue;
            }
            for (_, key, value) in self.rows(*bounds, *fate) {
                run.changed |= self.table.insert(key, value) != Some(value);
            }
        }
    }

    /// The end of a run; whether it is a good one.
    fn end(&mut self, run: &Run) -> bool {
        let mut read = ReadLanes { changed: run.changed, ..ReadLanes::default() };
        let mut complete = true;
        for (lane, (slice, bounds, fate)) in &run.windows {
            let end = match fate {
                Fate::Whole => Some(ChainEnd::complete(StopReason::Empty)),
                Fate::Short => Some(ChainEnd::incomplete(StopReason::Ignored, "")),
                Fate::Failed { came } => {
                    read.broken.insert(*lane);
                    if !came {
                        continue;
                    }
                    None
                }
            };
            complete &= *fate != Fate::Short;
            let date = DateTime::from_timestamp(self.now, 0).unwrap();
            let (window, records) = (&slice.position["window"], self.rows(*bounds, *fate).len());
            let trace = json!({ "window": window, "records": records, "end": end, "date": date });
            read.slices.push((*lane, trace));
        }
        if !read.broken.is_empty() {
            self.broken_off = self.broken_off.max(run.changed.then_some(self.run));
            if let Some(kept) = self.source.goes_on(&self.state, &read).and_then(|g| g.kept) {
                (self.state, self.state_of) = (kept.0, Some(self.run));
            }
            let whole = run.windows.values().filter(|(.., fate)| *fate == Fate::Whole);
            self.read.extend(whole.map(|(_, bounds, _)| *bounds));
            return false;
        }
        let traces: Vec<Value> = read.slices.into_iter().map(|(_, trace)| trace).collect();
        self.state = self.source.advance(&self.state, &traces, complete);
        self.state_of = Some(self.run);
        self.read.clear();
        complete
    }

    async fn run(&mut self, mode: Mode, failing: f64) -> bool {
        self.run += 1;
        let request = PlanRequest {
            run: RunId(self.run),
            now: DateTime::from_timestamp(self.now, 0).unwrap(),
            mode,
            access: Access::Network,
            state: self.state.clone(),
            state_of: self.state_of.map(RunId),
            files: BTreeMap::new(),
            broken_off: self.broken_off.map(RunId),
            unreadable: BTreeMap::new(),
        };
        let source = Arc::clone(&self.source);
        let Plan { slices, restarts, .. } = match self.range.clone() {
            None => source.plan(request).await.unwrap(),
            Some(range) => source.plan_range(request, range).await.unwrap(),
        };
        if slices.is_empty() {
            return true;
        }
        if restarts && self.keeps != Keeps::NoRestart {
            self.state = self.source.restarted(&self.state, RunId(self.run));
        }
        let mut run = Run { windows: BTreeMap::new(), changed: false };
        self.ask(&mut run, slices, failing);
        if failing > 0.0 && self.dice.random_bool(0.1) {
            // It is cancelled, when some windows are in the table.
            let last = self.dice.random_range(0..9);
            run.windows.retain(|lane, _| *lane < last);
            self.normalize(&mut run, 0);
            self.broken_off = self.broken_off.max(run.changed.then_some(self.run));
            return false;
        }
        self.normalize(&mut run, 0);
        let mut good = self.end(&run);
        while run.fails() && self.dice.random_bool(0.3) {
            // It is retried: what follows the failed windows is normalized again.
            let failed =
                run.windows.iter().filter(|(_, (.., fate))| matches!(fate, Fate::Failed { .. }));
            let again: Vec<_> = failed.map(|(lane, (slice, ..))| (*lane, slice.clone())).collect();
            let first = again.iter().map(|(lane, _)| *lane).min().unwrap_or_default();
            self.ask(&mut run, again.into_iter().map(|(_, slice)| slice).collect(), failing / 2.0);
            self.normalize(&mut run, first);
            good = self.end(&run);
        }
        good
    }

    /// What a good run lacks, if it lacks anything.
    fn lacks(&self) -> Option<String> {
        let from = self.range.as_ref().map_or(BEGIN, |range| seconds(&range.from));
        let to = self.range.as_ref().and_then(|range| range.to.as_ref());
        let to = to.map_or(i64::MAX, |to| seconds(to)).min(self.now);
        let within = self.versions.iter().filter(|(at, ..)| (from..to).contains(at));
        let newest: BTreeMap<u64, u64> = within.map(|(_, key, value)| (*key, *value)).collect();
        let lacks: Vec<_> =
            newest.iter().filter(|(key, value)| self.table.get(key) != Some(value)).collect();
        let (seed, run) = (self.seed, self.run);
        (!lacks.is_empty()).then(|| format!("seed {seed}, run {run}: {lacks:?}, {}", self.state))
    }

    /// What a good run of this history lacks, if one does.
    async fn check(mut self) -> Result<(), String> {
        for round in 0..12 {
            let failing = if round < 9 { 0.3 } else { 0.0 };
            let full = self.range.is_none() && failing > 0.0 && self.dice.random_bool(0.15);
            let mode = if full { Mode::Full } else { Mode::Incremental };
            let good = self.run(mode, failing).await;
            if good && let Some(lacks) = self.lacks() {
                return Err(lacks);
            }
            assert!(good || round < 11, "seed {}: no good end: {}", self.seed, self.state);
            self.now += self.dice.random_range(1..2 * DAY);
        }
        Ok(())
    }
}

impl Run {
    fn fails(&self) -> bool {
        self.windows.values().any(|(.., fate)| matches!(fate, Fate::Failed { .. }))
    }
}

async fn faults(histories: std::ops::Range<u64>, keeps: Keeps) -> Vec<String> {
    let mut faults = Vec::new();
    for seed in histories {
        faults.extend(History::new(seed, keeps).check().await.err());
    }
    faults
}

#[tokio::test]
async fn with_windows_that_fail_at_random_no_record_is_lost_or_ends_as_an_older_one() {
    assert_eq!(faults(0..HISTORIES, Keeps::Prefix).await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "takes minutes: for whoever changes what is kept of windows"]
async fn the_same_holds_for_many_more_histories() {
    assert_eq!(faults(0..20_000, Keeps::Prefix).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_model_finds_what_is_lost_by_remembering_windows_and_by_runs_that_are_broken_off() {
    for keeps in [Keeps::Holes, Keeps::NoRestart] {
        assert!(!faults(0..HISTORIES, keeps).await.is_empty(), "{keeps:?}");
    }
}

#[test]
fn of_several_windows_none_that_lacks_something_is_passed_over_though_records_come_in_order() {
    let lines = "data_selector = \"$.items[*]\"\n\
                 incremental = { cursor_path = \"$.at\", type = \"epoch\", start_param = \"a\", end_param = \"b\", \
                 initial_value = \"2023-11-15T00:00:00Z\", step = \"1d\", sorted = \"asc\" }";
    let source = source("https://api.example.com/", lines);
    let cut = ChainEnd::incomplete(StopReason::MaxRecords, "");
    let whole = ChainEnd::complete(StopReason::Empty);
    let trace = |day: i64, end: &ChainEnd| {
        let at = |day: i64| stored(BEGIN + day * DAY);
        let planned = at(9);
        json!({
            "window": { "start": at(day), "end": at(day + 1), "until": at(3), "planned": planned },
            "min": at(day), "max": at(day), "records": 2, "end": end, "date": planned,
        })
    };
    let traces = [trace(0, &cut), trace(1, &whole), trace(2, &whole)];
    let state = source.advance(&Value::Null, &traces, false);
    assert_eq!(state.pointer("/rest/watermark"), None, "{state}");
}

#[tokio::test]
async fn what_a_run_or_a_replay_broke_off_in_is_read_again_from_the_beginning_until_one_ends_well()
{
    let keys = "incremental = { cursor_path = \"$.at\", start_param = \"a\", initial_value = \"2020-01-01\" }";
    let source = Arc::new(source_with("https://api.example.com/", keys, Path::new(""), &[]));
    let request = source.state().unwrap().request;
    let state = json!({ "rest": { "request": request, "watermark": "2026-01-01T00:00:00Z" } });
    let restarted = source.restarted(&state, RunId(5));
    assert_eq!(source.restart_ended(&restarted, RunId(5)), state);
    assert_eq!(source.restart_ended(&restarted, RunId(6)), restarted);
    assert_eq!(source.restarted(&restarted, RunId(6)), restarted);
    assert_eq!(source.restarted(&Value::Null, RunId(5)), Value::Null);
    for (state, broken_off, from) in [
        (&state, Some(5), "2026-01-01"),
        (&restarted, None, "2026-01-01"),
        // It has changed nothing.
        (&restarted, Some(4), "2026-01-01"),
        (&restarted, Some(5), "2020-01-01"),
        (&restarted, Some(7), "2020-01-01"),
    ] {
        let request = PlanRequest {
            run: RunId(9),
            now: DateTime::from_timestamp(BEGIN, 0).unwrap(),
            mode: Mode::Incremental,
            access: Access::Network,
            state: state.clone(),
            state_of: Some(RunId(3)),
            files: BTreeMap::new(),
            broken_off: broken_off.map(RunId),
            unreadable: BTreeMap::new(),
        };
        let plan = Arc::clone(&source).plan(request).await.unwrap();
        let url = source.unsent(&plan.slices[0].position).unwrap().url;
        assert!(url.as_str().contains(&format!("a={from}")), "{url} {broken_off:?}");
        assert_eq!(plan.restarts, from == "2020-01-01", "{broken_off:?}");
    }
}

//! `kill -9` of one of three workers, again and again, in each kind of chain: pages side by side, a cursor with a
//! watermark, windows side by side, and a sweep that marks what is gone. All ends as if nothing had happened, and
//! nobody asks more often than the bucket allows.
//!
//! `KASPARRO_TEST_KILLS=20` tries twenty times as many moments. The chains of parents, exports and logins have tests of
//! their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use futures::StreamExt;
use futures::future::join_all;
use kasparro::domain::run::{Mode, RunId};
use kasparro::sources::Access;
use kasparro::tasks::start_run::{RunRequest, Started};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::process::{Process, kasparro, until};

const DAY: i64 = 86_400;
const WORKERS: usize = 3;
/// Workers that are killed in a run.
const KILLS: usize = 2;
/// The bucket: so many requests at once, and so many a second.
const CAPACITY: f64 = 8.0;
const PER_SECOND: f64 = 20.0;
/// How late a request may come that has its token, on a busy machine.
const LATE: f64 = 0.5;

/// A kind of chain.
struct Kind {
    name: &'static str,
    /// What the job file says besides; `BEGIN` is the time of the first record.
    keys: &'static str,
    answer: fn(&Api, &Query) -> Value,
    /// How many records the first run finds; none: there is none before the one that is disturbed.
    first: i64,
    /// How many there are then.
    then: i64,
    /// Those that are gone then.
    gone: &'static [i64],
    /// About how many requests that takes.
    requests: usize,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "pages side by side",
        keys: "paginator = { type = 'page_number', total_pages = '$.pages', concurrency = 4 }\n[fields]",
        answer: pages,
        first: 0,
        then: 60,
        gone: &[],
        requests: 30,
    },
    Kind {
        name: "a cursor and a watermark",
        keys: "paginator = { type = 'cursor', cursor_path = '$.after', param = 'cursor' }\n\
               incremental = { cursor_path = '$.at', type = 'epoch', start_param = 'from', initial_value = 0 }\n[fields]",
        answer: cursors,
        first: 5,
        then: 45,
        gone: &[],
        requests: 20,
    },
    Kind {
        name: "windows side by side",
        keys: "paginator = { type = 'cursor', cursor_path = '$.after', param = 'cursor' }\n\
               incremental = { cursor_path = '$.at', type = 'epoch', start_param = 'from', end_param = 'to', \
               initial_value = 'BEGIN', step = '1d', concurrency = 3 }\n[fields]",
        answer: cursors,
        first: 0,
        then: 50,
        gone: &[],
        requests: 20,
    },
    Kind {
        name: "a sweep that marks what is gone",
        keys: "paginator = { type = 'page_number' }\n[missing]\naction = 'tombstone'\nmax_ratio = 0.5\n[fields]",
        answer: pages,
        first: 40,
        then: 44,
        gone: &[3, 17, 18, 39],
        requests: 20,
    },
];

type Query = HashMap<String, String>;

#[derive(Default)]
struct Api {
    begin: i64,
    records: i64,
    gone: &'static [i64],
    asked: Vec<Instant>,
}

impl Api {
    /// Those of the numbers whose time is within these bounds: five a day.
    fn found(&self, query: &Query) -> Vec<Value> {
        let bound = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
        let all = (0..self.records).filter(|number| !self.gone.contains(number));
        let all = all.map(|number| (number, self.begin + number * DAY / 5));
        let within = all.filter(|(_, at)| bound("from").is_none_or(|from| from <= *at));
        let within = within.filter(|(_, at)| bound("to").is_none_or(|to| *at < to));
        within.map(|(id, at)| json!({ "id": id, "name": format!("n{id}"), "at": at })).collect()
    }
}

/// Numbered pages of two, and how many there are.
fn pages(api: &Api, query: &Query) -> Value {
    let found = api.found(query);
    let page: usize = query["page"].parse().expect("a number");
    let items: Vec<_> = found.iter().skip((page - 1) * 2).take(2).collect();
    json!({ "items": items, "pages": found.len().div_ceil(2) })
}

/// Pages of three, each of which says where the next one begins.
fn cursors(api: &Api, query: &Query) -> Value {
    let found = api.found(query);
    let at: usize = query.get("cursor").map_or(0, |cursor| cursor[1..].parse().expect("a cursor"));
    let items: Vec<_> = found.iter().skip(at).take(3).collect();
    let after = (at + 3 < found.len()).then(|| format!("c{}", at + 3));
    json!({ "items": items, "after": after })
}

struct Chain<'a> {
    kind: &'a Kind,
    server: MockServer,
    api: Arc<Mutex<Api>>,
    app: TestApp,
}

impl<'a> Chain<'a> {
    async fn start(kind: &'a Kind, begin: i64) -> Self {
        let (server, app) = (MockServer::start().await, TestApp::empty().await);
        let records = if kind.first > 0 { kind.first } else { kind.then };
        let api = Arc::new(Mutex::new(Api { begin, records, ..Api::default() }));
        let (held, answer) = (Arc::clone(&api), kind.answer);
        let answer = move |request: &Request| {
            let mut api = held.lock().unwrap();
            api.asked.push(Instant::now());
            let query = request.url.query_pairs().into_owned().collect();
            let delay = Duration::from_millis(20);
            ResponseTemplate::new(200).set_body_json(answer(&api, &query)).set_delay(delay)
        };
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let time = DateTime::from_timestamp(begin, 0).expect("a time");
        let keys = kind.keys.replace("BEGIN", &time.to_rfc3339_opts(SecondsFormat::Secs, true));
        let per = CAPACITY / PER_SECOND * 1000.0;
        app.write(
            "items.toml",
            format!(
                "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = '{}'\ndata_selector = '$.items'\n\
                 rate_limit = {{ key = 'items', requests = {CAPACITY}, per = '{per}ms' }}\n{keys}\nname = {{ required = true }}\n",
                server.uri()
            ),
        );
        Self { kind, server, api, app }
    }

    async fn run(&self) {
        self.app.run_as("items", &online()).await;
    }

    /// From here on the API has more, and lacks something.
    fn change(&self) {
        let mut api = self.api.lock().unwrap();
        let (records, gone) = (self.kind.then, self.kind.gone);
        *api = Api { records, gone, begin: api.begin, asked: Vec::new() };
    }

    /// A run whose workers are killed at moments that the seed says.
    async fn disturbed(&self, seed: u64) {
        let mut dice = StdRng::seed_from_u64(seed);
        let open = "select count(*) from etl_runs where finished_at is null";
        let Started::New(RunId(_)) = self.app.start_as("items", &online()).await else {
            panic!("busy")
        };
        let start = || Process::start(kasparro(&self.app, &["worker"]));
        let mut workers: Vec<_> = (0..WORKERS).map(|_| start()).collect();
        let mut moments: Vec<_> =
            (0..KILLS).map(|_| dice.random_range(1..self.kind.requests)).collect();
        moments.sort_unstable();
        for moment in moments {
            until("some were asked for", async || {
                self.api.lock().unwrap().asked.len() >= moment || self.app.number(open).await == 0
            })
            .await;
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..40))).await;
            workers.swap_remove(dice.random_range(0..WORKERS)).kill();
            workers.push(start());
        }
        until("the run has ended", async || self.app.number(open).await == 0).await;
        self.bucket_held(seed);
    }

    /// No interval has more requests than the bucket has tokens for it, whichever worker took them.
    fn bucket_held(&self, seed: u64) {
        let api = self.api.lock().unwrap();
        for (first, begin) in api.asked.iter().enumerate() {
            for (last, end) in api.asked.iter().enumerate().skip(first) {
                let (asked, seconds) = ((last - first + 1) as f64, (*end - *begin).as_secs_f64());
                let most = CAPACITY + PER_SECOND * (seconds + LATE);
                let kind = self.kind.name;
                assert!(asked <= most, "{kind} {seed}: {asked} requests in {seconds} s");
            }
        }
    }

    /// What all runs leave, and what another one finds to do.
    async fn left(self) -> Vec<String> {
        // Of a list of several pages two runs in a row have to lack a record.
        self.run().await;
        let mut left = Vec::new();
        for query in [
            "select concat_ws(' ', external_id, name, encode(content_hash, 'hex'), raw_row, last_run_id,
                deleted_at is not null) from unified_records order by external_id::int",
            "select concat_ws(' ', status, failed_tasks, slices, rows_read, inserted, updated, unchanged, quarantined,
                (select string_agg(stop_reason || complete, ' ' order by slice) from run_chains where run_id = r.id))
             from etl_runs r order by id",
            "select concat_ws(' ', (select count(*) from seen_keys), (select count(*) from missing_records),
                (select count(*) from run_pages))",
        ] {
            left.extend(self.app.texts(query).await);
        }
        drop(self.server);
        self.app.database.close().await;
        left
    }
}

fn online() -> RunRequest<'static> {
    RunRequest { access: Access::Network, ..request(Mode::Incremental) }
}

/// What is left of a chain whose second run, or only one, is disturbed by this seed; by none: it is not.
async fn left(kind: &Kind, begin: i64, seed: Option<u64>) -> Vec<String> {
    let chain = Chain::start(kind, begin).await;
    if kind.first > 0 {
        chain.run().await;
        chain.change();
    }
    match seed {
        Some(seed) => chain.disturbed(seed).await,
        None => chain.run().await,
    }
    chain.left().await
}

#[tokio::test]
async fn whatever_chain_workers_are_killed_in_the_table_is_that_of_an_undisturbed_run() {
    let seeds = std::env::var("KASPARRO_TEST_KILLS").ok();
    let seeds = seeds.map_or(1, |rounds| rounds.parse::<u64>().expect("a number of rounds"));
    // Ten days, and half of one, so that none begins while the test runs.
    let begin = Utc::now().timestamp() - 10 * DAY - DAY / 2;
    join_all(KINDS.iter().map(async |kind| {
        let undisturbed = left(kind, begin, None).await;
        assert!(undisturbed.len() as i64 > kind.then, "{} {undisturbed:#?}", kind.name);
        let marked = undisturbed.iter().filter(|record| record.ends_with(" t")).count();
        assert_eq!(marked, kind.gone.len(), "{} {undisturbed:#?}", kind.name);
        let disturbed = futures::stream::iter(1..=seeds)
            .map(async |seed| (seed, left(kind, begin, Some(seed)).await));
        let disturbed: Vec<_> = disturbed.buffer_unordered(2).collect().await;
        for (seed, disturbed) in disturbed {
            assert_eq!(disturbed, undisturbed, "{} {seed}", kind.name);
        }
    }))
    .await;
}

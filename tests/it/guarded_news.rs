//! Fields that every record had and that the news of an API have lost altogether: good values stay, whatever
//! chains the news came in, and what was kept out is asked for again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, SecondsFormat, Utc};
use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Success};
use kasparro::sources::{Access, AskedRange};
use kasparro::tasks::start_run::RunRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::replay::{foretold_and_redriven, redriven};

const DAY: i64 = 86_400;
/// How many days before now the first begins, and half a day: so none begins while a test runs.
const DAYS: i64 = 9;
/// Windows of a day, those of the last four once more in each run.
const WINDOWS: &str = ", end_param = \"to\", step = \"1d\", lookback = \"4d\"";
const SIDE_BY_SIDE: &str =
    ", end_param = \"to\", step = \"1d\", lookback = \"4d\", concurrency = 3";
const BRANDS: &str = "select concat_ws(' ', external_id, coalesce(attributes ->> 'brand', '-'),
        coalesce(attributes ->> 'city', '-'), case when deleted_at is not null then 'deleted' end)
    from unified_records where source = 'items' order by length(external_id), external_id";
const WATERMARK: &str =
    "select coalesce(state #>> '{rest,watermark}', '-') from ingestion_checkpoints
    where source = 'items'";

/// What the API holds and does.
#[derive(Default)]
struct Api {
    begin: i64,
    records: BTreeMap<i64, Value>,
    /// The parents whose children are refused.
    refused: Vec<i64>,
    /// What was asked for: the query, or the parent.
    asked: Vec<String>,
}

/// An API of records that have changed since a second, two on a page, or of those of a parent; and a source of it.
struct Items {
    server: MockServer,
    api: Arc<Mutex<Api>>,
    app: TestApp,
    /// The second at which the first day begins.
    begin: i64,
}

impl Items {
    async fn start() -> Self {
        let (server, app) = (MockServer::start().await, TestApp::empty().await);
        let begin = Utc::now().timestamp() - DAYS * DAY - DAY / 2;
        let api = Arc::new(Mutex::new(Api { begin, ..Api::default() }));
        let held = Arc::clone(&api);
        let answer = move |request: &Request| held.lock().unwrap().answer(request);
        Mock::given(any()).respond_with(answer).mount(&server).await;
        Self { server, api, app, begin }
    }

    /// Records that have changed since the last run; `more` stands in `incremental`, `end` behind all.
    async fn incremental(more: &str, end: &str) -> Self {
        let items = Self::start().await;
        items.job(more, end);
        items
    }

    fn job(&self, more: &str, end: &str) {
        let text = format!(
            "incremental = {{ cursor_path = \"$.at\", type = \"epoch\", start_param = \"from\", \
             initial_value = \"{}\"{more} }}",
            self.day(0)
        );
        self.write(&text, end);
    }

    fn day(&self, day: i64) -> String {
        let begin = DateTime::from_timestamp(self.begin + day * DAY, 0);
        begin.expect("a time").to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// Records of each parent, which is a record of a file.
    async fn children(end: &str) -> Self {
        let items = Self::start().await;
        items.app.write(
            "parents.toml",
            "kind = \"jsonl\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"parents.jsonl\"]\n[jsonl]\n[fields]\n\
             number = { from = \"$.id\", type = \"integer\" }\ntitle = {}\n",
        );
        let for_each = "path = \"${parent.number}\"\n\
             for_each = { source = \"parents\", fields = [\"number\"], concurrency = 1 }";
        items.write(for_each, end);
        items
    }

    fn write(&self, rest_api: &str, end: &str) {
        let text = format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n{rest_api}\n\
             paginator = {{ type = \"page_number\" }}\nretry = {{ max_attempts = 1 }}\ndeleted = \"$[?@.gone == true]\"\n\
             [fields]\nbrand = {{}}\ncity = {{ from = \"$.at_home.city\" }}\n{end}",
            self.server.uri()
        );
        self.app.write("items.toml", text);
    }

    /// The parents of these numbers and titles.
    async fn parents(&self, of: &[(i64, &str)]) {
        let line = |(id, title): &(i64, &str)| format!("{}\n", json!({ "id": id, "title": title }));
        self.app.write("parents.jsonl", of.iter().map(line).collect::<String>());
        self.app.run("parents").await;
    }

    /// Puts records of a day, and of the parent of the same number.
    fn put(&self, day: i64, ids: &[i64], fields: &Value) {
        let mut api = self.api.lock().unwrap();
        for id in ids {
            let mut record = json!({ "id": id, "at": self.begin + day * DAY + id });
            let fields = fields.as_object().expect("an object").clone();
            record.as_object_mut().expect("an object").extend(fields);
            api.records.insert(*id, record);
        }
    }

    /// From now on the API shows all its records with these fields, whenever they were changed.
    fn show(&self, fields: &Value) {
        let mut api = self.api.lock().unwrap();
        for (id, record) in &mut api.records {
            let mut shown = json!({ "id": id, "at": record["at"] });
            shown.as_object_mut().expect("an object").extend(fields.as_object().unwrap().clone());
            *record = shown;
        }
    }

    async fn run(&self) -> Run {
        self.run_as(request(Mode::Incremental)).await
    }

    async fn run_as(&self, request: RunRequest<'_>) -> Run {
        let online = RunRequest { access: Access::Network, ..request };
        self.app.run_as("items", &online).await
    }

    async fn dry_run(&self) -> Run {
        self.run_as(RunRequest { dry_run: true, ..request(Mode::Incremental) }).await
    }

    async fn replay(&self) -> Run {
        self.app.run_mode("items", Mode::Replay).await
    }

    async fn brands(&self) -> Vec<String> {
        self.app.texts(BRANDS).await
    }

    async fn watermark(&self) -> String {
        self.app.texts(WATERMARK).await.pop().unwrap_or_default()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.api.lock().unwrap().asked)
    }

    async fn end(self) {
        drop(self.server);
        self.app.database.close().await;
    }
}

impl Api {
    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        let query: HashMap<String, String> = request.url.query_pairs().into_owned().collect();
        let number =
            |name: &str| query.get(name).map(|text| text.parse::<i64>().expect("a number"));
        let parent: Option<i64> = request.url.path()[1..].parse().ok();
        let page = number("page").expect("a page");
        self.asked.push(match parent {
            Some(parent) => parent.to_string(),
            None => query["from"].clone(),
        });
        if parent.is_some_and(|parent| self.refused.contains(&parent)) {
            return ResponseTemplate::new(403);
        }
        let fits = |record: &&Value| {
            let at = record["at"].as_i64().expect("a second");
            let is_news = number("from").is_none_or(|from| from <= at);
            is_news
                && number("to").is_none_or(|to| at < to)
                && parent.is_none_or(|parent| (at - self.begin) / DAY == parent)
        };
        let mut records: Vec<_> = self.records.values().filter(fits).collect();
        records.sort_by_key(|record| record["at"].as_i64());
        let page = records.into_iter().skip((page as usize - 1) * 2).take(2);
        ResponseTemplate::new(200).set_body_json(page.collect::<Vec<_>>())
    }
}

fn good() -> Value {
    json!({ "brand": "x", "at_home": { "city": "c" } })
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

/// What all say that keep news out.
fn kept_out(run: &Run, rows: i64) {
    assert_eq!((run.status, run.counters.quarantined), (Degraded, rows), "{run:?}");
    assert!(note(run).contains("the next run asks for them again"), "{run:?}");
}

#[tokio::test]
async fn news_that_have_lost_a_field_altogether_are_kept_out_and_asked_for_again_until_it_is_back()
{
    for (lost, which, windows) in [
        (json!({ "label": "y", "at_home": { "city": "d" } }), "`brand`", ""),
        (json!({ "brand": "y", "at_home": { "town": "d" } }), "`$.at_home.city`", ""),
        (json!({ "label": "y", "at_home": { "city": "d" } }), "`brand`", WINDOWS),
        (json!({ "brand": "y", "at_home": null }), "`$.at_home.city`", SIDE_BY_SIDE),
    ] {
        let items = Items::incremental(windows, "").await;
        items.put(0, &[1, 2, 3], &good());
        items.put(2, &[4, 5], &good());
        let run = items.run().await;
        assert_eq!((run.status, run.counters.inserted), (Success, 5), "{run:?}");
        let before = items.watermark().await;
        // Two are changed within two windows, four are new.
        items.put(7, &[2, 6, 7, 8], &good());
        items.put(8, &[5, 9], &good());
        items.show(&lost);
        let foretold = items.dry_run().await;
        assert_eq!(foretold.status, Degraded, "{foretold:?}");
        items.asked();
        let mut asked = Vec::new();
        for _ in 0..2 {
            let run = items.run().await;
            kept_out(&run, run.counters.rows_read);
            assert!(run.counters.rows_read >= 6, "{run:?}");
            assert!(note(&run).contains(which), "{run:?}");
            let good = ["1 x c", "2 x c", "3 x c", "4 x c", "5 x c"];
            assert_eq!(items.brands().await, good, "{which} {windows}");
            assert_eq!(items.watermark().await, before, "{which} {windows}");
            asked.push(items.asked().into_iter().min());
        }
        assert_eq!(asked[0], asked[1], "{which} {windows}");
        // The API is mended, which changes no record.
        items.show(&json!({ "brand": "z", "at_home": { "city": "e" } }));
        let run = items.run().await;
        assert!(run.status.is_success(), "{which} {windows} {run:?}");
        let changed = ["2 z e", "5 z e", "6 z e"].map(str::to_owned);
        let now = items.brands().await;
        assert!(changed.iter().all(|record| now.contains(record)), "{which} {windows} {now:?}");
        assert_eq!(now[0], "1 x c", "{which} {windows}");
        items.end().await;
    }
}

#[tokio::test]
async fn one_record_that_has_the_field_is_enough_in_whichever_window_it_comes() {
    let (lost, kept) = (json!({ "at_home": { "city": "d" } }), good());
    for (first, second) in [(&lost, &kept), (&kept, &lost)] {
        for windows in ["", SIDE_BY_SIDE] {
            let items = Items::incremental(windows, "").await;
            items.put(0, &[1, 2, 3], &kept);
            assert_eq!(items.run().await.status, Success);
            items.put(7, &[4, 5, 6], first);
            items.put(8, &[7, 8, 9], second);
            let run = items.run().await;
            assert!(run.status.is_success(), "{windows} {run:?}");
            assert_eq!(run.counters.inserted, 6, "{windows} {run:?}");
            // From now on records may lack it.
            items.put(9, &[10, 11], &lost);
            let run = items.run().await;
            assert!(run.status.is_success(), "{windows} {run:?}");
            assert_eq!(run.counters.inserted, 2, "{windows} {run:?}");
            items.end().await;
        }
    }
}

/// A start is asked for as it is, so the last record comes again in each run, as it was.
#[tokio::test]
async fn what_comes_again_at_the_watermark_hides_no_news_that_have_lost_a_field() {
    for (lost, which) in [
        (json!({ "at_home": { "city": "d" } }), "`brand`"),
        (json!({ "brand": "y", "at_home": { "town": "d" } }), "`$.at_home.city`"),
    ] {
        let items = Items::incremental("", "").await;
        items.put(0, &[1, 2, 3, 4, 5], &good());
        assert_eq!(items.run().await.status, Success);
        let before = items.watermark().await;
        items.put(2, &[6, 7, 8, 9, 10, 11], &lost);
        let foretold = items.dry_run().await;
        assert_eq!((foretold.status, foretold.counters.quarantined), (Degraded, 6), "{foretold:?}");
        for _ in 0..2 {
            kept_out(&items.run().await, 6);
            assert_eq!(items.watermark().await, before, "{which}");
        }
        items.put(2, &[6, 7, 8, 9, 10, 11], &good());
        let run = items.run().await;
        assert!(run.status.is_success() && run.counters.inserted == 6, "{which} {run:?}");
        // A few may lack it by accident, and end no guard by what was there before.
        items.put(3, &[12], &lost);
        let run = items.run().await;
        assert!(run.status.is_success() && run.counters.inserted == 1, "{which} {run:?}");
        items.put(4, &[13, 14, 15, 16, 17, 18], &lost);
        kept_out(&items.run().await, 7);
        items.put(4, &[13, 14, 15, 16, 17, 18], &good());
        let run = items.run().await;
        assert!(run.status.is_success() && run.counters.inserted == 6, "{which} {run:?}");
        // Nothing new is no loss.
        let run = items.run().await;
        assert!(run.status.is_success() && run.counters.quarantined == 0, "{run:?}");
        items.end().await;
    }
}

/// What a field is put together of is known as a whole: hardly any record has its first part, and all have a value.
#[tokio::test]
async fn a_part_that_most_records_lack_keeps_no_news_out_where_others_make_the_value() {
    let parts = "name = { concat = [\"nick\", \"family\"], separator = \" \" }\n\
                 whole = { concat = [\"$.full.first\", \"$.full.last\"], separator = \" \" }\n";
    let items = Items::incremental("", parts).await;
    let with = |more: Value| {
        let mut record = good();
        let more = more.as_object().expect("an object").clone();
        record.as_object_mut().expect("an object").extend(more);
        record
    };
    let full = with(json!({ "nick": "n", "family": "f", "full": { "first": "a", "last": "b" } }));
    let most = with(json!({ "family": "f", "full": { "last": "b" } }));
    items.put(0, &[1], &full);
    items.put(0, &(2..20).collect::<Vec<_>>(), &most);
    assert_eq!(items.run().await.status, Success);
    items.put(2, &(20..40).collect::<Vec<_>>(), &most);
    let run = items.run().await;
    assert_eq!((run.status.is_success(), run.counters.inserted), (true, 20), "{run:?}");
    // What is new has lost the part that every record had; the one at the watermark, which comes again, has it.
    items.put(4, &(40..60).collect::<Vec<_>>(), &good());
    kept_out(&items.run().await, 20);
    items.end().await;
}

/// A single record that lacks what all others had, at the watermark, would keep the source degraded for ever.
#[tokio::test]
async fn a_few_news_may_lack_what_every_record_had_until_so_many_do_that_it_is_no_accident() {
    let items = Items::incremental("", "").await;
    items.put(0, &[1, 2, 3, 4, 5], &good());
    items.run().await;
    let lost = json!({ "at_home": { "city": "d" } });
    items.put(0, &[5], &lost);
    items.put(1, &[6], &lost);
    let foretold = items.dry_run().await;
    assert!(foretold.status.is_success() && foretold.counters.inserted == 1, "{foretold:?}");
    for _ in 0..6 {
        let run = items.run().await;
        assert!(run.status.is_success() && run.counters.quarantined == 0, "{run:?}");
    }
    for id in [7, 8] {
        items.put(id, &[id], &lost);
        let run = items.run().await;
        assert!(run.status.is_success() && run.counters.inserted == 1, "{run:?}");
    }
    // The fifth is one too many: it says so, and what comes now is kept out.
    items.put(9, &[9], &lost);
    let run = items.run().await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 1), "{run:?}");
    assert!(note(&run).contains("none of 2 records has a value of `brand`"), "{run:?}");
    items.put(9, &[10], &lost);
    kept_out(&items.run().await, 2);
    items.put(9, &[10], &good());
    let run = items.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(items.brands().await[7..], ["8 - d", "9 - d", "10 x c"]);
    items.end().await;
}

#[tokio::test]
async fn a_replay_loads_the_few_that_a_run_has_loaded_and_a_value_ends_the_waiting() {
    let items = Items::incremental("", "").await;
    items.put(0, &[1, 2, 3, 4, 5], &good());
    items.run().await;
    let lost = json!({ "at_home": { "city": "d" } });
    items.put(0, &[5], &lost);
    items.put(1, &[6], &lost);
    items.run().await;
    let loaded = items.brands().await;
    assert_eq!(loaded[4..], ["5 - d", "6 - d"]);
    let replayed = items.replay().await;
    assert_eq!(replayed.counters.quarantined, 0, "{replayed:?}");
    assert_eq!(items.brands().await, loaded);
    items.put(2, &[7], &good());
    assert!(items.run().await.status.is_success());
    // From now on records may lack it: these are no loss, although the last one is shown without it.
    items.put(2, &[7], &lost);
    items.put(3, &[8, 9, 10], &lost);
    let run = items.run().await;
    assert!(run.status.is_success() && run.counters.inserted == 3, "{run:?}");
    items.end().await;
}

#[tokio::test]
async fn few_news_without_a_field_that_some_records_lack_are_ordinary() {
    let items = Items::incremental("", "").await;
    items.put(0, &[1, 2, 3], &good());
    items.put(0, &[4], &json!({}));
    assert_eq!(items.run().await.status, Success);
    items.put(2, &[5, 6, 7], &json!({}));
    let run = items.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(run.counters.inserted, 3, "{run:?}");
    // Nothing new is no loss either.
    items.put(3, &[8], &good());
    items.run().await;
    let run = items.run().await;
    assert!(run.status.is_success() && run.counters.quarantined == 0, "{run:?}");
    items.end().await;
}

#[tokio::test]
async fn evolve_loads_what_was_kept_out() {
    let items = Items::incremental("", "").await;
    items.put(0, &[1, 2, 3], &good());
    items.run().await;
    items.put(1, &[1, 4, 5, 6], &good());
    items.show(&json!({ "at_home": { "city": "d" } }));
    kept_out(&items.run().await, 5);
    items.job("", "[contract]\nmissing_field = \"evolve\"\n");
    let run = items.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(items.brands().await, ["1 - d", "2 x c", "3 - d", "4 - d", "5 - d", "6 - d"]);
    items.end().await;
}

/// Of each record what the API said of it last, in whatever run.
const SAID: &str = "select distinct on (length(id), id) concat_ws(' ', id, coalesce(brand, '-'), coalesce(city, '-'))
    from run_slices as s
    join raw_api_pages as p on p.source = s.source and s.raw_ref = 'page/' || encode(p.page_hash, 'hex')
    join raw_api_data as d on d.source = p.source and d.body_hash = p.body_hash
    cross join json_array_elements(d.body) with ordinality as e (record, place)
    cross join lateral (values (e.record ->> 'id', e.record ->> 'brand', e.record #>> '{at_home,city}'))
        as r (id, brand, city)
    where s.source = 'items'
    order by length(id), id, s.run_id desc, s.slice desc, e.place desc";
const OPEN: &str = "select count(*) from quarantined_rows where status in ('open', 'redriven')";

#[tokio::test]
async fn news_that_were_kept_out_put_no_older_value_over_a_newer_one_when_they_are_redriven() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let windows = ["", WINDOWS, SIDE_BY_SIDE][random.random_range(0..3)];
        let items = Items::incremental(windows, "").await;
        items.put(0, &[1, 2, 3, 4], &good());
        items.run().await;
        let mut lost = false;
        for step in 1..random.random_range(4..9) {
            let ids: Vec<i64> = (1..9).filter(|_| random.random_bool(0.4)).collect();
            items.put(step, &ids, &good());
            let city = format!("c{step}");
            if random.random_bool(0.5) {
                lost = !lost;
            }
            match lost {
                true => items.show(&json!({ "at_home": { "city": city } })),
                false => {
                    items.show(&json!({ "brand": format!("b{step}"), "at_home": { "city": city } }))
                }
            }
            let mode = if random.random_bool(0.2) { Mode::Full } else { Mode::Incremental };
            items.run_as(request(mode)).await;
        }
        if items.app.number(OPEN).await > 0 {
            let before = items.brands().await;
            let run = redriven(&items.app, "items", None).await;
            assert_eq!(items.brands().await, before, "seed {seed} {run:?}");
            items.job(windows, "[contract]\nmissing_field = \"evolve\"\n");
            let run = foretold_and_redriven(&items.app, "items").await;
            assert_eq!(items.brands().await, items.app.texts(SAID).await, "seed {seed} {run:?}");
        }
        items.end().await;
    }
}

#[tokio::test]
async fn records_that_say_that_they_are_deleted_need_no_other_field() {
    let items = Items::incremental("", "").await;
    items.put(0, &[1, 2, 3], &good());
    items.run().await;
    // The one at the watermark comes again.
    for id in [2, 3] {
        items.put(id, &[id], &json!({ "gone": true }));
        let run = items.run().await;
        assert!(run.status.is_success() && run.counters.quarantined == 0, "{run:?}");
    }
    let deleted = "select external_id from unified_records where deleted_at is not null order by 1";
    assert_eq!(items.app.texts(deleted).await, ["2", "3"]);
    // They end no guard.
    items.put(4, &[4, 5], &good());
    items.run().await;
    // Those that are deleted are no records without the field.
    items.put(5, &[6, 7, 8], &json!({}));
    items.put(5, &[1, 2, 3], &json!({ "gone": true }));
    items.put(4, &[4, 5], &json!({}));
    let foretold = items.dry_run().await;
    assert!(foretold.status.is_success(), "{foretold:?}");
    items.put(6, &[9], &json!({}));
    kept_out(&items.run().await, 5);
    items.end().await;
}

#[tokio::test]
async fn a_backfill_that_lacks_a_field_begins_anew_and_leaves_good_values() {
    let items = Items::incremental(WINDOWS, "").await;
    items.put(0, &[1, 2, 3, 5, 6], &good());
    items.put(2, &[4], &good());
    items.run().await;
    let watermark = items.watermark().await;
    items.show(&json!({ "at_home": { "city": "d" } }));
    let [from, to] = [items.day(0), items.day(1)];
    let range = AskedRange { from: &from, to: Some(&to) };
    let backfill = RunRequest { range: Some(range), ..request(Mode::Incremental) };
    for _ in 0..2 {
        items.asked();
        kept_out(&items.run_as(backfill.clone()).await, 5);
        assert!(!items.asked().is_empty());
    }
    assert_eq!(items.watermark().await, watermark);
    assert_eq!(items.brands().await, ["1 x c", "2 x c", "3 x c", "4 x c", "5 x c", "6 x c"]);
    items.end().await;
}

#[tokio::test]
async fn a_replay_of_all_runs_keeps_out_what_was_kept_out() {
    let items = Items::incremental("", "").await;
    items.put(0, &[1, 2, 3], &good());
    items.run().await;
    items.put(1, &[1, 2, 5, 6], &good());
    items.show(&json!({ "at_home": { "city": "d" } }));
    kept_out(&items.run().await, 5);
    items.put(2, &[4], &json!({ "brand": "z" }));
    let replayed = items.replay().await;
    assert_eq!(replayed.counters.quarantined, 5, "{replayed:?}");
    assert_eq!(items.brands().await, ["1 x c", "2 x c", "3 x c"]);
    let dry = RunRequest { dry_run: true, ..request(Mode::Replay) };
    assert_eq!(items.app.run_as("items", &dry).await.counters.quarantined, 5);
    // With one that has it they were all loaded, and so they are when they are replayed.
    let run = items.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!((run.counters.inserted, run.counters.quarantined), (3, 0), "{run:?}");
    let now = ["1 - d", "2 - d", "3 - d", "4 z -", "5 - d", "6 - d"];
    assert_eq!(items.brands().await, now);
    items.replay().await;
    assert_eq!(items.brands().await, now);
    items.end().await;
}

#[tokio::test]
async fn children_that_have_lost_a_field_altogether_are_kept_out_and_their_parents_asked_for_again()
{
    let items = Items::children("").await;
    items.parents(&[(1, "a"), (2, "a"), (3, "a"), (4, "a")]).await;
    items.put(1, &[10, 11, 12], &good());
    items.put(2, &[20], &good());
    let run = items.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 4), "{run:?}");
    items.parents(&[(1, "b"), (2, "b"), (3, "b"), (4, "a")]).await;
    items.put(3, &[30, 31], &json!({}));
    items.show(&json!({ "label": "y" }));
    let good = ["10 x c", "11 x c", "12 x c", "20 x c"];
    // The second has none any more.
    items.api.lock().unwrap().records.remove(&20);
    for _ in 0..2 {
        items.asked();
        kept_out(&items.run().await, 5);
        assert_eq!(items.brands().await, good);
        let asked = items.asked();
        assert!(asked.contains(&"1".to_owned()) && asked.contains(&"3".to_owned()), "{asked:?}");
    }
    items.put(1, &[10, 11, 12], &json!({ "brand": "z", "at_home": { "city": "d" } }));
    items.put(3, &[30, 31], &json!({ "brand": "z", "at_home": { "city": "d" } }));
    let run = items.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(items.brands().await, ["10 z d", "11 z d", "12 z d", "20 x c", "30 z d", "31 z d"]);
    items.asked();
    assert_eq!(items.run().await.status, Success);
    assert_eq!(items.asked(), [""; 0]);
    items.end().await;
}

#[tokio::test]
async fn a_parent_that_fails_does_not_end_the_wait_for_a_field_of_the_children_of_others() {
    let items = Items::children("").await;
    items.parents(&[(1, "a"), (2, "a"), (3, "a")]).await;
    items.put(1, &[10, 11, 12], &good());
    items.run().await;
    items.parents(&[(1, "b"), (2, "b"), (3, "b")]).await;
    items.put(1, &[10, 11, 12], &json!({ "at_home": { "city": "d" } }));
    items.put(3, &[30], &good());
    items.api.lock().unwrap().refused = vec![2];
    let run = items.run().await;
    assert_eq!((run.status, run.counters.quarantined), (Degraded, 0), "{run:?}");
    assert_eq!(items.brands().await, ["10 - d", "11 - d", "12 - d", "30 x c"]);
    items.end().await;
}

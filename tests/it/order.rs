//! Promise 4: whatever the number of workers and the order in which chunks finish, the table, where
//! its content came from, the rows set aside and the counters are those of reading row by row.

use std::collections::BTreeMap;

use kasparro::domain::counters::Counters;
use kasparro::domain::run::{Mode, RunId};
use kasparro::tasks::start_run::Started;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::app::TestApp;
use crate::row_by_row::{Files, Keys, Model, job};
use crate::shuffle::Shuffle;

/// Cases of each test, a source each.
const CASES: u64 = 12;
/// Runs of each test that must be what it is about; some are too small to be.
const ENOUGH: i64 = CASES as i64 / 2;
/// Makes the first case of each test one that failed.
const SEED: &str = "KASPARRO_TEST_SEED";

fn first_seed() -> u64 {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().unwrap_or_else(|_| panic!("{SEED} is a number, not {seed:?}")),
        Err(_) => u64::from(rand::random::<u32>()),
    }
}

/// One source and its runs.
struct Case<'a> {
    app: &'a TestApp,
    seed: u64,
    source: String,
    dice: StdRng,
    files: Files,
    model: Model,
}

impl<'a> Case<'a> {
    fn new(app: &'a TestApp, keys: Keys, seed: u64) -> Self {
        let source = format!("source_{seed}");
        let mut dice = StdRng::seed_from_u64(seed);
        let files = Files::new(keys, &mut dice);
        // Chunks that are read one by one, or several of them, or files, together.
        let chunk_size = match dice.random() {
            true => dice.random_range(30..200),
            false => dice.random_range(200..4_000),
        };
        app.write(&format!("{source}.toml"), job(&source, &files, chunk_size));
        Self { app, seed, source, dice, files, model: Model::default() }
    }

    /// Runs the source over other files and compares.
    async fn run(&mut self, in_order: bool) {
        self.files.change(&mut self.dice);
        for file in &self.files.files {
            self.app.write(&format!("{}/{}", self.source, file.name), file.text());
        }
        let Started::New(run) = self.app.start(&self.source, Mode::Incremental).await else {
            panic!("{} has an active run", self.source);
        };
        let shuffle = Shuffle::new(self.app, self.dice.random_range(1..=4)).await;
        if in_order {
            shuffle.one().await;
            self.take_for_ordered(run).await;
        }
        shuffle.all(&mut self.dice).await;
        self.compare(run).await;
    }

    /// What planning notes of more repeated keys than a test could write in time.
    async fn take_for_ordered(&self, run: RunId) {
        let note = "update etl_runs set key_order = 'ordered', from_empty = false where id = $1";
        sqlx::query(note).bind(run.0).execute(&self.app.pool).await.unwrap();
    }

    async fn compare(&mut self, run: RunId) {
        let raw = self.raw_of(run).await;
        let expected = self.model.read(&mut self.files, run.0, &raw);
        let what = format!("{SEED}={} run {run}", self.seed);
        let ended = self.app.get(run).await;
        assert!(ended.status.is_success(), "{what}: {ended:?}");
        let records =
            "select format('%s %s %s of %s %s by %s %s', external_id, name, price, raw_ref,
                raw_row, first_run_id, last_run_id)
             from unified_records where source = $1 order by external_id collate \"C\"";
        assert_same(&self.texts(records).await, &self.model.records(), &what);
        let set_aside = "select raw_ref || ' ' || raw_row from quarantined_rows where source = $1
                         group by raw_ref, raw_row
                         order by (raw_ref || ' ' || raw_row) collate \"C\"";
        assert_same(&self.texts(set_aside).await, &self.model.set_aside(), &what);
        let Counters { slices, bytes, .. } = ended.counters;
        assert_eq!(ended.counters, Counters { slices, bytes, ..expected }, "{what}");
        self.compare_repeated(ended.stop_reason.as_deref().unwrap_or_default(), &what);
    }

    /// The keys that the note counts are those of which rows of one file differ, or no more than these.
    fn compare_repeated(&self, note: &str, what: &str) {
        let (before, _) = note.split_once(" in several rows that differ").unwrap_or_default();
        let counted = before.rsplit_once("; ").map_or(before, |(_, counted)| counted);
        let number = counted.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match counted.starts_with("at least") || counted.is_empty() {
            true => assert!(number <= self.model.repeated, "{what}: {note}"),
            false => assert_eq!(number, self.model.repeated, "{what}: {note}"),
        }
    }

    /// The numbers of the files that a run read.
    async fn raw_of(&self, run: RunId) -> BTreeMap<String, i64> {
        let query = "select distinct split_part(f.url, '/', 2), f.id
                     from run_tasks t join source_files f on f.id = (t.payload ->> 'file_id')::bigint
                     where t.run_id = $1 and t.kind = 'parse_csv_chunk'";
        let files: Vec<(String, i64)> =
            sqlx::query_as(query).bind(run.0).fetch_all(&self.app.pool).await.unwrap();
        files.into_iter().collect()
    }

    async fn texts(&self, query: &'static str) -> Vec<String> {
        sqlx::query_scalar(query).bind(&self.source).fetch_all(&self.app.pool).await.unwrap()
    }
}

/// Line by line, so that a difference can be read.
#[track_caller]
fn assert_same(found: &[String], expected: &[String], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}: number of lines");
}

/// Cases of such keys; every source is run on an empty table first and on its own records then.
async fn cases(keys: Keys, in_order: bool) -> TestApp {
    let app = TestApp::empty().await;
    let first = first_seed();
    for seed in first..first + CASES {
        println!("{SEED}={seed}");
        let mut case = Case::new(&app, keys, seed);
        for _ in 0..2 {
            case.run(in_order).await;
        }
    }
    app
}

/// Runs of several slices in which rows were applied in such an order.
async fn runs_in(app: &TestApp, order: &str) -> i64 {
    let query = "select count(*) from etl_runs where key_order = $1 and slices > 1";
    sqlx::query_scalar(query).bind(order).fetch_one(&app.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_distinct_keys_end_as_if_read_one_by_one() {
    let app = cases(Keys::Distinct, false).await;
    assert!(runs_in(&app, "distinct").await >= ENOUGH);
    app.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_few_repeated_keys_among_others_end_as_if_read_one_by_one() {
    let app = cases(Keys::FewRepeated, false).await;
    assert!(runs_in(&app, "split").await >= ENOUGH);
    app.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_keys_all_come_back_end_as_if_read_one_by_one() {
    let app = cases(Keys::AllRepeated, false).await;
    assert!(runs_in(&app, "split").await >= ENOUGH);
    app.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_that_must_be_applied_in_order_end_as_if_read_one_by_one() {
    let app = cases(Keys::AllRepeated, true).await;
    assert!(runs_in(&app, "ordered").await >= ENOUGH);
    app.database.close().await;
}

//! Rows that were set aside and are put through again: whatever was read before and behind them, each record ends
//! as the row says that was read last, and what was found to be deleted since stays so. A dry run foretells it.

use std::collections::BTreeMap;

use kasparro::domain::run::{Mode, RunId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::replay::{foretold_and_redriven, redriven};

/// What a record says, and the run that has marked it as deleted, if it is.
type Records = BTreeMap<String, (String, Option<RunId>)>;

const RECORDS: &str = "select concat_ws(' ', external_id, coalesce(name, '-'),
        case when deleted_at is not null then last_run_id end)
     from unified_records where source = 'items' order by 1";
const OPEN: &str = "select count(*) from quarantined_rows where status in ('open', 'redriven')";

async fn records(app: &TestApp) -> Records {
    let record = |text: String| {
        let mut parts = text.split(' ');
        let (key, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let marked_by = parts.next().map(|run| RunId(run.parse().expect("a run")));
        (key.to_owned(), (name.to_owned(), marked_by))
    };
    app.texts(RECORDS).await.into_iter().map(record).collect()
}

/// What a run has read: of each key the last row.
struct Reading {
    run: RunId,
    rows: BTreeMap<String, String>,
}

/// What the table must hold if all rows from a run on are good, and held this before: a record is what was read of it
/// last, and still deleted unless that was read after it was marked.
fn expected(mut records: Records, readings: &[Reading], from: RunId) -> Records {
    for reading in readings.iter().filter(|reading| reading.run >= from) {
        for (key, name) in &reading.rows {
            let marked_by = records.get(key).and_then(|(_, marked_by)| *marked_by);
            let still = marked_by.filter(|marked_by| reading.run <= *marked_by);
            records.insert(key.clone(), (name.clone(), still));
        }
    }
    records
}

fn ids(random: &mut StdRng) -> Vec<u32> {
    let ids: Vec<u32> = (1..=5).filter(|_| random.random_bool(0.6)).collect();
    if ids.is_empty() { vec![random.random_range(1..=5)] } else { ids }
}

/// A source of one page; what lacks a field that every record had is kept out, unless that is let go.
fn api_job(app: &TestApp, tombstones: bool, end: &str) {
    let missing = "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n";
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
             data_selector = \"$[*]\"\nrecording = \"pages\"\npaginator = {{ type = \"single_page\" }}\n\
             [fields]\nname = {{}}\nbrand = {{}}\n{}{end}",
            if tombstones { missing } else { "" }
        ),
    );
}

#[tokio::test]
async fn a_page_that_was_kept_out_puts_no_older_value_over_a_newer_one_and_brings_nothing_back() {
    for seed in 0..10 {
        let mut random = StdRng::seed_from_u64(seed);
        let app = TestApp::empty().await;
        let tombstones = random.random_bool(0.7);
        api_job(&app, tombstones, "");
        let mut readings = Vec::new();
        for step in 0..random.random_range(3..8) {
            // The same page may come back.
            let version = if random.random_bool(0.2) { 0 } else { step };
            let lost = step > 0 && random.random_bool(0.5);
            let rows: BTreeMap<_, _> = ids(&mut random)
                .into_iter()
                .map(|id| (id.to_string(), format!("v{version}")))
                .collect();
            let record = |(id, name): (&String, &String)| match lost {
                true => json!({ "id": id, "name": name }),
                false => json!({ "id": id, "name": name, "brand": "b" }),
            };
            let page: Value = rows.iter().map(record).collect();
            app.write("pages/page-0001.json", page.to_string());
            let mode = if random.random_bool(0.3) { Mode::Full } else { Mode::Incremental };
            let run = app.run_mode("items", mode).await;
            readings.push(Reading { run: run.id, rows });
        }
        if app.number(OPEN).await > 0 {
            let before = records(&app).await;
            if random.random_bool(0.5) {
                redriven(&app, "items", None).await;
                assert_eq!(records(&app).await, before, "seed {seed}: kept out as before");
            }
            api_job(&app, tombstones, "[contract]\nmissing_field = \"evolve\"\n");
            let run = foretold_and_redriven(&app, "items").await;
            assert!(run.status.is_success(), "seed {seed}: {run:?}");
            let from = run.replay.expect("a replay").from;
            let expected = expected(before, &readings, from);
            assert_eq!(records(&app).await, expected, "seed {seed} {run:?}");
            assert_eq!(app.number(OPEN).await, 0, "seed {seed}");
        }
        app.database.close().await;
    }
}

/// Files of which rows with a price that is none are set aside, unless it is a text.
fn files_job(app: &TestApp, price: &str) {
    app.write(
        "items.toml",
        format!(
            "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"data/*.csv\"]\nchunk_size = 16\n\
             [missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n[checks]\nmax_quarantine_ratio = 1.0\n\
             [fields]\nname = {{}}\ncost = {{ type = \"{price}\" }}\n"
        ),
    );
}

#[tokio::test]
async fn rows_of_files_that_were_set_aside_put_no_older_value_over_a_newer_one() {
    for seed in 0..10 {
        let mut random = StdRng::seed_from_u64(seed);
        let app = TestApp::empty().await;
        files_job(&app, "decimal");
        let mut readings = Vec::new();
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        for step in 0..random.random_range(3..7) {
            let mut rows = BTreeMap::new();
            let full = random.random_bool(0.4);
            for name in ["a", "b"] {
                if step > 0 && random.random_bool(0.4) {
                    continue;
                }
                let row = |id: u32, random: &mut StdRng| {
                    let price = if random.random_bool(0.3) { "dear" } else { "1" };
                    format!("{id},{name}{step},{price}\n")
                };
                let lines: String =
                    ids(&mut random).into_iter().map(|id| row(id, &mut random)).collect();
                let before = files.get(name).filter(|_| random.random_bool(0.3)).cloned();
                let text = before.unwrap_or_else(|| "id,name,cost\n".to_owned()) + &lines;
                app.write(&format!("data/{name}.csv"), &text);
                if !full {
                    rows.extend(rows_of(&lines));
                }
                files.insert(name, text);
            }
            let mode = if full { Mode::Full } else { Mode::Incremental };
            if full {
                rows = files.values().flat_map(|text| rows_of(text).skip(1)).collect();
            }
            let run = app.run_mode("items", mode).await;
            readings.push(Reading { run: run.id, rows });
        }
        if app.number(OPEN).await > 0 {
            let before = records(&app).await;
            files_job(&app, "text");
            let run = foretold_and_redriven(&app, "items").await;
            let from = run.replay.expect("a replay").from;
            let expected = expected(before, &readings, from);
            assert_eq!(records(&app).await, expected, "seed {seed} {run:?}");
        }
        app.database.close().await;
    }
}

fn rows_of(lines: &str) -> impl Iterator<Item = (String, String)> {
    lines.lines().map(|line| {
        let mut cells = line.split(',').map(str::to_owned);
        (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
    })
}

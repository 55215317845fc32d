//! CSV files of every kind, through whole runs: nothing is lost, nothing is read twice.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use kasparro::db::runs::Run;
use kasparro::domain::counters::Counters;
use kasparro::domain::run::{Mode, RunStatus};
use xxhash_rust::xxh3::xxh3_128;

use crate::app::TestApp;

const ITEMS: &str = "select concat_ws('|', external_id, name, price) from unified_records
                     where source = 'items' order by external_id";
const SET_ASIDE: &str = "select concat_ws('|', line, field, reason) from quarantined_rows
                         where source = 'items' order by line, field";
const RAW: &str = "select coalesce(string_agg(payload, '' order by file_id, row_number), '')
                   from raw_csv_data where file_id = (select max(file_id) from raw_csv_data)";
/// Rows that `raw_csv_row` gives otherwise than the view, and rows that it gives though there are none.
const NOT_ALONE: &str = "select count(*) from raw_csv_data as d
                         where raw_csv_row(d.file_id, d.row_number) is distinct from d.payload
                            or raw_csv_row(d.file_id, d.row_number - 1000) is not null
                            or raw_csv_row(d.file_id, d.row_number + 1000) is not null";
const BLOCKS: &str = "select count(*) from raw_csv_blocks";

/// A job file that reads `items.csv`, with more lines for its `[csv]`.
fn job(csv: &str) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"items.csv\"]\n{csv}\n[fields]\n\
         name = {{ column = \"name\", required = true }}\n\
         price = {{ column = \"price\", type = \"decimal\" }}\n"
    )
}

async fn app_with(csv: &str, file: impl AsRef<[u8]>) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", job(csv));
    app.write("items.csv", file);
    app
}

fn balanced(counters: &Counters) -> bool {
    let Counters { rows_read, inserted, updated, unchanged, quarantined, .. } = *counters;
    rows_read == inserted + updated + unchanged + quarantined
}

/// Runs `items` to an end that is no failure.
async fn succeed(app: &TestApp) -> Run {
    let run = app.run("items").await;
    assert!(run.status.is_success(), "{run:?}");
    assert!(balanced(&run.counters), "{run:?}");
    run
}

/// Runs `items` once over `file`; what stands in the table and what was set aside.
async fn once(csv: &str, file: impl AsRef<[u8]>) -> (Vec<String>, Vec<String>) {
    let app = app_with(csv, file).await;
    succeed(&app).await;
    let found = (app.texts(ITEMS).await, app.texts(SET_ASIDE).await);
    app.database.close().await;
    found
}

async fn raw(app: &TestApp) -> Vec<u8> {
    sqlx::query_scalar(RAW).fetch_one(&app.pool).await.unwrap()
}

fn append(app: &TestApp, text: &str) {
    let mut file = std::fs::read(app.path("items.csv")).unwrap();
    file.extend_from_slice(text.as_bytes());
    app.write("items.csv", file);
}

/// Small numbers without an order that a test could hide behind.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A file of `rows` rows with repeated keys, newlines in quotes and bad rows; and what reading it
/// on top of `table` comes to.
fn random_file(
    seed: u64,
    rows: u64,
    table: &mut BTreeMap<String, (String, u64)>,
) -> (String, Counters) {
    let mut dice = Dice(seed);
    let mut text = "id,name,price\n".to_owned();
    let mut counters = Counters { rows_read: rows as i64, ..Counters::default() };
    let (found, mut changed) = (table.clone(), BTreeMap::new());
    for row in 0..rows {
        let (id, price) = (dice.below(rows / 3 + 1).to_string(), dice.below(2));
        let (cell, name) = match dice.below(4) {
            0 => ("\"two\nlines, \"\"quoted\"\"\"".to_owned(), "two\nlines, \"quoted\"".to_owned()),
            1 => ("\"\r\n\n;\"".to_owned(), "\r\n\n;".to_owned()),
            2 => (format!("row {row}"), format!("row {row}")),
            _ => ("plain".to_owned(), "plain".to_owned()),
        };
        match dice.below(9) {
            0 => writeln!(text, "{id},{cell},free").unwrap(),
            1 => writeln!(text, "{id},{cell}").unwrap(),
            _ => {
                writeln!(text, "{id},{cell},{price}").unwrap();
                let now = (name, price);
                let changes = changed.entry(id.clone()).or_insert(0);
                match table.insert(id.clone(), now.clone()) {
                    None => counters.inserted += 1,
                    Some(before) if before == now => counters.unchanged += 1,
                    // A key that is again as the run found it has not changed at all.
                    Some(_) if found.get(&id) == Some(&now) => {
                        counters.updated -= *changes;
                        counters.unchanged += *changes + 1;
                        *changes = 0;
                    }
                    Some(_) => {
                        counters.updated += 1;
                        *changes += 1;
                    }
                }
                continue;
            }
        }
        counters.quarantined += 1;
    }
    (text, counters)
}

#[tokio::test]
async fn a_missing_file_fails_its_run_by_name_and_no_other() {
    let app = TestApp::shipped().await;
    app.write("items.toml", job(""));
    let run = app.run("items").await;
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap();
    assert!(error.contains(app.path("items.csv").to_str().unwrap()), "{error}");
    assert!(app.run("products_csv").await.status.is_success());
    app.write("items.csv", "id,name,price\n1,a,2\n");
    succeed(&app).await;
    assert_eq!(app.texts(ITEMS).await, ["1|a|2"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_directory_in_place_of_the_file_fails_the_run_and_is_named() {
    let app = TestApp::empty().await;
    app.write("items.toml", job(""));
    app.write("items.csv/inner.csv", "id,name,price\n1,a,2\n");
    let run = app.run("items").await;
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap();
    assert!(error.contains("items.csv"), "{error}");
    assert_eq!(app.number("select count(*) from unified_records").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn an_empty_file_and_a_bare_header_are_no_rows_and_no_failure() {
    for file in ["", "\n\n", "id,name,price", "id,name,price\r\n"] {
        let app = app_with("", file).await;
        let run = succeed(&app).await;
        assert_eq!((run.status, run.counters.rows_read), (RunStatus::Success, 0), "{file:?}");
        app.write("items.csv", "id,name,price\n1,a,2\n");
        assert_eq!(succeed(&app).await.counters.inserted, 1, "{file:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_row_that_is_not_utf_8_is_set_aside_with_its_field() {
    let (items, aside) = once("", b"id,name,price\n1,a,2\n2,caf\xE9,3\n3,c,4\n").await;
    assert_eq!(items, ["1|a|2", "3|c|4"]);
    assert_eq!(aside, ["3|name|invalid_encoding"]);
}

#[tokio::test]
async fn a_byte_order_mark_and_crlf_are_no_part_of_any_cell() {
    let (items, aside) = once("", "\u{feff}id,name,price\r\n1,a,2\r\n2,\"b\r\nb\",3\r\n").await;
    assert_eq!(items, ["1|a|2", "2|b\r\nb|3"]);
    assert!(aside.is_empty(), "{aside:?}");
}

#[tokio::test]
async fn ragged_rows_are_set_aside_or_padded_as_the_job_file_says() {
    let file = "id,name,price\n1,a\n2,b,3\n3,c,4,5\n4\n6,f,6\n7,g,7\n";
    let (items, aside) = once("", file).await;
    assert_eq!(items, ["2|b|3", "6|f|6", "7|g|7"]);
    let wrong = ["2||wrong_field_count", "4||wrong_field_count", "5||wrong_field_count"];
    assert_eq!(aside, wrong);
    let (items, aside) = once("ragged_rows = \"pad\"", file).await;
    assert_eq!(items, ["1|a", "2|b|3", "6|f|6", "7|g|7"]);
    assert_eq!(aside, ["4||wrong_field_count", "5|name|missing_field"]);
}

#[tokio::test]
async fn an_unclosed_quote_costs_its_own_line_only() {
    let file = "id,name,price\n1,\"a\na\",2\n2,\"open,3\n3,c,4\n4,d,5\n";
    let quoted_later = format!("{file}5,\"e\ne\",6\n6,\"open,7\n7,\"g\",8\n8,h,9\n");
    for chunk_size in [12, 1 << 20] {
        let csv = format!("chunk_size = {chunk_size}");
        let (items, aside) = once(&csv, file).await;
        assert_eq!(items, ["1|a\na|2", "3|c|4", "4|d|5"], "{chunk_size}");
        assert_eq!(aside, ["4|name|unclosed_quote"], "{chunk_size}");
        let (items, aside) = once(&csv, &quoted_later).await;
        let all = ["1|a\na|2", "3|c|4", "4|d|5", "5|e\ne|6", "7|g|8", "8|h|9"];
        assert_eq!(items, all, "{chunk_size}");
        assert_eq!(aside, ["4|name|unclosed_quote", "9|name|unclosed_quote"], "{chunk_size}");
    }
}

#[tokio::test]
async fn a_line_of_50_mb_is_one_row_like_any_other() {
    let long = "x".repeat(50_000_000);
    let file = format!("id,name,price\n1,a,2\n2,{long},3\n3,c,4\n");
    let app = app_with("", &file).await;
    let run = succeed(&app).await;
    assert_eq!((run.counters.rows_read, run.counters.inserted), (3, 3));
    let lengths = "select external_id || ' ' || length(name) from unified_records order by 1";
    assert_eq!(app.texts(lengths).await, ["1 1", "2 50000000", "3 1"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_row_beyond_the_limit_is_set_aside_and_its_neighbours_stay() {
    let file = format!("id,name,price\n1,a,2\n2,{},3\n3,c,4\n", "x".repeat(100_000));
    let (items, aside) = once("max_row_bytes = 50000", file).await;
    assert_eq!(items, ["1|a|2", "3|c|4"]);
    assert_eq!(aside, ["3||row_too_long"]);
}

#[tokio::test]
async fn chunks_give_the_table_that_one_piece_gives() {
    let (file, _) = random_file(7, 80, &mut BTreeMap::new());
    let (whole, aside) = once("", &file).await;
    assert!(aside.len() > 5, "{aside:?}");
    for chunk_size in [40, 300] {
        let app = app_with(&format!("chunk_size = {chunk_size}"), &file).await;
        let run = succeed(&app).await;
        assert!(run.counters.slices > 2, "{run:?}");
        assert_eq!(app.texts(ITEMS).await, whole);
        assert_eq!(app.texts(SET_ASIDE).await, aside);
        assert_eq!([b"id,name,price\n", &*raw(&app).await].concat(), file.as_bytes());
        app.database.close().await;
    }
}

#[tokio::test]
async fn the_last_row_of_a_key_wins_and_every_row_is_counted_once() {
    for workers in [1, 4] {
        let mut app = app_with("chunk_size = 200", "").await;
        app.workers = workers;
        let mut table = BTreeMap::new();
        for seed in 0..10 {
            let (file, expected) = random_file(seed, 60, &mut table);
            app.write("items.csv", &file);
            let run = succeed(&app).await;
            let Counters { slices, bytes, .. } = run.counters;
            assert!(slices > 2, "{run:?}");
            assert_eq!(run.counters, Counters { slices, bytes, ..expected }, "{seed} {workers}");
            let mut items: Vec<_> =
                table.iter().map(|(id, (name, price))| format!("{id}|{name}|{price}")).collect();
            let mut found = app.texts(ITEMS).await;
            items.sort();
            found.sort();
            assert_eq!(found, items, "{seed} {workers}");
        }
        app.database.close().await;
    }
}

#[tokio::test]
async fn an_unchanged_file_and_a_touched_one_cost_no_slice() {
    let app = app_with("", "id,name,price\n1,a,2\n2,b,x\n").await;
    assert_eq!(succeed(&app).await.counters.slices, 1);
    let file = std::fs::File::options().write(true).open(app.path("items.csv")).unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    for modified in [None, Some(later), Some(later)] {
        if let Some(modified) = modified {
            file.set_modified(modified).unwrap();
        }
        let run = succeed(&app).await;
        assert_eq!((run.status, run.counters), (RunStatus::Success, Counters::default()));
        let note = run.stop_reason.as_deref().unwrap_or_default();
        assert!(note.starts_with("nothing new; items.csv is unchanged since run "), "{note}");
        assert!(note.ends_with(": 1 of its 2 rows is still in quarantine"), "{note}");
    }
    assert_eq!(app.number("select count(*) from quarantined_rows").await, 1);
    app.database.close().await;
}

#[tokio::test]
async fn only_what_was_appended_is_read() {
    for csv in ["", "chunk_size = 10"] {
        let app = app_with(csv, "id,name,price\n1,a,2\n2,b,3\n").await;
        succeed(&app).await;
        for news in ["3,c,4\n1,a,9\n", "4,\"d\nd\",x\n5,e,6\n"] {
            append(&app, news);
            let run = succeed(&app).await;
            assert_eq!((run.counters.bytes, run.counters.rows_read), (news.len() as i64, 2));
        }
        assert_eq!(app.texts(ITEMS).await, ["1|a|9", "2|b|3", "3|c|4", "5|e|6"]);
        assert_eq!(app.texts(SET_ASIDE).await, ["6|price|invalid_decimal"]);
        let file = app.read("items.csv");
        assert_eq!([b"id,name,price\n", &*raw(&app).await].concat(), file.as_bytes());
        let full = app.run_mode("items", Mode::Full).await.counters;
        assert_eq!((full.rows_read, full.inserted, full.quarantined), (6, 0, 1));
        assert!(balanced(&full));
        assert_eq!(app.texts(ITEMS).await, ["1|a|9", "2|b|3", "3|c|4", "5|e|6"]);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_last_line_that_grows_is_read_again() {
    let app = app_with("", "id,name,price\n1,a,2\n2,b,3").await;
    succeed(&app).await;
    append(&app, "7\n3,c,4\n");
    let run = succeed(&app).await;
    assert_eq!((run.counters.rows_read, run.counters.updated), (3, 1));
    assert_eq!(app.texts(ITEMS).await, ["1|a|2", "2|b|37", "3|c|4"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_changed_price_is_an_update_and_a_vanished_row_stays() {
    let app = app_with("", "id,name,price\n1,a,2\n2,b,3\n3,c,4\n").await;
    let first = succeed(&app).await;
    app.write("items.csv", "id,name,price\n1,a,2\n3,c,5\n");
    let run = succeed(&app).await;
    let Counters { inserted, updated, unchanged, .. } = run.counters;
    assert_eq!((inserted, updated, unchanged), (0, 1, 1));
    assert_eq!(app.texts(ITEMS).await, ["1|a|2", "2|b|3", "3|c|5"]);
    let runs =
        "select concat(first_run_id, ' ', last_run_id) from unified_records order by external_id";
    let (old, new) = (first.id, run.id);
    let expected = [format!("{old} {old}"), format!("{old} {old}"), format!("{old} {new}")];
    assert_eq!(app.texts(runs).await, expected);
    app.database.close().await;
}

#[tokio::test]
async fn the_raw_rows_give_the_file_back_byte_for_byte() {
    let rows: &[u8] = b"1,a,2\r\n\r\n2,\"b\r\n\"\"b\",3\n\n\n3,caf\xE9,4\r\n4,\"open,5\n,,\n5,e,6";
    for chunk_size in [1, 20, 1 << 20] {
        let header = "\u{feff}id,name,price\r\n".as_bytes();
        let app = app_with(&format!("chunk_size = {chunk_size}"), [header, rows].concat()).await;
        succeed(&app).await;
        assert_eq!(raw(&app).await, rows, "{chunk_size}");
        assert_eq!(app.number(NOT_ALONE).await, 0, "{chunk_size}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn another_mapping_normalizes_an_unchanged_file_again_from_the_same_raw_rows() {
    let app = app_with("chunk_size = 10", "id,name,price\n1,a,2\n2,b,x\n3,c,4\n").await;
    succeed(&app).await;
    let blocks = app.number(BLOCKS).await;
    app.write(
        "items.toml",
        job("chunk_size = 10")
            .replace("type = \"decimal\"", "type = \"text\"")
            .replace("price =", "label ="),
    );
    let run = succeed(&app).await;
    let Counters { rows_read, inserted, updated, quarantined, .. } = run.counters;
    assert_eq!((rows_read, inserted, updated, quarantined), (3, 1, 2, 0));
    assert_eq!(app.number(BLOCKS).await, blocks);
    let labels =
        app.texts("select attributes ->> 'label' from unified_records order by external_id");
    assert_eq!(labels.await, ["2", "x", "4"]);
    assert_eq!(succeed(&app).await.counters, Counters::default());
    app.database.close().await;
}

#[tokio::test]
async fn both_bad_rows_of_the_samples_stand_with_all_that_is_needed_to_mend_them() {
    let app = TestApp::shipped().await;
    for source in ["products_csv", "vendors_csv"] {
        let run = app.run(source).await;
        assert_eq!((run.counters.quarantined, balanced(&run.counters)), (1, true));
    }
    let rows: Vec<(String, i64, i64, Vec<u8>)> = sqlx::query_as(
        "select concat_ws('|', source, line, field, reason, status, split_part(raw_ref, '/', 1)),
                byte_start, byte_end, raw
         from quarantined_rows order by source",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let expected = [
        ("products_csv|4|price|invalid_decimal|open|file", "data/products.csv", "3,Pocket Torch,"),
        (
            "vendors_csv|3|Geändert am|invalid_timestamp|open|file",
            "data/vendors.csv",
            "A2;Drehstuhl;",
        ),
    ];
    assert_eq!(rows.len(), expected.len());
    for ((what, from, to, raw), (row, file, start)) in rows.into_iter().zip(expected) {
        assert_eq!(what, row);
        let file = app.read(file).into_bytes();
        assert_eq!(file[from as usize..to as usize], raw);
        assert!(raw.starts_with(start.as_bytes()) && file[to as usize] == b'\n');
    }
    app.database.close().await;
}

/// A file of two prices in rows of 64 bytes each. Files with the prices swapped have one xxh3-128: it
/// multiplies the halves of eight bytes, less a known secret. Where the lower half is the secret's, the
/// product is nothing, and only the sum of the upper halves counts.
fn prices(first: &str, second: &str) -> Vec<u8> {
    const SECRETS: [[u8; 4]; 2] = [*b"\xcb\x79\xe6\x4e", *b"\x82\x5a\xd0\x7d"];
    let mut file = format!("id,junk,price,{:r<49}\n", "").into_bytes();
    for ((id, secret), price) in (1..).zip(SECRETS).zip([first, second]) {
        file.extend_from_slice(format!("{id},{:a<22}", "").as_bytes());
        file.extend_from_slice(&secret);
        file.extend_from_slice(format!(",{price},{:b<30}\n", "").as_bytes());
    }
    (3..6).for_each(|id| file.extend_from_slice(format!("{id},,5.0,{:b<55}\n", "").as_bytes()));
    file
}

#[tokio::test]
async fn a_file_made_to_have_the_xxh3_of_the_one_before_is_another_file() {
    let (before, after) = (prices("1.5", "9.7"), prices("9.7", "1.5"));
    assert_ne!(before, after);
    assert_eq!(xxh3_128(&before), xxh3_128(&after), "the attack works");
    let app = app_with("encoding = \"windows-1252\"", &before).await;
    app.write("items.toml", job("encoding = \"windows-1252\"").replace("\"name\"", "\"id\""));
    succeed(&app).await;
    app.write("items.csv", &after);
    let later = SystemTime::now() + Duration::from_secs(10);
    let file = std::fs::File::options().append(true).open(app.path("items.csv")).unwrap();
    file.set_modified(later).unwrap();
    let counters = succeed(&app).await.counters;
    assert_eq!((counters.updated, counters.unchanged), (2, 3));
    assert_eq!(app.texts(ITEMS).await[..2], ["1|1|9.7", "2|2|1.5"]);
    assert_eq!(raw(&app).await, after[64..], "the rows that are kept are those of the new file");
    app.database.close().await;
}

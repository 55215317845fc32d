//! Files of JSON Lines through whole runs: what holds for CSV holds for them.

use std::fmt::Write;

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::tasks::start_run::RunRequest;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::app::{TestApp, request};
use crate::replay::redriven;
use crate::shuffle::Shuffle;

const ITEMS: &str = "select concat_ws('|', external_id, name, price, attributes ->> 'city')
                     from unified_records order by external_id";
const SET_ASIDE: &str =
    "select concat_ws('|', raw_row, line, field, reason, status) from quarantined_rows
                         order by raw_row, field";
const RAW: &str = "select coalesce(string_agg(payload, '' order by file_id, row_number), '')
                   from raw_csv_data where file_id = (select max(file_id) from raw_csv_data)";
const BLOCKS: &str = "select count(*) from raw_csv_blocks";
const DRIFT: &str =
    "select to_version || ': ' || field || ' ' || change || ' ' || coalesce(old_type, '-')
        || ' -> ' || coalesce(new_type, '-') || ', row ' || coalesce(raw_row::text, '-')
     from schema_drift order by to_version, field";

/// A job file that reads `*.jsonl`.
fn job(jsonl: &str, more: &str) -> String {
    format!(
        "kind = \"jsonl\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"*.jsonl\"]\n[jsonl]\n{jsonl}\n\
         [fields]\nname = {{ from = \"$.name\", required = true }}\nprice = {{ type = \"decimal\" }}\n\
         city = {{ from = \"$.address.city\" }}\n{more}"
    )
}

async fn app(jsonl: &str, more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", job(jsonl, more));
    app
}

fn line(id: impl std::fmt::Display, name: &str, price: impl std::fmt::Display) -> String {
    format!(
        "{{\"id\":\"{id}\",\"name\":\"{name}\",\"price\":{price},\"address\":{{\"city\":\"x\"}}}}\n"
    )
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

/// Read, inserted, updated, unchanged, quarantined.
fn counted(run: &Run) -> [i64; 5] {
    let c = &run.counters;
    [c.rows_read, c.inserted, c.updated, c.unchanged, c.quarantined]
}

#[tokio::test]
async fn a_file_is_loaded_updated_and_passed_over_when_it_is_unchanged() {
    let app = app("", "").await;
    let first =
        "\u{feff}{\"id\":\"a\",\"name\":\"A\",\"price\":1.50}\r\n\n{\"id\":\"b\",\"name\":\"B\"}";
    app.write("a.jsonl", first);
    let dry =
        app.run_as("items", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await;
    assert_eq!((counted(&dry), app.texts(ITEMS).await.len()), ([2, 2, 0, 0, 0], 0));
    let run = app.run("items").await;
    assert_eq!((run.status, counted(&run)), (Success, [2, 2, 0, 0, 0]), "{run:?}");
    assert_eq!(app.texts(ITEMS).await, ["a|A|1.50", "b|B"]);
    // Byte for byte, but for the mark in front.
    let raw: Vec<u8> = sqlx::query_scalar(RAW).fetch_one(&app.pool).await.unwrap();
    assert_eq!(raw, first.as_bytes()[3..]);
    assert!(note(&app.run("items").await).starts_with("nothing new"));
    app.write(
        "a.jsonl",
        first.replace("1.50", "2").replace("\"B\"", "\"B\",\"address\":{\"city\":\"Y\"}"),
    );
    let run = app.run("items").await;
    assert_eq!((run.status, counted(&run)), (Success, [2, 0, 2, 0, 0]), "{run:?}");
    assert_eq!(app.texts(ITEMS).await, ["a|A|2", "b|B|Y"]);
    app.database.close().await;
}

#[tokio::test]
async fn bad_lines_are_set_aside_with_their_place_and_a_fixed_job_file_redrives_them() {
    let app = app("", "[checks]\nmax_quarantine_ratio = 1.0\n").await;
    let text = "{\"id\":1,\"name\":\"one\"}\nno json\n\n[2]\n{\"id\":3,\"id\":3,\"name\":\"x\"}\n\
                {\"id\":4,\"name\":\"four\",\"price\":\"cheap\"}\n{\"id\":5,\"title\":\"five\"}\n";
    app.write("a.jsonl", text);
    let run = app.run("items").await;
    assert_eq!(counted(&run), [6, 1, 0, 0, 5], "{run:?}");
    let set_aside = [
        "2|2||invalid_json|open",
        "3|4||not_an_object|open",
        "4|5||invalid_json|open",
        "5|6|price|invalid_decimal|open",
        "6|7|$.name|missing_field|open",
    ];
    assert_eq!(app.texts(SET_ASIDE).await, set_aside);
    let raw = "select convert_from(raw, 'UTF8') from quarantined_rows where raw_row = 2";
    assert_eq!(app.texts(raw).await, ["no json"]);
    let fixed = job("", "").replace("from = \"$.name\", required = true", "from = \"$.title\"");
    app.write("items.toml", fixed.replace("type = \"decimal\"", "from = \"$.cost\""));
    let run = redriven(&app, "items", None).await;
    assert_eq!(run.mode, Mode::Replay);
    assert_eq!(app.texts(ITEMS).await[1..], ["4", "5|five"], "{run:?}");
    let open = "select concat_ws(' ', raw_row, status) from quarantined_rows order by raw_row";
    let after = ["2 redriven", "3 redriven", "4 redriven", "5 resolved", "6 resolved"];
    assert_eq!(app.texts(open).await, after);
    app.database.close().await;
}

#[tokio::test]
async fn of_a_file_that_grew_only_the_tail_is_read() {
    let app = app("chunk_size = 100", "").await;
    let rows = |from: usize, to: usize| (from..to).map(|n| line(n, "n", n)).collect::<String>();
    app.write("a.jsonl", rows(0, 50));
    app.run("items").await;
    let blocks = app.number(BLOCKS).await;
    app.write("a.jsonl", rows(0, 60));
    let run = app.run("items").await;
    assert_eq!((run.status, counted(&run)), (Success, [10, 10, 0, 0, 0]), "{run:?}");
    assert!(app.number(BLOCKS).await > blocks);
    let last = "select line || ' ' || raw_row from quarantined_rows";
    app.write("a.jsonl", format!("{}x\n", rows(0, 60)));
    let run = app.run("items").await;
    assert_eq!((counted(&run), app.texts(last).await), ([1, 0, 0, 0, 1], vec!["61 61".to_owned()]));
    // What stood there before is another.
    app.write("a.jsonl", rows(0, 61).replace("\"n\"", "\"m\""));
    let run = app.run("items").await;
    assert_eq!(counted(&run), [61, 1, 60, 0, 0], "{run:?}");
    app.database.close().await;
}

/// Files of many chunks with keys that come back, and what reading them line by line leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_several_files_in_any_order_leave_what_reading_line_by_line_leaves() {
    for (seed, repeats) in [(1, 0), (2, 40), (3, 7)] {
        let app = app("chunk_size = 700", "").await;
        let mut table = std::collections::BTreeMap::new();
        for (file, name) in ["a", "b", "c"].into_iter().enumerate() {
            let mut text = String::new();
            for row in 0..120 {
                let n = file * 120 + row;
                let id = if repeats > 0 && row % repeats == 3 { row % 9 } else { 1000 + n };
                match n % 31 {
                    5 => text.push_str("{\"id\":\n"),
                    6 => text.push_str(" \r\n\n"),
                    _ => {
                        write!(text, "{}", line(id, &format!("row {n}"), n)).unwrap();
                        table.insert(id.to_string(), format!("{id}|row {n}|{n}|x"));
                    }
                }
            }
            app.write(&format!("{name}.jsonl"), text);
        }
        let run = app.start("items", Mode::Incremental).await;
        let shuffle = Shuffle::new(&app, 3).await;
        shuffle.all(&mut StdRng::seed_from_u64(seed)).await;
        let kasparro::tasks::start_run::Started::New(id) = run else { panic!("{run:?}") };
        let run = app.get(id).await;
        assert!(run.status.is_success() || run.status == Degraded, "{run:?}");
        let [read, inserted, updated, unchanged, quarantined] = counted(&run);
        assert_eq!(read, inserted + updated + unchanged + quarantined);
        assert_eq!((inserted, quarantined), (table.len() as i64, 12), "{run:?}");
        assert_eq!(app.texts(ITEMS).await, table.into_values().collect::<Vec<_>>());
        // The rows are all kept: a replay leaves the same.
        let again = app.run_mode("items", Mode::Replay).await;
        assert_eq!((again.counters.rows_read, again.counters.inserted), (read, 0), "{again:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn types_are_those_of_json_and_a_change_of_them_is_drift() {
    let app = app("", "[contract]\nmissing_field = \"evolve\"\n").await;
    app.write("a.jsonl", line(1, "a", 1) + &line(2, "b", 2));
    app.run("items").await;
    let quoted = line(1, "a", 1)
        + &line(2, "b", "\"3\"")
        + "{\"id\":\"4\",\"name\":\"d\",\"price\":4,\"new\":[1]}\n";
    app.write("a.jsonl", quoted);
    let run = app.run("items").await;
    assert!(run.status.is_success(), "{run:?}");
    let drift = [
        "2: new added - -> array?, row 3",
        "2: price type_changed integer -> integer|string, row 2",
    ];
    assert_eq!(app.texts(DRIFT).await, drift);
    app.write("items.toml", job("", "[contract]\ntype_change = \"quarantine_row\"\n"));
    app.write("a.jsonl", line("true", "a", 1) + "{\"id\":5,\"name\":\"e\"}\n");
    let run = app.run("items").await;
    let why = "select raw_row || ' ' || field || ' ' || reason from quarantined_rows";
    assert_eq!((counted(&run)[4], app.texts(why).await), (1, vec!["2 id type_changed".to_owned()]));
    app.database.close().await;
}

#[tokio::test]
async fn a_file_none_of_whose_rows_has_a_field_any_more_stays_out() {
    let app = app("", "").await;
    app.write("a.jsonl", line(1, "a", 1) + &line(2, "b", 2));
    app.write("b.jsonl", line(3, "c", 3));
    assert_eq!(app.run("items").await.status, Success);
    let before = app.texts(ITEMS).await;
    app.write("a.jsonl", (line(1, "a", 7) + &line(2, "b", 8)).replace("\"city\"", "\"town\""));
    for run in [app.run("items").await, app.run("items").await] {
        assert_eq!((run.status, run.counters.rows_read), (Degraded, 0), "{run:?}");
        assert!(
            note(&run).contains("a.jsonl: no") && note(&run).contains("`$.address.city`"),
            "{run:?}"
        );
        assert!(note(&run).contains("which its earlier version had"), "{run:?}");
    }
    assert_eq!(app.texts(ITEMS).await, before);
    // One row that has it suffices, and a field that the job file did not ask for is not lost.
    let one = (line(1, "a", 7) + &line(2, "b", 8)).replacen("\"city\"", "\"town\"", 1);
    app.write("a.jsonl", one);
    assert_eq!(app.run("items").await.counters.updated, 2);
    app.write("items.toml", job("", "").replace("price =", "tag = {}\nprice ="));
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.rows_read), (SuccessWithDuplicates, 3), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_is_no_json_lines_fails_the_run_and_keeps_no_other_out() {
    let app = app("", "").await;
    app.write("a.jsonl", "[\n {\"id\": 1}\n]\n");
    let run = app.run("items").await;
    assert_eq!(run.status, Failed);
    let error = run.error.unwrap();
    assert!(error.contains("a.jsonl is one JSON document, a list"), "{error}");
    assert!(error.contains("kind = \"json\""), "{error}");
    app.write("b.jsonl", line(1, "a", 1));
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 1), "{run:?}");
    assert!(note(&run).contains("a.jsonl is one JSON document"), "{run:?}");
    app.database.close().await;
}

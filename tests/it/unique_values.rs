//! Values that no two records of a source may have.

use kasparro::db::unique_values;
use kasparro::domain::counters::Counters;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Success, SuccessWithDuplicates};
use kasparro::tasks::start_run::{RawRange, RunRequest};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::app::{TestApp, request};

const NAMES: &str =
    "select concat_ws(' ', external_id, name, attributes ->> 'mail') from unified_records
                     where source = 's' and deleted_at is null order by external_id";
const BAD: &str = "select concat_ws(' ', raw_row, field, reason, message) from quarantined_rows
                   where status in ('open', 'redriven') order by raw_ref, raw_row, field";

#[tokio::test]
async fn a_value_that_another_record_has_sets_its_row_aside_whatever_workers_and_batches_there_are()
{
    let app = TestApp { workers: 4, ..TestApp::empty().await };
    // A chunk of two rows or so.
    app.write(
        "s.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\nchunk_size = 16\n\
         [missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n[fields]\nname = {}\n\
         mail = { transform = [\"trim\", \"lower\"], unique = true }\n",
    );
    let filler: String = (0..40).map(|n| format!("f{n:02},x,m{n}@f\n")).collect();
    app.write(
        "a.csv",
        format!("id,name,mail\na,x,A@x\nb,x,b@x\n{filler}c,x,a@X \nd,x,\ne,x,\nf,x,b@x\n"),
    );
    let run = app.run("s").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (44, 2), "{run:?}");
    let bad = app.texts(BAD).await;
    assert!(
        bad[0].starts_with("43 mail not_unique mail: \"a@x\" is the value of another record, `a`"),
        "{bad:?}"
    );
    assert_eq!(bad.len(), 2);
    let keys = "select external_id from quarantined_rows order by 1";
    assert_eq!(app.texts(keys).await, ["c", "f"], "an export shows whose the rows are");
    // Rows that are read again are no others; of two rows of a record the last counts.
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!(
        (run.counters.inserted, run.counters.updated, run.counters.quarantined),
        (0, 0, 2),
        "{run:?}"
    );
    let run = app.run_mode("s", Mode::Replay).await;
    assert_eq!((run.counters.updated, run.counters.quarantined), (0, 2), "{run:?}");
    // A value is free once its record has another one, in the order of rows, or is deleted.
    app.write("a.csv", "id,name,mail\na,x,z@x\nc,x,a@x\na,x,y@x\ng,x,z@x\nf,x,b@x\nh,x,h@x\n");
    let run = app.run("s").await;
    assert_eq!(run.counters.quarantined, 1, "b has its value still: {run:?}");
    assert!(app.texts(NAMES).await.iter().any(|name| name == "c x a@x"), "{run:?}");
    // By now b is deleted.
    app.write("a.csv", "id,name,mail\na,x,y@x\nc,x,a@x\ng,x,z@x\nf,x,b@x\nh,x,h@x\n");
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!(run.counters.quarantined, 0, "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["a x y@x", "c x a@x", "f x b@x", "g x z@x", "h x h@x"]);
    app.database.close().await;
}

const KNOWN: &str =
    "select concat_ws(' ', field, encode(value_hash, 'hex'), external_id) from unique_values
                     order by 1";
const ROWS_OF_KNOWN: &str = "select concat_ws(' ', ctid, xmin) from unique_values order by 1";

/// A job for CSV files, with these lines in front and with this behind `mail`.
fn job(first: &str, mail: &str) -> String {
    format!(
        "{first}kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n[fields]\nname = {{}}\n\
         mail = {{ transform = [\"lower\"]{mail} }}\n"
    )
}

#[tokio::test]
async fn no_edit_of_the_job_file_forgets_the_values_that_records_have() {
    let app = TestApp::empty().await;
    app.write("s.toml", job("", ", unique = true"));
    app.write("b.csv", "id,name,mail\na,x,a@x\n");
    assert_eq!(app.run("s").await.status, Success);
    app.write("s.toml", job("# Edited.\n", ", unique = true"));
    app.write("a.csv", "id,name,mail\nc,x,A@x\n");
    let run = app.run("s").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (0, 1), "{run:?}");
    // The row that is read first takes the value from nobody.
    app.write("s.toml", job("# Once more.\n", ", unique = true, required = true"));
    for mode in [Mode::Full, Mode::Replay] {
        let run = app.run_mode("s", mode).await;
        assert_eq!((run.counters.inserted, run.counters.quarantined), (0, 1), "{run:?}");
        assert_eq!(app.texts(NAMES).await, ["a x a@x"]);
    }
    // Without the rule both stay; with it again, what came in meanwhile is known.
    app.write("s.toml", job("", ""));
    assert_eq!(app.run_mode("s", Mode::Full).await.status, SuccessWithDuplicates);
    assert_eq!(app.texts(KNOWN).await, [""; 0]);
    app.write("s.toml", job("", ", unique = true"));
    let run = app.run_mode("s", Mode::Replay).await;
    assert_eq!((run.status, run.counters.quarantined), (Degraded, 1), "{run:?}");
    let told = run.stop_reason.unwrap_or_default();
    assert!(told.contains("2 records have a value of `mail` that another"), "{told}");
    app.database.close().await;
}

#[tokio::test]
async fn of_records_that_shared_a_value_before_it_was_unique_the_oldest_has_it() {
    let app = TestApp::empty().await;
    app.write("s.toml", job("", ""));
    app.write("a.csv", "id,name,mail\na,x,x@x\nb,x,x@x\nc,x,y@y\n");
    app.run("s").await;
    app.write("s.toml", job("", ", unique = true"));
    app.write("b.csv", "id,name,mail\nd,x,X@x\n");
    let run = app.run("s").await;
    assert_eq!((run.status, run.counters.quarantined), (Degraded, 2), "{run:?}");
    let told = run.stop_reason.unwrap_or_default();
    assert!(told.contains("2 records have a value of `mail` that another"), "{told}");
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!((run.counters.unchanged, run.counters.quarantined), (2, 2), "{run:?}");
    // Once the oldest has another one, it is the next one's, and nobody else's.
    app.write("a.csv", "id,name,mail\na,x,z@z\nb,new,x@x\nc,x,y@y\n");
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!((run.counters.updated, run.counters.quarantined), (2, 1), "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["a x z@z", "b new x@x", "c x y@y"]);
    app.database.close().await;
}

#[tokio::test]
async fn rows_and_records_say_the_same_of_values_and_what_stays_is_not_written_again() {
    let app = TestApp::empty().await;
    let fields = "name = { unique = true }\nprice = { type = \"decimal\", unique = true }\n\
                  source_updated_at = { type = \"timestamp\", unique = true }\n\
                  n = { type = \"integer\", unique = true }\nd = { type = \"decimal\", unique = true }\n\
                  t = { unique = true }\nb = { type = \"boolean\", unique = true }\n\
                  day = { type = \"date\", unique = true }\nat = { type = \"timestamp\", unique = true }\n";
    app.write(
        "s.toml",
        format!("kind = \"jsonl\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"*.jsonl\"]\n[fields]\n{fields}"),
    );
    let odd = [
        json!({ "name": "\"quoted\"", "t": "\"quoted\"", "price": "1.50", "d": "1.50", "b": true, "n": "1" }),
        json!({ "name": "a\\b\u{1f600}\u{e9}/<", "t": "a\\b\u{1f600}\u{e9}/<\n\t\u{7f}", "price": "-0.00", "d": "-0.00", "n": "-0" }),
        json!({ "name": "null", "t": "12", "price": "1e3", "d": "1e3", "b": false, "n": "-12345678901234567890123" }),
        json!({ "name": "x", "t": "null", "price": "-.5", "d": "0.000000000000000000001", "n": "007" }),
    ];
    let times = [
        "2025-01-02T03:04:05.678901Z",
        "1900-01-01T00:00:00.000001+02:00",
        "1969-12-31T23:59:59.999999Z",
        "9999-12-31",
    ];
    let rows = (0..).zip(odd).zip(times).map(|((id, mut row), time)| {
        row["id"] = json!(id);
        row["source_updated_at"] = json!(time);
        row["at"] = json!(time);
        row["day"] = json!(&time[..10]);
        row.to_string()
    });
    app.write("a.jsonl", rows.collect::<Vec<_>>().join("\n"));
    let run = app.run("s").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (4, 0), "{run:?}");
    let (known, rows) = (app.texts(KNOWN).await, app.texts(ROWS_OF_KNOWN).await);
    assert_eq!(known.len(), 8 * 4 + 2);
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!(run.counters.unchanged, 4, "{run:?}");
    assert_eq!(app.texts(ROWS_OF_KNOWN).await, rows);
    // As after the migration.
    app.texts("with a as (delete from unique_fields returning source) select source from a").await;
    app.run("s").await;
    assert_eq!(app.texts(KNOWN).await, known);
    app.database.close().await;
}

/// Makes these the pages of an API, each record given as `id=mail`, or `id=mail!` when it says that it is deleted.
fn publish(app: &TestApp, pages: &[&str]) {
    app.write(
        "s.toml",
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"https://s.example\"\npath = \"s\"\n\
         recording = \"pages\"\npaginator = { type = \"page_number\" }\ndeleted = \"$[?@.gone == true]\"\n\
         [fields]\nname = {}\nmail = { unique = true }\n",
    );
    let _ = std::fs::remove_dir_all(app.path("pages"));
    let record = |text: &str| {
        let (id, mail) = text.split_once('=').unwrap_or((text, ""));
        json!({ "id": id, "mail": mail.trim_end_matches('!'), "gone": mail.ends_with('!') })
    };
    for (number, records) in (1..).zip(pages.iter().chain([&""])) {
        let page: Value = records.split_whitespace().map(record).collect();
        app.write(&format!("pages/page-{number:04}.json"), page.to_string());
    }
}

#[tokio::test]
async fn what_is_deleted_has_no_values_that_others_could_not_have() {
    let app = TestApp::empty().await;
    publish(&app, &["a=x! b=x c=z"]);
    let run = app.run("s").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (3, 0), "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["b x", "c z"]);
    publish(&app, &["b=x c=x! d=z"]);
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (1, 0), "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["b x", "d z"]);
    // Who comes back finds its value taken.
    publish(&app, &["c=z b=x d=z"]);
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!(run.counters.quarantined, 1, "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["b x", "d z"]);
    app.database.close().await;
}

const PAIRS: &str =
    "select external_id || '=' || coalesce(attributes ->> 'mail', '') from unified_records
                     where deleted_at is null order by 1";

/// An API of these records, each given as `id=mail`, that answers every request alike.
async fn answering(records: &str) -> MockServer {
    let server = MockServer::start().await;
    answer(&server, records).await;
    server
}

async fn answer(server: &MockServer, records: &str) {
    server.reset().await;
    let record = |text: &str| {
        let (id, mail) = text.split_once('=').unwrap_or((text, ""));
        json!({ "id": id, "mail": mail, "at": 1_700_000_000 })
    };
    let page: Value = records.split_whitespace().map(record).collect();
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(page))
        .mount(server)
        .await;
}

fn online(app: &TestApp, server: &MockServer, lines: &str, unique: &str) {
    app.write(
        "s.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n{lines}\n\
             paginator = {{ type = \"single_page\" }}\n[fields]\nmail = {{ {unique} }}\n",
            server.uri()
        ),
    );
}

#[tokio::test]
async fn equal_pages_of_one_batch_say_the_same_of_values() {
    let app = TestApp::empty().await;
    let server = answering("a=x b=y c=x").await;
    let lines = "params = { n = \"${parent.n}\" }\nfor_each = { values = [1, 2], as = \"n\" }";
    online(&app, &server, lines, "unique = true");
    let run = app.run_online("s").await;
    let Counters { inserted, unchanged, quarantined, .. } = run.counters;
    assert_eq!((inserted, unchanged, quarantined), (2, 2, 2), "{run:?}");
    assert_eq!(app.texts(PAIRS).await, ["a=x", "b=y"]);
    app.database.close().await;
}

#[tokio::test]
async fn what_an_incremental_api_brings_after_an_edit_of_the_job_file_is_held_against_what_is_there()
 {
    let app = TestApp::empty().await;
    let server = answering("a=x b=y").await;
    let lines = "incremental = { cursor_path = \"$.at\", type = \"epoch\", start_param = \"from\", \
                 initial_value = \"2020-01-01\" }";
    online(&app, &server, lines, "");
    assert_eq!(app.run_online("s").await.counters.inserted, 2);
    online(&app, &server, lines, "unique = true");
    let run = app.run_online("s").await;
    assert_eq!(
        (run.mode, run.counters.unchanged, run.counters.quarantined),
        (Mode::Replay, 2, 0),
        "{run:?}"
    );
    answer(&server, "b=y c=x d=z").await;
    let run = app.run_online("s").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (1, 1), "{run:?}");
    assert_eq!(app.texts(PAIRS).await, ["a=x", "b=y", "d=z"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_replay_of_any_range_leaves_the_values_that_the_runs_have_left() {
    let app = TestApp::empty().await;
    let mut runs = Vec::new();
    for pages in ["a=x b=y", "a=z b=y c=x", "a=z b=w c=x d=y"] {
        publish(&app, &[pages]);
        let run = app.run("s").await;
        assert_eq!(run.counters.quarantined, 0, "{run:?}");
        runs.push(run.id);
    }
    let (pairs, known) = (app.texts(PAIRS).await, app.texts(KNOWN).await);
    assert_eq!(pairs, ["a=z", "b=w", "c=x", "d=y"]);
    for from in 0..3 {
        let raw = RawRange { from: Some(runs[from]), to: Some(runs[2]) };
        let replay = RunRequest { raw, ..request(Mode::Replay) };
        let dry = app.run_as("s", &RunRequest { dry_run: true, ..replay.clone() }).await;
        let run = app.run_as("s", &replay).await;
        assert_eq!((dry.status, dry.counters), (run.status, run.counters), "from {from}");
        assert_eq!(
            (app.texts(PAIRS).await, app.texts(KNOWN).await),
            (pairs.clone(), known.clone())
        );
    }
    app.database.close().await;
}

#[tokio::test]
async fn one_of_many_keys_with_one_value_has_it_whatever_workers_there_are() {
    let mut app = TestApp { workers: 4, ..TestApp::empty().await };
    let chunked = |mail: &str| job("", mail).replace("[fields]", "chunk_size = 16\n[fields]");
    app.write("s.toml", chunked(", unique = true"));
    let rows = |from: usize, to: usize| (from..to).rev().map(|n| format!("k{n:03},x,same\n"));
    app.write("a.csv", format!("id,name,mail\n{}", rows(0, 100).collect::<String>()));
    let dry = app.run_as("s", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await;
    let run = app.run("s").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (1, 99), "{run:?}");
    assert_eq!((dry.counters, dry.status), (run.counters, run.status));
    assert_eq!(app.texts(PAIRS).await, ["k099=same"]);
    app.workers = 1;
    // Of those that share it from before only the oldest is asked for, and the rows themselves.
    app.write("s.toml", chunked(""));
    app.run_mode("s", Mode::Full).await;
    app.write("s.toml", chunked(", unique = true"));
    app.write("b.csv", "id,name,mail\nnew,x,same\n");
    let run = app.run("s").await;
    assert_eq!(run.counters.quarantined, 100, "{run:?}");
    let bad = app.texts(BAD).await;
    assert!(bad.iter().all(|row| row.contains("of another record, `k099`")), "{bad:?}");
    let hash = app.texts("select distinct encode(value_hash, 'hex') from unique_values").await;
    let hash: Vec<u8> =
        (0..16).map(|n| u8::from_str_radix(&hash[0][2 * n..2 * n + 2], 16).unwrap()).collect();
    for (keys, left_out, owners) in [
        (&["new"][..], &[][..], &["k099"][..]),
        (&["k099", "k042"], &[], &["k099", "k098", "k042"]),
        (&["k042"], &["k099", "k098"], &["k097", "k042"]),
    ] {
        let mut transaction = app.pool.begin().await.unwrap();
        let values = (&["mail"][..], &[&hash[..]][..]);
        let found =
            unique_values::owners(&mut transaction, "s", keys, values, left_out).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|owner| owner.external_id).collect();
        assert_eq!(found, owners, "{keys:?}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_dry_run_counts_as_the_run_does_where_few_keys_come_again_in_later_chunks() {
    let app = TestApp::empty().await;
    app.write(
        "s.toml",
        job("", ", unique = true").replace("[fields]", "chunk_size = 16\n[fields]"),
    );
    for (rows, quarantined) in [
        // `a` gives up `1`, which `c` takes; `d` wants what `b` has, and `2` is free behind that.
        ("a,x,1\nb,x,2\na,x,3\nc,x,1\nd,x,2\nb,x,4\ne,x,2\n", 1),
        // The same of what the table has by then.
        ("a,x,5\nf,x,3\ng,x,5\na,x,3\na,x,6\ng,x,5\n", 2),
    ] {
        app.write("a.csv", format!("id,name,mail\n{rows}"));
        let dry_run = RunRequest { dry_run: true, ..request(Mode::Incremental) };
        let dry = app.run_as("s", &dry_run).await;
        let run = app.run("s").await;
        assert_eq!(run.counters.quarantined, quarantined, "{run:?}");
        assert_eq!((dry.counters, dry.status), (run.counters, run.status));
    }
    app.database.close().await;
}

//! Sources that attack: names of kilobytes, nesting without end, names without number, records of
//! megabytes. What is bad costs its row at most, never the run.

use std::fmt::Write;

use kasparro::db::run_tasks;
use kasparro::db::runs::Run;
use kasparro::domain::run::{Mode, RunStatus};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::api::TestApi;
use crate::app::TestApp;
use crate::process::{Process, kasparro};

const SEED: u64 = 11;

fn api_job(selector: &str, contract: &str) -> String {
    format!(
        "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = 'http://localhost:1/'\n\
         data_selector = '{selector}'\nrecording = 'pages'\n[fields]\nname = {{ from = '$.name' }}\n\
         more = {{ from = '$.more', type = 'json' }}\n[contract]\n{contract}\n"
    )
}

async fn app(job: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", job);
    app
}

/// Every row is counted once, and the run came to its end.
#[track_caller]
fn assert_counted(run: &Run, rows: i64, records: i64) {
    assert_ne!(run.status, RunStatus::Failed, "{run:?}");
    let c = &run.counters;
    assert_eq!(c.rows_read, rows, "{run:?}");
    assert_eq!(c.inserted + c.updated + c.unchanged + c.quarantined, rows, "{run:?}");
    assert_eq!(c.inserted + c.updated + c.unchanged, records, "{run:?}");
}

/// Text that does not compress: what an index would hold of it is all of it.
fn noise(dice: &mut StdRng, length: usize) -> String {
    (0..length).map(|_| char::from(dice.random_range(b'a'..=b'z'))).collect()
}

fn hostile_names(dice: &mut StdRng) -> Vec<String> {
    vec![
        noise(dice, 6_000),
        noise(dice, 1 << 20),
        "日本語".repeat(3_000),
        "\u{0}".repeat(3_000),
        "\u{1b}[2J\u{202e}\n'\"\\|".to_owned(),
        String::new(),
        "$..*".to_owned(),
    ]
}

#[tokio::test]
async fn a_hostile_name_in_an_api_costs_nobody_the_run() {
    for contract in ["", "new_field = 'quarantine_row'\nmissing_field = 'quarantine_row'"] {
        let mut dice = StdRng::seed_from_u64(SEED);
        let app = app(&api_job("$[*]", contract)).await;
        app.write("pages/page-0001.json", r#"[{"id":1,"name":"a"},{"id":2,"name":"b"}]"#);
        assert_counted(&app.run("items").await, 2, 2);
        let names = hostile_names(&mut dice);
        let mut page = vec![json!({ "id": 0, "name": "good" })];
        page.extend((1..).zip(&names).map(|(id, name)| json!({ "id": id, "name": "x", name: id })));
        let all: serde_json::Map<_, _> =
            names.iter().map(|name| (name.clone(), 1.into())).collect();
        page.push(
            [("id".to_owned(), json!(99)), ("name".to_owned(), json!("x"))]
                .into_iter()
                .chain(all)
                .collect(),
        );
        app.write("pages/page-0001.json", Value::from(page).to_string());
        let rows = names.len() as i64 + 2;
        let records = if contract.is_empty() { rows } else { 1 };
        assert_counted(&app.run("items").await, rows, records);
        // The names are seen once more, and then are gone.
        assert_counted(&app.run_mode("items", Mode::Full).await, rows, records);
        app.write("pages/page-0001.json", r#"[{"id":1,"name":"a"}]"#);
        assert_counted(&app.run("items").await, 1, 1);
    }
}

#[tokio::test]
async fn nesting_without_end_sets_its_record_aside_and_loads_the_others() {
    const DEEP: usize = 100_000;
    let lists = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let objects = format!("{}1{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP));
    let edge = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for selector in ["$.items[*]", "$..items[*]"] {
        let app = app(&api_job(selector, "")).await;
        let page = format!(
            r#"{{"items":[{{"id":1,"name":"good"}},{{"id":2,"unmapped":{lists}}},
                {{"id":3,"more":{objects}}},{lists},{{"id":4,"more":{}}},{{"id":5,"more":{}}},
                {{"id":6,"name":"good"}}]}}"#,
            edge(100),
            edge(300),
        );
        app.write("pages/page-0001.json", &page);
        assert_counted(&app.run("items").await, 7, 3);
        let reasons = "select reason || ' ' || raw_row from quarantined_rows order by raw_row";
        let expected = ["invalid_json 2", "invalid_json 3", "invalid_json 4", "invalid_json 6"];
        assert_eq!(app.texts(reasons).await, expected, "{selector}");
        // It is kept as it came, and can be read again.
        assert_counted(&app.run_mode("items", Mode::Replay).await, 7, 3);
    }
}

#[tokio::test]
async fn hostile_headers_cost_nobody_the_run() {
    for contract in ["", "new_field = 'quarantine_row'\nmissing_field = 'quarantine_row'"] {
        let job = format!(
            "kind = 'csv'\nprimary_key = ['id']\n[csv]\npaths = ['items.csv']\n\
             [fields]\nname = {{ column = 'name' }}\n[contract]\n{contract}\n"
        );
        let app = app(&job).await;
        let mut dice = StdRng::seed_from_u64(SEED);
        app.write("items.csv", "id,name\n1,a\n2,b\n");
        assert_counted(&app.run("items").await, 2, 2);
        let names: Vec<_> =
            hostile_names(&mut dice).into_iter().filter(|name| !name.contains('\0')).collect();
        let header: Vec<_> =
            names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        let cells = vec!["1"; names.len()].join(",");
        let mut file = format!("id,name,{}\n", header.join(","));
        for row in 1..=3 {
            writeln!(file, "{row},x,{cells}").unwrap();
        }
        writeln!(file, "4,x,{}", cells.replace('1', "\"open")).unwrap();
        app.write("items.csv", &file);
        let records = if contract.is_empty() { 3 } else { 0 };
        assert_counted(&app.run("items").await, 4, records);
        app.write("items.csv", "id,name\n1,a\n");
        assert_counted(&app.run("items").await, 1, 1);
    }
}

#[tokio::test]
async fn names_without_number_are_loaded_and_only_the_first_are_compared() {
    let page = |first: usize| {
        let mut record = json!({ "id": 1, "name": "x" });
        for n in first..first + 30_000 {
            record[format!("key {n}")] = n.into();
        }
        Value::from(vec![record, json!({ "id": 2, "name": "y" })]).to_string()
    };
    let app = app(&api_job("$[*]", "new_field = 'quarantine_row'")).await;
    for (first, records) in [(0, 2), (50_000, 2)] {
        app.write("pages/page-0001.json", page(first));
        assert_counted(&app.run("items").await, 2, records);
        let names = "select count(*) from schema_snapshots, jsonb_object_keys(schema_signature)";
        assert_eq!(app.number(names).await, 10_000);
    }
}

#[tokio::test]
async fn a_row_that_is_bad_in_every_field_has_a_hundred_defects_at_most() {
    let app = app(&api_job("$[*]", "new_field = 'quarantine_row'")).await;
    app.write("pages/page-0001.json", r#"[{"id":1,"name":"a"}]"#);
    app.run("items").await;
    let mut record = json!({ "id": 1 });
    for n in 0..5_000 {
        record[format!("key {n}")] = noise(&mut StdRng::seed_from_u64(n), 200).into();
    }
    app.write("pages/page-0001.json", Value::from(vec![record]).to_string());
    assert_counted(&app.run("items").await, 1, 0);
    assert_eq!(app.number("select count(*) from quarantined_rows").await, 100);
    let kept = "select sum(octet_length(raw)) from quarantined_rows";
    assert!(app.number(kept).await < 4 << 20);
}

#[tokio::test]
async fn an_answer_of_the_api_is_bounded_in_bytes_and_says_what_it_leaves_out() {
    const RECORD: usize = 2 << 20;
    let api = TestApi::admitting_this_machine().await;
    let app = &api.app;
    app.write("items.toml", api_job("$[*]", ""));
    let record = |id: usize| {
        let json = json!({ "id": format!("{id:02}"), "name": "n".repeat(RECORD / 2),
            "more": [" ".repeat(RECORD / 2)] });
        if id == 5 { json!({ "id": "05", "name": "n".repeat(20 << 20) }) } else { json }
    };
    let page: Vec<_> = (0..17).map(record).collect();
    app.write("pages/page-0001.json", Value::from(page).to_string());
    assert_counted(&app.run("items").await, 17, 17);
    let mut seen = Vec::new();
    let mut pages = 0;
    let mut path = "/records?limit=10".to_owned();
    loop {
        let body = api.get(&path).await.bytes().await.unwrap();
        assert!(body.len() < 17 << 20, "{}", body.len());
        let body: Value = serde_json::from_slice(&body).unwrap();
        let items = body["items"].as_array().unwrap();
        assert!(!items.is_empty());
        for item in items {
            let large = item["external_id"] == "05";
            assert_eq!(item["name"].is_null(), large);
            assert_eq!(item["left_out"], if large { json!(["name"]) } else { json!([]) });
        }
        seen.extend(items.iter().map(|item| item["external_id"].as_str().unwrap().to_owned()));
        pages += 1;
        match body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/records?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..17).map(|id| format!("{id:02}")).collect::<Vec<_>>());
    assert!(pages > 3, "{pages}");
    let one = api.get("/records/items/05").await.bytes().await.unwrap();
    assert!(one.len() < 1000, "{}", one.len());
    let one: Value = serde_json::from_slice(&one).unwrap();
    assert_eq!((&one["name"], &one["left_out"]), (&Value::Null, &json!(["name"])));
}

/// Rows such as earlier versions have let in: 131,000 digits in a few bytes, and texts that escapes make
/// six times as long.
#[tokio::test]
async fn an_answer_is_bounded_in_the_bytes_that_are_sent() {
    let api = TestApi::admitting_this_machine().await;
    api.app.write("items.toml", api_job("$[*]", ""));
    api.app.write("pages/page-0001.json", r#"[{"id":"first"}]"#);
    api.app.run("items").await;
    let written = "with written as (
        insert into unified_records (source, external_id, content_hash, raw_ref, raw_row,
            first_run_id, last_run_id, price, quantity, name, attributes)
        select 'items', to_char(n, 'fm0000'), content_hash, raw_ref, raw_row, first_run_id,
            last_run_id, case when n < 300 then '1e131000'::numeric end,
            case when n < 300 then '-1e-16000'::numeric end,
            case when n >= 300 then repeat(chr(1), 9000) end,
            case when n % 50 = 0 then '{\"a\": [1e131000, 1e131000]}'::jsonb end
        from unified_records, generate_series(1, 900) as n
        returning 1) select count(*) from written";
    assert_eq!(api.app.number(written).await, 900);
    let (mut seen, mut largest) = (0, 0);
    let mut path = "/records?limit=1000".to_owned();
    loop {
        let body = api.get(&path).await.bytes().await.unwrap();
        largest = largest.max(body.len());
        let body: Value = serde_json::from_slice(&body).unwrap();
        seen += body["items"].as_array().unwrap().len();
        match body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/records?limit=1000&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, 901);
    assert!((12 << 20..16 << 20).contains(&largest), "{largest}");
}

/// Attributes compress well: what a row takes on disk says little of what it is.
#[tokio::test]
async fn large_attributes_are_left_out_of_a_large_record_only() {
    let api = TestApi::admitting_this_machine().await;
    api.app.write("items.toml", api_job("$[*]", ""));
    let more =
        |id: u32, bytes: usize| json!({ "id": id, "name": "n", "more": ["x".repeat(bytes)] });
    let page = json!([more(1, 15 << 20), more(2, 17 << 20)]);
    api.app.write("pages/page-0001.json", page.to_string());
    assert_counted(&api.app.run("items").await, 2, 2);
    let get = async |id| -> Value {
        api.get(&format!("/records/items/{id}")).await.json().await.unwrap()
    };
    let (small, large) = (get(1).await, get(2).await);
    assert_eq!(small["left_out"], json!([]));
    assert_eq!(small["attributes"]["more"][0].as_str().unwrap().len(), 15 << 20);
    assert_eq!(large["left_out"], json!(["attributes"]));
    assert_eq!((&large["attributes"], &large["name"]), (&Value::Null, &json!("n")));
}

#[tokio::test]
async fn a_batch_has_64_mib_of_pages_or_a_single_page() {
    let app = app(&api_job("$[*]", "")).await;
    app.start("items", Mode::Full).await;
    for (sizes, batch) in [
        (vec![1; 12], (0, 9)),
        (vec![0, 0, 0], (0, 2)),
        (vec![20, 20, 20, 20], (0, 2)),
        (vec![40, 40], (0, 0)),
        (vec![32, 32, 1], (0, 1)),
        (vec![900, 1], (0, 0)),
        (vec![1, 900, 1], (0, 0)),
    ] {
        let pages: Vec<i64> = sizes.iter().map(|mib| mib << 20).collect();
        let insert = "with gone as (delete from run_tasks where kind = 'fetch_page')
            insert into run_tasks (run_id, task_key, kind, role, state, done_at, first_slice, last_slice,
                payload, result, bytes)
            select r.id, 'fetch_page:' || n || gen_random_uuid(), 'fetch_page', 'read', 'done', now(), n - 1,
                n - 1, '{}', '{}', p.bytes
            from etl_runs as r, unnest($1::bigint[]) with ordinality as p (bytes, n)";
        sqlx::query(insert).bind(&pages).execute(&app.pool).await.unwrap();
        let mut connection = app.pool.acquire().await.unwrap();
        let run = kasparro::domain::run::RunId(app.number("select id from etl_runs").await);
        let next = run_tasks::next_batch(&mut connection, run, 10, 1, 64 << 20).await.unwrap();
        assert_eq!(next, Some(batch), "{sizes:?}");
    }
}

#[tokio::test]
async fn a_file_whose_path_no_index_takes_stays_out_and_the_others_load() {
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"**/*.csv\"]\n[fields]\n\
         name = { column = \"name\" }\n",
    );
    let mut dice = StdRng::seed_from_u64(SEED);
    let folders: Vec<_> = (0..8).map(|_| noise(&mut dice, 240)).collect();
    // 8 folders with a slash each, a name, and its ending.
    let fits = format!("{}/{}.csv", folders.join("/"), noise(&mut dice, 2_000 - 8 * 241 - 4));
    assert_eq!(fits.len(), 2_000);
    app.write(&fits, "id,name\n1,a\n");
    app.write(&fits.replace(".csv", "x.csv"), "id,name\n2,b\n");
    app.write("short.csv", "id,name\n3,c\n");
    for read in [2, 0] {
        let run = app.run("items").await;
        assert_eq!((run.status, run.counters.rows_read), (RunStatus::Degraded, read), "{run:?}");
        let note = run.stop_reason.unwrap();
        assert!(note.starts_with("a file was not loaded, since a path has at most 2000 bytes: "));
        assert!(note.contains("(2001 bytes)") && note.len() < 400, "{note}");
    }
    assert_eq!(app.number("select count(*) from unified_records").await, 2);
}

#[tokio::test]
async fn names_that_are_kept_as_one_are_set_aside_once() {
    let app = app(&api_job("$[*]", "new_field = 'quarantine_row'")).await;
    app.write("pages/page-0001.json", r#"[{"id":1,"name":"a"}]"#);
    app.run("items").await;
    let page = "[{\"id\":1,\"name\":\"a\",\"x\\u0000\":1,\"x\\ufffd\":2}]";
    app.write("pages/page-0001.json", page);
    assert_counted(&app.run("items").await, 1, 0);
    assert_eq!(app.texts("select field from quarantined_rows").await, ["x\u{fffd}"]);
}

fn pipe(app: &TestApp, name: &str) {
    nix::unistd::mkfifo(&app.path(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_or_a_recording_is_refused_and_delays_no_stop() {
    let app = app(&api_job("$[*]", "")).await;
    app.write("pages/page-0002.json", "[]");
    pipe(&app, "pages/page-0001.json");
    app.write(
        "files.toml",
        "kind = 'csv'\nprimary_key = ['id']\n[csv]\npaths = ['data/only.csv']\n[fields]\nname = {}\n",
    );
    app.write("data/a.csv", "id,name\n1,a\n");
    pipe(&app, "data/only.csv");
    for (source, file) in [("items", "page-0001.json"), ("files", "only.csv")] {
        let run = app.run(source).await;
        assert_eq!(run.status, RunStatus::Failed, "{run:?}");
        let error = run.error.unwrap_or_default();
        assert!(
            error.contains(file) && error.contains("it is a named pipe, not a file"),
            "{error}"
        );
    }
    // Nobody who has it under way waits for somebody who writes into it.
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut worker = Process::start(kasparro(&app, &["worker"]));
        worker.says("worker started").await;
        app.start("items", Mode::Full).await;
        app.start("files", Mode::Full).await;
        worker.signal(signal);
        let begun = std::time::Instant::now();
        worker.ended().await.code(0);
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        app.drain().await;
    }
    app.database.close().await;
}

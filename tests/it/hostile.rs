//! Sources that attack: names of kilobytes, nesting without end, names without number, records of
//! megabytes. What is bad costs its row at most, never the run.

use std::fmt::Write;

use kasparro::db::runs::Run;
use kasparro::domain::run::{Mode, RunStatus};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::api::TestApi;
use crate::app::TestApp;

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
async fn an_answer_of_the_api_is_bounded_in_bytes_and_leaves_nothing_out() {
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
        assert!(body.len() < 21 << 20, "{}", body.len());
        let body: Value = serde_json::from_slice(&body).unwrap();
        let items = body["items"].as_array().unwrap();
        assert!(!items.is_empty());
        seen.extend(items.iter().map(|item| item["external_id"].as_str().unwrap().to_owned()));
        pages += 1;
        match body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/records?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..17).map(|id| format!("{id:02}")).collect::<Vec<_>>());
    assert!(pages > 3, "{pages}");
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

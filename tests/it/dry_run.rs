//! Dry runs: what they count is what the run then does, and they write nothing.

use kasparro::db::runs::Run;
use kasparro::domain::counters::Counters;
use kasparro::domain::run::Mode;
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::api::TestApi;
use crate::app::{TestApp, request};
use crate::process::call;

const JOB: &str = r#"
kind = "csv"
primary_key = ["key"]

[csv]
paths = ["lines.csv"]
chunk_size = 1000

[fields]
name = { column = "name", required = true }
price = { column = "price", type = "decimal" }
"#;

const TABLES: &str = "select quote_ident(table_name) from information_schema.tables
     where table_schema = 'public' and table_type = 'BASE TABLE' and table_name not in
        ('etl_runs', 'run_tasks', 'source_definitions', '_sqlx_migrations')
     order by 1";

/// Everything in the tables but the runs themselves.
async fn written(app: &TestApp) -> Vec<String> {
    let mut all = Vec::new();
    for table in app.texts(TABLES).await {
        let rows = format!("select '{table} ' || row::text from {table} as row order by 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&app.pool).await;
        all.append(&mut rows.unwrap());
    }
    all
}

/// Rows whose keys come back, some bad.
fn lines(version: usize) -> String {
    let line = |row: usize| match row % 41 {
        7 => format!("k{row},,1.00\n"),
        _ if row.is_multiple_of(17) => format!("again{},name {row},{version}.50\n", row % 5),
        _ if row.is_multiple_of(3) => format!("k{row},name {row},{version}.25\n"),
        _ => format!("k{row},name {row},0.25\n"),
    };
    format!("key,name,price\n{}", (0..400 + 100 * version).map(line).collect::<String>())
}

async fn dry_run(app: &TestApp, source: &str, mode: Mode) -> Run {
    app.run_as(source, &RunRequest { dry_run: true, ..request(mode) }).await
}

/// Counts what the run does, before the run does it, and leaves nothing behind.
async fn foretells(app: &TestApp, source: &str, mode: Mode) -> Counters {
    let before = written(app).await;
    let dry = dry_run(app, source, mode).await;
    assert!(dry.dry_run && dry.status.is_success(), "{dry:?}");
    assert_eq!(written(app).await, before, "{source}");
    let run = app.run_mode(source, mode).await;
    assert_ne!(written(app).await, before, "{source}");
    assert_eq!((dry.status, dry.counters), (run.status, run.counters), "{source}");
    run.counters
}

#[tokio::test]
async fn a_dry_run_counts_what_the_run_then_does_and_writes_nothing() {
    let app = TestApp::shipped().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", lines(0));
    for source in ["coingecko_api", "products_csv", "vendors_csv", "lines"] {
        let counters = foretells(&app, source, Mode::Incremental).await;
        assert!(counters.inserted > 0, "{source}");
    }
    app.write("lines.csv", lines(1));
    let changed = foretells(&app, "lines", Mode::Incremental).await;
    let Counters { inserted, updated, unchanged, quarantined, .. } = changed;
    assert!(inserted.min(updated).min(unchanged).min(quarantined) > 0, "{changed:?}");
    foretells(&app, "coingecko_api", Mode::Full).await;
    app.database.close().await;
}

#[tokio::test]
async fn a_dry_replay_shows_what_another_mapping_changes() {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", "key,name,price\n1,one,1.00\n2,two,2.00\n3,three,x\n");
    app.run("lines").await;
    app.write("lines.toml", format!("{JOB}currency = {{ const = \"EUR\" }}\n"));
    std::fs::remove_file(app.path("lines.csv")).unwrap();
    let before = written(&app).await;
    let ended = call(&app, &["run", "lines", "--replay", "--dry-run", "--json"]).await;
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(written(&app).await, before);
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    let run = &answer["runs"][0];
    assert_eq!(
        (&run["counters"]["updated"], &run["counters"]["quarantined"]),
        (&json!(2), &json!(1))
    );
    let samples = run["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 3);
    let stands = json!({ "name": "one", "price": "1.00" });
    let would = json!({ "name": "one", "price": "1.00", "currency": "EUR" });
    assert_eq!(samples[0]["change"], "updated");
    assert_eq!((&samples[0]["before"], &samples[0]["after"]), (&stands, &would));
    assert_eq!((&samples[0]["external_id"], &samples[0]["row"]), (&json!("1"), &json!(1)));
    assert_eq!((&samples[2]["change"], &samples[2]["row"]), (&json!("quarantined"), &json!(3)));
    assert_eq!(samples[2]["defects"][0]["reason"], "invalid_decimal");

    let said = call(&app, &["run", "lines", "--replay", "--dry-run"]).await.stdout;
    assert!(said.contains("dry run: nothing was written"), "{said}");
    assert!(said.contains("lines: updated 1 (file/1 row 1)\n    currency: \"EUR\"\n"), "{said}");
    app.database.close().await;
}

#[tokio::test]
async fn the_samples_of_a_dry_run_are_shown_over_http() {
    let api = TestApi::admitting_this_machine().await;
    api.app.write("lines.toml", JOB);
    api.app.write("lines.csv", lines(0));
    let body = json!({ "source": "lines", "dry_run": true });
    let started = api.client.post(api.url("/runs")).json(&body).send().await.unwrap();
    let run: Value = started.json().await.unwrap();
    assert_eq!(run["dry_run"], true);
    let path = format!("/runs/{}/samples", run["id"]);
    let samples = async || api.get(&path).await.json::<Value>().await.unwrap();
    assert_eq!(samples().await, json!({ "items": [] }));
    api.app.drain().await;
    let shown = samples().await;
    let items = shown["items"].as_array().unwrap();
    assert_eq!(items.len(), 20);
    assert!(items.iter().all(|sample| sample["payload"] == "lines.csv"), "{shown}");
    let stats: Value = api.get("/stats").await.json().await.unwrap();
    assert!(!stats.to_string().contains("\"success\":1"), "{stats}");

    let real = api.app.run("lines").await;
    let none: Value = api.get(&format!("/runs/{}/samples", real.id)).await.json().await.unwrap();
    assert_eq!(none, json!({ "items": [] }));
    api.app.database.close().await;
}

#[tokio::test]
async fn a_dry_run_that_fails_says_why_and_the_source_is_free_again() {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    let failed = dry_run(&app, "lines", Mode::Incremental).await;
    assert!(failed.error.as_deref().is_some_and(|error| error.contains("lines.csv")), "{failed:?}");
    app.write("lines.csv", lines(0));
    assert!(app.run("lines").await.status.is_success());
    app.database.close().await;
}

#[tokio::test]
async fn a_dry_run_shows_no_change_of_a_record_that_it_counts_as_unchanged() {
    let others = |rows: usize| (0..rows).map(|row| format!("o{row},other,0.25\n"));
    // Within a batch, and from one to another.
    for rows in [0, 200] {
        let app = TestApp::empty().await;
        app.write("lines.toml", JOB);
        let file = |first: &str, last: &str| {
            format!("key,name,price\n{first}{}{last}", others(rows).collect::<String>())
        };
        app.write("lines.csv", file("1,A,1.00\n2,x,1.00\n", ""));
        app.run("lines").await;
        app.write("lines.csv", file("1,B,1.00\n2,y,1.00\n", "1,A,1.00\n"));
        let ended = call(&app, &["run", "lines", "--dry-run", "--json"]).await;
        assert!(ended.status.success(), "{ended:?}");
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
        let run = &answer["runs"][0];
        let counted = [&run["counters"]["updated"], &run["counters"]["unchanged"]];
        assert_eq!(counted, [&json!(1), &json!(rows + 2)], "{run}");
        let samples = run["samples"].as_array().unwrap();
        let shown: Vec<_> = samples.iter().map(|it| (&it["change"], &it["external_id"])).collect();
        assert_eq!(shown, [(&json!("updated"), &json!("2"))], "{run}");
        app.database.close().await;
    }
}

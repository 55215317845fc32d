//! Where a record comes from: the bytes of its row, wherever they were read, who read and normalized them, under which
//! job file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use kasparro::db::retention;
use kasparro::domain::run::Mode;
use serde_json::{Value, json};

use crate::api::{TestApi, problem};
use crate::file_formats::archive;

const CSV: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n\
                   [fields]\nname = { column = \"name\", required = true }\n";

async fn api(source: &str, job: &str) -> TestApi {
    let api = TestApi::admitting_this_machine().await;
    api.app.write(&format!("{source}.toml"), job);
    api
}

async fn lineage(api: &TestApi, key: &str) -> Value {
    let response = api.get(&format!("/records/{key}/lineage")).await;
    assert_eq!(response.status(), 200, "{key}");
    response.json().await.unwrap()
}

/// The run and the key of each task.
fn tasks(lineage: &Value) -> Vec<String> {
    let tasks = lineage["tasks"].as_array().unwrap().iter();
    tasks.map(|task| format!("{} {}", task["run_id"], task["key"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_record_of_a_csv_file_leads_to_its_line_and_bytes_and_to_the_tasks_and_job_files_behind_it()
 {
    let api = api("shop", CSV).await;
    let app = &api.app;
    app.write("shop.csv", "id,name\n007,\"Compact\nDrill\"\n8,\n9,b\n");
    let first = app.run("shop").await;
    let found = lineage(&api, "shop/9").await;
    let origin = &found["origin"];
    assert!(origin["file"]["url"].as_str().unwrap().ends_with("shop.csv"), "{origin}");
    let at = |name: &str| origin["file"][name].as_i64().unwrap();
    // The row in front of it has two lines.
    assert_eq!((at("line"), at("byte_start"), at("byte_end")), (5, 31, 34));
    assert_eq!((&origin["raw_text"], &origin["raw_row"]), (&json!("9,b"), &json!(3)));
    assert_eq!((&origin["raw_cut"], &origin["lacks"]), (&json!(false), &json!([])));
    assert_eq!(tasks(&found), ["1 parse_csv_chunk:0", "1 normalize_batch:0"]);
    for task in found["tasks"].as_array().unwrap() {
        assert!(task["worker"].is_string() && task["done_at"].is_string(), "{task}");
        assert_eq!((&task["state"], &task["attempts"]), (&json!("done"), &json!(1)));
    }
    assert_eq!(lineage(&api, "shop/007").await["origin"]["raw_text"], "007,\"Compact\nDrill\"");
    assert_eq!(found["quarantine"], json!([]));
    // Another job file, and a row that was set aside before.
    app.write("shop.toml", format!("{CSV}description = {{ column = \"name\" }}\n"));
    app.write("shop.csv", "id,name\n007,\"Compact\nDrill\"\n8,c\n9,b\n");
    let second = app.run("shop").await;
    let found = lineage(&api, "shop/8").await;
    let defect = &found["quarantine"][0];
    assert_eq!(
        (&defect["reason"], &defect["run_id"]),
        (&json!("missing_field"), &json!(first.id.0))
    );
    assert_eq!(found["last_run"]["run_id"], second.id.0);
    assert_eq!(found["last_run"]["schema_version"], 1);
    let of_both = lineage(&api, "shop/9").await;
    assert_eq!(of_both["first_run"]["run_id"], first.id.0);
    assert_eq!(of_both["first_run"]["schema_version"], Value::Null);
    assert_ne!(of_both["first_run"]["config_hash"], of_both["last_run"]["config_hash"]);
    let job_file = api.get(of_both["first_run"]["job_file"].as_str().unwrap()).await;
    assert_eq!(job_file.json::<Value>().await.unwrap()["toml"], CSV);
    problem(api.get("/definitions/00").await, 404, "unknown-definition").await;
    api.app.database.close().await;
}

#[tokio::test]
async fn rows_that_are_long_or_no_text_are_cut_or_given_as_bytes() {
    let job =
        CSV.replace("paths = [\"*.csv\"]", "paths = [\"*.csv\"]\nencoding = \"windows-1252\"");
    let api = api("shop", &job).await;
    let mut file = b"id,name\n1,caf\xe9\n2,".to_vec();
    file.extend([b'x'; 20_000]);
    api.app.write("shop.csv", file);
    api.app.run("shop").await;
    let origin = &lineage(&api, "shop/1").await["origin"];
    assert_eq!(origin["raw_text"], Value::Null, "{origin}");
    let bytes = STANDARD.decode(origin["raw_base64"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, b"1,caf\xe9");
    let origin = &lineage(&api, "shop/2").await["origin"];
    assert_eq!(origin["raw_text"].as_str().unwrap().len(), 16 << 10);
    assert_eq!(origin["raw_cut"], true);
    api.app.database.close().await;
}

#[tokio::test]
async fn a_record_of_json_lines_in_an_archive_leads_to_its_member_and_line() {
    let job = "kind = \"jsonl\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"*.zip\"]\nmember = \"*.jsonl\"\n\
               [fields]\nname = { from = \"$.name\" }\n";
    let api = api("shop", job).await;
    let lines = b"{\"id\":1,\"name\":\"a\"}\n{\"id\":2, \"name\":\"b\"}\r\n";
    api.app.write("all.zip", archive(&[("one.jsonl", lines), ("two.jsonl", b"{\"id\":3}\n")]));
    api.app.run("shop").await;
    let found = lineage(&api, "shop/2").await;
    let (origin, file) = (&found["origin"], &found["origin"]["file"]);
    assert!(file["url"].as_str().unwrap().ends_with("all.zip"), "{file}");
    assert_eq!((&file["member"], &file["line"]), (&json!("one.jsonl"), &json!(2)));
    assert_eq!((&file["byte_start"], &file["byte_end"]), (&json!(20), &json!(40)));
    assert_eq!(origin["raw_text"], "{\"id\":2, \"name\":\"b\"}");
    assert_eq!(tasks(&found).len(), 2, "{found}");
    assert_eq!(lineage(&api, "shop/3").await["origin"]["file"]["member"], "two.jsonl");
    api.app.database.close().await;
}

fn pages(explode: &str) -> String {
    format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
         data_selector = \"$.data[*]\"\n{explode}paginator = {{ type = \"page_number\", size = 2 }}\n\
         recording = \"pages\"\n[fields]\nname = {{ from = \"$.name\" }}\n"
    )
}

#[tokio::test]
async fn a_record_of_an_api_leads_to_the_place_in_its_page_also_after_a_replay() {
    let api = api("items", &pages("")).await;
    let app = &api.app;
    app.write("pages/page-0001.json", r#"{"data":[{"id":1,"name":"a"}, {"id":2,"name":"b"}]}"#);
    app.write("pages/page-0002.json", r#"{"data":[{"id":3,"name":"c"}]}"#);
    app.run("items").await;
    let found = lineage(&api, "items/2").await;
    let (origin, page) = (&found["origin"], &found["origin"]["page"]);
    assert_eq!(
        (&page["pointer"], &origin["raw_text"]),
        (&json!("/data/1"), &json!(r#"{"id":2,"name":"b"}"#))
    );
    assert!(page["url"].is_string() && page["fetched_at"].is_string(), "{page}");
    assert_eq!(tasks(&found), ["1 fetch_page:0", "1 normalize_batch:0"]);
    assert_eq!(tasks(&lineage(&api, "items/3").await)[0], "1 fetch_page:1");
    // Normalized again under another job file: read by the run before.
    app.write("items.toml", pages("").replace("name =", "description ="));
    app.run_mode("items", Mode::Replay).await;
    let found = lineage(&api, "items/3").await;
    assert_eq!(found["last_run"]["mode"], "replay");
    assert_eq!(tasks(&found), ["1 fetch_page:1", "2 normalize_batch:0"]);
    api.app.database.close().await;
}

#[tokio::test]
async fn a_record_made_of_a_list_within_a_record_leads_into_that_list() {
    let api = api("items", &pages("explode = \"lines\"\n")).await;
    let page = r#"{"data":[{"o":1,"lines":[]},{"o":2,"lines":[{"id":1},{"id":2,"name":"b"}]},{"o":3,"lines":{"id":3}}]}"#;
    api.app.write("pages/page-0001.json", page);
    api.app.write("pages/page-0002.json", r#"{"data":[]}"#);
    api.app.run("items").await;
    for (key, pointer, text) in
        [("2", "/data/1/lines/1", r#"{"id":2,"name":"b"}"#), ("3", "/data/2/lines", r#"{"id":3}"#)]
    {
        let origin = &lineage(&api, &format!("items/{key}")).await["origin"];
        assert_eq!(origin["page"]["pointer"], pointer, "{origin}");
        assert_eq!(origin["raw_text"], text);
    }
    api.app.database.close().await;
}

#[tokio::test]
async fn what_retention_has_removed_is_said() {
    let api = api("shop", CSV).await;
    let app = &api.app;
    app.write("shop.csv", "id,name\n1,a\n");
    app.run("shop").await;
    // Another version of the file, in which the record is no more.
    app.write("shop.csv", "id,name\n2,b\n");
    app.run("shop").await;
    let later = Utc::now() + TimeDelta::hours(1);
    assert!(retention::remove_tasks(&app.pool, "shop", later, 1000).await.unwrap() > 0);
    let kept = lineage(&api, "shop/1").await;
    assert_eq!((&kept["tasks"], &kept["origin"]["raw_text"]), (&json!([]), &json!("1,a")));
    assert!(retention::remove_blocks(&app.pool, "shop", later, 1000).await.unwrap() > 0);
    let gone = lineage(&api, "shop/1").await;
    let lacks = gone["origin"]["lacks"][0].as_str().unwrap();
    assert!(lacks.contains("no longer kept"), "{lacks}");
    assert_eq!(gone["origin"]["raw_text"], Value::Null);
    assert!(gone["origin"]["file"]["url"].as_str().unwrap().ends_with("shop.csv"));
    assert_eq!(gone["last_run"]["run_id"], 1);
    api.app.database.close().await;
}

#[tokio::test]
async fn a_page_that_is_gone_is_said() {
    let api = api("items", &pages("")).await;
    api.app.write("pages/page-0001.json", r#"{"data":[{"id":1,"name":"a"}]}"#);
    api.app.run("items").await;
    let later = Utc::now() + TimeDelta::hours(1);
    let pool = &api.app.pool;
    assert!(retention::remove_tasks(pool, "items", later, 1000).await.unwrap() > 0);
    assert!(retention::remove_pages(pool, "items", later, 1000).await.unwrap() > 0);
    let origin = &lineage(&api, "items/1").await["origin"];
    assert!(origin["lacks"][0].as_str().unwrap().contains("the page: no longer kept"), "{origin}");
    assert_eq!((&origin["page"], &origin["raw_text"]), (&Value::Null, &Value::Null));
    api.app.database.close().await;
}

#[tokio::test]
async fn records_are_listed_by_how_their_keys_begin_page_by_page() {
    let api = api("shop", CSV).await;
    let keys = ["a", "a/1", "a/2", "a/ü", "a\u{10ffff}", "ab", "b", "A/1"];
    let rows: String = keys.iter().map(|key| format!("{key},x\n")).collect();
    api.app.write("shop.csv", format!("id,name\n{rows}"));
    api.app.run("shop").await;
    let listed = async |query: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/records?source=shop&limit=2&prefix={query}{cursor}");
            let page: Value = api.get(&path).await.json().await.unwrap();
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}")).iter();
            found.extend(items.map(|item| item["external_id"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    assert_eq!(listed("a").await, ["a", "a/1", "a/2", "a/ü", "ab", "a\u{10ffff}"]);
    assert_eq!(listed("a%2F").await, ["a/1", "a/2", "a/ü"]);
    assert_eq!(listed("a%F4%8F%BF%BF").await, ["a\u{10ffff}"]);
    for nothing in ["%F4%8F%BF%BF", "c", "a%25", "%00", "a%2F1%2F"] {
        assert!(listed(nothing).await.is_empty(), "{nothing}");
    }
    assert_eq!(listed("").await.len(), 8);
    problem(api.get("/records?prefix=a").await, 400, "invalid-parameter").await;
    api.app.database.close().await;
}

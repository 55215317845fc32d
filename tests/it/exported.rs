//! Rows that leave: records, rows that were set aside, and both; as CSV and as JSON Lines. And the views with typed
//! columns.

use kasparro::db::Transaction;
use kasparro::db::source_views::{self, Made};
use kasparro::domain::run::RunStatus::{Success, SuccessWithDuplicates};
use serde_json::{Value, json};

use crate::api::{TestApi, problem};
use crate::app::TestApp;
use crate::process::call;

pub const JOB: &str = r#"
kind = "jsonl"
primary_key = ["id"]

[files]
paths = ["data/*.jsonl"]

[fields]
name = {}
price = { type = "decimal" }
source_updated_at = { from = "$.seen", type = "timestamp" }
active = { type = "boolean" }
created_at = { type = "timestamp" }
day = { type = "date" }
key = { type = "uuid" }
"odd; name" = { from = "$.odd" }
share = { type = "decimal" }
stock = { type = "integer" }
tags = { type = "json" }
"#;

pub const ROWS: &str = r#"{"id":"a","name":"Łódź, \"x\"\ny","price":12345678901234567890.120,"seen":"2025-01-02T03:04:05.25+01:00","active":true,"created_at":"2024-02-29T12:00:00Z","day":"2024-02-29","key":"00000000-0000-4000-8000-00000000000a","odd":"=1+1","share":0.10,"stock":9007199254740993,"tags":[1,{"a":null}]}
{"id":"b","name":"","price":null,"active":false}
{"id":"c"}
"#;

async fn shop() -> TestApp {
    let app = TestApp::empty().await;
    app.write("shop.toml", JOB);
    app.write("data/1.jsonl", ROWS);
    app.run("shop").await;
    app
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn exported(app: &TestApp, args: &[&str]) -> String {
    let ended = call(app, &[&["export"], args].concat()).await;
    ended.code(0).stdout.clone()
}

#[tokio::test]
async fn exported_records_that_are_read_again_are_the_same_records() {
    let app = shop().await;
    let file = app.path("again/all.jsonl");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let ended = call(&app, &["export", "shop", "--output", file.to_str().unwrap()]).await;
    ended.code(0).complains(&["3 rows"]);
    let job = JOB.replace("data/*.jsonl", "again/*.jsonl");
    let job = job.replace("[\"id\"]", "[\"external_id\"]").replace("$.seen", "$.source_updated_at");
    app.write("again.toml", job.replace("$.odd", "$['odd; name']"));
    assert_eq!(app.run("again").await.status, Success);
    let different = "select count(*) from unified_records as a full join unified_records as b
        on a.external_id = b.external_id and a.content_hash = b.content_hash and a.source <> b.source
        where a is null or b is null";
    assert_eq!(app.number("select count(*) from unified_records").await, 6);
    assert_eq!(app.number(different).await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn csv_has_a_column_for_each_field_and_every_digit() {
    let app = shop().await;
    let text = exported(&app, &["shop"]).await;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let expected = [
        "external_id",
        "name",
        "price",
        "source_updated_at",
        "active",
        "created_at",
        "day",
        "key",
        "odd; name",
        "share",
        "stock",
        "tags",
    ];
    assert_eq!(header, expected);
    let rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    let first = [
        "a",
        "Łódź, \"x\"\ny",
        "12345678901234567890.120",
        "2025-01-02T02:04:05.250000Z",
        "true",
        "2024-02-29T12:00:00Z",
        "2024-02-29",
        "00000000-0000-4000-8000-00000000000a",
        "=1+1",
        "0.10",
        "9007199254740993",
        "[1, {\"a\": null}]",
    ];
    assert_eq!(rows[0], first);
    assert_eq!(rows[2].concat(), "c");
    assert_eq!(rows.len(), 3);
    app.database.close().await;
}

#[tokio::test]
async fn numbers_with_a_fraction_are_texts_in_json_and_lineage_comes_when_it_is_asked_for() {
    let app = shop().await;
    let plain = lines(&exported(&app, &["shop", "--format", "jsonl"]).await);
    assert_eq!(plain[0]["price"], "12345678901234567890.120");
    assert_eq!(plain[0]["stock"].to_string(), "9007199254740993");
    assert_eq!(
        (&plain[0]["active"], &plain[0]["tags"]),
        (&json!(true), &json!([1, { "a": null }]))
    );
    assert_eq!((&plain[1]["name"], &plain[1]["price"]), (&json!(""), &Value::Null));
    assert!(plain[0].get("raw_row").is_none());
    let more = lines(&exported(&app, &["shop", "--format", "jsonl", "--lineage"]).await);
    assert_eq!((&more[2]["raw_ref"], &more[2]["raw_row"]), (&json!("file/1"), &json!(3)));
    // A field of the job file has that name.
    assert_eq!(more[0]["created_at"], "2024-02-29T12:00:00Z");
    assert!(more[0]["_created_at"].as_str().unwrap().ends_with('Z'), "{}", more[0]);
    app.database.close().await;
}

#[tokio::test]
async fn rows_that_were_set_aside_stand_between_the_records_they_came_with() {
    let app = TestApp::empty().await;
    app.write("shop.toml", "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n[fields]\nprice = { type = \"decimal\" }\nname = {}\n");
    app.write("1.csv", "id,price,name\n3,1,c\n2,x,\"b\n\"\n1,2,a\n");
    app.write("2.csv", b"id,price,name\n9,9,z\n,y,q\xe9\n".as_slice());
    app.run("shop").await;
    let all = lines(&exported(&app, &["shop", "--format", "jsonl", "--rows", "all"]).await);
    let seen: Vec<_> = all
        .iter()
        .map(|row| {
            let of = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", of("outcome"), of("external_id"), of("file"), row["raw_row"])
        })
        .collect();
    assert_eq!(
        seen,
        [
            "record 3 - 1",
            "quarantined 2 1.csv 2",
            "record 1 - 3",
            "record 9 - 1",
            "quarantined - 2.csv 2"
        ]
    );
    assert_eq!(all[1]["raw_text"], "2,x,\"b\n\"");
    assert_eq!(
        (&all[1]["line"], &all[1]["reasons"]),
        (&json!(3), &json!(["price: invalid_decimal"]))
    );
    let aside = exported(&app, &["shop", "--rows", "quarantine"]).await;
    let mut reader = csv::Reader::from_reader(aside.as_bytes());
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(&rows[0][0], "1.csv");
    app.database.close().await;
}

#[tokio::test]
async fn many_rows_and_large_ones_all_arrive() {
    let app = TestApp::empty().await;
    app.write(
        "big.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n[fields]\nname = {}\n",
    );
    let row = |id: usize| {
        format!("{id:05},{}\n", "x".repeat(if id.is_multiple_of(1000) { 300_000 } else { 20 }))
    };
    let rows: String = (0..5_000).map(row).collect();
    app.write("big.csv", format!("id,name\n{rows}"));
    app.run("big").await;
    assert_eq!(exported(&app, &["big"]).await, format!("external_id,name\n{rows}"));
    app.database.close().await;
}

#[tokio::test]
async fn exports_of_different_widths_follow_each_other_on_one_connection() {
    let api = TestApi::admitting_this_machine().await;
    api.app.write("shop.toml", JOB);
    api.app.write("data/1.jsonl", ROWS);
    api.app.run("shop").await;
    for more in ["", "&lineage=true", "&rows=all", "", "&rows=quarantine", "&lineage=true"] {
        let answer = api.get(&format!("/records/export?source=shop&format=csv{more}")).await;
        let text = answer.text().await.unwrap();
        let rows = csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).count();
        assert_eq!(rows, if more.contains("quarantine") { 0 } else { 3 }, "{more}");
    }
    api.app.database.close().await;
}

#[tokio::test]
async fn times_before_the_first_year_leave_as_they_came() {
    let app = TestApp::empty().await;
    let job = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n[fields]\n\
               source_updated_at = {}\nseen = { type = \"timestamp\", column = \"source_updated_at\" }\n";
    app.write("old.toml", job);
    app.write(
        "a.csv",
        "id,source_updated_at\n1,-0044-03-15T01:02:03Z\n2,+12024-01-01T00:00:00.5Z\n3,2024-01-01\n",
    );
    app.run("old").await;
    let rows = lines(&exported(&app, &["old", "--format", "jsonl"]).await);
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row["source_updated_at"], row["seen"], "{row}");
        assert!(row["seen"].is_string(), "{row}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_pipe_stays_one_and_a_link_too() {
    let app = shop().await;
    std::os::unix::fs::symlink(app.path("real.csv"), app.path("link.csv")).unwrap();
    app.write("real.csv", "old");
    let link = app.path("link.csv");
    call(&app, &["export", "shop", "--output", link.to_str().unwrap()]).await.code(0);
    assert!(link.is_symlink() && app.read("real.csv").starts_with("external_id"));
    call(&app, &["export", "shop", "--output", "/dev/null"]).await.code(0);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_is_written_is_whole_or_as_it_was() {
    let app = shop().await;
    app.write("out.csv", "old");
    let out = app.path("out.csv");
    call(&app, &["export", "nosuch", "--output", out.to_str().unwrap()]).await.code(1);
    assert_eq!(app.read("out.csv"), "old");
    let folder = app.path("data");
    let ended = call(&app, &["export", "shop", "--output", folder.to_str().unwrap()]).await;
    ended.code(1).complains(&["is a folder"]);
    call(&app, &["export", "shop", "--output", out.to_str().unwrap()]).await.code(0);
    assert!(app.read("out.csv").starts_with("external_id,name,price,"));
    let left: Vec<_> = std::fs::read_dir(app.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    app.database.close().await;
}

#[tokio::test]
async fn the_api_sends_what_the_command_line_writes() {
    let api = TestApi::admitting_this_machine().await;
    api.app.write("shop.toml", JOB);
    api.app.write("data/1.jsonl", ROWS);
    api.app.run("shop").await;
    for (format, kind) in [("csv", "text/csv; charset=utf-8"), ("jsonl", "application/jsonl")] {
        let answer = api.get(&format!("/records/export?source=shop&format={format}")).await;
        assert_eq!(answer.headers()["content-type"], kind);
        let name = format!("attachment; filename=\"shop.{format}\"");
        assert_eq!(answer.headers()["content-disposition"], name.as_str());
        let written = exported(&api.app, &["shop", "--format", format]).await;
        assert_eq!(answer.text().await.unwrap(), written);
    }
    let unknown = api.get("/records/export?source=nosuch&format=csv").await;
    problem(unknown, 404, "unknown-source").await;
    let wrong = api.get("/records/export?source=shop&format=xls").await;
    problem(wrong, 400, "invalid-parameter").await;
    api.app.database.close().await;
}

const VIEW: &str =
    "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)
    from pg_attribute where attrelid = 'sources.shop'::regclass and attnum > 0";

#[tokio::test]
async fn a_run_makes_a_view_with_a_typed_column_for_each_field() {
    let app = shop().await;
    assert_eq!(
        app.texts(VIEW).await,
        [
            "external_id text, name text, price numeric, source_updated_at timestamp with time zone, active boolean, \
          created_at timestamp with time zone, day date, key uuid, odd; name text, share numeric, stock numeric, \
          tags jsonb, raw_ref text, raw_row bigint, first_run_id bigint, last_run_id bigint, \
          _created_at timestamp with time zone, updated_at timestamp with time zone"
        ]
    );
    let row =
        "select concat_ws('|', active, day, key, share, stock, tags, created_at at time zone 'UTC')
        from sources.shop where external_id = 'a'";
    assert_eq!(
        app.texts(row).await,
        [
            "t|2024-02-29|00000000-0000-4000-8000-00000000000a|0.10|9007199254740993|[1, {\"a\": null}]|2024-02-29 12:00:00"
        ]
    );
    call(&app, &["views", "shop"]).await.code(0).prints(&["sources.shop", "is as it was"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_value_of_another_type_is_null_in_a_view_and_breaks_no_query() {
    let app = shop().await;
    let values = [
        r#"{"day":"2023-02-31","stock":"many","active":"yes","created_at":"soon","key":"k"}"#,
        r#"{"day":"0000-01-01","stock":{},"active":1,"created_at":"2023-02-31T10:00:00Z","key":"K"}"#,
        r#"{"day":true,"stock":[],"active":null,"created_at":"2023-01-01T24:00:00Z"}"#,
    ];
    for (key, attributes) in ["a", "b", "c"].iter().zip(values) {
        sqlx::query("update unified_records set attributes = $1::jsonb where external_id = $2")
            .bind(attributes)
            .bind(key)
            .execute(&app.pool)
            .await
            .unwrap();
    }
    let any = "select count(day) + count(stock) + count(active) + count(created_at) + count(key) from sources.shop";
    assert_eq!(app.number(any).await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_view_follows_its_job_file_and_keeps_what_others_may_do_with_it() {
    let app = shop().await;
    let grant = "grant select on sources.shop to public";
    sqlx::raw_sql(grant).execute(&app.pool).await.unwrap();
    app.write(
        "shop.toml",
        JOB.replace("day = { type = \"date\" }\n", "weekday = { from = \"$.day\" }\n"),
    );
    let run = app.run("shop").await;
    assert!(matches!(run.status, Success | SuccessWithDuplicates), "{run:?}");
    let columns = app.texts(VIEW).await.concat();
    assert!(columns.contains("weekday text") && !columns.contains("day date,"), "{columns}");
    let public = "select has_table_privilege('public', 'sources.shop', 'select')::text";
    assert_eq!(app.texts(public).await, ["true"]);
    app.database.close().await;
}

#[tokio::test]
async fn processes_that_make_their_first_views_at_once_do_not_meet() {
    let app = TestApp::empty().await;
    let barrier = tokio::sync::Barrier::new(6);
    let make = async |source: &'static str| {
        let mut transaction = Transaction::begin(&app.pool).await.unwrap();
        // What was not there when it was looked for first is there now.
        let looked_for = sqlx::query("select to_regnamespace('sources'), to_regclass('sources.x')");
        looked_for.execute(&mut *transaction).await.unwrap();
        barrier.wait().await;
        let made = source_views::make(&mut transaction, source, &[]).await.unwrap();
        transaction.commit().await.unwrap();
        made
    };
    let made = tokio::join!(make("a"), make("b"), make("c"), make("d"), make("e"), make("f"));
    let all = <[Made; 6]>::from(made);
    assert!(all.iter().all(|made| *made == Made::Made), "{all:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_view_that_cannot_be_made_is_told_and_stops_no_run() {
    let app = TestApp::empty().await;
    app.write("shop.toml", JOB);
    app.write("data/1.jsonl", ROWS);
    sqlx::raw_sql("create schema sources; create table sources.shop (a int)")
        .execute(&app.pool)
        .await
        .unwrap();
    let run = app.run("shop").await;
    assert_eq!(run.status, Success);
    let said = run.stop_reason.unwrap_or_default();
    assert!(said.contains("sources.shop") && said.contains("did not make"), "{said}");
    call(&app, &["views"]).await.code(1).prints(&["did not make"]);
    sqlx::raw_sql("drop table sources.shop").execute(&app.pool).await.unwrap();
    call(&app, &["views"]).await.code(0).prints(&["made"]);
    sqlx::raw_sql("create view mine as select day from sources.shop")
        .execute(&app.pool)
        .await
        .unwrap();
    app.write("shop.toml", JOB.replace("day = { type = \"date\" }\n", ""));
    call(&app, &["views"]).await.code(1).prints(&["built upon it", "mine"]);
    assert_eq!(app.number("select count(*) from mine").await, 3);
    app.database.close().await;
}

//! What was loaded under the hashes of an earlier kasparro, xxh3-128, is known by them still.

use std::fs::File;
use std::time::{Duration, SystemTime};

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::queue;
use sqlx::AssertSqlSafe;
use xxhash_rust::xxh3::xxh3_64;

use super::{app_of, migrate};
use crate::app::TestApp;

/// A database that an earlier kasparro has filled.
pub(super) const LOADED: &str = include_str!("loaded_0011.sql");
const ITEMS: &str = "id,name,price,colour\n1,Tea,2.50,green\n2,Cup,7.00,\n3,Tray,x,white\n\
                     4,Pot,12.00,blue\n";
pub(super) const PAGES: [&str; 2] = [
    "[{\"id\": 1, \"name\": \"Tea\", \"price\": 2.5}, {\"id\": 2, \"name\": \"Cup\", \"price\": 7}]\n",
    "[{\"id\": 3, \"name\": \"Pot\", \"price\": \"x\"}]\n",
];
/// Versions of rows, by the bytes of their hashes: one that was written again has another `xmin`.
const RECORDS: &str =
    "select concat_ws(' ', external_id, octet_length(content_hash), xmin, raw_ref)
                       from unified_records order by source, external_id";
const KINDS: &str = "select concat_ws(' ', external_id, name, octet_length(content_hash))
                     from unified_records where source = 'items' order by external_id";
const FILES: &str = "select concat_ws(' ', id, octet_length(content_hash),
                                      octet_length(definition_hash))
                     from source_files order by id";
const RAW: &str = "select 'block ' || file_id from raw_csv_blocks
                   union all select 'page ' || octet_length(body_hash) from raw_api_data
                   where records > 0 order by 1";
const SET_ASIDE: &str = "select concat_ws(' ', raw_ref, raw_row) from quarantined_rows
                         order by raw_ref";
const SKIPPED: &str = "select count(*) from run_tasks, jsonb_array_elements(result -> 'skipped')
                           where run_id = (select max(id) from etl_runs)";

/// Its sources, and what these held when it read them.
async fn upgraded() -> TestApp {
    let app = app_of(11).await;
    sqlx::raw_sql(LOADED).execute(&app.pool).await.unwrap();
    migrate(&app.pool, 12, i64::MAX).await;
    // An extension that the queue needs went with the schema.
    sqlx::raw_sql("drop schema apalis cascade").execute(&app.pool).await.unwrap();
    queue::setup(&app.pool).await.unwrap();
    let jobs = "select source, toml from source_definitions";
    let jobs: Vec<(String, String)> = sqlx::query_as(jobs).fetch_all(&app.pool).await.unwrap();
    for (source, toml) in jobs {
        app.write(&format!("{source}.toml"), toml);
    }
    for (number, page) in (1..).zip(PAGES) {
        app.write(&format!("recordings/pages/page-{number:04}.json"), page);
    }
    write_items(&app, ITEMS, 0).await;
    app
}

/// Writes the file, and makes it so many seconds younger than what was read.
async fn write_items(app: &TestApp, content: &str, younger: u64) {
    app.write("items.csv", content);
    let read = "select modified_ns from source_files order by id limit 1";
    let read: i64 = sqlx::query_scalar(read).fetch_one(&app.pool).await.unwrap();
    let modified = Duration::from_nanos(read.unsigned_abs()) + Duration::from_secs(younger);
    let file = File::options().append(true).open(app.path("items.csv")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + modified).unwrap();
}

async fn run(app: &TestApp, source: &str, mode: Mode) -> Run {
    let run = app.run_mode(source, mode).await;
    assert!(run.status.is_success(), "{run:?}");
    run
}

#[tokio::test]
async fn a_file_that_did_not_change_is_not_loaded_again() {
    let app = upgraded().await;
    let before = app.texts(RECORDS).await;
    assert_eq!(run(&app, "items", Mode::Incremental).await.counters.rows_read, 0);
    assert_eq!(app.texts(FILES).await, ["1 16 16"], "size and time are those that were read");
    for younger in [1, 2] {
        write_items(&app, ITEMS, younger).await;
        assert_eq!(run(&app, "items", Mode::Incremental).await.counters.rows_read, 0);
        assert_eq!(app.texts(FILES).await, ["1 32 32"], "the file was seen, and is what it was");
    }
    assert_eq!(app.texts(RECORDS).await, before);
    app.database.close().await;
}

#[tokio::test]
async fn of_a_file_that_grew_only_the_new_rows_are_loaded() {
    let app = upgraded().await;
    let before = app.texts(RECORDS).await;
    write_items(&app, &format!("{ITEMS}5,Jug,3.00,red\n"), 1).await;
    let counters = run(&app, "items", Mode::Incremental).await.counters;
    assert_eq!((counters.rows_read, counters.inserted), (1, 1));
    assert_eq!(app.texts(FILES).await, ["1 32 32"]);
    let after = app.texts(RECORDS).await;
    assert_eq!((&after[..3], &after[4..]), (&before[..3], &before[3..]));
    app.database.close().await;
}

#[tokio::test]
async fn rows_that_are_read_again_are_the_same_by_the_kind_of_hash_that_is_stored() {
    let app = upgraded().await;
    let (records, raw) = (app.texts(RECORDS).await, app.texts(RAW).await);
    let counters = run(&app, "items", Mode::Full).await.counters;
    assert_eq!((counters.rows_read, counters.unchanged, counters.quarantined), (4, 3, 1));
    assert_eq!(app.texts(RECORDS).await, records, "no record is written");
    // The layout says more today, so it is another version of the file, which has rows of its own.
    let now = app.texts(RAW).await;
    assert_eq!(now.len(), raw.len() + 1, "{now:?}");
    assert!(raw.iter().all(|raw| now.contains(raw)), "{now:?}");
    assert_eq!(app.texts(FILES).await, ["1 16 16", "2 32 32"]);

    write_items(&app, &ITEMS.replace("Cup", "Mug"), 1).await;
    let counters = run(&app, "items", Mode::Incremental).await.counters;
    assert_eq!((counters.updated, counters.unchanged, counters.quarantined), (1, 2, 1));
    assert_eq!(app.texts(KINDS).await, ["1 Tea 16", "2 Mug 32", "4 Pot 16"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_key_that_comes_twice_counts_against_the_old_hash_first() {
    let app = upgraded().await;
    write_items(&app, &format!("{ITEMS}2,Mug,7.00,\n2,Cup,7.00,\n"), 1).await;
    let run = app.run_mode("items", Mode::Full).await;
    let counters = run.counters;
    assert_eq!((counters.updated, counters.unchanged, counters.quarantined), (0, 5, 1), "{run:?}");
    assert_eq!(app.texts(KINDS).await, ["1 Tea 16", "2 Cup 32", "4 Pot 16"]);
    app.database.close().await;
}

#[tokio::test]
async fn pages_are_known_by_their_old_hashes_and_normalized_once_more_at_most() {
    let app = upgraded().await;
    let (records, raw) = (app.texts(RECORDS).await, app.texts(RAW).await);
    let set_aside = app.texts(SET_ASIDE).await;
    // The third says that there is no such page: recordings of before end with a short one.
    for skipped in [0, 3] {
        let counters = run(&app, "pages", Mode::Incremental).await.counters;
        assert_eq!((counters.rows_read, counters.unchanged, counters.quarantined), (3, 2, 1));
        assert_eq!(app.number(SKIPPED).await, skipped);
    }
    assert_eq!(app.texts(RECORDS).await, records, "no record is written");
    assert_eq!(app.texts(RAW).await, raw, "no page is kept twice");
    assert_eq!(app.texts(SET_ASIDE).await, set_aside, "no row is set aside twice");
    app.database.close().await;
}

#[tokio::test]
async fn a_page_under_an_old_hash_that_is_not_its_own_is_another_page() {
    let app = upgraded().await;
    // What a page of the same xxh3-128 would be: another body under the hash.
    let other = "update raw_api_data set body = '[{\"id\": 9, \"name\": \"Jar\"}]' where slice = 0";
    sqlx::query(other).execute(&app.pool).await.unwrap();
    run(&app, "pages", Mode::Incremental).await;
    assert_eq!(app.texts(RAW).await, ["block 1", "page 16", "page 16", "page 32"]);
    app.database.close().await;
}

#[tokio::test]
async fn chunks_that_were_planned_under_old_hashes_are_read() {
    let app = upgraded().await;
    let rows = "5,Jug,3.00,red\n";
    write_items(&app, &format!("{ITEMS}{rows}"), 1).await;
    // What the planning task of an earlier kasparro would have said.
    let old = format!(
        "create function old_hash() returns trigger language plpgsql as $$ begin
            new.payload = jsonb_set(new.payload, '{{chunk,hash}}', '{}');
            return new;
         end $$;
         create trigger old_hash before insert on run_tasks for each row
         when (new.kind = 'parse_csv_chunk') execute function old_hash()",
        xxh3_64(rows.as_bytes())
    );
    sqlx::raw_sql(AssertSqlSafe(old)).execute(&app.pool).await.unwrap();
    let counters = run(&app, "items", Mode::Incremental).await.counters;
    assert_eq!((counters.rows_read, counters.inserted), (1, 1));

    let rows = "6,Box,4.00,red\n";
    write_items(&app, &format!("{ITEMS}5,Jug,3.00,red\n{rows}"), 2).await;
    let run = app.run("items").await;
    let error = run.error.expect("the chunk is not the one that was planned");
    assert!(error.contains("items.csv changed while it was being read"), "{error}");
    app.database.close().await;
}

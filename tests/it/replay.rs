//! Normalizing again what is kept: no request, no file, the same result; and quarantined rows that
//! pass once the job file was fixed.

use kasparro::db::runs::Run;
use kasparro::domain::counters::Counters;
use kasparro::domain::reject::Fingerprint;
use kasparro::domain::run::{Mode, RunId, RunStatus, Trigger};
use kasparro::sources::{Access, kinds};
use kasparro::tasks::redrive::{RedriveRequest, Redriven, redrive};
use kasparro::tasks::start_run::{NothingToReplay, RawRange, RunRequest, Started};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::{TestApi, problem};
use crate::app::{TestApp, request};
use crate::process::call;
use crate::shuffle::Shuffle;

const JOB: &str = r#"
kind = "csv"
primary_key = ["key"]

[csv]
paths = ["lines*.csv"]
chunk_size = 1000

[fields]
name = { column = "name", required = true }
price = { column = "price", type = "decimal" }
"#;

const RECORDS: &str =
    "select (to_jsonb(u) - '{first_run_id,last_run_id,created_at,updated_at,hash_before_run,updates_in_run}'::text[])::text
     from unified_records u order by source, external_id";
const QUARANTINE: &str = "select (to_jsonb(q) - '{run_id,created_at}'::text[])::text
     from quarantined_rows q order by source, raw_ref, raw_row, field, reason";
const STATUSES: &str = "select concat_ws(' ', raw_row, field, reason, status)
     from quarantined_rows order by raw_ref, raw_row, field";
const PRICES: &str =
    "select external_id || ' ' || coalesce(price::text, 'none') from unified_records
     order by 1";

/// Rows of which some keys come back, and some are bad.
fn lines(from: usize, to: usize) -> String {
    let line = |row: usize| match row % 41 {
        7 => format!("k{row},,1.00\n"),
        13 => format!("k{row},name {row},cheap\n"),
        _ if row.is_multiple_of(17) => format!("again{},name {row},{row}.50\n", row % 5),
        _ => format!("k{row},name {row},{row}.25\n"),
    };
    format!("key,name,price\n{}", (from..to).map(line).collect::<String>())
}

fn replaying(raw: RawRange) -> RunRequest<'static> {
    RunRequest { access: Access::Network, raw, ..request(Mode::Replay) }
}

async fn start(app: &TestApp, source: &str, raw: RawRange) -> Started {
    app.start_as(source, &replaying(raw)).await
}

async fn replay(app: &TestApp, source: &str, raw: RawRange) -> Run {
    app.run_as(source, &replaying(raw)).await
}

fn only(run: &Run) -> RawRange {
    RawRange { from: Some(run.id), to: Some(run.id) }
}

/// Takes away what runs have written, but for what is kept of the source.
async fn wipe(app: &TestApp) {
    let wipe =
        "truncate unified_records, quarantined_rows, unchanged_pages, source_totals, run_totals";
    sqlx::raw_sql(wipe).execute(&app.pool).await.unwrap();
}

/// Whoever reads files or asks for pages fails from now on.
fn take_sources_away(app: &TestApp) {
    for name in ["data", "recordings"] {
        std::fs::remove_dir_all(app.path(name)).ok();
    }
    std::fs::remove_file(app.path("lines.csv")).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_a_run_leaves_what_the_run_left() {
    let app = TestApp::shipped().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", lines(0, 600));
    app.write("distinct.toml", JOB.replace("lines*", "distinct"));
    app.write("distinct.csv", lines(1, 17));
    let mut runs = Vec::new();
    for source in ["coingecko_api", "products_csv", "vendors_csv", "lines", "distinct"] {
        runs.push(app.run(source).await);
    }
    let (records, quarantine) = (app.texts(RECORDS).await, app.texts(QUARANTINE).await);
    assert!(records.len() > 1700 && quarantine.len() > 20, "{}", quarantine.len());
    take_sources_away(&app);
    wipe(&app).await;
    for run in &runs {
        let Started::New(id) = start(&app, &run.source, only(run)).await else { panic!() };
        let shuffle = Shuffle::new(&app, 3).await;
        shuffle.all(&mut StdRng::seed_from_u64(id.0 as u64)).await;
        let again = app.get(id).await;
        assert_eq!((again.status, again.counters), (run.status, run.counters), "{again:?}");
    }
    assert_eq!(app.texts(RECORDS).await, records);
    assert_eq!(app.texts(QUARANTINE).await, quarantine);
    let orders = "select string_agg(distinct key_order, ' ' order by key_order) from etl_runs
                  where mode = 'replay'";
    assert_eq!(app.texts(orders).await, ["distinct ordered split"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_replay_of_all_runs_ends_where_they_ended() {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", lines(0, 200));
    app.run("lines").await;
    app.write(
        "lines.csv",
        format!("{}{}", lines(0, 200), &lines(200, 300)["key,name,price\n".len()..]),
    );
    app.run("lines").await;
    app.write("lines_2.csv", "key,name,price\nagain1,other,1\nk3,three,3\n");
    app.run("lines").await;
    // What the first runs have read, once more and last.
    app.write("lines_2.csv", lines(0, 100));
    let last = app.run("lines").await;
    let (records, checkpoint) =
        (app.texts(RECORDS).await, "select last_processed_marker from ingestion_checkpoints");
    let marker = app.texts(checkpoint).await;
    wipe(&app).await;
    let replayed = replay(&app, "lines", RawRange::default()).await;
    let range = replayed.replay.unwrap();
    assert_eq!((range.from, range.to), (RunId(1), last.id));
    assert_eq!(app.texts(RECORDS).await, records);
    assert_eq!(app.texts(checkpoint).await, marker);
    let Counters { rows_read, inserted, updated, unchanged, quarantined, .. } = replayed.counters;
    assert_eq!(rows_read, inserted + updated + unchanged + quarantined);

    // Nothing of it is read again, nor by the run after it.
    let again = replay(&app, "lines", RawRange::default()).await;
    assert_eq!((again.counters.inserted, again.replay), (0, replayed.replay));
    let after = app.run("lines").await.stop_reason.unwrap_or_default();
    assert!(after.starts_with("nothing new"), "{after}");
    app.database.close().await;
}

#[tokio::test]
async fn a_page_that_came_back_counts_where_it_came_last() {
    let app = TestApp::empty().await;
    app.write(
        "coins.toml",
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost\"\n\
         recording = \"pages\"\n[fields]\nname = { from = \"$.name\" }\n",
    );
    let mut syncs = Vec::new();
    for name in ["one", "two", "one"] {
        app.write("pages/page-0001.json", format!("[{{\"id\":\"a\",\"name\":\"{name}\"}}]"));
        syncs.push(app.run("coins").await);
    }
    assert!(syncs.iter().all(|run| run.status.is_success()), "{syncs:?}");
    wipe(&app).await;
    let replayed = replay(&app, "coins", RawRange::default()).await;
    assert_eq!(replayed.counters.rows_read, 2, "each page once");
    assert_eq!(app.texts("select name from unified_records").await, ["one"]);
    app.database.close().await;
}

/// The soak found it: of a key that occurs twice only the first row was applied, and the end of the
/// file, where the second stands, had been read by an earlier run.
#[tokio::test]
async fn what_a_run_that_broke_off_left_older_than_it_was_the_next_run_mends() {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB.replace("chunk_size = 1000", "chunk_size = 40"));
    let middle: String = (2..8).map(|key| format!("{key},name,1\n")).collect();
    app.write("lines.csv", format!("key,name,price\n1,one,1.00\n{middle}1,one,2.00\n"));
    app.run("lines").await;
    let Started::New(id) = app.start("lines", Mode::Full).await else { panic!() };
    let broken = "create function kill() returns trigger language plpgsql as $$
         begin
            if new.kind = 'parse_csv_chunk' and new.first_slice = (
                select max(first_slice) from run_tasks where run_id = new.run_id
                    and kind = 'parse_csv_chunk') and new.state = 'done' then
                raise exception 'injected' using errcode = '22000';
            end if;
            return new;
         end $$;
         create trigger kill before update on run_tasks for each row execute function kill()";
    sqlx::raw_sql(broken).execute(&app.pool).await.unwrap();
    app.drain().await;
    assert_eq!(app.get(id).await.status, RunStatus::Failed);
    let price = "select price::text from unified_records where external_id = '1'";
    assert_eq!(app.texts(price).await, ["1.00"], "older than it was");
    sqlx::raw_sql("drop function kill() cascade").execute(&app.pool).await.unwrap();
    app.run("lines").await;
    assert_eq!(app.texts(price).await, ["2.00"]);
    let after = app.run("lines").await.stop_reason.unwrap_or_default();
    assert!(after.starts_with("nothing new"), "{after}");
    app.database.close().await;
}

#[tokio::test]
async fn what_cannot_be_replayed_is_told_why() {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", lines(0, 60));
    let nothing = start(&app, "lines", RawRange::default()).await;
    let Started::NothingToReplay(NothingToReplay::NothingRead { .. }) = nothing else {
        panic!("{nothing:?}")
    };
    let first = app.run("lines").await;
    app.write("lines.csv", lines(0, 80));
    app.run("lines").await;
    let forget = "delete from run_tasks where run_id = 1 and kind = 'parse_csv_chunk'";
    sqlx::raw_sql(forget).execute(&app.pool).await.unwrap();
    let gone = start(&app, "lines", only(&first)).await;
    let Started::NothingToReplay(NothingToReplay::LedgerGone { run: RunId(1), .. }) = gone else {
        panic!("{gone:?}")
    };
    let range = replay(&app, "lines", RawRange::default()).await.replay.unwrap();
    assert_eq!(range.from, RunId(2), "what is known without a gap");

    sqlx::raw_sql("delete from raw_csv_blocks").execute(&app.pool).await.unwrap();
    let failed = replay(&app, "lines", RawRange::default()).await;
    assert_eq!(failed.status, RunStatus::Failed);
    let error = failed.error.unwrap();
    assert!(error.contains("of run 2 is not kept any more"), "{error}");
    app.database.close().await;
}

/// Redrives the rows of a source that were set aside, to the end.
pub async fn redriven(app: &TestApp, source: &str, fingerprint: Option<&str>) -> Run {
    redriven_as(app, source, fingerprint, false).await
}

/// The same, and before it a dry run, which must count what it does.
pub async fn foretold_and_redriven(app: &TestApp, source: &str) -> Run {
    let dry = redriven_as(app, source, None, true).await;
    let run = redriven_as(app, source, None, false).await;
    assert_eq!((dry.status, dry.counters), (run.status, run.counters), "{run:?}");
    run
}

async fn redriven_as(app: &TestApp, source: &str, fingerprint: Option<&str>, dry_run: bool) -> Run {
    let definition = app.jobs().get(source, kinds()).expect("a good job file");
    let request = RedriveRequest {
        fingerprint: fingerprint.map(|text| text.parse::<Fingerprint>().unwrap()),
        trigger: Trigger::Api,
        idempotency_key: None,
        dry_run,
    };
    let mut transaction = app.pool.begin().await.unwrap();
    let redriven = redrive(&mut transaction, &definition, request).await.unwrap();
    transaction.commit().await.unwrap();
    let Redriven::Started(Started::New(id)) = redriven else { panic!("{redriven:?}") };
    app.drain().await;
    app.get(id).await
}

const PRICE_LIST: &str = "key,name,price\n1,one,on request\n2,two,2.00\n3,three,cheap\n4,,4.00\n\
                          5,five,on request\n5,five,5.00\n";

/// An app in which rows are set aside, and a job file under which some of them pass.
async fn app_with_fixed_job() -> TestApp {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", PRICE_LIST);
    app.run("lines").await;
    let set_aside = [
        "1 price invalid_decimal open",
        "3 price invalid_decimal open",
        "4 name missing_field open",
        "5 price invalid_decimal open",
    ];
    assert_eq!(app.texts(STATUSES).await, set_aside);
    let fixed = "chunk_size = 1000\nnull_values = [\"\", \"on request\"]";
    app.write("lines.toml", JOB.replace("chunk_size = 1000", fixed));
    app
}

#[tokio::test]
async fn rows_that_pass_after_the_job_file_was_fixed_are_resolved_and_later_rows_still_win() {
    let app = app_with_fixed_job().await;
    let fingerprint = "select encode(fingerprint, 'hex') from quarantined_rows where raw_row = 1";
    let fingerprint = app.texts(fingerprint).await.remove(0);
    let run = redriven(&app, "lines", Some(&fingerprint)).await;
    assert_eq!((run.status, run.mode), (RunStatus::SuccessWithDuplicates, Mode::Replay));
    let completed = [
        "1 price invalid_decimal resolved",
        "3 price invalid_decimal redriven",
        "4 name missing_field redriven",
        "5 price invalid_decimal resolved",
    ];
    assert_eq!(app.texts(STATUSES).await, completed);
    assert_eq!(app.texts(PRICES).await, ["1 none", "2 2.00", "5 5.00"]);
    let marker = "select last_processed_marker from ingestion_checkpoints";
    assert_eq!(app.texts(marker).await, ["1,2,5"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_run_with_the_fixed_job_file_settles_quarantine_as_a_redrive_does_and_reopens_it() {
    let app = app_with_fixed_job().await;
    app.run("lines").await;
    assert_eq!(
        app.number("select count(*) from quarantined_rows where status = 'resolved'").await,
        2
    );
    app.write("lines.toml", JOB);
    app.run("lines").await;
    let open = "select string_agg(raw_row::text, ' ' order by raw_row) from quarantined_rows
                where status = 'open'";
    assert_eq!(app.texts(open).await, ["1 5"], "set aside again");

    app.write("lines.csv", PRICE_LIST.replace("cheap", "3.00"));
    app.run("lines").await;
    let superseded = "select count(*) from quarantined_rows where status = 'superseded'";
    assert_eq!(app.number(superseded).await, 4);
    app.database.close().await;
}

#[tokio::test]
async fn replays_and_redrives_are_asked_for_over_http() {
    let api = TestApi::admitting_this_machine().await;
    let post = async |path: &str, body: Value| {
        api.client.post(api.url(path)).json(&body).send().await.unwrap()
    };
    api.app.write("lines.toml", JOB);
    api.app.write("lines.csv", PRICE_LIST);
    let nothing = post("/runs", json!({ "source": "lines", "mode": "replay" })).await;
    problem(nothing, 409, "nothing-to-replay").await;
    let nothing = post("/quarantine/redrive", json!({ "source": "lines" })).await;
    problem(nothing, 409, "nothing-to-replay").await;
    api.app.run("lines").await;
    for body in [
        json!({ "source": "lines", "replay": { "from_run": 1 } }),
        json!({ "all": true, "mode": "replay", "replay": { "from_run": 1 } }),
    ] {
        problem(post("/runs", body).await, 422, "invalid-request").await;
    }
    let bad = post("/quarantine/redrive", json!({ "source": "lines", "fingerprint": "x" })).await;
    problem(bad, 422, "invalid-request").await;

    let range = json!({ "from_run": 1, "to_run": 1 });
    let started =
        post("/runs", json!({ "source": "lines", "mode": "replay", "replay": range })).await;
    assert_eq!(started.status(), StatusCode::ACCEPTED);
    let run: Value = started.json().await.unwrap();
    assert_eq!((&run["replay_from"], &run["replay_to"]), (&json!(1), &json!(1)));
    api.app.drain().await;
    let redriven = post("/quarantine/redrive", json!({ "source": "lines" })).await;
    assert_eq!(redriven.status(), StatusCode::ACCEPTED);
    api.app.drain().await;
    let redriven = "select count(*) from quarantined_rows where status = 'redriven'";
    assert_eq!(api.app.number(redriven).await, 4);
    api.app.database.close().await;
}

#[tokio::test]
async fn a_replay_is_asked_for_on_the_command_line() {
    let app = app_with_fixed_job().await;
    let other = ["run", "lines", "--redrive", "--fingerprint", "00000000000000000000000000000000"];
    let nothing = call(&app, &other).await;
    assert!(!nothing.status.success() && nothing.stderr.contains("no such row"), "{nothing:?}");
    let shown = call(&app, &["run", "lines", "--redrive", "--dry-run"]).await;
    assert!(shown.status.success() && shown.stdout.contains("lines: inserted 1 ("), "{shown:?}");
    let ended = call(&app, &["run", "lines", "--replay", "--from-run", "1", "--json"]).await;
    assert!(ended.status.success(), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    let run = &answer["runs"][0];
    assert_eq!((&run["mode"], &run["replay_from"]), (&json!("replay"), &json!(1)), "{run}");
    assert_eq!(run["counters"]["inserted"], 1, "{run}");
    app.database.close().await;
}

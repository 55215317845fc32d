//! Values that all records have lost: what stands within a field and vanished, what became null, empty
//! or was discarded. Nothing of it goes by without a word, today or in the runs after it.

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::Mode::{Full, Incremental};
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success};
use kasparro::tasks::start_run::RunRequest;

use crate::app::{TestApp, request};
use crate::replay::redriven;

const BRANDS: &str = "select external_id || ' ' || coalesce(attributes ->> 'brand', '-')
    from unified_records order by external_id";
const EVOLVE: &str = "[contract]\nmissing_field = \"evolve\"\n";

/// A source `items` of one recorded page, whose records have a `brand` at this path.
async fn api(path: &str, more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", api_job(path, more));
    app
}

fn api_job(path: &str, more: &str) -> String {
    format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
         data_selector = \"$[*]\"\nrecording = \"pages\"\n[fields]\nprice = {{ type = \"decimal\" }}\n\
         brand = {{ from = \"{path}\" }}\n{more}"
    )
}

/// Publishes so many records, each with a price and what `record` adds to it.
fn publish(app: &TestApp, price: usize, count: usize, record: impl Fn(usize) -> String) {
    let records: Vec<String> =
        (0..count).map(|n| format!(r#"{{"id":"{n}","price":{price},{}}}"#, record(n))).collect();
    app.write("pages/page-0001.json", format!("[{}]", records.join(",")));
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

async fn dry_run(app: &TestApp, mode: Mode) -> Run {
    app.run_as("items", &RunRequest { dry_run: true, ..request(mode) }).await
}

#[tokio::test]
async fn what_vanishes_within_a_field_keeps_the_records_out_whatever_the_path() {
    for (path, good, renamed, meant) in [
        ("$.cust.name", r#""cust":{"name":"x"}"#, r#""cust":{"fullname":"y"}"#, "$.cust.fullname"),
        ("$.tags[0].n", r#""tags":[{"n":"x"}]"#, r#""tags":[{"nn":"y"}]"#, "$.tags[0].nn"),
        ("$..vat", r#""tax":{"vat":"x"}"#, r#""tax":{"vats":"y"}"#, "$..vats"),
        ("$['a']['b c']", r#""a":{"b c":"x"}"#, r#""a":{"b-c":"y"}"#, "$['a']['b-c']"),
        ("$.cust.name", r#""cust":{"name":"x"}"#, r#""cust":{}"#, ""),
        ("$.cust[?@.k == 1].name", r#""cust":[{"k":1,"name":"x"}]"#, r#""cust":[]"#, ""),
    ] {
        let app = api(path, "").await;
        publish(&app, 1, 3, |_| good.to_owned());
        let run = app.run("items").await;
        assert_eq!((run.status, run.stop_reason.as_deref()), (Success, None), "{path}");
        publish(&app, 2, 3, |_| renamed.to_owned());
        let mut says = format!("no row has `{path}`");
        if !meant.is_empty() {
            says.push_str(&format!("; did you mean `{meant}`?"));
        }
        for run in [
            dry_run(&app, Incremental).await,
            app.run("items").await,
            app.run("items").await,
            app.run_mode("items", Full).await,
        ] {
            assert_eq!((run.status, run.counters.quarantined), (Degraded, 3), "{path} {run:?}");
            let reason = format!("so none was loaded: 3 × `{path}` missing_field");
            assert!(note(&run).contains(&says) && note(&run).contains(&reason), "{run:?}");
            let prices = "select distinct price::text from unified_records";
            assert_eq!(app.texts(prices).await, ["1"], "{path}");
        }
        assert_eq!(app.texts(BRANDS).await, ["0 x", "1 x", "2 x"], "{path}");
        // It came back.
        publish(&app, 3, 3, |_| good.to_owned());
        let run = app.run("items").await;
        assert_eq!((run.status, run.counters.updated), (Success, 3), "{path} {run:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn what_comes_late_in_the_sweep_is_not_gone_and_what_breaks_off_overwrites_nothing() {
    let app = TestApp::empty().await;
    let pages = "recording = \"pages\"\npaginator = { type = \"page_number\", size = 3 }";
    app.write("items.toml", api_job("$.cust.name", "").replace("recording = \"pages\"", pages));
    let good = |_| r#""cust":{"name":"x"}"#.to_owned();
    publish(&app, 1, 3, good);
    let page = app.read("pages/page-0001.json");
    app.write("pages/page-0002.json", "[]");
    assert_eq!(app.run("items").await.status, Success);
    // The first page lacks it, the second does not.
    publish(&app, 2, 3, |_| r#""cust":{}"#.to_owned());
    app.write("pages/page-0002.json", page.replace("\"id\":\"", "\"id\":\"1"));
    app.write("pages/page-0003.json", "[]");
    for run in [dry_run(&app, Incremental).await, app.run("items").await] {
        assert_eq!((run.status, run.counters.updated, run.counters.inserted), (Success, 3, 3));
    }
    assert_eq!(app.texts(BRANDS).await, ["0 -", "1 -", "10 x", "11 x", "12 x", "2 -"]);
    // From now on records may lack it, and another full sync breaks off.
    publish(&app, 3, 3, good);
    app.write("pages/page-0002.json", "[]");
    sqlx::query("delete from field_presence").execute(&app.pool).await.unwrap();
    assert!(app.run("items").await.status.is_success());
    publish(&app, 4, 3, |_| r#""cust":{}"#.to_owned());
    app.write("pages/page-0002.json", "no json");
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.quarantined), (Failed, 3), "{run:?}");
    let prices = "select distinct price::text from unified_records where length(external_id) = 1";
    assert_eq!(app.texts(prices).await, ["3"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_first_page_without_objects_does_not_switch_the_guard_off() {
    let app = api("$.cust.name", "").await;
    let paginator = "paginator = { type = \"page_number\" }\nrecording";
    app.write("items.toml", api_job("$.cust.name", "").replace("recording", paginator));
    publish(&app, 1, 3, |_| r#""cust":{"name":"x"}"#.to_owned());
    app.write("pages/page-0002.json", "[]");
    assert_eq!(app.run("items").await.status, Success);
    publish(&app, 2, 3, |_| r#""cust":{}"#.to_owned());
    std::fs::rename(app.path("pages/page-0001.json"), app.path("pages/page-0002.json")).unwrap();
    app.write("pages/page-0001.json", "[null]");
    app.write("pages/page-0003.json", "[]");
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.quarantined), (Degraded, 4), "{run:?}");
    assert_eq!(app.texts(BRANDS).await, ["0 x", "1 x", "2 x"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_redrive_sets_them_aside_again_until_the_job_file_is_mended() {
    let app = api("$.cust.name", "").await;
    publish(&app, 1, 3, |_| r#""cust":{"name":"x"}"#.to_owned());
    app.run("items").await;
    publish(&app, 2, 3, |_| r#""cust":{"fullname":"y"}"#.to_owned());
    assert_eq!(app.run("items").await.status, Degraded);
    let run = redriven(&app, "items", None).await;
    assert_eq!((run.status, run.counters.quarantined), (Degraded, 3), "{run:?}");
    assert!(note(&run).contains("3 of 3 rows quarantined, so none was loaded"), "{run:?}");
    assert!(note(&run).contains("did you mean `$.cust.fullname`?"), "{run:?}");
    assert_eq!(app.texts(BRANDS).await, ["0 x", "1 x", "2 x"]);
    app.write("items.toml", api_job("$.cust.fullname", ""));
    let run = redriven(&app, "items", None).await;
    assert_eq!((run.status, run.counters.updated), (Success, 3), "{run:?}");
    assert_eq!(app.texts(BRANDS).await, ["0 y", "1 y", "2 y"]);
    assert_eq!(app.number("select count(*) from quarantined_rows where status = 'open'").await, 0);
    // The next run knows the new path.
    app.run("items").await;
    publish(&app, 3, 3, |_| r#""cust":{}"#.to_owned());
    assert_eq!(app.run("items").await.counters.quarantined, 3);
    app.database.close().await;
}

#[tokio::test]
async fn nothing_is_missed_of_which_nothing_is_known_yet() {
    let app = api("$.cust.name", "").await;
    publish(&app, 1, 9, |_| r#""cust":{"name":"x"}"#.to_owned());
    app.run("items").await;
    // As an earlier version left it.
    sqlx::query("delete from field_presence").execute(&app.pool).await.unwrap();
    publish(&app, 2, 9, |_| r#""cust":{"fullname":"x"}"#.to_owned());
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (Success, 9), "{run:?}");
    assert!(note(&run).contains("no row has `$.cust.name`"), "{run:?}");
    // An edit of the mapping begins anew.
    app.write("items.toml", api_job("$.cust.fullname", ""));
    assert_eq!(app.run("items").await.counters.updated, 9);
    app.write("items.toml", api_job("$.cust.first", ""));
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (Success, 9), "{run:?}");
    assert_eq!(app.number("select count(*) from schema_drift").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn evolve_lets_what_stands_within_a_field_go() {
    let app = api("$.cust.name", EVOLVE).await;
    publish(&app, 1, 9, |_| r#""cust":{"name":"x"}"#.to_owned());
    app.run("items").await;
    publish(&app, 2, 9, |_| r#""cust":{}"#.to_owned());
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (Success, 9), "{run:?}");
    assert_eq!(note(&run), "no row has `$.cust.name`");
    app.database.close().await;
}

#[tokio::test]
async fn values_that_all_become_null_are_an_alarm_until_they_come_back() {
    for (good, emptied) in [
        (r#""cust":{"name":"x"}"#, r#""cust":{"name":null}"#),
        (r#""cust":{"name":"x"}"#, r#""cust":{"name":""}"#),
    ] {
        let app = api("$.cust.name", "").await;
        publish(&app, 1, 8, |_| good.to_owned());
        assert_eq!(app.run("items").await.status, Success);
        publish(&app, 2, 8, |_| emptied.to_owned());
        let says = "none of 8 records has a value of `$.cust.name`, and earlier ones had";
        let foretold = dry_run(&app, Incremental).await;
        assert_eq!((foretold.status, foretold.counters.updated), (Degraded, 8), "{foretold:?}");
        // Also when the page is as it was and nobody looks into it.
        for (run, updated) in [
            (app.run("items").await, 8),
            (app.run("items").await, 0),
            (app.run_mode("items", Full).await, 0),
        ] {
            assert_eq!((run.status, run.counters.updated), (Degraded, updated), "{run:?}");
            assert!(note(&run).contains(says), "{run:?}");
        }
        let skipped = "select count(*) from run_tasks where result -> 'skipped' is not null";
        assert_eq!(app.number(skipped).await, 1);
        // One is enough, and so is the word of the job file.
        publish(&app, 3, 8, |n| if n == 7 { good } else { emptied }.to_owned());
        assert_eq!(app.run("items").await.stop_reason, None);
        publish(&app, 4, 40, |_| emptied.to_owned());
        assert_eq!(app.run("items").await.status, Degraded);
        app.write("items.toml", api_job("$.cust.name", EVOLVE));
        assert!(app.run("items").await.status.is_success());
        app.write("items.toml", api_job("$.cust.name", ""));
        assert!(app.run("items").await.status.is_success());
        app.database.close().await;
    }
}

#[tokio::test]
async fn values_that_nearly_all_records_lose_are_an_alarm_that_one_old_record_does_not_end() {
    let app = api("$.brand", "").await;
    let old = r#""brand":"x""#;
    let new = r#""label":"x""#;
    publish(&app, 1, 200, |_| old.to_owned());
    assert_eq!(app.run("items").await.status, Success);
    publish(&app, 2, 200, |n| if n == 7 { old } else { new }.to_owned());
    let says = "of 200 records hardly any has a value: 1 of `$.brand` (0.5 %, 100 % before)";
    let new_name = format!("{says}; is it `label` now?");
    for (run, says) in [
        (dry_run(&app, Incremental).await, new_name.as_str()),
        (app.run("items").await, &new_name),
        (app.run("items").await, says),
        (app.run_mode("items", Full).await, says),
    ] {
        assert_eq!(run.status, Degraded, "{run:?}");
        assert!(note(&run).contains(says), "{run:?}");
    }
    // Nor does it end the guard: the day without any old record loads no holes.
    publish(&app, 3, 200, |_| new.to_owned());
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.quarantined), (Degraded, 200), "{run:?}");
    publish(&app, 4, 200, |n| if n < 3 { new } else { old }.to_owned());
    let run = app.run("items").await;
    assert_eq!((run.status, run.stop_reason), (Success, None));
    app.database.close().await;

    let app = TestApp::empty().await;
    let job = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"items.csv\"]\n[fields]\n\
               brand = { column = \"Vendor\" }\n";
    app.write("items.toml", job);
    let csv = |empty: usize| {
        let rows = (0..300).map(|n| format!("{n},{}\n", if n < empty { "" } else { "x" }));
        format!("id,Vendor\n{}", rows.collect::<String>())
    };
    app.write("items.csv", csv(0));
    assert_eq!(app.run("items").await.status, Success);
    app.write("items.csv", csv(299));
    for run in [dry_run(&app, Incremental).await, app.run("items").await, app.run("items").await] {
        assert_eq!(run.status, Degraded, "{run:?}");
        let says = "of 300 records hardly any has a value: 1 of `Vendor` (0.3 %, 100 % before)";
        assert!(note(&run).contains(says), "{run:?}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn an_answer_without_any_object_is_no_news_of_the_schema() {
    let app = api("$.brand", "[contract]\nnew_field = \"freeze\"\n").await;
    let drift = "select field || ' ' || change from schema_drift";
    let versions = "select count(*) from schema_snapshots";
    for price in 1..=2 {
        publish(&app, price, 50, |_| r#""brand":"x","size":1"#.to_owned());
        assert!(app.run("items").await.status.is_success());
        for empty in ["[]", "[null,null,null]"] {
            app.write("pages/page-0001.json", empty);
            app.run("items").await;
            assert_eq!(app.texts(drift).await, [""; 0], "{empty}");
            assert_eq!(app.number(versions).await, 1, "{empty}");
        }
    }
    app.database.close().await;
}

#[tokio::test]
async fn values_that_are_all_discarded_are_an_alarm_and_so_are_defaults_in_their_place() {
    for default in ["", ", default = \"none\""] {
        let job = api_job("$.brand", "[contract]\ntype_change = \"discard_value\"\n")
            .replace("\"$.brand\"", &format!("\"$.brand\"{default}"));
        let app = TestApp::empty().await;
        app.write("items.toml", &job);
        publish(&app, 1, 6, |_| r#""brand":"x""#.to_owned());
        assert_eq!(app.run("items").await.status, Success);
        publish(&app, 2, 6, |_| r#""brand":7"#.to_owned());
        for run in [dry_run(&app, Incremental).await, app.run("items").await] {
            assert_eq!((run.status, run.counters.updated), (Degraded, 6), "{run:?}");
            assert!(note(&run).contains("none of 6 records has a value of `$.brand`"), "{run:?}");
        }
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_column_whose_cells_are_all_empty_is_an_alarm() {
    let csv = |price: usize, brand: &str, rows: std::ops::Range<usize>| {
        rows.map(|n| format!("{n},{price},{brand}\n")).collect::<String>()
    };
    let job = |more: &str| {
        format!(
            "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"items.csv\"]\n[fields]\n\
             price = {{ type = \"decimal\" }}\nbrand = {{ column = \"Vendor\" }}\n{more}"
        )
    };
    let head = "id,price,Vendor\n";
    let app = TestApp::empty().await;
    app.write("items.toml", job(""));
    app.write("items.csv", format!("{head}{}", csv(1, "x", 0..9)));
    assert_eq!(app.run("items").await.status, Success);
    app.write("items.csv", format!("{head}{}", csv(2, "", 0..9)));
    for run in [dry_run(&app, Incremental).await, app.run("items").await] {
        assert_eq!((run.status, run.counters.updated), (Degraded, 9), "{run:?}");
        assert!(note(&run).contains("none of 9 records has a value of `Vendor`"), "{run:?}");
    }
    // The alarm lasts until a value comes; from there on new rows without one count together.
    for (brand, rows, status) in [
        ("", 9..10, Degraded),
        ("x", 10..11, Success),
        ("", 11..14, Success),
        ("", 14..15, Success),
        ("", 15..17, Degraded),
    ] {
        let mut text = app.read("items.csv");
        text.push_str(&csv(2, brand, rows.clone()));
        app.write("items.csv", text);
        let run = app.run("items").await;
        assert_eq!((run.status, run.counters.inserted), (status, rows.len() as i64), "{run:?}");
    }
    app.write("items.toml", job(EVOLVE));
    assert!(app.run("items").await.status.is_success());
    app.database.close().await;
}

#[tokio::test]
async fn a_field_that_records_may_lack_is_not_missed_in_a_few() {
    let app = api("$.sale.label", "").await;
    let sale = |n: usize, every: usize| match n % every {
        0 => r#""sale":{"label":"now"}"#.to_owned(),
        _ => r#""more":1"#.to_owned(),
    };
    publish(&app, 1, 40, |n| sale(n, 4));
    assert_eq!(app.run("items").await.status, Success);
    // The latest item only, then some of them.
    for count in [1, 5, 20] {
        publish(&app, 2 + count, count, |_| r#""more":1"#.to_owned());
        let run = app.run("items").await;
        assert_eq!(run.stop_reason, None, "{run:?}");
    }
    assert_eq!(app.texts("select field || change from schema_drift").await, [""; 0]);
    publish(&app, 99, 100, |_| r#""more":1"#.to_owned());
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    for part in ["no row has `$.sale.label`", "none of 100 records has a value of `$.sale.label`"] {
        assert!(note(&run).contains(part), "{run:?}");
    }
    assert_eq!(
        app.texts("select field || ' ' || change from schema_drift").await,
        ["sale removed"]
    );
    app.database.close().await;
}

#[tokio::test]
async fn an_answer_without_records_is_told_when_there_were_some() {
    let app = api("$.cust.name", "").await;
    app.write("pages/page-0001.json", "[]");
    let first = app.run("items").await;
    assert!(note(&first).starts_with("no rows came, nor in any run before"), "{first:?}");
    publish(&app, 1, 3, |_| r#""cust":{"name":"x"}"#.to_owned());
    let full = app.run("items").await;
    app.write("pages/page-0001.json", "[]");
    let says = format!("no rows read, and run {} read 3", full.id);
    for run in [dry_run(&app, Incremental).await, app.run("items").await, app.run("items").await] {
        assert_eq!((run.status, note(&run)), (Success, says.as_str()));
    }
    assert_eq!(app.texts(BRANDS).await, ["0 x", "1 x", "2 x"]);
    app.write("items.toml", api_job("$.cust.name", "[checks]\nmin_rows = 1\n"));
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded);
    assert!(note(&run).ends_with(&says), "{run:?}");
    app.database.close().await;
}

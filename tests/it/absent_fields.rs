//! Mapped fields that nothing of what was read has: a run names them, and nothing is overwritten by
//! nothing without a word.

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::tasks::start_run::RunRequest;

use crate::app::{TestApp, request};
use crate::process::call;

const RECORDS: &str =
    "select concat_ws(' ', external_id, coalesce(name, '-'), coalesce(price::text, '-'),
        coalesce(attributes ->> 'brand', '-')) from unified_records order by external_id";

/// A source `items` of the files `*.csv`.
async fn csv(more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", csv_job("Vendor", more));
    app
}

fn csv_job(vendor: &str, more: &str) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n[fields]\n\
         name = {{ column = \"name\" }}\nprice = {{ column = \"price\", type = \"decimal\" }}\n\
         brand = {{ column = \"{vendor}\", aliases = [\"Marke\"] }}\n{more}"
    )
}

/// A source `items` of recorded pages of two records each.
async fn api(more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", api_job("price", more));
    app
}

fn api_job(price: &str, more: &str) -> String {
    format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
         data_selector = \"$[*]\"\npaginator = {{ type = \"page_number\", size = 2 }}\n\
         recording = \"pages\"\n[fields]\nname = {{}}\n\
         price = {{ from = \"$.{price}\", type = \"decimal\" }}\n\
         brand = {{ from = \"$.vendor.name\" }}\n{more}"
    )
}

fn publish(app: &TestApp, pages: &[&str]) {
    let _ = std::fs::remove_dir_all(app.path("pages"));
    for (at, page) in pages.iter().enumerate() {
        app.write(&format!("pages/page-{:04}.json", at + 1), page);
    }
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

async fn dry_run(app: &TestApp, mode: Mode) -> Run {
    app.run_as("items", &RunRequest { dry_run: true, ..request(mode) }).await
}

#[tokio::test]
async fn a_column_that_no_file_has_is_named_with_the_nearest_header() {
    let app = csv("").await;
    app.write("items.toml", csv_job("Verndor", ""));
    app.write("a.csv", "id,name,price,Vendor\n1,a,1,x\n2,b,2,y\n");
    for run in [dry_run(&app, Mode::Incremental).await, app.run("items").await] {
        assert_eq!(run.status, Success, "{run:?}");
        assert_eq!(note(&run), "no row has `Verndor`; did you mean `Vendor`?");
    }
    app.write("items.toml", csv_job("vendor", ""));
    assert_eq!(app.run("items").await.stop_reason, None);
    app.database.close().await;
}

#[tokio::test]
async fn every_run_that_reads_rows_names_a_column_that_no_file_ever_had() {
    let app = csv("").await;
    app.write("items.toml", csv_job("Verndor", ""));
    app.write("a.csv", "id,name,price,Vendor\n1,a,1,x\n");
    let says = "no row has `Verndor`; did you mean `Vendor`?";
    assert_eq!(note(&app.run("items").await), says);
    for news in ["2,b,2,y\n", "3,c,2,y\n"] {
        let file = app.read("a.csv");
        app.write("a.csv", file + news);
        assert_eq!(note(&app.run("items").await), says);
    }
    app.write("b.csv", "id,name,price,Vendor\n7,a,1,x\n");
    assert_eq!(note(&app.run("items").await), says);
    app.write("a.csv", "id,name,price,Vendor\n1,z,1,x\n");
    assert_eq!(note(&app.run("items").await), says);
    assert_eq!(note(&app.run_mode("items", Mode::Full).await), says);
    assert_eq!(note(&app.run_mode("items", Mode::Replay).await), says);
    assert_eq!(note(&dry_run(&app, Mode::Full).await), says);
    app.database.close().await;
}

#[tokio::test]
async fn check_looks_at_the_headers_and_warns_of_columns_that_no_file_has() {
    let app = csv("").await;
    app.write("items.toml", csv_job("Verndor", ""));
    app.write("a.csv", "id,name,price,Vendor\n1,a,1,x\n");
    app.write("b.csv", "id,name,price\n1,a,1\n");
    app.write("empty.csv", "");
    let says = "items.toml:8: fields.brand.column: none of the files has a column \"Verndor\"; did you \
                mean \"Vendor\"?";
    call(&app, &["check"]).await.code(0).prints(&["ok ", says]);
    call(&app, &["check", "--strict"]).await.code(1);
    app.write("items.toml", csv_job("Verndor", "").replace("*.csv", "a.csv"));
    let says = "fields.brand.column: the file has no column \"Verndor\"; did you mean \"Vendor\"?";
    call(&app, &["check"]).await.code(0).prints(&[says]);
    // What one of them has is no slip.
    app.write("items.toml", csv_job("Vendor", ""));
    call(&app, &["check", "--strict"]).await.code(0);
    // A file that a run would refuse.
    app.write("c.csv", "sku;name;price\n1;a;1\n");
    app.write(
        "items.toml",
        csv_job("Vendor", "").replace("[fields]", "delimiter = \",\"\n[fields]"),
    );
    let warned = call(&app, &["check"]).await;
    warned.code(0).prints(&[
        "items.toml:4: csv.paths[0]: ",
        "c.csv: no column \"id\"",
        "csv.delimiter = \";\"",
    ]);
    app.database.close().await;
}

#[tokio::test]
async fn a_key_that_no_record_has_is_named_with_the_nearest_key() {
    let app = api("").await;
    app.write("items.toml", api_job("prise", ""));
    let page =
        r#"[{"id":1,"name":"a","price":1,"vendor":{"nmae":"x"}},{"id":2,"name":"b","price":2}]"#;
    publish(&app, &[page, "[]"]);
    let says = "no row has `$.prise`; did you mean `$.price`?; `$.vendor.name`; did you mean `$.vendor.nmae`?";
    for run in [
        dry_run(&app, Mode::Incremental).await,
        app.run("items").await,
        app.run("items").await,
        app.run_mode("items", Mode::Replay).await,
    ] {
        assert!(run.status.is_success(), "{run:?}");
        assert_eq!(note(&run), says, "{run:?}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_lost_a_column_stays_out_until_it_is_fixed_and_the_others_load() {
    let app = csv("").await;
    app.write("a.csv", "id,name,price,Vendor\n1,a,1,x\n2,b,2,y\n");
    app.write("b.csv", "id,name,price,Marke\n3,c,3,z\n");
    assert_eq!(app.run("items").await.status, Success);
    let before = app.texts(RECORDS).await;
    app.write("a.csv", "id,name,price,Vendr\n1,a,9,x\n2,b,9,y\n");
    app.write("b.csv", "id,name,price,Marke\n3,c,4,z\n");
    let says = "a file was not loaded: a.csv: no column `Vendor` (did you mean `Vendr`?), which its \
                earlier version had.";
    let first = dry_run(&app, Mode::Incremental).await;
    assert_eq!((first.status, first.counters.rows_read, first.counters.updated), (Degraded, 1, 1));
    for (mode, read) in [(Mode::Incremental, 1), (Mode::Incremental, 0), (Mode::Full, 1)] {
        let run = app.run_mode("items", mode).await;
        assert_eq!((run.status, run.counters.rows_read), (Degraded, read), "{run:?}");
        assert!(note(&run).starts_with(says), "{run:?}");
        assert!(note(&run).contains("missing_field = \"evolve\""), "{run:?}");
    }
    let kept = [&before[..2], &["3 c 4 z".to_owned()]].concat();
    assert_eq!(app.texts(RECORDS).await, kept);
    // Fixed in the file, …
    app.write("a.csv", "id,name,price,Vendor\n1,a,9,x\n2,b,9,y\n");
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (Success, 2), "{run:?}");
    // … in the job file, …
    app.write("a.csv", "id,name,price,Vendr\n1,a,8,x\n2,b,8,y\n");
    assert_eq!(app.run("items").await.status, Degraded);
    app.write("items.toml", csv_job("Vendr", ""));
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (SuccessWithDuplicates, 2), "{run:?}");
    // … or meant so.
    app.write("a.csv", "id,name,price\n1,a,7\n2,b,7\n");
    assert_eq!(app.run("items").await.status, Degraded);
    app.write("items.toml", csv_job("Vendr", "[contract]\nmissing_field = \"evolve\"\n"));
    assert!(app.run("items").await.status.is_success());
    assert_eq!(app.texts(RECORDS).await, ["1 a 7 -", "2 b 7 -", "3 c 4 z"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_new_file_without_a_column_that_all_earlier_ones_had_stays_out() {
    let app = csv("").await;
    app.write("day-1.csv", "id,name,price,Vendor\n1,a,1,x\n");
    app.write("day-2.csv", "id,name,price,Vendor\n2,b,2,y\n");
    assert_eq!(app.run("items").await.status, Success);
    app.write("day-3.csv", "id,price,Vendor\n3,3,z\n");
    app.write("day-4.csv", "id,name,price,Vendor\n4,d,4,z\n");
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 1), "{run:?}");
    let says = "day-3.csv: no column `name`, which every earlier file of the source had";
    assert!(note(&run).contains(says), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_column_that_some_file_never_had_keeps_nothing_out() {
    let app = csv("").await;
    app.write("a.csv", "id,name,price,Vendor\n1,a,1,x\n");
    app.write("b.csv", "id,name,price\n2,b,2\n");
    app.write("empty.csv", "");
    for run in [dry_run(&app, Mode::Incremental).await, app.run("items").await] {
        assert_eq!((run.status, note(&run)), (Success, "empty.csv is empty"));
    }
    // Neither new versions of the file, nor new files.
    app.write("b.csv", "id,name,price\n2,b,3\n");
    app.write("c.csv", "id,name,price\n3,c,3\n");
    app.write("empty.csv", "id,name,price\n4,d,3\n");
    let run = app.run("items").await;
    assert_eq!((run.status, run.stop_reason.as_deref()), (Success, None), "{:?}", run.counters);
    // A file that is emptied has lost its rows, and not its columns.
    app.write("a.csv", "");
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert!(note(&run).contains("a.csv is empty, and its earlier version had 1"), "{run:?}");
    assert_eq!(app.texts(RECORDS).await, ["1 a 1 x", "2 b 3 -", "3 c 3 -", "4 d 3 -"]);
    app.database.close().await;
}

#[tokio::test]
async fn columns_that_the_job_file_names_are_held_to_what_it_named_before() {
    let header = "header = [\"id\", \"name\", \"price\", \"Vendor\"]\n[fields]";
    let app = csv("").await;
    app.write("items.toml", csv_job("Vendor", "").replace("[fields]", header));
    app.write("a.csv", "1,a,1,x\n");
    assert_eq!(app.run("items").await.status, Success);
    let header = header.replace("Vendor", "Brand");
    app.write("items.toml", csv_job("Vendor", "").replace("[fields]", &header));
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert!(note(&run).contains("a.csv: no column `Vendor`"), "{run:?}");
    assert_eq!(app.texts(RECORDS).await, ["1 a 1 x"]);
    app.database.close().await;
}

#[tokio::test]
async fn records_that_all_lost_a_field_stay_out_and_the_table_keeps_what_it_had() {
    let app = api("").await;
    let good = r#"[{"id":1,"name":"a","price":1},{"id":2,"name":"b","price":2}]"#;
    let more = r#"[{"id":3,"name":"c","price":3}]"#;
    publish(&app, &[good, more]);
    assert_eq!(app.run("items").await.status, Success);
    let before = app.texts(RECORDS).await;
    let renamed = |page: &str| page.replace("price", "prise").replace("\"a\"", "\"A\"");
    publish(&app, &[&renamed(good), &renamed(more)]);
    for run in [
        dry_run(&app, Mode::Incremental).await,
        app.run("items").await,
        app.run("items").await,
        app.run_mode("items", Mode::Full).await,
    ] {
        assert_eq!((run.status, run.counters.quarantined), (Degraded, 3), "{run:?}");
        for part in [
            "no row has `$.price`; did you mean `$.prise`?",
            "3 of 3 rows quarantined, so none was loaded: 3 × `$.price` missing_field: ",
            "(contract: missing_field = \"guard\")",
        ] {
            assert!(note(&run).contains(part), "{part}: {run:?}");
        }
        assert_eq!(app.texts(RECORDS).await, before);
    }
    let drift = "select distinct policy from schema_drift where field = 'price'";
    assert_eq!(app.texts(drift).await, ["guard"]);
    app.write("items.toml", api_job("prise", ""));
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (SuccessWithDuplicates, 1), "{run:?}");
    assert_eq!(app.texts(RECORDS).await, ["1 A 1 -", "2 b 2 -", "3 c 3 -"]);
    let open = "select count(*) from quarantined_rows where status = 'open'";
    assert_eq!(app.number(open).await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn evolve_says_that_a_field_may_go() {
    let app = api("[contract]\nmissing_field = \"evolve\"\n").await;
    publish(&app, &[r#"[{"id":1,"name":"a","price":1}]"#]);
    assert_eq!(app.run("items").await.status, Success);
    publish(&app, &[r#"[{"id":1,"name":"a"}]"#]);
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (Success, 1), "{run:?}");
    assert_eq!(app.texts(RECORDS).await, ["1 a - -"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_field_that_comes_late_in_the_sweep_is_not_gone() {
    let app = api("").await;
    let good = r#"[{"id":1,"name":"a","price":1},{"id":2,"name":"b","price":2}]"#;
    publish(&app, &[good, "[]"]);
    app.run("items").await;
    // No page of the first 12 has it: more than a batch.
    let bare: Vec<String> = (0..12)
        .map(|n| format!(r#"[{{"id":"x{n}","name":"x"}},{{"id":"y{n}","name":"y"}}]"#))
        .collect();
    let mut pages: Vec<&str> = bare.iter().map(String::as_str).collect();
    pages.extend([good, "[]"]);
    publish(&app, &pages);
    let foretold = dry_run(&app, Mode::Incremental).await;
    let run = app.run("items").await;
    assert_eq!(run.status, SuccessWithDuplicates, "{run:?}");
    assert_eq!((run.counters.inserted, run.counters.quarantined), (24, 0), "{run:?}");
    assert_eq!(foretold.counters.inserted, 24);
    app.database.close().await;
}

#[tokio::test]
async fn a_sweep_that_breaks_off_overwrites_nothing_with_nothing_either() {
    let app = api("").await;
    let good = r#"[{"id":1,"name":"a","price":1},{"id":2,"name":"b","price":2}]"#;
    publish(&app, &[good, "[]"]);
    app.run("items").await;
    let before = app.texts(RECORDS).await;
    publish(&app, &[r#"[{"id":1,"name":"a"},{"id":2,"name":"b"}]"#, "no json"]);
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.quarantined), (Failed, 2), "{run:?}");
    assert_eq!(app.texts(RECORDS).await, before);
    app.database.close().await;
}

/// Each column that a field is put together of is watched as one that is a field of its own.
#[tokio::test]
async fn a_column_that_a_field_is_put_together_of_is_missed_when_it_is_gone_or_emptied() {
    let names =
        "select concat_ws(' ', external_id, name) from unified_records order by external_id::int";
    let concat = "name = { concat = [\"first\", \"last\"] }";
    for missing in ["guard", "evolve"] {
        let app = TestApp::empty().await;
        let job = csv_job("Vendor", &format!("[contract]\nmissing_field = \"{missing}\"\n"));
        app.write("items.toml", job.replace("name = { column = \"name\" }", concat));
        let rows = |from: usize, row: &str| -> String {
            (from..from + 20)
                .map(|id| format!("{id},{}\n", row.replace('#', &id.to_string())))
                .collect()
        };
        app.write("a.csv", format!("id,first,last,price\n{}", rows(1, "f#,l#,1")));
        assert_eq!(app.run("items").await.status, Success);
        // Emptied.
        app.write("b.csv", format!("id,first,last,price\n{}", rows(21, "f#,,1")));
        let run = app.run("items").await;
        let says = "none of 20 records has a value of `last`, and earlier ones had";
        assert_eq!(run.status == Degraded, missing == "guard", "{run:?}");
        assert_eq!(note(&run).contains(says), missing == "guard", "{run:?}");
        // Gone.
        app.write("c.csv", format!("id,first,price\n{}", rows(1, "F#,1")));
        let run = app.run("items").await;
        assert_eq!(run.status == Success, missing == "evolve", "{run:?}");
        let first = app.texts(names).await[0].clone();
        assert_eq!(first, if missing == "guard" { "1 f1 l1" } else { "1 F1" }, "{run:?}");
        app.database.close().await;
    }
}

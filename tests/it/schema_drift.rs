//! Sources that change their shape: versions, drift, and what each policy of the contract does.

use kasparro::db::runs::Run;
use kasparro::domain::run::RunStatus;

use crate::app::TestApp;

const VERSIONS: &str =
    "select version || ' ' || schema_signature::text from schema_snapshots order by version";
const DRIFT: &str = "select to_version || ': ' || field || ' ' || change || ' ' || coalesce(old_type, '-') || ' -> '
        || coalesce(new_type, '-') || ', ' || policy || ', row ' || coalesce(raw_row::text, '-')
     from schema_drift order by to_version, field";
const RECORDS: &str =
    "select external_id || ' ' || coalesce(name, '∅') || ' ' || coalesce(price::text, '∅') || ' '
        || coalesce(attributes ->> 'extra', '∅')
     from unified_records order by external_id";
const QUARANTINE: &str = "select field || ' ' || reason || ' row ' || raw_row
     from quarantined_rows order by created_at, raw_row, field";

/// A source `items` of recorded API pages of two records each.
async fn api(contract: &str) -> TestApp {
    let app = TestApp::empty().await;
    let job = format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
         data_selector = \"$[*]\"\npaginator = {{ type = \"page_number\", size = 2 }}\nrecording = \"pages\"\n\
         [fields]\nname = {{ from = \"$.name\" }}\n\
         price = {{ from = \"$.price\", type = \"decimal\" }}\nextra = {{ from = \"$.extra\" }}\n\
         [contract]\n{contract}\n"
    );
    app.write("items.toml", job);
    app
}

async fn run_pages(app: &TestApp, pages: &[&str]) -> Run {
    for (at, page) in pages.iter().enumerate() {
        app.write(&format!("pages/page-{:04}.json", at + 1), page);
    }
    app.run("items").await
}

/// A source `items` of one file.
async fn csv(contract: &str) -> TestApp {
    let app = TestApp::empty().await;
    let job = format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"items.csv\"]\n\
         [fields]\nname = {{ column = \"name\" }}\nprice = {{ column = \"price\", type = \"decimal\" }}\n\
         extra = {{ column = \"extra\" }}\n[contract]\n{contract}\n"
    );
    app.write("items.toml", job);
    app
}

async fn run_file(app: &TestApp, file: &str) -> Run {
    app.write("items.csv", file);
    app.run("items").await
}

#[tokio::test]
async fn fields_added_removed_and_retyped_in_pages_make_a_version_and_a_drift_row_each() {
    let app = api("missing_field = \"evolve\"").await;
    let first = r#"[{"id":1,"name":"a","price":1},{"id":2,"name":"b","price":2}]"#;
    run_pages(&app, &[first, "[]"]).await;
    assert_eq!(
        app.texts(VERSIONS).await,
        [r#"1 {"id": "integer", "name": "string", "price": "integer"}"#]
    );
    assert!(app.texts(DRIFT).await.is_empty(), "the first version differs from nothing");
    let second = r#"[{"id":1,"price":1},{"id":2,"price":"2.5","extra":[true]}]"#;
    let run = run_pages(&app, &[second, "[]"]).await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(
        app.texts(VERSIONS).await[1..],
        [r#"2 {"id": "integer", "extra": "array?", "price": "integer|string"}"#]
    );
    let expected = [
        "2: extra added - -> array?, evolve, row 2",
        "2: name removed string -> -, evolve, row -",
        "2: price type_changed integer -> integer|string, evolve, row 2",
    ];
    assert_eq!(app.texts(DRIFT).await, expected);
    // The first raw row that shows a change can be looked up.
    let shown = "select body -> (d.raw_row::int - 1) ->> 'id' from schema_drift d
        join raw_api_data a on d.raw_ref = 'page/' || encode(a.body_hash, 'hex') order by field";
    assert_eq!(app.texts(shown).await, ["2", "2"]);
    // The same shape again is no news.
    run_pages(&app, &[&second.replace("2.5", "3.5"), "[]"]).await;
    assert_eq!(app.texts(VERSIONS).await.len(), 2);
    app.database.close().await;
}

#[tokio::test]
async fn a_column_added_to_or_removed_from_a_header_is_drift() {
    let app = csv("missing_field = \"evolve\"").await;
    run_file(&app, "id,name,price\n1,a,1\n2,b,2\n").await;
    run_file(&app, "id,name,price,extra\n1,a,1,x\n2,b,2,y\n").await;
    run_file(&app, "id,price,extra\n1,1,x\n2,soon,y\n3,later,z\n").await;
    let expected = [
        "2: extra added - -> string, evolve, row 1",
        "3: name removed string -> -, evolve, row -",
        "3: price type_changed integer -> string, evolve, row 2",
    ];
    assert_eq!(app.texts(DRIFT).await, expected);
    assert_eq!(app.texts(VERSIONS).await.len(), 3);
    // A removed column does not take the values that are there already.
    assert_eq!(app.texts(RECORDS).await, ["1 ∅ 1 x", "2 b 2 y"]);
    app.database.close().await;
}

#[tokio::test]
async fn an_odd_page_an_empty_column_and_integers_among_numbers_are_no_drift() {
    let app = api("").await;
    let first = r#"[{"id":1,"name":"a","price":1.5,"roi":{"x":1}},{"id":2,"name":"b","price":2.5,"roi":null}]"#;
    run_pages(&app, &[first, "[]"]).await;
    let full =
        r#"[{"id":1,"name":"a","price":1,"roi":{"x":1}},{"id":2,"name":"b","price":2,"roi":null}]"#;
    for odd in [
        // Neither the fields that a page leaves out, nor nulls, nor whole numbers say anything.
        r#"[{"id":3},{"id":4}]"#,
        r#"[{"id":3,"name":null,"price":null,"roi":null},{"id":4,"name":null,"price":3,"roi":null}]"#,
    ] {
        let run = run_pages(&app, &[full, odd, "[]"]).await;
        assert!(run.status.is_success(), "{run:?}");
    }
    assert_eq!(app.texts(VERSIONS).await.len(), 1);
    assert!(app.texts(DRIFT).await.is_empty());
    app.database.close().await;

    let app = csv("").await;
    run_file(&app, "id,name,price\n1,a,1.5\n2,b,2.5\n3,c,3.5\n").await;
    for file in [
        "id,name,price\n1,a,\n2,b,\n3,c,\n",
        "id,name,price\n1,,1\n2,,2\n3,,3\n",
        "id,name,price\n1,a,1\n2,b,call us\n3,c,3\n",
        "id,name,price\n",
    ] {
        run_file(&app, file).await;
    }
    assert_eq!(app.texts(VERSIONS).await.len(), 1);
    assert!(app.texts(DRIFT).await.is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn a_failed_sweep_removes_no_field() {
    let app = api("").await;
    run_pages(&app, &[r#"[{"id":1,"name":"a"},{"id":2,"name":"b"}]"#, "[]"]).await;
    let run = run_pages(&app, &[r#"[{"id":1},{"id":2}]"#, "no json"]).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert!(app.texts(DRIFT).await.is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn an_appended_file_removes_no_field() {
    let app = csv("").await;
    run_file(&app, "id,name,price\n1,a,1\n").await;
    let run = run_file(&app, "id,name,price\n1,a,1\n2,,\n").await;
    assert_eq!(run.counters.rows_read, 1);
    assert!(app.texts(DRIFT).await.is_empty());
    app.database.close().await;
}

/// What a policy makes of a second run, and of a third one with other records of the same shape.
struct Case {
    rule: &'static str,
    first: &'static str,
    second: &'static str,
    third: &'static str,
    /// What the error of `freeze` says.
    frozen: &'static str,
    /// The field and reason of `quarantine_row`.
    reason: &'static str,
    /// Records 2 and 3, whose shape is odd, after `evolve` and after `discard_value`.
    evolved: [&'static str; 2],
    discarded: [&'static str; 2],
}

const CASES: [Case; 3] = [
    Case {
        rule: "new_field",
        first: r#"[{"id":1,"name":"a","price":1}]"#,
        second: r#"[{"id":1,"name":"a","price":1},{"id":2,"name":"b","price":2,"extra":"x"}]"#,
        third: r#"[{"id":1,"name":"a","price":1},{"id":3,"name":"c","price":3,"extra":"y"}]"#,
        frozen: "extra",
        reason: "extra new_field",
        evolved: ["2 b 2 x", "3 c 3 y"],
        discarded: ["2 b 2 ∅", "3 c 3 ∅"],
    },
    Case {
        rule: "missing_field",
        first: r#"[{"id":1,"name":"a","price":1}]"#,
        // A new field as well: the version that it makes must not soften the rule.
        second: r#"[{"id":1,"name":"a","price":1},{"id":2,"price":2,"more":1}]"#,
        third: r#"[{"id":1,"name":"a","price":1},{"id":3,"price":3,"more":1}]"#,
        frozen: "$.name",
        reason: "$.name missing_field",
        evolved: ["2 ∅ 2 ∅", "3 ∅ 3 ∅"],
        discarded: ["2 ∅ 2 ∅", "3 ∅ 3 ∅"],
    },
    Case {
        rule: "type_change",
        first: r#"[{"id":1,"name":"a","price":1}]"#,
        second: r#"[{"id":1,"name":"a","price":1},{"id":2,"name":"b","price":"2"}]"#,
        third: r#"[{"id":1,"name":"a","price":1},{"id":3,"name":"c","price":"3"}]"#,
        frozen: "$.price",
        reason: "$.price type_changed",
        evolved: ["2 b 2 ∅", "3 c 3 ∅"],
        discarded: ["2 b ∅ ∅", "3 c ∅ ∅"],
    },
];

#[tokio::test]
async fn evolve_accepts_what_is_odd_and_discard_value_keeps_the_row_without_it() {
    for case in &CASES {
        for (policy, records) in [("evolve", case.evolved), ("discard_value", case.discarded)] {
            let app = api(&format!("{} = \"{policy}\"", case.rule)).await;
            run_pages(&app, &[case.first]).await;
            for page in [case.second, case.third] {
                let run = run_pages(&app, &[page, "[]"]).await;
                assert!(run.status.is_success(), "{} {policy}: {run:?}", case.rule);
            }
            let [two, three] = records;
            assert_eq!(app.texts(RECORDS).await, ["1 a 1 ∅", two, three], "{} {policy}", case.rule);
            assert!(app.texts(QUARANTINE).await.is_empty());
            app.database.close().await;
        }
    }
}

#[tokio::test]
async fn quarantine_row_sets_the_odd_rows_aside_run_after_run() {
    for case in &CASES {
        let app = api(&format!("{} = \"quarantine_row\"", case.rule)).await;
        run_pages(&app, &[case.first]).await;
        for page in [case.second, case.third] {
            let run = run_pages(&app, &[page, "[]"]).await;
            assert!(run.status.is_success(), "{}: {run:?}", case.rule);
            assert_eq!((run.counters.unchanged, run.counters.quarantined), (1, 1), "{}", case.rule);
        }
        assert_eq!(app.texts(RECORDS).await, ["1 a 1 ∅"], "{}", case.rule);
        let set_aside = format!("{} row 2", case.reason);
        assert_eq!(app.texts(QUARANTINE).await, [set_aside.clone(), set_aside]);
        let policies = "select distinct policy from schema_drift where change = replace(replace(replace(
            $$RULE$$, 'new_field', 'added'), 'missing_field', 'removed'), 'type_change', 'type_changed')";
        let policies = policies.replace("$$RULE$$", &format!("'{}'", case.rule));
        let policies: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(policies)).fetch_all(&app.pool).await.unwrap();
        // A field that some rows lack is not gone.
        let gone = case.rule == "missing_field";
        assert_eq!(policies, if gone { vec![] } else { vec!["quarantine_row"] }, "{}", case.rule);
        app.database.close().await;
    }
}

#[tokio::test]
async fn freeze_fails_the_run_naming_field_and_row_run_after_run() {
    for case in &CASES {
        let app = api(&format!("{} = \"freeze\"", case.rule)).await;
        run_pages(&app, &[case.first]).await;
        for page in [case.second, case.third] {
            let run = run_pages(&app, &[page, "[]"]).await;
            assert_eq!(run.status, RunStatus::Failed, "{}", case.rule);
            let error = run.error.unwrap();
            for part in ["page/", " row 2: ", case.frozen, case.rule, "freeze"] {
                assert!(error.contains(part), "{}: {error}", case.rule);
            }
        }
        assert_eq!(app.texts(RECORDS).await, ["1 a 1 ∅"], "{}", case.rule);
        // The batch was tried once: trying again cannot help.
        assert_eq!(app.number("select max(attempt)::bigint from run_tasks").await, 1);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_removed_field_is_drift_whether_or_not_the_contract_stops_the_run() {
    for policy in ["freeze", "quarantine_row", "discard_value", "evolve"] {
        let app = api(&format!("missing_field = \"{policy}\"")).await;
        run_pages(&app, &[r#"[{"id":1,"name":"a"}]"#]).await;
        for _ in 0..2 {
            let run = run_pages(&app, &[r#"[{"id":1}]"#]).await;
            assert_eq!(run.status == RunStatus::Failed, policy == "freeze", "{run:?}");
            assert_eq!(run.counters.quarantined == 1, policy == "quarantine_row", "{run:?}");
        }
        let expected = format!("2: name removed string -> -, {policy}, row -");
        assert_eq!(app.texts(DRIFT).await, [expected]);
        app.database.close().await;
    }
}

#[tokio::test]
async fn the_contract_holds_for_files_as_it_does_for_pages() {
    let first = "id,name,price\n1,a,1\n2,b,2\n";
    // New column, column gone, a price that is none.
    let new = "id,name,price,extra\n1,a,1,x\n3,c,3,y\n";
    let missing = "id,price\n1,1\n3,3\n";
    let retyped = "id,name,price\n1,a,1\n3,c,soon\n";
    for (rule, file, field, reason, quarantined) in [
        ("new_field", new, "extra", "extra new_field row", 2),
        ("missing_field", missing, "name", "name missing_field row", 2),
        ("type_change", retyped, "price", "price invalid_decimal row", 1),
    ] {
        for policy in ["evolve", "freeze", "discard_value", "quarantine_row"] {
            let app = csv(&format!("{rule} = \"{policy}\"")).await;
            run_file(&app, first).await;
            let case = format!("{rule} {policy}");
            for again in ["", "# once more\n"] {
                // Another comment in the job file makes the unchanged file be read again.
                let job = app.read("items.toml");
                app.write("items.toml", format!("{again}{job}"));
                let run = run_file(&app, file).await;
                let quarantine = app.texts(QUARANTINE).await;
                match policy {
                    "freeze" => {
                        assert_eq!(run.status, RunStatus::Failed, "{case}");
                        let error = run.error.unwrap();
                        for part in [field, "row ", "file/", rule] {
                            assert!(error.contains(part), "{case}: {error}");
                        }
                    }
                    "quarantine_row" => {
                        assert_eq!(run.counters.quarantined, quarantined, "{case}");
                        assert!(quarantine.iter().all(|q| q.starts_with(reason)), "{quarantine:?}");
                    }
                    // Text that is no number cannot be kept as one, whatever the contract says.
                    "evolve" if rule == "type_change" => {
                        assert_eq!(run.counters.quarantined, 1, "{case}");
                    }
                    _ => assert_eq!(
                        (run.status.is_success(), run.counters.quarantined),
                        (true, 0),
                        "{case}"
                    ),
                }
            }
            app.database.close().await;
        }
    }
}

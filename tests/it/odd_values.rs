//! Values as real sources write them: numbers that JSON does not have, times counted in another unit, digits that
//! must stay as they are.

use kasparro::db::runs::Run;
use kasparro::domain::run::RunStatus;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::app::TestApp;

async fn api(body: &str) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_raw(body.to_owned(), "application/json");
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

async fn loaded(body: &str, selector: &str, fields: &str) -> (TestApp, Run) {
    let app = TestApp::empty().await;
    let api = api(body).await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
             data_selector = \"{selector}\"\n[fields]\n{fields}\n",
            api.uri()
        ),
    );
    let run = app.run_online("items").await;
    (app, run)
}

#[tokio::test]
async fn one_number_that_json_does_not_have_takes_no_other_record_with_it() {
    let row = |id: u32| match id {
        200 => "{\"id\": 200, \"name\": \"r\\u00f6hre\",\n \"price\": NaN}".to_owned(),
        id => format!("{{\"id\": {id}, \"name\": \"n{id}\", \"price\": \"{id}.50\"}}"),
    };
    let rows: Vec<_> = (1..=250).map(row).collect();
    for (body, selector) in [
        (format!("[{}]", rows.join(",")), "$[*]"),
        (format!("{{\"mean\": -Infinity, \"data\": [{}]}}", rows.join(", ")), "$.data[*]"),
    ] {
        let fields = "name = {}\nprice = { type = \"decimal\" }";
        let (app, run) = loaded(&body, selector, fields).await;
        assert_eq!((run.counters.inserted, run.counters.quarantined), (249, 1), "{run:?}");
        let raw = "select convert_from(raw, 'UTF8') from quarantined_rows";
        assert_eq!(app.texts(raw).await, [row(200)], "exactly as it came");
        let at = body.find("{\"id\": 200,").unwrap();
        let reasons = app.texts("select message || ' ' || raw_row from quarantined_rows").await;
        for part in [
            &format!(
                "NaN, which JSON does not have, at `/price` (byte {} of the record)",
                row(200).find("NaN").unwrap()
            ),
            &format!("begins at byte {at} of the page"),
            "200",
        ] {
            assert!(reasons[0].contains(part), "{part}: {reasons:?}");
        }
        // What is kept can be read again, from the database alone.
        let again = app.run_mode("items", kasparro::domain::run::Mode::Replay).await;
        assert_eq!((again.counters.unchanged, again.counters.quarantined), (249, 1), "{again:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn text_that_is_no_json_fails_with_the_place() {
    let row = r#"{"id":1,"name":"a"},"#.repeat(30);
    for (body, says) in [
        (format!("[{row}\n{{\"id\":2,}}]"), "from line 2, column 9"),
        (format!("[{row}{{'id':2}}]"), "texts of JSON stand in double quotes"),
        (format!("[{row}{{\"id\":2}};]"), "at `…"),
    ] {
        let (app, run) = loaded(&body, "$[*]", "name = {}").await;
        assert_eq!(run.status, RunStatus::Failed, "{run:?}");
        let error = run.error.unwrap_or_default();
        assert!(error.contains(says) && error.contains("no JSON"), "{says}: {error}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn times_since_1970_are_read_in_their_unit_and_refused_in_another() {
    let body = r#"[{"id":1,"s":1700000000.5,"ms":"1700000000123","bad":1700000000},
                   {"id":2,"s":-1,"ms":-1,"bad":1700000000000}]"#;
    let fields = "source_updated_at = { from = \"s\", date_format = \"%s\" }\n\
                  ms = { type = \"timestamp\", date_format = \"%Q\" }\n\
                  bad = { type = \"timestamp\", date_format = \"%s\" }";
    let (app, run) = loaded(body, "$[*]", fields).await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (1, 1), "{run:?}");
    let times = "select (extract(epoch from source_updated_at)::numeric(20, 1))::text || ' ' ||
        (attributes ->> 'ms') from unified_records";
    assert_eq!(app.texts(times).await, ["1700000000.5 2023-11-14T22:13:20.123000Z"]);
    let reasons = app.texts("select message from quarantined_rows").await;
    let says = "looks like milliseconds since 1970, which date_format";
    assert!(reasons[0].contains(says) && reasons[0].contains("%Q"), "{reasons:?}");
    app.database.close().await;
}

#[tokio::test]
async fn numbers_stay_as_they_came_where_they_are_texts_or_keys() {
    let long = "9".repeat(100);
    let body = format!(
        r#"{{"data":[{{"id":1e3,"n":1.50E+2,"cents":1990,"code":" a\u00df "}},{{"id":{long},"n":-0,"cents":-5,"code":"b"}}]}}"#
    );
    let fields = "name = { from = \"n\" }\nprice = { from = \"cents\", scale = -2 }\n\
                  code = { transform = [\"trim\", \"upper\"] }";
    for selector in ["$.data[*]", "$.data[?@.cents]"] {
        let (app, run) = loaded(&body, selector, fields).await;
        assert_eq!(run.counters.inserted, 2, "{run:?}");
        let rows =
            "select external_id || ' ' || name || ' ' || price || ' ' || (attributes ->> 'code')
            from unified_records order by length(external_id)";
        let expected = ["1e3 1.50E+2 19.90 ASS".to_owned(), format!("{long} -0 -0.05 B")];
        assert_eq!(app.texts(rows).await, expected);
        app.database.close().await;
    }
}

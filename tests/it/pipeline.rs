//! The main job: sources into one table, and again without a duplicate.

use kasparro::domain::run::{Mode, RunStatus};

use crate::app::TestApp;

const RECORDS: &str =
    "select source || ' ' || count(*) from unified_records group by source order by source";
const MARKERS: &str =
    "select source || ' ' || last_processed_marker from ingestion_checkpoints order by source";

#[tokio::test]
async fn the_three_shipped_sources_answer_as_documented() {
    let app = TestApp::shipped().await;
    for source in ["coingecko_api", "products_csv", "vendors_csv"] {
        let run = app.run(source).await;
        assert!(run.status.is_success(), "{run:?}");
    }
    let expected = ["coingecko_api 1200", "products_csv 3", "vendors_csv 2"];
    assert_eq!(app.texts(RECORDS).await, expected);
    let markers = ["coingecko_api 1200", "products_csv 1,2,4", "vendors_csv A1,A3"];
    assert_eq!(app.texts(MARKERS).await, markers);
    let schemas = app.texts("select source from schema_snapshots order by source").await;
    assert_eq!(schemas, ["coingecko_api", "products_csv", "vendors_csv"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_second_run_adds_nothing_and_counts_duplicates() {
    let app = TestApp::shipped().await;
    app.run("coingecko_api").await;
    let before = app.texts("select u::text from unified_records u order by 1").await;
    let again = app.run("coingecko_api").await;
    assert_eq!(again.status, RunStatus::SuccessWithDuplicates);
    assert_eq!((again.counters.inserted, again.counters.unchanged), (0, 1200));
    assert_eq!(app.texts("select u::text from unified_records u order by 1").await, before);
    let full = app.run_mode("products_csv", Mode::Full).await;
    assert_eq!(full.counters.inserted, 3);
    let full = app.run_mode("products_csv", Mode::Full).await;
    assert_eq!((full.counters.inserted, full.counters.unchanged), (0, 3));
    assert_eq!(full.status, RunStatus::SuccessWithDuplicates);
    app.database.close().await;
}

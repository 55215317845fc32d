//! Files of Parquet: what they leave as records, and records as such files. Without the feature `parquet` kasparro says what
//! it lacks.

use crate::api::TestApi;
use crate::process::call;

const JOB: &str = "kind = \"parquet\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"in/*\"]\n[parquet]\n[fields]\n\
                   name = {}\nprice = { from = \"$.offer.net\", type = \"decimal\" }\n";

#[cfg(not(feature = "parquet"))]
#[tokio::test]
async fn a_kasparro_without_parquet_says_what_it_lacks() {
    use crate::api::problem;
    const MISSING: &str =
        "this kasparro was built without Parquet: build it with `--features parquet`";
    let api = TestApi::admitting_this_machine().await;
    let app = &api.app;
    app.write("table.toml", JOB);
    let checked = call(app, &["check"]).await;
    let said = checked.code(1).stdout.clone() + &checked.stderr;
    assert!(said.contains(&format!("table.toml:1: kind: {MISSING}")), "{said}");
    assert!(!said.contains("unknown kind"), "{said}");
    app.write("table.toml", JOB.replace("parquet", "jsonl"));
    call(app, &["export", "table", "--format", "parquet"]).await.code(1).complains(&[MISSING]);
    let answer = api.get("/records/export?source=table&format=parquet").await;
    let said = problem(answer, 400, "invalid-parameter").await;
    assert!(said.to_string().contains(MISSING), "{said}");
    api.app.database.close().await;
}

#[cfg(feature = "parquet")]
mod with_it {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, StructArray,
    };
    use arrow_schema::{DataType, Field, Fields};
    use kasparro::db::runs::Run;
    use kasparro::domain::run::RunStatus::{Degraded, Success, SuccessWithDuplicates};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::app::TestApp;

    const RECORDS: &str = "select concat_ws('|', external_id, name, price, raw_row) from unified_records order by external_id";

    fn file(ids: &[i64], net: &str) -> Vec<u8> {
        let prices = Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(*id) * 10));
        let prices: ArrayRef = Arc::new(prices.with_precision_and_scale(20, 2).unwrap());
        let field = Field::new(net, DataType::Decimal128(20, 2), false);
        let names = ids.iter().map(|id| format!("name {id}"));
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
            ("name", Arc::new(StringArray::from_iter_values(names))),
            ("offer", Arc::new(StructArray::new(Fields::from(vec![field]), vec![prices], None))),
        ])
        .unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn note(run: &Run) -> &str {
        run.stop_reason.as_deref().unwrap_or_default()
    }

    async fn table() -> TestApp {
        let app = TestApp::empty().await;
        app.write("table.toml", JOB);
        std::fs::create_dir(app.path("in")).unwrap();
        app
    }

    #[tokio::test]
    async fn rows_of_a_parquet_file_are_records_and_a_damaged_file_costs_no_other() {
        let app = table().await;
        app.write("in/a.parquet", file(&[1, 2], "net"));
        let damaged = file(&[7], "net");
        app.write("in/b.parquet", &damaged[..damaged.len() - 30]);
        app.write("in/c.parquet", file(&[3], "net"));
        let run = app.run("table").await;
        assert_eq!((run.status, run.counters.inserted), (Degraded, 3), "{run:?}");
        assert!(note(&run).contains("b.parquet: the Parquet file is damaged"), "{run:?}");
        assert_eq!(
            app.texts(RECORDS).await,
            ["1|name 1|0.10|1", "2|name 2|0.20|2", "3|name 3|0.30|1"]
        );
        std::fs::remove_file(app.path("in/b.parquet")).unwrap();
        let run = app.run("table").await;
        assert_eq!((run.status, run.counters.rows_read), (Success, 0), "{run:?}");
        app.write("in/c.parquet", file(&[3, 4], "net"));
        let run = app.run("table").await;
        assert_eq!((run.status, run.counters.inserted), (SuccessWithDuplicates, 1), "{run:?}");
        app.database.close().await;
    }

    #[tokio::test]
    async fn a_parquet_file_that_lost_a_mapped_column_empties_nothing() {
        let app = table().await;
        app.write("in/a.parquet", file(&[1, 2], "net"));
        assert_eq!(app.run("table").await.status, Success);
        let before = app.texts(RECORDS).await;
        for lost in [file(&[1, 2], "gross"), file(&[], "net")] {
            app.write("in/a.parquet", lost);
            let run = app.run("table").await;
            assert_eq!((run.status, run.counters.rows_read), (Degraded, 0), "{run:?}");
            assert!(note(&run).contains("a.parquet"), "{run:?}");
            assert_eq!(app.texts(RECORDS).await, before);
        }
        app.write("in/a.parquet", file(&[1, 2], "gross"));
        let run = app.run("table").await;
        assert!(
            note(&run).contains("no field `$.offer.net`, which its earlier version had"),
            "{run:?}"
        );
        app.database.close().await;
    }

    #[tokio::test]
    async fn a_parquet_file_under_another_kind_is_said_to_be_one() {
        let app = table().await;
        app.write("in/a.parquet", file(&[1], "net"));
        for kind in ["csv", "jsonl", "json", "xlsx"] {
            let job = JOB
                .replace("\"parquet\"", &format!("\"{kind}\""))
                .replace("[parquet]", &format!("[{kind}]"));
            let job = match kind {
                "csv" | "xlsx" => job.replace("from = \"$.offer.net\"", "column = \"net\""),
                _ => job,
            };
            app.write("table.toml", job);
            let run = app.run("table").await;
            let said = format!("{} {:?}", note(&run), run.error);
            let said = said.replace('\\', "");
            assert!(said.contains("is a Parquet file"), "{kind}: {said}");
            assert!(
                said.contains("write kind = \"parquet\", which reads such files"),
                "{kind}: {said}"
            );
        }
        app.database.close().await;
    }

    #[tokio::test]
    async fn records_that_are_exported_as_parquet_and_read_again_are_the_same_records() {
        let api = TestApi::admitting_this_machine().await;
        let app = &api.app;
        app.write("shop.toml", crate::exported::JOB);
        app.write("data/1.jsonl", crate::exported::ROWS);
        app.run("shop").await;
        std::fs::create_dir_all(app.path("again")).unwrap();
        let file = app.path("again/all.parquet");
        let ended = call(app, &["export", "shop", "--output", file.to_str().unwrap()]).await;
        ended.code(0).complains(&["3 rows"]);
        let job = crate::exported::JOB
            .replace("\"jsonl\"", "\"parquet\"")
            .replace("data/*.jsonl", "again/*.parquet")
            .replace("[files]", "[parquet]\n[files]")
            .replace("[\"id\"]", "[\"external_id\"]")
            .replace("$.seen", "$.source_updated_at")
            .replace("$.odd", "$['odd; name']");
        app.write("again.toml", job);
        assert_eq!(app.run("again").await.status, Success);
        let different = "select count(*) from unified_records as a full join unified_records as b
            on a.external_id = b.external_id and a.content_hash = b.content_hash and a.source <> b.source
            where a is null or b is null";
        assert_eq!(app.number("select count(*) from unified_records").await, 6);
        assert_eq!(app.number(different).await, 0);
        let answer = api.get("/records/export?source=shop&format=parquet").await;
        assert_eq!(answer.headers()["content-type"], "application/vnd.apache.parquet");
        let sent = answer.bytes().await.unwrap();
        assert_eq!(sent, std::fs::read(&file).unwrap());
        for rows in ["quarantine", "all"] {
            let file = app.path("rows.parquet");
            let args =
                ["export", "shop", "--rows", rows, "--lineage", "--output", file.to_str().unwrap()];
            call(app, &args).await.code(0);
        }
        api.app.database.close().await;
    }
}

//! Values that no two records of a source may have.

use kasparro::domain::run::Mode;

use crate::app::TestApp;

const NAMES: &str =
    "select concat_ws(' ', external_id, name, attributes ->> 'mail') from unified_records
                     where source = 's' and deleted_at is null order by external_id";
const BAD: &str = "select concat_ws(' ', raw_row, field, reason, message) from quarantined_rows
                   where status in ('open', 'redriven') order by raw_ref, raw_row, field";

#[tokio::test]
async fn a_value_that_another_record_has_sets_its_row_aside_whatever_workers_and_batches_there_are()
{
    let app = TestApp { workers: 4, ..TestApp::empty().await };
    // A chunk of two rows or so.
    app.write(
        "s.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\nchunk_size = 16\n\
         [missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n[fields]\nname = {}\n\
         mail = { transform = [\"trim\", \"lower\"], unique = true }\n",
    );
    let filler: String = (0..40).map(|n| format!("f{n:02},x,m{n}@f\n")).collect();
    app.write(
        "a.csv",
        format!("id,name,mail\na,x,A@x\nb,x,b@x\n{filler}c,x,a@X \nd,x,\ne,x,\nf,x,b@x\n"),
    );
    let run = app.run("s").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (44, 2), "{run:?}");
    let bad = app.texts(BAD).await;
    assert!(
        bad[0].starts_with("43 mail not_unique mail: \"a@x\" is the value of another record, `a`"),
        "{bad:?}"
    );
    assert_eq!(bad.len(), 2);
    let keys = "select external_id from quarantined_rows order by 1";
    assert_eq!(app.texts(keys).await, ["c", "f"], "an export shows whose the rows are");
    // Rows that are read again are no others; of two rows of a record the last counts.
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!(
        (run.counters.inserted, run.counters.updated, run.counters.quarantined),
        (0, 0, 2),
        "{run:?}"
    );
    let run = app.run_mode("s", Mode::Replay).await;
    assert_eq!((run.counters.updated, run.counters.quarantined), (0, 2), "{run:?}");
    // A value is free once its record has another one, in the order of rows, or is deleted.
    app.write("a.csv", "id,name,mail\na,x,z@x\nc,x,a@x\na,x,y@x\ng,x,z@x\nf,x,b@x\nh,x,h@x\n");
    let run = app.run("s").await;
    assert_eq!(run.counters.quarantined, 1, "b has its value still: {run:?}");
    assert!(app.texts(NAMES).await.iter().any(|name| name == "c x a@x"), "{run:?}");
    // By now b is deleted.
    app.write("a.csv", "id,name,mail\na,x,y@x\nc,x,a@x\ng,x,z@x\nf,x,b@x\nh,x,h@x\n");
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!(run.counters.quarantined, 0, "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["a x y@x", "c x a@x", "f x b@x", "g x z@x", "h x h@x"]);
    app.database.close().await;
}

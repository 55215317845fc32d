//! Files whose rows have no key: the place of a row, or all that it holds, is one.

use kasparro::db::runs::Run;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::tasks::start_run::{RunRequest, Started};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::app::{TestApp, request};
use crate::shuffle::Shuffle;

const KEYS: &str =
    "select concat_ws(' ', external_id, name, case when deleted_at is not null then 'gone' end)
                    from unified_records order by external_id";

fn job(key: &str, more: &str) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = \"{key}\"\n[csv]\npaths = [\"*.csv\"]\nchunk_size = 12\n{more}\n[fields]\n\
         name = {{}}\n"
    )
}

async fn app(key: &str, more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("s.toml", job(key, more));
    app
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

fn counts(run: &Run) -> [i64; 4] {
    let counters = run.counters;
    [counters.inserted, counters.updated, counters.unchanged, counters.quarantined]
}

#[tokio::test]
async fn the_number_of_a_row_is_its_key_while_files_grow_and_are_replaced() {
    let missing = "[missing]\naction = \"tombstone\"\nmax_ratio = 0.5";
    let app = app("row_number", missing).await;
    app.write("a.csv", "name,n\nx,1\nx,1\nx,\"1\"2\n,\n\ny,3\n");
    app.write("b.csv", "name,n\nx,1\n");
    let dry = app.run_as("s", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await;
    assert_eq!(counts(&dry), [4, 0, 0, 1], "{dry:?}");
    let run = app.run("s").await;
    assert_eq!(counts(&run), [4, 0, 0, 1], "{run:?}");
    // Rows are counted with those that are bad, and without lines that are blank.
    let first = ["a.csv|1 x", "a.csv|2 x", "a.csv|4 y", "b.csv|1 x"];
    assert_eq!(app.texts(KEYS).await, first);
    let key = "select external_id from quarantined_rows";
    assert_eq!(app.texts(key).await, ["a.csv|3"], "the place of a row is known");
    app.write("a.csv", "name,n\nx,1\nx,1\nx,\"1\"2\n,\n\ny,3\nz,4\n");
    let run = app.run("s").await;
    assert_eq!(counts(&run), [1, 0, 0, 0], "only what is new is read: {run:?}");
    let run = app.run_mode("s", Mode::Replay).await;
    assert_eq!(counts(&run)[..2], [0, 0], "{run:?}");
    // A quarantined row has its place, and is not missing; what stands behind the end is.
    app.write("a.csv", "name,n\nX,1\nx,1\nx,\"1\"2\n");
    let run = app.run_mode("s", Mode::Full).await;
    assert_eq!(counts(&run), [0, 1, 2, 1], "{run:?}");
    let now = ["a.csv|1 X", "a.csv|2 x", "a.csv|4 y gone", "a.csv|5 z gone", "b.csv|1 x"];
    assert_eq!(app.texts(KEYS).await, now, "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn all_that_a_row_holds_is_its_key_wherever_it_stands_and_equal_rows_are_counted() {
    let app = app("content", "").await;
    app.write("a.csv", "name,n\nx,1\ny,2\nx,1\nz,\nx,1\n");
    let says = "2 rows are equal to one in front in the same file, and one record with it";
    let dry = app.run_as("s", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await;
    assert_eq!(counts(&dry), [3, 0, 2, 0], "{dry:?}");
    let run = app.run("s").await;
    assert_eq!(counts(&run), [3, 0, 2, 0], "{run:?}");
    assert!(run.status.is_success() && note(&run).contains(says), "{run:?}");
    let keys = app.texts(KEYS).await;
    assert!(keys.iter().all(|key| key.split(' ').next().unwrap_or_default().len() == 32));
    // In another file, order, dialect, with another column that is empty: the same.
    app.write("b.csv", "n;name;more\n2;y;\n;z;\n1; x;\n");
    let run = app.run("s").await;
    assert_eq!(counts(&run), [1, 0, 2, 0], "a space is another text: {run:?}");
    assert!(!note(&run).contains("equal"), "rows of two files are no loss: {run:?}");
    let run = app.run_mode("s", Mode::Full).await;
    assert!(note(&run).contains(says), "{run:?}");
    assert_eq!(counts(&run)[..2], [0, 0]);
    // Another kind of key makes other records.
    app.write("s.toml", job("row_number", ""));
    let run = app.run("s").await;
    let says = "records are identified by their row's number in its file, and were by all that their row holds";
    assert!(note(&run).contains(says), "{run:?}");
    // Back again nothing is new, and those of the number stay.
    app.write("s.toml", job("content", ""));
    let run = app.run("s").await;
    assert_eq!((run.status, counts(&run)[0]), (RunStatus::Degraded, 0), "{run:?}");
    assert!(note(&run).contains("the records under the earlier keys stay beside them"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn other_columns_make_other_keys_and_the_run_says_so() {
    let app = app("content", "").await;
    app.write("a.csv", "name,n,Unit Price\nx,1,2\ny,2,2\nz,3,\n");
    assert_eq!(app.run("s").await.status, RunStatus::Success);
    // Another way to write the same names.
    app.write("a.csv", "N,NAME,unit_price\n1,x,2\n2,y,2\n3,z,\n");
    let run = app.run("s").await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(counts(&run), [0, 0, 3, 0], "{run:?}");
    // A column more of which only some rows have a value.
    app.write("a.csv", "name,n,unit price,note\nx,1,2,\ny,2,2,\nz,3,,late\n");
    let run = app.run("s").await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(counts(&run), [1, 0, 2, 0], "{run:?}");
    assert!(note(&run).contains("the columns are others than before (new: `note`)"), "{run:?}");
    // All have one.
    app.write("a.csv", "name,n,unit price,note,shop\nx,1,2,,a\ny,2,2,,a\nz,3,,late,a\n");
    let dry = app.run_as("s", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await;
    assert!(note(&dry).contains("(new: `shop`)"), "{dry:?}");
    let run = app.run("s").await;
    assert_eq!((run.status, counts(&run)), (RunStatus::Degraded, [3, 0, 0, 0]), "{run:?}");
    assert!(note(&run).contains("(new: `shop`)"), "{run:?}");
    assert!(note(&run).contains("4 earlier and 3 new records"), "{run:?}");
    // One is gone that all had.
    app.write("a.csv", "name,unit price,note,shop\nx,2,,a\ny,2,,a\nz,,late,a\n");
    let run = app.run("s").await;
    assert_eq!((run.status, counts(&run)[0]), (RunStatus::Degraded, 3), "{run:?}");
    assert!(note(&run).contains("(gone: `n`)"), "{run:?}");
    // As it says.
    let statement = note(&run).split('`').find(|text| text.starts_with("delete")).unwrap();
    let statement: &'static str = Box::leak(statement.to_owned().into_boxed_str());
    sqlx::raw_sql(statement).execute(&app.pool).await.unwrap();
    let run = app.run_mode("s", Mode::Full).await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(counts(&run), [0, 0, 3, 0], "{run:?}");
    assert_eq!(app.texts(KEYS).await.len(), 3);
    app.database.close().await;
}

/// The rows of a file are written in several batches, which know of each other only what the table says.
#[tokio::test]
async fn equal_rows_are_counted_exactly_wherever_a_file_is_cut() {
    let app = app("content", "").await;
    let rows: String = (0..900).map(|n| format!("{},1\n", n % 300)).collect();
    app.write("a.csv", format!("name,n\n{rows}"));
    let run = app.run("s").await;
    assert_eq!(counts(&run), [300, 0, 600, 0], "{run:?}");
    assert!(note(&run).starts_with("600 rows are equal to one in front"), "{run:?}");
    let batches = "select count(*)::text from run_tasks where payload ->> 'rows' <> 'single' and role = 'normalize'";
    assert_ne!(app.texts(batches).await, ["1"]);
    // What stands in front of rows that are new is not read again.
    app.write("a.csv", format!("name,n\n{rows}300,1\n300,1\n1,1\n"));
    let run = app.run("s").await;
    assert_eq!(counts(&run), [1, 0, 2, 0], "{run:?}");
    assert!(note(&run).contains("at least 1 row is equal"), "{run:?}");
    app.database.close().await;
}

/// Rows that had keys of their own have the same one now: the last of them counts, whichever is normalized first.
#[tokio::test]
async fn a_replay_under_another_key_applies_rows_in_their_order() {
    let app = app("row_number", "").await;
    let rows: String = (1..=60).map(|n| format!("{},{n}\n", n % 4)).collect();
    app.write("a.csv", format!("id,name\n{rows}"));
    let run = app.run("s").await;
    assert_eq!(counts(&run), [60, 0, 0, 0], "{run:?}");
    let order = "select key_order from etl_runs order by id desc limit 1";
    assert_ne!(app.texts(order).await, ["ordered"]);
    app.write("s.toml", job("row_number", "").replace("\"row_number\"", "[\"id\"]"));
    for seed in 0..3 {
        sqlx::raw_sql("truncate unified_records").execute(&app.pool).await.unwrap();
        let started = app.start("s", Mode::Replay).await;
        assert!(matches!(started, Started::New(_)), "{started:?}");
        Shuffle::new(&app, 3).await.all(&mut StdRng::seed_from_u64(seed)).await;
        assert_eq!(app.texts(KEYS).await, ["0 60", "1 57", "2 58", "3 59"]);
        assert_eq!(app.texts(order).await, ["ordered"]);
    }
    app.database.close().await;
}

/// Two names of a file are no two files: links, and paths that are written in two ways.
#[tokio::test]
async fn a_file_that_several_names_lead_to_is_read_once() {
    for key in ["\"row_number\"", "[\"name\"]"] {
        let app = TestApp::empty().await;
        let paths = "[\"d/*.csv\", \"./d/x.csv\", \"e/../d/x.csv\"]";
        app.write("s.toml", job("KEY", "").replace("\"KEY\"", key).replace("[\"*.csv\"]", paths));
        app.write("d/x.csv", "name\na\nb\n");
        app.write("e/y.csv", "name\n");
        std::os::unix::fs::symlink("x.csv", app.path("d/current.csv")).unwrap();
        for dry_run in [true, false] {
            let run = app.run_as("s", &RunRequest { dry_run, ..request(Mode::Incremental) }).await;
            assert_eq!(counts(&run), [2, 0, 0, 0], "{key} {run:?}");
            assert!(run.status == RunStatus::Success, "{run:?}");
            assert!(
                note(&run).contains("d/current.csv is the same file as d/x.csv, and read once"),
                "{run:?}"
            );
        }
        let keys =
            if key.starts_with('[') { ["a a", "b b"] } else { ["d/x.csv|1 a", "d/x.csv|2 b"] };
        assert_eq!(app.texts(KEYS).await, keys);
        // The link leads elsewhere now: what it was another name of is read on.
        app.write("d/z.csv", "name\nc\n");
        std::fs::remove_file(app.path("d/current.csv")).unwrap();
        std::os::unix::fs::symlink("z.csv", app.path("d/current.csv")).unwrap();
        app.write("d/x.csv", "name\na\nb\nd\n");
        let run = app.run("s").await;
        assert_eq!(counts(&run), [2, 0, 0, 0], "{run:?}");
        app.database.close().await;
    }
}

/// The member of an archive, and a file that is called like it.
#[tokio::test]
async fn rows_of_a_file_whose_name_has_a_number_sign_are_none_of_a_member() {
    let app = app("row_number", "").await;
    app.write("a#b.csv", "name\nx\n");
    let dry = app.run_as("s", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await;
    assert_eq!(counts(&dry), [1, 0, 0, 0], "{dry:?}");
    let run = app.run("s").await;
    assert_eq!(counts(&run), [1, 0, 0, 0], "{run:?}");
    assert_eq!(app.texts(KEYS).await, ["a\\#b.csv|1 x"]);
    let dry = app.run_as("s", &RunRequest { dry_run: true, ..request(Mode::Full) }).await;
    assert_eq!(counts(&dry), [0, 0, 1, 0], "a dry run makes the same key: {dry:?}");
    app.database.close().await;
}

/// The statements of the manual, as they stand there.
#[tokio::test]
async fn keys_with_what_cannot_be_seen_are_cleaned_up_as_the_manual_says() {
    let app = TestApp::empty().await;
    let manual = include_str!("../../docs/operating.md");
    let (_, sql) = manual.split_once("select old.external_id, new.external_id").unwrap();
    let (find, rest) = sql.split_once("\n\n").unwrap();
    let remove = rest.split_once("```").unwrap().0;
    assert!(
        find.contains("'NAME'") && remove.starts_with("delete from") && remove.contains("'NAME'")
    );
    for source in ["s", "other"] {
        let job = job("row_number", "").replace("\"row_number\"", "[\"id\"]");
        app.write(&format!("{source}.toml"), job.replace("*.csv", &format!("{source}.csv")));
        app.write(&format!("{source}.csv"), "id,name\na,1\nb,1\nc,1\n");
        app.run(source).await;
    }
    let hide = "update unified_records set external_id = case external_id when 'a' then E'\\uFEFFa' else E'b\\u00A0' end
                where external_id <> 'c'";
    sqlx::raw_sql(hide).execute(&app.pool).await.unwrap();
    for source in ["s", "other"] {
        let run = app.run_mode(source, Mode::Full).await;
        assert_eq!(run.counters.inserted, 2, "{run:?}");
    }
    // One that is newer than its clean twin is no leftover.
    let newer = "update unified_records set last_run_id = last_run_id + 1000 where source = 's' and external_id like 'b_'";
    sqlx::raw_sql(newer).execute(&app.pool).await.unwrap();
    let find = format!("select new.external_id{find}").replace("NAME", "s");
    assert_eq!(app.texts(Box::leak(find.into_boxed_str())).await, ["a"]);
    let remove: &'static str = Box::leak(remove.replace("NAME", "s").into_boxed_str());
    sqlx::raw_sql(remove).execute(&app.pool).await.unwrap();
    let left =
        "select source || ' ' || count(*) from unified_records group by source order by source";
    assert_eq!(app.texts(left).await, ["other 5", "s 4"]);
    app.database.close().await;
}

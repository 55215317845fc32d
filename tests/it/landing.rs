//! Files that are read as streams, packed ones of this machine: they leave what they would leave unpacked, each is read
//! once, and what is wrong with one costs the others nothing.

use std::fs::{FileTimes, OpenOptions};
use std::io::Write;
use std::time::{Duration, SystemTime};

use flate2::{Compression, GzBuilder};
use kasparro::db::runs::Run;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::domain::run::{Mode, RunId};
use kasparro::tasks::start_run::{RunRequest, Started};
use rand::SeedableRng;
use rand::rngs::StdRng;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::app::{TestApp, request};
use crate::process::call;
use crate::shuffle::Shuffle;

/// What does not depend on how a file is read.
const LEFT: &[&str] = &[
    "select concat_ws(' ', external_id, name, price, raw_row) from unified_records order by external_id",
    "select concat_ws(' ', raw_row, line, byte_start, byte_end, field, reason) from quarantined_rows order by 1",
    "select concat_ws(' ', row_number, byte_offset, encode(payload, 'escape')) from raw_csv_data order by 1",
    "select concat_ws(' ', status, rows_read, inserted, updated, unchanged, quarantined, open_tasks,
        failed_tasks) from etl_runs order by id",
];
const NAMES: &str = "select name from unified_records order by external_id";
const BLOCKS: &str = "select count(*) from raw_csv_blocks";
const VERSIONS: &str = "select count(*) from source_files";
const LANES: &str = "select kind || ' ' || (first_slice >> 32) || ' ' || count(*) from run_tasks
     where role = 'read' and run_id = (select max(id) from etl_runs) group by kind, first_slice >> 32 order by 1";

fn job(paths: &str, files: &str, more: &str) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[files]\npaths = [{paths}]\n{files}\n[csv]\n{more}\n\
         [fields]\nname = {{}}\nprice = {{ type = \"decimal\" }}\n"
    )
}

async fn app(paths: &str, files: &str, more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("lines.toml", job(paths, files, more));
    app
}

fn gzip_at(bytes: &[u8], time: u32) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(time).write(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    gzip_at(bytes.as_ref(), 0)
}

/// Rows `from` to `to`, some of which are set aside.
fn csv(from: usize, to: usize) -> String {
    let mut text = "id,name,price\n".to_owned();
    for id in from..=to {
        let price = if id % 10 == 7 { "cheap".to_owned() } else { format!("{id}.25") };
        text.push_str(&format!("{id},\"name\nof {id}\",{price}\n"));
    }
    text
}

fn named(id: usize, name: &str) -> String {
    format!("id,name,price\n{id},{name},1\n")
}

/// So that it is old when it is read.
fn age(app: &TestApp, file: &str, seconds: u64) {
    let file = OpenOptions::new().write(true).open(app.path(file)).unwrap();
    let time = SystemTime::now() - Duration::from_secs(seconds);
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

async fn same(one: &TestApp, other: &TestApp) {
    for query in LEFT {
        let (found, expected) = (one.texts(query).await, other.texts(query).await);
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn a_packed_file_leaves_what_it_leaves_unpacked() {
    for chunk_size in [64, 700, 1 << 20] {
        let size = format!("chunk_size = {chunk_size}");
        let plain = app("\"*.csv\"", "", &size).await;
        plain.write("a.csv", csv(1, 90));
        let packed = app("\"*.gz\"", "", &size).await;
        let text = csv(1, 90);
        // Two members, as they are appended to each other.
        let (one, other) = text.as_bytes().split_at(200);
        packed.write("a.csv.gz", [gzip(one), gzip(other)].concat());
        let expected = plain.run("lines").await;
        let run = packed.run("lines").await;
        assert_eq!((run.status, run.counters.quarantined), (expected.status, 9), "{run:?}");
        same(&packed, &plain).await;
        plain.database.close().await;
        packed.database.close().await;
    }
}

#[tokio::test]
async fn a_packed_file_that_is_unchanged_is_passed_over_and_one_of_equal_content_stores_nothing_anew()
 {
    let app = app("\"*.gz\"", "", "").await;
    let text = csv(11, 16);
    app.write("a.csv.gz", gzip(&text));
    age(&app, "a.csv.gz", 60);
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.inserted), (Success, 6), "{run:?}");
    let kept = [app.number(BLOCKS).await, app.number(VERSIONS).await];
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.rows_read), (Success, 0), "{run:?}");
    assert!(note(&run).starts_with("nothing new"), "{run:?}");
    assert_eq!(app.texts(LANES).await, [] as [&str; 0]);
    // Packed again: other bytes, another time.
    app.write("a.csv.gz", gzip_at(text.as_bytes(), 1_700_000_000));
    age(&app, "a.csv.gz", 30);
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.rows_read), (Success, 0), "{run:?}");
    assert!(note(&run).starts_with("nothing new"), "{run:?}");
    assert_eq!([app.number(BLOCKS).await, app.number(VERSIONS).await], kept);
    // From now on that is what is known of it.
    app.run("lines").await;
    assert_eq!(app.texts(LANES).await, [] as [&str; 0]);
    app.write("a.csv.gz", gzip(text.replace("of 12", "OF 12")));
    let run = app.run("lines").await;
    assert_eq!(run.status, SuccessWithDuplicates, "{run:?}");
    assert_eq!((run.counters.updated, run.counters.unchanged), (1, 5), "{run:?}");
    // With all of them.
    let run = app.run_mode("lines", Mode::Full).await;
    assert_eq!((run.counters.rows_read, run.counters.unchanged), (6, 6), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn plain_and_packed_files_count_in_their_order() {
    let app = app("\"*.csv*\"", "", "").await;
    app.write("a.csv.gz", gzip(named(1, "a") + "2,a,1\n"));
    app.write("b.csv", named(1, "b"));
    app.write("c.csv", named(3, "c"));
    app.write("d.csv.gz", gzip(named(3, "d")));
    app.write("e.csv.gz", gzip(named(4, "e") + "2,e,1\n"));
    app.write("f.csv", named(4, "f"));
    let run = app.run("lines").await;
    assert_eq!(run.status, Success, "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["b", "e", "d", "f"]);
    let lanes = app.texts(
        "select distinct (first_slice >> 32)::text from run_tasks where role = 'read' order by 1",
    );
    assert_eq!(lanes.await, ["0", "1", "2", "3"]);
    // The newest file counts last.
    let job = job("\"*.csv*\"", "order = \"modified\"", "");
    app.write("lines.toml", job);
    for (seconds, file) in
        ["f.csv", "e.csv.gz", "d.csv.gz", "c.csv", "b.csv", "a.csv.gz"].iter().enumerate()
    {
        age(&app, file, 1000 - seconds as u64);
    }
    app.run("lines").await;
    assert_eq!(app.texts(NAMES).await, ["a", "a", "c", "e"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_is_damaged_costs_the_others_nothing_and_is_looked_at_again() {
    let app = app("\"*.gz\"", "", "chunk_size = 200000").await;
    app.write("a.csv.gz", gzip(named(1, "a")));
    // So much that some of it is there before its end is missed.
    let good = gzip(csv(20, 60_019));
    app.write("b.csv.gz", &good[..good.len() / 4 * 3]);
    app.write("c.csv.gz", gzip(named(3, "c")));
    app.write("d.csv.gz", gzip("nobody,knows\n1,2\n"));
    app.write("e.csv.gz", gzip("\u{89}PNG"));
    for _ in 0..2 {
        let run = app.run("lines").await;
        assert_eq!(run.status, Degraded, "{run:?}");
        assert!(note(&run).contains("files were not loaded"), "{run:?}");
        assert!(note(&run).contains("b.csv.gz is damaged"), "{run:?}");
        assert!(note(&run).contains("rows were loaded"), "{run:?}");
        assert!(note(&run).contains("d.csv.gz"), "{run:?}");
        let there = "select string_agg(external_id, ' ' order by external_id) from unified_records where external_id::int < 10";
        assert_eq!(app.texts(there).await, ["1 3"]);
        // However often a bad row is read, it is shown once.
        let shown = "select (count(*) > 100 and count(*) = count(distinct raw_row))::text
             from quarantined_rows where status = 'open'";
        assert_eq!(app.texts(shown).await, ["true"]);
    }
    let committed =
        "select url from source_files where committed_run_id is not null group by 1 order by 1";
    assert_eq!(app.texts(committed).await, ["a.csv.gz", "c.csv.gz"]);
    app.write("b.csv.gz", &good);
    app.write("d.csv.gz", gzip(named(4, "d")));
    app.write("e.csv.gz", gzip(named(5, "e")));
    let run = app.run("lines").await;
    assert!(run.status.is_success(), "{run:?}");
    let all = "select count(*) from unified_records";
    assert_eq!(app.number(all).await, 4 + 54_000);
    app.database.close().await;
}

const UNREADABLE: &str = "select count(*) from unreadable_files";

#[tokio::test]
async fn a_damaged_file_is_not_read_and_stored_again_as_long_as_it_is_the_same() {
    const AGAIN: &str = "has not changed since, and was not read again";
    let app = app("\"*.gz\"", "", "chunk_size = 200000").await;
    let good = gzip(csv(20, 60_019));
    app.write("a.csv.gz", gzip(named(1, "a")));
    app.write("b.csv.gz", &good[..good.len() / 4 * 3]);
    age(&app, "a.csv.gz", 1_000);
    age(&app, "b.csv.gz", 1_000);
    let run = app.run("lines").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    let (rows, blocks) = (run.counters.rows_read, app.number(BLOCKS).await);
    assert!(rows > 1_000 && blocks > 2, "{rows} {blocks}");
    for _ in 0..2 {
        let run = app.run("lines").await;
        assert_eq!((run.status, run.counters.rows_read), (Degraded, 0), "{run:?}");
        for says in ["b.csv.gz is damaged", "rows were loaded", AGAIN] {
            assert!(note(&run).contains(says), "{says}: {run:?}");
        }
        assert_eq!((app.number(BLOCKS).await, app.number(UNREADABLE).await), (blocks, 1));
    }
    // Whoever asks for all gets all; and another job file may read it.
    let run = app.run_mode("lines", Mode::Full).await;
    assert_eq!((run.status, run.counters.rows_read), (Degraded, rows), "{run:?}");
    app.write("lines.toml", job("\"*.gz\"", "", "chunk_size = 200001"));
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.rows_read), (Degraded, rows), "{run:?}");
    assert!(!note(&run).contains(AGAIN), "{run:?}");
    app.write("b.csv.gz", &good);
    assert!(app.run("lines").await.status.is_success());
    assert_eq!(app.number(UNREADABLE).await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn an_archive_with_a_damaged_member_degrades_each_run_though_it_is_not_read_again() {
    let app = app("\"*.zip\"", "", "").await;
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (member, id) in [("a.csv", 1), ("b.csv", 2), ("c.csv", 3)] {
        zip.start_file(member, options).unwrap();
        zip.write_all(named(id, &format!("of {member}")).as_bytes()).unwrap();
    }
    let mut bytes = zip.finish().unwrap().into_inner();
    let at = bytes.windows(8).position(|window| window == b"of b.csv").unwrap();
    bytes[at] = b'O';
    app.write("all.zip", &bytes);
    age(&app, "all.zip", 1_000);
    for (rows, again) in [(2, false), (0, true), (0, true)] {
        let run = app.run("lines").await;
        assert_eq!((run.status, run.counters.rows_read), (Degraded, rows), "{run:?}");
        assert!(note(&run).contains("all.zip#b.csv"), "{run:?}");
        assert_eq!(note(&run).contains("was not read again"), again, "{run:?}");
        assert_eq!(app.texts(NAMES).await, ["of a.csv", "of c.csv"]);
    }
    app.database.close().await;
}

/// What stands in front of it is loaded; the others are not concerned.
#[tokio::test]
async fn rows_behind_a_header_of_another_order_are_not_loaded_under_its_columns() {
    for (packed, loaded) in [(true, &["1 a", "2 b", "9 z"][..]), (false, &["9 z"])] {
        let app = app("\"*.csv*\"", "", "chunk_size = 8").await;
        let text = "id,name,price\n1,a,1\n2,b,2\nid,price,name\n3,3,c\nID,Name,Price\n4,d,4\n";
        match packed {
            true => app.write("a.csv.gz", gzip(text)),
            false => app.write("a.csv", text),
        }
        app.write("z.csv", named(9, "z"));
        let run = app.run("lines").await;
        assert_eq!(run.status, Degraded, "{run:?}");
        let said = "line 4 has the header's names in another order";
        assert!(note(&run).contains(said), "{packed}: {run:?}");
        let records = app
            .texts("select external_id || ' ' || name from unified_records order by external_id")
            .await;
        assert_eq!(records, loaded, "{packed}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_run_of_which_no_file_can_be_read_has_failed() {
    let app = app("\"*.gz\"", "", "").await;
    app.write("a.csv.gz", &gzip(csv(1, 900))[..60]);
    let run = app.run("lines").await;
    assert_eq!(run.status, Failed, "{run:?}");
    assert!(note(&run).contains("a.csv.gz is damaged"), "{run:?}");
    app.write("a.csv.gz", gzip(csv(1, 6)));
    assert_eq!(app.run("lines").await.status, Success);
    app.database.close().await;
}

#[tokio::test]
async fn a_packed_file_that_has_lost_a_column_or_all_its_rows_is_kept_out() {
    let app = app("\"*.gz\"", "", "").await;
    app.write("a.csv.gz", gzip(csv(1, 5)));
    app.write("b.csv.gz", gzip(csv(11, 15)));
    assert_eq!(app.run("lines").await.status, Success);
    app.write("a.csv.gz", gzip("id,name\n1,new\n"));
    app.write("b.csv.gz", gzip("id,name,price\n"));
    app.write("c.csv.gz", gzip("id,title,price\n21,c,3\n"));
    app.write("d.csv.gz", gzip(csv(31, 32)));
    for _ in 0..2 {
        let run = app.run("lines").await;
        assert_eq!(run.status, Degraded, "{run:?}");
        for text in [
            "3 files were not loaded",
            "a.csv.gz: no column `price`, which its earlier version had",
            "b.csv.gz has a header and no rows, and its earlier version had 5",
            "c.csv.gz: no column `name`",
            "which every earlier file of the source had",
            "missing_field = \"evolve\"",
        ] {
            assert!(note(&run).contains(text), "{text}: {run:?}");
        }
    }
    let names =
        app.texts("select external_id from unified_records order by external_id::int").await;
    assert_eq!(names, ["1", "2", "3", "4", "5", "11", "12", "13", "14", "15", "31", "32"]);
    app.write("lines.toml", job("\"*.gz\"", "", "") + "[contract]\nmissing_field = \"evolve\"\n");
    let run = app.run("lines").await;
    assert!(run.status.is_success(), "{run:?}");
    assert!(note(&run).contains("b.csv.gz has a header and no rows"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn many_small_files_share_tasks_and_transactions() {
    let app = app("\"data/*.gz\"", "", "").await;
    let plain = self::app("\"data/*.csv\"", "", "").await;
    for file in 0..150 {
        let text = csv(file * 10, file * 10 + 9);
        app.write(&format!("data/{file:03}.csv.gz"), gzip(&text));
        plain.write(&format!("data/{file:03}.csv"), text);
        age(&app, &format!("data/{file:03}.csv.gz"), 60);
    }
    app.run("lines").await;
    plain.run("lines").await;
    same(&app, &plain).await;
    let fetched = "select count(*) from run_tasks where kind = 'fetch_page'";
    assert_eq!(app.number(fetched).await, 3);
    let run = app.run("lines").await;
    assert!(note(&run).starts_with("nothing new"), "{run:?}");
    app.write("data/077.csv.gz", gzip(csv(770, 780)));
    let run = app.run("lines").await;
    assert_eq!((run.counters.rows_read, run.counters.inserted), (11, 0), "{run:?}");
    app.database.close().await;
    plain.database.close().await;
}

/// A worker is killed as soon as so many chunks are stored; another one goes on.
#[tokio::test]
async fn a_worker_that_is_killed_within_a_packed_file_leaves_what_an_undisturbed_one_leaves() {
    let plain = app("\"*.csv\"", "", "chunk_size = 300").await;
    plain.write("a.csv", csv(1, 60));
    plain.write("b.csv", csv(61, 160));
    plain.write("c.csv", csv(161, 165));
    plain.run("lines").await;
    for stored in 0..12 {
        let app = app("\"*.gz\"", "", "chunk_size = 300").await;
        app.write("a.csv.gz", gzip(csv(1, 60)));
        app.write("b.csv.gz", gzip(csv(61, 160)));
        app.write("c.csv.gz", gzip(csv(161, 165)));
        let Started::New(run) = app.start("lines", Mode::Incremental).await else { panic!("busy") };
        let shuffle = Shuffle::new(&app, 1).await;
        shuffle.one().await;
        let chunks = "select count(*) from run_tasks where kind = 'parse_csv_chunk'";
        shuffle.one_killed_when(async || app.number(chunks).await >= stored).await;
        shuffle.all(&mut StdRng::seed_from_u64(stored.unsigned_abs())).await;
        let run = app.get(run).await;
        assert!(run.status.is_success(), "{run:?}");
        same(&app, &plain).await;
        assert_eq!(app.number(VERSIONS).await, 3);
        app.database.close().await;
    }
    plain.database.close().await;
}

#[tokio::test]
async fn a_packed_file_that_changes_between_planning_and_reading_is_read_by_the_next_run() {
    let app = app("\"*.gz\"", "", "").await;
    app.write("a.csv.gz", gzip(csv(1, 5)));
    app.write("b.csv.gz", gzip(csv(11, 15)));
    let Started::New(run) = app.start("lines", Mode::Incremental).await else { panic!("busy") };
    let shuffle = Shuffle::new(&app, 1).await;
    shuffle.one().await;
    app.write("a.csv.gz", gzip(csv(21, 26)));
    shuffle.all(&mut StdRng::seed_from_u64(1)).await;
    let run = app.get(run).await;
    assert_eq!((run.status, run.counters.rows_read), (Degraded, 5), "{run:?}");
    assert!(note(&run).contains("a.csv.gz changed while it was being read"), "{run:?}");
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.rows_read), (Success, 6), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn packed_files_are_previewed_checked_and_tried() {
    let app = app("\"*.gz\"", "", "").await;
    app.write("a.csv.gz", gzip(csv(1, 5)));
    let preview = call(&app, &["preview", "lines"]).await;
    let shown = &preview.code(0).stdout;
    assert!(shown.contains("of 3") && shown.contains("a.csv.gz"), "{shown}");
    let checked = call(&app, &["check"]).await;
    checked.code(0);
    app.write("a.csv.gz", gzip("id,titel\n1,x\n"));
    let checked = call(&app, &["check"]).await;
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("no column \"price\""), "{said}");
    app.write("a.csv.gz", gzip(csv(1, 9)));
    let dry =
        app.run_as("lines", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await;
    let counters = dry.counters;
    assert_eq!((counters.rows_read, counters.inserted, counters.quarantined), (9, 8, 1), "{dry:?}");
    assert_eq!(app.number("select count(*) from unified_records").await, 0);
    assert_eq!(app.number(VERSIONS).await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_sweep_of_packed_files_finds_what_is_missing_unless_one_of_them_was_kept_out() {
    let app = app("\"*.gz\"", "when_gone = \"tombstone\"", "").await;
    let job = job("\"*.gz\"", "when_gone = \"tombstone\"", "");
    app.write("lines.toml", job + "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n");
    app.write("a.csv.gz", gzip(csv(1, 5)));
    app.write("b.csv.gz", gzip(csv(11, 15)));
    app.write("c.csv.gz", gzip(csv(21, 25)));
    assert_eq!(app.run("lines").await.status, Success);
    let deleted = "select count(*) from unified_records where deleted_at is not null";
    app.write("a.csv.gz", gzip(csv(1, 4)));
    app.write("b.csv.gz", &gzip(csv(11, 900))[..500]);
    let run = app.run_mode("lines", Mode::Full).await;
    assert_eq!((run.status, app.number(deleted).await), (Degraded, 0), "{run:?}");
    app.write("b.csv.gz", gzip(csv(11, 15)));
    let run = app.run_mode("lines", Mode::Full).await;
    assert_eq!(app.number(deleted).await, 1, "{run:?}");
    std::fs::remove_file(app.path("c.csv.gz")).unwrap();
    let run = app.run("lines").await;
    assert_eq!(app.number(deleted).await, 6, "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn files_are_excluded_wait_until_they_are_old_enough_and_may_be_none_if_the_job_file_says_so()
{
    let app = app("\"data/*\"", "exclude = [\"*.tmp\", \"data/x*\"]\nmin_age = \"1m\"", "").await;
    for file in ["a.csv", "b.csv.gz", "c.tmp", "xa.csv"] {
        let text = named(1, file);
        let bytes = if file.ends_with("gz") { gzip(text) } else { text.into_bytes() };
        app.write(&format!("data/{file}"), bytes);
    }
    let run = app.run("lines").await;
    assert_eq!(run.counters.rows_read, 0);
    assert!(note(&run).contains("2 files are younger than `files.min_age`"), "{run:?}");
    age(&app, "data/a.csv", 100);
    age(&app, "data/b.csv.gz", 100);
    assert_eq!(app.run("lines").await.counters.rows_read, 2);
    assert_eq!(app.texts(NAMES).await, ["b.csv.gz"]);
    std::fs::remove_file(app.path("data/a.csv")).unwrap();
    std::fs::remove_file(app.path("data/b.csv.gz")).unwrap();
    let run = app.run("lines").await;
    assert_eq!(run.status, Failed, "{run:?}");
    assert!(run.error.unwrap_or_default().contains("allow_empty = true"));
    app.write(
        "lines.toml",
        job("\"data/*\"", "exclude = [\"*.tmp\", \"xa.csv\"]\nallow_empty = true", ""),
    );
    let run = app.run("lines").await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(app.number("select max(id) from etl_runs").await, RunId(4).0);
    app.database.close().await;
}

#[tokio::test]
async fn a_source_of_which_every_file_is_excluded_has_failed_and_not_read_everything_there_is() {
    let app = app("\"data/*\"", "exclude = [\"*\"]", "").await;
    app.write("data/a.csv", named(1, "a"));
    let run = app.run("lines").await;
    assert_eq!(run.status, Failed, "{run:?}");
    let error = run.error.unwrap_or_default();
    assert!(error.contains("files.exclude leaves out all files that"), "{error}");
    app.write("lines.toml", job("\"data/*\"", "exclude = [\"*\"]\nallow_empty = true", ""));
    assert!(app.run("lines").await.status.is_success());
    app.database.close().await;
}

#[tokio::test]
async fn a_packed_file_that_is_not_what_its_first_lines_made_believe_is_read_as_an_unpacked_one_is()
{
    // A quote that closes nowhere, far behind the first lines.
    let mut text = "id,name,price\n".to_owned();
    (0..50).for_each(|id| text.push_str(&format!("{id},\"a\",1\n")));
    text.push_str("50,\"3\" pipe,1\n51,x,1\n");
    let plain = app("\"*.csv\"", "", "").await;
    plain.write("a.csv", &text);
    let packed = app("\"*.gz\"", "", "").await;
    packed.write("a.csv.gz", gzip(&text));
    plain.run("lines").await;
    packed.run("lines").await;
    same(&packed, &plain).await;
    plain.database.close().await;
    packed.database.close().await;
}

/// Only its rows say which fields such a file has.
#[tokio::test]
async fn nothing_is_stored_of_packed_lines_before_they_have_shown_the_fields_that_others_had() {
    let line = |id: usize, price: bool| match price {
        true => format!("{{\"id\":\"{id}\",\"name\":\"n{id}\",\"price\":{id}}}\n"),
        false => format!("{{\"id\":\"{id}\",\"name\":\"n{id}\"}}\n"),
    };
    let lines = |ids: std::ops::Range<usize>, priced: usize| -> String {
        ids.map(|id| line(id, id == priced)).collect()
    };
    let app = TestApp::empty().await;
    let job = job("\"*.gz\"", "", "")
        .replace("\"csv\"", "\"jsonl\"")
        .replace("[csv]", "[jsonl]\nchunk_size = 200");
    app.write("lines.toml", job);
    app.write("a.jsonl.gz", gzip(lines(0..3, 1)));
    assert_eq!(app.run("lines").await.status, Success);
    let blocks = app.number(BLOCKS).await;
    // Late, but there; and nowhere.
    app.write("b.jsonl.gz", gzip(lines(10..60, 58)));
    app.write("c.jsonl.gz", gzip(lines(100..160, 0)));
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 50), "{run:?}");
    assert!(note(&run).contains("c.jsonl.gz: no column `price`"), "{run:?}");
    let of_others = "select count(*) from raw_csv_blocks b join source_files f on f.id = b.file_id
         where f.url = 'c.jsonl.gz'";
    assert_eq!(app.number(of_others).await, 0);
    assert!(app.number(BLOCKS).await > blocks);
    app.database.close().await;
}

#[tokio::test]
async fn an_entry_that_leads_nowhere_costs_the_others_nothing_where_there_may_be_none() {
    let files = "allow_empty = true";
    let app = app("\"a/*\", \"b/*\"", files, "").await;
    let missing = "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n";
    app.write("lines.toml", job("\"a/*\", \"b/*\"", files, "") + missing);
    app.write("a/1.csv.gz", gzip(named(1, "one")));
    app.write("b/2.csv", named(2, "two"));
    assert_eq!(app.run("lines").await.status, Success);
    std::fs::remove_file(app.path("b/2.csv")).unwrap();
    app.write("a/3.csv", named(3, "three"));
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.rows_read), (Success, 1), "{run:?}");
    let gone = "select url from source_files where gone_run_id is not null";
    assert_eq!(app.texts(gone).await, ["b/2.csv"]);
    // That nothing at all is there says nothing of the records.
    std::fs::remove_dir_all(app.path("a")).unwrap();
    for mode in [Mode::Incremental, Mode::Full] {
        app.run_mode("lines", mode).await;
        let deleted = "select count(*) from unified_records where deleted_at is not null";
        assert_eq!(app.number(deleted).await, 0, "{mode:?}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_is_again_what_it_was_before_a_damaged_one_took_its_place_is_read_again() {
    // Too little for it to be put aside until its end is known.
    let app = app("\"*.gz\"", "max_spool = 1000", "chunk_size = 100000").await;
    let (good, other) = (csv(20, 20_019), csv(20, 90_019).replace("name\nof", "other\nthan"));
    app.write("a.csv.gz", gzip(&good));
    app.write("b.csv.gz", gzip(named(1, "b")));
    assert!(app.run("lines").await.status.is_success());
    let others = "select count(*) from unified_records where name like 'other%' and external_id::int < 20020";
    let packed = gzip(&other);
    app.write("a.csv.gz", &packed[..packed.len() - 6]);
    assert_eq!(app.run("lines").await.status, Degraded);
    assert_ne!(app.number(others).await, 0, "some of its rows were loaded");
    app.write("a.csv.gz", gzip_at(good.as_bytes(), 7));
    assert_eq!(app.run("lines").await.counters.rows_read, 20_000);
    assert_eq!(app.number(others).await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_was_gone_in_a_run_that_was_no_success_is_gone_for_good_once_one_is() {
    let files = "when_gone = \"tombstone\"";
    let app = app("\"*.gz\"", files, "").await;
    let missing = "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n";
    app.write("lines.toml", job("\"*.gz\"", files, "") + missing);
    for (file, id) in [("a.csv.gz", 1), ("b.csv.gz", 2), ("c.csv.gz", 3)] {
        app.write(file, gzip(named(id, "x")));
    }
    assert_eq!(app.run("lines").await.status, Success);
    std::fs::remove_file(app.path("c.csv.gz")).unwrap();
    app.write("b.csv.gz", &gzip(csv(11, 900))[..500]);
    assert_eq!(app.run("lines").await.status, Degraded);
    app.write("b.csv.gz", gzip(named(2, "x")));
    assert!(app.run("lines").await.status.is_success());
    let deleted = "select external_id from unified_records where deleted_at is not null";
    assert_eq!(app.texts(deleted).await, ["3"]);
    assert_eq!(app.run("lines").await.counters.rows_read, 0, "what is gone is gone");
    app.database.close().await;
}

/// What is stored completely is not asked for again.
#[tokio::test]
async fn a_file_whose_last_chunk_is_stored_may_be_moved_away_when_its_worker_is_killed() {
    // Together they are as large as a chunk only with the last row: so nothing else is stored with them.
    let rows: String = (201..=204).map(|id| format!("{id},aaaaaaaaaaaaa,1\n")).collect();
    let app = app("\"*.gz\"", "", "chunk_size = 64").await;
    app.write("a.csv.gz", gzip("id,name,price\n".to_owned() + &rows));
    app.write("b.csv.gz", gzip(csv(1, 150)));
    let Started::New(run) = app.start("lines", Mode::Incremental).await else { panic!("busy") };
    let shuffle = Shuffle::new(&app, 1).await;
    shuffle.one().await;
    let chunks = "select count(*) from run_tasks where kind = 'parse_csv_chunk'";
    shuffle.one_killed_when(async || app.number(chunks).await >= 1).await;
    std::fs::remove_file(app.path("a.csv.gz")).unwrap();
    shuffle.all(&mut StdRng::seed_from_u64(1)).await;
    let run = app.get(run).await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(run.counters.rows_read, 154, "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_packed_file_that_is_too_large_once_unpacked_is_left_out_by_name() {
    let app = app("\"*.gz\"", "max_bytes = 1000", "").await;
    app.write("a.csv.gz", gzip(named(1, "a")));
    app.write("b.csv.gz", gzip(named(2, &"b".repeat(2000))));
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 1), "{run:?}");
    assert!(
        note(&run).contains("b.csv.gz has more than `files.max_bytes` = 1000 bytes"),
        "{run:?}"
    );
    app.database.close().await;
}

/// Only its rows say how far they reach, where short ones are filled up.
#[tokio::test]
async fn nothing_is_stored_of_packed_rows_before_they_have_reached_the_columns_that_others_had() {
    let rows = |ids: std::ops::Range<usize>, priced: usize| -> String {
        let row = |id| if id == priced { format!("{id},n,{id}\n") } else { format!("{id},n\n") };
        "id,name,price\n".to_owned() + &ids.map(row).collect::<String>()
    };
    for header in ["", "skip_lines = 1\nheader = [\"id\", \"name\", \"price\"]\n"] {
        let more = format!("chunk_size = 100\nragged_rows = \"pad\"\n{header}");
        let app = app("\"*.gz\"", "", &more).await;
        let guard = job("\"*.gz\"", "", &more) + "[contract]\nmissing_field = \"guard\"\n";
        app.write("lines.toml", guard);
        app.write("a.csv.gz", gzip(rows(0..3, 1)));
        let run = app.run("lines").await;
        assert!(run.status.is_success(), "{run:?}");
        // Late, but there; and nowhere.
        app.write("b.csv.gz", gzip(rows(10..60, 58)));
        app.write("c.csv.gz", gzip(rows(100..160, 0)));
        let run = app.run("lines").await;
        assert_eq!((run.status, run.counters.inserted), (Degraded, 50), "{run:?}");
        assert!(
            note(&run).contains("c.csv.gz: no row reaches as far as the column `price`"),
            "{run:?}"
        );
        let of_others =
            "select count(*) from raw_csv_blocks b join source_files f on f.id = b.file_id
             where f.url = 'c.csv.gz'";
        assert_eq!(app.number(of_others).await, 0);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_file_that_is_not_packed_as_the_job_file_says_is_refused() {
    let app = app("\"*.csv\"", "compression = \"gzip\"", "").await;
    app.write("a.csv", named(1, "a"));
    let run = app.run("lines").await;
    assert_eq!((run.status, run.counters.rows_read), (Failed, 0), "{run:?}");
    assert!(note(&run).contains("is no gzip"), "{run:?}");
    app.database.close().await;
}

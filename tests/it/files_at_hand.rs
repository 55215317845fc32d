//! What a run says of files that it passes over, that hold less than they did, or that are gone: what is
//! wrong with a file stays said until it is fixed.

use std::os::unix::ffi::OsStrExt;

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::tasks::start_run::{RawRange, RunRequest};

use crate::app::{TestApp, request};

const NAMES: &str =
    "select concat_ws(' ', external_id, coalesce(name, '-'), coalesce(price::text, '-'),
    coalesce(attributes ->> 'brand', '-')) from unified_records order by external_id";

fn job(csv: &str, more: &str) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n{csv}\n[fields]\n\
         name = {{}}\nprice = {{ type = \"decimal\" }}\nbrand = {{}}\n{more}"
    )
}

async fn app(csv: &str, more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", job(csv, more));
    app
}

/// Columns by their places, short rows filled up.
const PADDED: &str =
    "header = [\"id\", \"name\", \"price\", \"brand\", \"note\"]\nragged_rows = \"pad\"";

/// The note, without what every run says that reads nothing.
fn note(run: &Run) -> &str {
    let note = run.stop_reason.as_deref().unwrap_or_default();
    note.strip_prefix("nothing new; ").unwrap_or(note)
}

async fn dry_run(app: &TestApp) -> Run {
    app.run_as("items", &RunRequest { dry_run: true, ..request(Mode::Incremental) }).await
}

#[tokio::test]
async fn a_file_none_of_whose_rows_reaches_a_column_any_more_stays_out() {
    let app = app(PADDED, "").await;
    app.write("a.csv", "1,a,1,x,n\n2,b,2,y\n");
    app.write("b.csv", "3,c,3,z\n");
    assert_eq!(app.run("items").await.status, Success);
    let before = app.texts(NAMES).await;
    // Not only the last mapped column is lost then: nobody knows which.
    for lost in ["1,a,9\n2,b,9\n", "1,9,x,n\n2,9,y,n\n", "1\n2\n"] {
        app.write("a.csv", lost);
        app.write("b.csv", "3,c,3,z\n");
        for run in [dry_run(&app).await, app.run("items").await, app.run("items").await] {
            assert_eq!((run.status, run.counters.rows_read), (Degraded, 0), "{lost}: {run:?}");
            assert!(note(&run).contains("a.csv: no row reaches as far as the column `"), "{run:?}");
            assert!(note(&run).contains("`note`, which its earlier version had"), "{run:?}");
        }
        assert_eq!(app.texts(NAMES).await, before);
    }
    // One row suffices, and a file that never had a column is held to nothing.
    app.write("a.csv", "1,a,9\n2,b,9,y,n\n");
    app.write("b.csv", "3,c,4,z\n");
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.updated), (Success, 3), "{run:?}");
    // A new file, when all earlier ones reached further.
    app.write("c.csv", "4,d,4\n");
    let run = app.run("items").await;
    assert!(note(&run).contains("`brand`, which every earlier file"), "{run:?}");
    app.write("items.toml", job(PADDED, "[contract]\nmissing_field = \"evolve\"\n"));
    assert_eq!(app.run("items").await.status, SuccessWithDuplicates);
    assert_eq!(app.texts(NAMES).await, ["1 a 9 -", "2 b 9 y", "3 c 4 z", "4 d 4 -"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_whose_header_names_more_columns_than_any_row_has_is_held_to_the_mapped_ones() {
    let app = app("ragged_rows = \"pad\"", "").await;
    app.write("a.csv", "id,name,price,brand,note\n1,a,1,x,n\n");
    assert_eq!(app.run("items").await.status, Success);
    app.write("a.csv", "id,name,price,brand,note\n1,a,2,x\n");
    assert_eq!(app.run("items").await.status, Success);
    app.write("a.csv", "id,name,price,brand,note\n1,a,3\n");
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert!(note(&run).contains("no row reaches as far as the column `brand`, which"), "{run:?}");
    assert_eq!(app.texts(NAMES).await, ["1 a 2 x"]);
    app.database.close().await;
}

#[tokio::test]
async fn rows_behind_the_old_end_that_reach_less_far_are_loaded_and_said() {
    let app = app(PADDED, "").await;
    app.write("a.csv", "1,a,1,x,n\n");
    assert_eq!(app.run("items").await.status, Success);
    app.write("a.csv", "1,a,1,x,n\n2,b,2\n");
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.inserted), (Success, 1), "{run:?}");
    assert!(note(&run).starts_with("no new row of a.csv reaches as far as the column `brand`"));
    // The file as a whole still does.
    app.write("a.csv", "1,a,1,x,n\n2,b,2\n3,c,3,x,n\n");
    assert_eq!(app.run("items").await.stop_reason, None);
    app.database.close().await;
}

#[tokio::test]
async fn a_run_is_degraded_as_long_as_the_rows_of_an_unchanged_file_are_in_quarantine() {
    let app = app("", "").await;
    let rows: String = (0..2000).map(|row| format!("{row},n,1;5,x\n")).collect();
    app.write("a.csv", format!("id,name,price,brand\n{rows}"));
    app.write("b.csv", "id,name,price,brand\nb,n,1,x\nc,n,1,x\nd,n,y,x\n");
    let first = app.run("items").await;
    assert_eq!(first.status, Degraded, "{first:?}");
    let says = format!(
        "a.csv is unchanged since run {0}: 2,000 of its 2,000 rows are still in quarantine; fix the \
         job file or the file, and `kasparro run items`: it reads a file anew when either has changed; \
         b.csv is unchanged since run {0}: 1 of its 3 rows is still in quarantine",
        first.id
    );
    for run in [dry_run(&app).await, app.run("items").await, app.run("items").await] {
        assert_eq!((run.status, note(&run)), (Degraded, says.as_str()), "{run:?}");
    }
    // Not even a job file that allows any share makes a file good of which nothing is loaded.
    app.write("items.toml", job("", "[checks]\nmax_quarantine_ratio = 1.0\n"));
    assert_eq!(app.run("items").await.status, Degraded);
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    // A new version of the file clears it.
    app.write("a.csv", "id,name,price,brand\n1,n,1.5,x\n2,n,z,x\n");
    assert_eq!(app.run("items").await.status, Success);
    let run = app.run("items").await;
    assert!(run.status.is_success() && note(&run).contains("a.csv is unchanged"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_redrive_and_a_full_run_count_what_is_still_in_quarantine() {
    let app = app("", "").await;
    app.write("a.csv", "id;name;price;brand\n1;n;1,5;x\n2;n;1,6;x\n3;n;2;x\n");
    assert_eq!(app.run("items").await.status, Degraded);
    assert_eq!(app.run("items").await.status, Degraded);
    let quarantined = "select quarantined_rows from source_files";
    assert_eq!(app.number(quarantined).await, 2);
    // Nothing was fixed.
    let redrive = RunRequest { raw: RawRange::default(), ..request(Mode::Replay) };
    assert_eq!(app.run_as("items", &redrive).await.status, Degraded);
    assert_eq!(app.number(quarantined).await, 2);
    assert_eq!(app.run("items").await.status, Degraded);
    let decimal = "type = \"decimal\", decimal_separator = \",\"";
    app.write("items.toml", job("", "").replace("type = \"decimal\"", decimal));
    assert!(app.run_as("items", &redrive).await.status.is_success());
    assert_eq!(app.number(quarantined).await, 0);
    // Only what was added is counted anew.
    assert!(app.run("items").await.status.is_success());
    let file = app.read("a.csv");
    app.write("a.csv", format!("{file}4;n;x;x\n"));
    assert_eq!(app.run("items").await.status, Degraded);
    assert_eq!(app.number(quarantined).await, 1);
    app.write("a.csv", format!("{file}4;n;x;x\n5;n;y;x\n6;n;1;x\n"));
    assert!(app.run("items").await.status.is_success());
    assert_eq!(app.number("select max(quarantined_rows) from source_files").await, 2);
    app.database.close().await;
}

#[tokio::test]
async fn one_bad_file_among_good_ones_degrades_every_run() {
    let app = app("", "").await;
    app.write("good.csv", "id,name,price,brand\n1,n,1,x\n2,n,1,x\n3,n,1,x\n");
    app.write("page.csv", "id,name,price,brand\n4,n,<html>,x\n");
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 3), "{run:?}");
    assert!(
        note(&run).starts_with("page.csv: 1 of its 1 rows is in quarantine; 1 of 4"),
        "{run:?}"
    );
    assert_eq!(app.run("items").await.status, Degraded);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_without_rows_is_named_and_one_that_lost_them_stays_out() {
    let app = app("", "").await;
    app.write("a.csv", "id,name,price,brand\n");
    app.write("b.csv", "");
    let says = "a.csv has a header and no rows; b.csv is empty";
    for run in [dry_run(&app).await, app.run("items").await] {
        assert_eq!((run.status, note(&run)), (Success, says), "{run:?}");
    }
    let run = app.run("items").await;
    assert!(run.status.is_success() && note(&run).contains("a.csv is unchanged"), "{run:?}");
    app.write("a.csv", "id,name,price,brand\n1,a,1,x\n2,b,2,y\n");
    assert_eq!(app.run("items").await.status, Success);
    for (emptied, how) in [("id,name,price,brand\n", "has a header and no rows"), ("", "is empty")]
    {
        app.write("a.csv", emptied);
        let says = format!("a file was not loaded: a.csv {how}, and its earlier version had 2");
        for run in [dry_run(&app).await, app.run("items").await, app.run("items").await] {
            assert_eq!(run.status, Degraded, "{run:?}");
            assert!(note(&run).starts_with(&says), "{run:?}");
        }
    }
    app.write("items.toml", job("", "[contract]\nmissing_field = \"evolve\"\n"));
    let run = app.run("items").await;
    assert!(run.status.is_success() && note(&run).contains("a.csv is empty"), "{run:?}");
    assert_eq!(app.texts(NAMES).await.len(), 2);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_is_gone_is_named_once_and_again_after_it_came_back() {
    let app = app("", "").await;
    app.write("keep.csv", "id,name,price,brand\n0,a,1,x\n");
    for at in 1..8 {
        app.write(&format!("day-{at}.csv"), format!("id,name,price,brand\n{at},a,1,x\n"));
    }
    assert_eq!(app.run("items").await.stop_reason, None);
    std::fs::remove_file(app.path("day-3.csv")).unwrap();
    let says = "a file is not there any more: day-3.csv; its records stay";
    for run in [dry_run(&app).await, app.run("items").await] {
        assert_eq!((run.status, note(&run)), (Success, says), "{run:?}");
    }
    assert_eq!(note(&app.run("items").await), "nothing new");
    app.write("day-3.csv", "id,name,price,brand\n3,a,1,x\n");
    assert!(!note(&app.run("items").await).contains("any more"));
    for at in 1..8 {
        std::fs::remove_file(app.path(&format!("day-{at}.csv"))).unwrap();
    }
    let run = app.run("items").await;
    assert!(
        note(&run).starts_with("7 files are not there any more: day-1.csv, day-2.csv"),
        "{run:?}"
    );
    assert!(note(&run).contains("day-5.csv and 2 more; their records stay"), "{run:?}");
    assert_eq!(note(&app.run("items").await), "nothing new");
    assert_eq!(app.texts(NAMES).await.len(), 8);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_keeps_no_other_one_out() {
    let app = app("", "").await;
    app.write("a.csv", "id,name,price,brand\n1,a,1,x\n");
    app.write("b.csv", "<!DOCTYPE html><html><body>502 Bad Gateway</body></html>\n");
    app.write("c.csv", "id,name,price,brand\n3,c,3,x\n");
    nix::unistd::mkfifo(&app.path("d.csv"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let says = "2 files were not loaded: b.csv is an HTML page; what was saved";
    for (run, read) in
        [(dry_run(&app).await, 2), (app.run("items").await, 2), (app.run("items").await, 0)]
    {
        assert_eq!((run.status, run.counters.rows_read), (Degraded, read), "{run:?}");
        assert!(note(&run).starts_with(says), "{run:?}");
        assert!(
            note(&run).ends_with("d.csv is not read: it is a named pipe, not a file"),
            "{run:?}"
        );
    }
    app.write("b.csv", "id,name,price,brand\n2,b,2,x\n");
    std::fs::remove_file(app.path("d.csv")).unwrap();
    assert_eq!(app.run("items").await.stop_reason, None);
    assert_eq!(app.texts(NAMES).await, ["1 a 1 x", "2 b 2 x", "3 c 3 x"]);
    // Where no file can be read, the run has failed.
    for file in ["a.csv", "b.csv", "c.csv"] {
        app.write(file, "no table\n");
    }
    let run = app.run("items").await;
    assert_eq!(run.status, Failed, "{run:?}");
    assert!(run.error.as_ref().unwrap().contains("a.csv: no column \"id\""), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn what_was_wrong_with_all_rows_is_not_fixed_by_nothing_being_new() {
    let app = app("", "[checks]\nmin_rows = 3\n").await;
    app.write("a.csv", "id,name,price,brand\n1,a,1,x\n2,b,2,x\n");
    let first = app.run("items").await;
    assert_eq!((first.status, note(&first)), (Degraded, "2 rows read, at least 3 expected"));
    let says = format!("nothing is new since run {}: 2 rows read, at least 3 expected", first.id);
    for run in [app.run("items").await, app.run("items").await] {
        assert_eq!((run.status, note(&run)), (Degraded, says.as_str()), "{run:?}");
    }
    let rows: String = (0..30).map(|row| format!("{row},n,1,x\n")).collect();
    app.write("a.csv", format!("id,name,price,brand\n{rows}"));
    assert!(app.run("items").await.status.is_success());
    assert_eq!(app.run("items").await.stop_reason.as_deref(), Some("nothing new"));
    // Values that all records have lost.
    app.write("a.csv", format!("id,name,price,brand\n{}", rows.replace('x', "")));
    let lost = app.run("items").await;
    assert!(note(&lost).contains("has a value of `brand`"), "{lost:?}");
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert!(note(&run).starts_with(&format!("nothing is new since run {}: none of 30", lost.id)));
    app.write("a.csv", format!("id,name,price,brand\n{}", rows.replace('n', "m")));
    assert!(app.run("items").await.status.is_success());
    assert_eq!(app.run("items").await.stop_reason.as_deref(), Some("nothing new"));
    app.database.close().await;
}

#[tokio::test]
async fn a_header_in_a_file_that_is_said_to_have_none_is_noticed() {
    let header = "header = [\"id\", \"name\", \"price\", \"brand\"]";
    let app = app(header, "").await;
    app.write("a.csv", "1,a,1,x\n2,b,2,x\n3,c,2,x\n");
    assert_eq!(app.run("items").await.stop_reason, None);
    let before = app.texts(NAMES).await;
    app.write("a.csv", "id,brand,price,name\n1,x,1,a\n2,x,2,b\n3,x,2,c\n");
    for run in [dry_run(&app).await, app.run("items").await, app.run("items").await] {
        assert_eq!((run.status, run.counters.rows_read), (Degraded, 0), "{run:?}");
        assert!(
            note(&run).contains("a.csv: its first row is a header, in another order"),
            "{run:?}"
        );
    }
    assert_eq!(app.texts(NAMES).await, before);
    app.write("a.csv", "id,name,price,brand\n1,a,1,x\n2,b,2,x\n3,c,2,x\n");
    let run = app.run("items").await;
    assert_eq!(
        (run.status, run.counters.unchanged, run.counters.rows_read),
        (SuccessWithDuplicates, 3, 3),
        "{run:?}"
    );
    assert!(
        note(&run).contains("a.csv: the first row repeats the columns' names, and is no record")
    );
    app.database.close().await;
}

#[tokio::test]
async fn what_a_pattern_leads_to_and_nobody_can_read_is_named_and_the_others_are_loaded() {
    let app = app("", "").await;
    app.write("a.csv", "id,name,price,brand\n1,a,1,x\n");
    let latin = std::ffi::OsStr::from_bytes(b"Preisliste_M\xe4rz.csv");
    std::fs::write(app.path("a.csv").with_file_name(latin), "id\n2\n").unwrap();
    std::os::unix::fs::symlink("/proc/kmsg", app.path("k.csv")).unwrap();
    std::os::unix::fs::symlink("l.csv", app.path("l.csv")).unwrap();
    app.write("B.CSV", "id,name,price,brand\n3,c,3,x\n");
    let says = "3 files were not loaded: Preisliste_M\\xe4rz.csv: its name is not UTF-8 (bytes that \
                are none are shown as \\x..): rename it; k.csv leads to /proc/kmsg, which is outside";
    for (run, read) in [(dry_run(&app).await, 1), (app.run("items").await, 1)] {
        assert_eq!((run.status, run.counters.rows_read), (Degraded, read), "{run:?}");
        assert!(note(&run).starts_with(says), "{run:?}");
        assert!(note(&run).contains("; l.csv leads nowhere: Too many levels"), "{run:?}");
        assert!(note(&run).contains("B.CSV is not read: its name has capitals"), "{run:?}");
    }
    assert_eq!(app.texts(NAMES).await, ["1 a 1 x"]);
    // A file that was loaded and is outside the allowed roots now is not gone.
    std::fs::remove_file(app.path("a.csv")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", app.path("a.csv")).unwrap();
    let run = app.run("items").await;
    assert_eq!(run.status, Failed, "{run:?}");
    for name in ["k.csv", "l.csv", "B.CSV"] {
        std::fs::remove_file(app.path(name)).unwrap();
    }
    std::fs::remove_file(app.path("a.csv").with_file_name(latin)).unwrap();
    app.write("c.csv", "id,name,price,brand\n2,b,2,x\n");
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert!(note(&run).starts_with("a file was not loaded: a.csv leads to /etc/passwd"), "{run:?}");
    assert!(!note(&run).contains("not there any more"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_has_lost_most_of_its_rows_is_loaded_and_that_is_said() {
    let app = app("", "").await;
    let rows = |number: usize| {
        let rows: String = (0..number).map(|row| format!("{row},n,1,x\n")).collect();
        format!("id,name,price,brand\n{rows}")
    };
    app.write("a.csv", rows(2000));
    assert_eq!(app.run("items").await.status, Success);
    app.write("a.csv", rows(3));
    let says = "a.csv has 3 rows; its earlier version had 2,000";
    for run in [dry_run(&app).await, app.run("items").await] {
        assert!(run.status.is_success() && note(&run).starts_with(says), "{run:?}");
    }
    assert_eq!(app.run("items").await.stop_reason.as_deref(), Some("nothing new"));
    app.database.close().await;
}

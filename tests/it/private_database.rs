//! Real processes on a private PostgreSQL: killed beneath them, and asked for by two projects.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::app::TestApp;
use crate::process::{Process, free_address, kasparro};

/// A folder that the server's user can enter, run as root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn private(app: &TestApp, data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = kasparro(app, arguments);
    command.env_remove("DATABASE_URL").env("KASPARRO_DATA_DIR", data_dir);
    command
}

#[tokio::test]
async fn up_goes_on_when_its_private_server_was_killed() {
    let app = TestApp::shipped().await;
    let folder = folder();
    let data_dir = folder.path().join("kasparro");
    let address = free_address();
    let arguments = ["up", "--offline", "--no-initial-run", "--listen", &address];
    let mut up = Process::start(private(&app, &data_dir, &arguments));
    up.says("making a private PostgreSQL").await;
    up.says("Press Ctrl-C to stop.").await;
    let pid_file = std::fs::read_to_string(data_dir.join("data/postmaster.pid")).unwrap();
    let postmaster = Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap());
    kill(postmaster, Signal::SIGKILL).unwrap();
    up.says("the private PostgreSQL runs again").await;

    // Only `up` works on it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let body = r#"{"source": "products_csv", "mode": "full"}"#;
    crate::process::until("a run starts", async || {
        let request = client.post(format!("http://{address}/runs")).body(body);
        let answer = request.header("content-type", "application/json").send().await;
        answer.is_ok_and(|answer| answer.status().as_u16() == 202)
    })
    .await;
    let ended = "select count(*) from etl_runs
                 where source = 'products_csv' and status like 'success%'";
    crate::process::until("a run succeeds on the server that was started again", async || {
        let psql = private(&app, &data_dir, &["exec", "--", "psql", "-XAtqc", ended]);
        let asked = Process::start(psql).ended().await;
        asked.code(0);
        asked.stdout.trim() != "0"
    })
    .await;
    up.signal(Signal::SIGINT);
    up.ended().await.code(0);
    assert!(!data_dir.join("data/postmaster.pid").exists(), "the last user stops the server");
    app.database.close().await;
}

/// Whether they were begun, under way or not yet when it happened.
#[tokio::test]
async fn the_first_runs_of_up_are_begun_when_a_server_that_was_killed_is_back() {
    let app = TestApp::shipped().await;
    let folder = folder();
    let data_dir = folder.path().join("kasparro");
    let address = free_address();
    let mut up =
        Process::start(private(&app, &data_dir, &["up", "--offline", "--listen", &address]));
    up.says("Swagger UI").await;
    let pid_file = std::fs::read_to_string(data_dir.join("data/postmaster.pid")).unwrap();
    let postmaster = Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap());
    kill(postmaster, Signal::SIGKILL).unwrap();
    up.says("the private PostgreSQL runs again").await;
    let ended = "select count(distinct source) from etl_runs where status like 'success%'";
    crate::process::until("every source is loaded", async || {
        let psql = private(&app, &data_dir, &["exec", "--", "psql", "-XAtqc", ended]);
        let asked = Process::start(psql).ended().await;
        asked.stdout.trim() == "3"
    })
    .await;
    up.says("started (UTC)").await;
    assert!(!up.said().contains("cannot be begun"), "{}", up.said());
    up.signal(Signal::SIGINT);
    up.ended().await.code(0);
    app.database.close().await;
}

#[tokio::test]
async fn two_projects_do_not_get_into_one_private_database() {
    let (shop, farm) = (TestApp::shipped().await, TestApp::shipped().await);
    let folder = folder();
    let data_dir = folder.path().join("kasparro");
    let call = async |app: &TestApp, arguments: &[&str]| {
        Process::start(private(app, &data_dir, arguments)).ended().await
    };
    call(&shop, &["claim"]).await.code(1).complains(&["no private database"]);
    call(&shop, &["run", "products_csv"]).await.code(0);
    for refused in [&["run", "products_csv"][..], &["runs"], &["exec", "true"]] {
        let jobs = shop.folder.path().canonicalize().unwrap();
        let parts = [&*jobs.to_string_lossy(), "--data-dir", "kasparro claim"];
        call(&farm, refused).await.code(1).complains(&parts);
    }
    call(&shop, &["exec", "true"]).await.code(0);
    call(&farm, &["claim"]).await.code(0).prints(&["it belonged to"]);
    call(&farm, &["run", "products_csv"]).await.code(0);
    call(&shop, &["run", "products_csv"]).await.code(1).complains(&["kasparro claim"]);
    shop.database.close().await;
    farm.database.close().await;
}

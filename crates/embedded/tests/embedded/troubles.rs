//! What a killed server leaves behind, and what kasparro refuses with a reason.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use kasparro_embedded::{EmbeddedError, Leaving, Options, find_or_start, stop_if_unused};
use nix::sys::signal::{Signal, kill};
use nix::unistd::geteuid;
use sqlx::{Connection, PgConnection};

use super::{
    create_folder_for_everyone, number, options, parent_folder, postmaster,
    pretend_a_cluster_of_version_99,
};

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
async fn a_server_that_is_killed_while_it_is_used_is_started_again_by_one_of_its_users() {
    let parent = parent_folder();
    let options = options(&parent.path().join("kasparro"));
    let mut users = Vec::new();
    for _ in 0..3 {
        let mut user = find_or_start(&options).await.unwrap();
        user.keep_running(&options);
        users.push(user);
    }
    for _ in 0..2 {
        let killed = postmaster(&options.data_dir).unwrap();
        kill(killed, Signal::SIGKILL).unwrap();
        let answers = async {
            while postmaster(&options.data_dir).is_none_or(|now| now == killed)
                || PgConnection::connect(users[0].url()).await.is_err()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), answers).await.expect("it runs again");
    }
    assert_eq!(number(users[0].url(), "select 1::int8").await, 1);
    let last = users.pop().unwrap();
    for user in users {
        assert_eq!(user.stop().await.unwrap(), Leaving::OthersRemain);
    }
    assert_eq!(last.stop().await.unwrap(), Leaving::ServerStopped);
    // What was stopped on purpose stays stopped.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(postmaster(&options.data_dir), None);
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
    std::fs::write(cluster.join("postmaster.pid"), &text).unwrap();
    std::fs::write(data_dir.join("socket/.s.PGSQL.5432.lock"), text).unwrap();

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
async fn a_folder_that_holds_something_else_is_refused() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    create_folder_for_everyone(&data_dir);
    create_folder_for_everyone(&data_dir.join("data"));
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

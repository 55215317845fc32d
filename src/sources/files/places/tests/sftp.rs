//! Files of an SFTP server of this process, which serves a folder.

#[path = "../../../../../tests/support/sftp_server.rs"]
mod sftp_server;

use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use russh::keys::{HashAlg, PrivateKey, ssh_key};

use self::sftp_server::{PASSWORD, Server, key};
use super::{body, places, read, told};
use crate::domain::failure::FailureClass;
use crate::sources::files::places::Listed;
use crate::sources::{SourceError, SourceErrorKind};

impl Server {
    /// The table of who has the password; `more` follows it.
    fn keys(&self, more: &str) -> String {
        let file = self.secret(".password", PASSWORD);
        format!(
            "sftp = {{ user = \"me\", password = {{ file = {file:?} }}, host_key = {:?}{more} }}",
            self.fingerprint
        )
    }

    /// So that it is old when it is listed, or young.
    fn set_old(&self, path: &str, old: bool) {
        let file = std::fs::File::options().append(true).open(self.folder.path().join(path));
        let (now, minute) = (SystemTime::now(), std::time::Duration::from_secs(60));
        file.unwrap().set_modified(if old { now - minute } else { now + minute }).unwrap();
    }

    async fn list(&self, pattern: &str) -> Result<Vec<Listed>, SourceError> {
        let entry = self.entry(pattern);
        places(&self.keys(""), &entry).of(&entry).list(&entry).await
    }
}

fn names(server: &Server, listed: &[Listed]) -> Vec<String> {
    let front = server.entry("");
    let mut names: Vec<_> =
        listed.iter().map(|file| file.name.strip_prefix(&front).unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_are_found_folder_by_folder_behind_links_and_from_the_home_folder() {
    let server = Server::start().await;
    for path in [
        "out/a b+ä.csv",
        "out/b.csv",
        "out/c.txt",
        "out/d.csv.part",
        "out/.e.csv",
        "out/x/y/z.csv",
        "home/in/h.csv",
        "big/f.csv",
    ] {
        server.write(path, "a\n1\n");
    }
    let root = server.folder.path();
    symlink(root.join("big/f.csv"), root.join("out/link.csv")).unwrap();
    symlink(root.join("out"), root.join("out/x/circle")).unwrap();
    let listed = server.list("/out/*.csv").await.unwrap();
    assert_eq!(names(&server, &listed), ["/out/a b+ä.csv", "/out/b.csv", "/out/link.csv"]);
    assert!(
        listed.iter().all(|file| file.size == Some(4) && file.modified.is_some()),
        "{listed:?}"
    );
    let deep = names(&server, &server.list("/out/**/z.csv").await.unwrap());
    assert!(deep.contains(&"/out/x/y/z.csv".to_owned()) && deep.len() <= 2, "{deep:?}");
    assert_eq!(names(&server, &server.list("/~/in/*.csv").await.unwrap()), ["/~/in/h.csv"]);
    assert_eq!(names(&server, &server.list("/*/b.csv").await.unwrap()), ["/out/b.csv"]);
    assert!(server.list("/out/*.json").await.unwrap().is_empty());
    let error = told(server.list("/nowhere/*.csv").await, &[PASSWORD]);
    assert_eq!(error.kind, SourceErrorKind::NotFound);
    assert!(error.text().contains("/nowhere/ is not there"), "{error}");
    let error = told(server.list("/out/x").await, &[]);
    assert!(error.text().contains("is a folder"), "{error}");
    symlink(root.join("nothing"), root.join("out/lost.csv")).unwrap();
    assert!(
        told(server.list("/out/*.csv").await, &[]).text().contains("/out/lost.csv is not there")
    );
}

#[tokio::test]
async fn a_file_is_read_on_one_connection_and_goes_on_behind_an_offset() {
    let server = Server::start().await;
    let text: String = (0..100_000).map(|row| format!("{row}\n")).collect();
    server.write("out/a.csv", &text);
    server.set_old("out/a.csv", true);
    let entry = server.entry("/out/a.csv");
    let places = places(&server.keys(""), &entry);
    let [file] = &places.of(&entry).list(&entry).await.unwrap()[..] else { panic!() };
    let whole = body(&places, file, 0).await.unwrap();
    assert!(whole.end_is_told && whole.file == *file);
    assert_eq!(read(whole).await.unwrap(), text);
    let rest = body(&places, file, 300_001).await.unwrap();
    assert_eq!(rest.from, 300_001);
    assert_eq!(read(rest).await.unwrap(), text[300_001..]);
    assert_eq!(server.does.connections.load(Ordering::SeqCst), 1);
    let now = chrono::Utc::now();
    assert!(places.of(&entry).proves_unchanged(file, file, now));
    let longer = Listed { size: Some(5), ..file.clone() };
    assert!(!places.of(&entry).proves_unchanged(&longer, file, now));
    let young = Listed { modified: Some(SystemTime::now()), ..file.clone() };
    assert!(!places.of(&entry).proves_unchanged(&young, &young, now));
}

#[tokio::test]
async fn a_file_that_changes_before_or_while_it_is_read_has_no_end() {
    let server = Server::start().await;
    let text = "1234567\n".repeat(400_000);
    server.write("a.csv", &text);
    let entry = server.entry("/a.csv");
    let places = places(&server.keys(""), &entry);
    let [file] = &places.of(&entry).list(&entry).await.unwrap()[..] else { panic!() };
    let opened = body(&places, file, 0).await.unwrap();
    // Of the same size, and written into: its time tells.
    std::fs::write(server.folder.path().join("a.csv"), "7654321\n".repeat(400_000)).unwrap();
    assert_eq!(told(read(opened).await, &[]).kind, SourceErrorKind::FileChanged);
    assert_eq!(told(body(&places, file, 0).await, &[]).kind, SourceErrorKind::FileChanged);
    server.write("a.csv", &text);
    let [file] = &places.of(&entry).list(&entry).await.unwrap()[..] else { panic!() };
    let opened = body(&places, file, 0).await.unwrap();
    // Another one in its place: what is read is the old one, and nobody knows which is meant.
    server.write("b.csv", "1\n");
    std::fs::rename(server.folder.path().join("b.csv"), server.folder.path().join("a.csv"))
        .unwrap();
    assert_eq!(told(read(opened).await, &[]).kind, SourceErrorKind::FileChanged);
}

#[tokio::test]
async fn nothing_is_told_to_a_server_with_another_key() {
    let server = Server::start().await;
    server.write("a.csv", "a\n");
    let entry = server.entry("/a.csv");
    let other = key(9).public_key().fingerprint(HashAlg::Sha256).to_string();
    let keys = server.keys("").replace(&server.fingerprint, &other);
    let error = told(places(&keys, &entry).of(&entry).list(&entry).await, &[PASSWORD]);
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains(&server.fingerprint), "{error}");
    assert!(
        error.text().contains("it was told nothing") && error.text().contains("ssh-ed25519"),
        "{error}"
    );
    // One of several, and one of a file as `ssh` keeps it.
    let several =
        keys.replace(&format!("{other:?}"), &format!("[{other:?}, {:?}]", server.fingerprint));
    assert_eq!(places(&several, &entry).of(&entry).list(&entry).await.unwrap().len(), 1);
    let line = key(1).public_key().to_openssh().unwrap();
    let hosts =
        server.secret("known_hosts", &format!("# ours\n[127.0.0.1]:{} {line}\n", server.port));
    let known = keys.replace(&format!("host_key = {other:?}"), &format!("known_hosts = {hosts:?}"));
    assert_eq!(places(&known, &entry).of(&entry).list(&entry).await.unwrap().len(), 1);
    std::fs::write(&hosts, "").unwrap();
    let error = told(places(&known, &entry).of(&entry).list(&entry).await, &[PASSWORD]);
    assert!(error.text().contains("has no such key of it"), "{error}");
}

#[tokio::test]
async fn who_we_are_is_told_by_a_key_a_password_or_an_answer() {
    let server = Server::start().await;
    server.write("a.csv", "a\n");
    let entry = server.entry("/a.csv");
    server.does.keys.lock().unwrap().push(key(2).public_key().clone());
    let passphrase = server.secret("passphrase", "s3same-canary");
    let salt = ssh_key::Kdf::Bcrypt { salt: vec![7; 16], rounds: 4 };
    let locked = key(2).encrypt_with(ssh_key::Cipher::Aes256Ctr, salt, 7, "s3same-canary").unwrap();
    let pem = |key: &PrivateKey| key.to_openssh(ssh_key::LineEnding::LF).unwrap().to_string();
    let [open, locked, other] = [("open", key(2)), ("locked", locked), ("other", key(3))]
        .map(|(name, key)| server.secret(name, &pem(&key)));
    let with = |keys: String| {
        let keys =
            format!("sftp = {{ user = \"me\", host_key = {:?}, {keys} }}", server.fingerprint);
        let entry = entry.clone();
        async move { super::opened_places(&keys, &entry)?.of(&entry).list(&entry).await }
    };
    assert_eq!(with(format!("key = {{ file = {open:?} }}")).await.unwrap().len(), 1);
    let both = format!("key = {{ file = {locked:?} }}, passphrase = {{ file = {passphrase:?} }}");
    assert_eq!(with(both).await.unwrap().len(), 1);
    let error = told(with(format!("key = {{ file = {locked:?} }}")).await, &[]);
    assert!(error.text().contains("passphrase = { env"), "{error}");
    let error = told(with(format!("key = {{ file = {other:?} }}")).await, &[]);
    assert_eq!(error.kind, SourceErrorKind::Unauthorized);
    assert!(error.text().contains("does not let `me` in"), "{error}");
    let wrong = server.secret("wrong", "s3cr3t-wrong");
    let error = told(with(format!("password = {{ file = {wrong:?} }}")).await, &["s3cr3t-wrong"]);
    assert_eq!(error.kind, SourceErrorKind::Unauthorized);
    server.does.asks.store(true, Ordering::SeqCst);
    assert_eq!(server.list("/a.csv").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_was_old_when_it_was_listed_goes_on_over_another_connection() {
    let server = Server::start().await;
    let text: String = (0..400_000).map(|row| format!("{row}\n")).collect();
    server.write("a.csv", &text);
    server.set_old("a.csv", true);
    let entry = server.entry("/a.csv");
    let places = places(&server.keys(""), &entry);
    let [file] = &places.of(&entry).list(&entry).await.unwrap()[..] else { panic!() };
    let opened = body(&places, file, 0).await.unwrap();
    server.does.drops.store(true, Ordering::SeqCst);
    assert!(read(opened).await.unwrap() == text);
    assert_eq!(server.does.connections.load(Ordering::SeqCst), 2);
    // One that took its place meanwhile is another one.
    let opened = body(&places, file, 0).await.unwrap();
    server.does.drops.store(true, Ordering::SeqCst);
    server.write("b.csv", text.to_uppercase());
    std::fs::rename(server.folder.path().join("b.csv"), server.folder.path().join("a.csv"))
        .unwrap();
    assert_eq!(told(read(opened).await, &[]).kind, SourceErrorKind::FileChanged);
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_made_anew_and_one_that_stalls_is_given_up() {
    let server = Server::start().await;
    server.write("a.csv", "1234567\n".repeat(400_000));
    // Nobody knows whether what is behind is of the same file.
    server.set_old("a.csv", false);
    let entry = server.entry("/a.csv");
    let places = places(&server.keys(", timeout = \"1s\""), &entry);
    let [file] = &places.of(&entry).list(&entry).await.unwrap()[..] else { panic!() };
    let opened = body(&places, file, 0).await.unwrap();
    server.does.drops.store(true, Ordering::SeqCst);
    let error = told(read(opened).await, &[PASSWORD]);
    assert_eq!((error.kind, error.class()), (SourceErrorKind::BrokenOff, FailureClass::Transient));
    assert_eq!(read(body(&places, file, 0).await.unwrap()).await.unwrap().len(), 3_200_000);
    assert_eq!(server.does.connections.load(Ordering::SeqCst), 2);
    server.does.stalls.store(true, Ordering::SeqCst);
    let error = told(read(body(&places, file, 0).await.unwrap()).await, &[]);
    assert_eq!(error.kind, SourceErrorKind::TimedOut, "{error}");
    assert!(error.text().contains("`files.sftp.timeout` = \"1s\""), "{error}");
    let nobody = "sftp://127.0.0.1:1/a.csv";
    let error =
        told(super::places(&server.keys(""), nobody).of(nobody).list(nobody).await, &[PASSWORD]);
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
}

//! Links and other traps in the data folder, planted by whoever is the user that the server of root
//! runs as. Whatever kasparro does then, what they lead to stays as it is.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kasparro_embedded::{EmbeddedError, Leaving, Options, Project, find_or_start, stop_if_unused};
use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use super::{number, options, parent_folder, postmaster};

/// These tests are about root and another user; anybody else has nobody to be led by.
fn is_root(test: &str) -> bool {
    if !geteuid().is_root() {
        // Past libtest, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "NOT TESTED: {test} needs root");
    }
    geteuid().is_root()
}

fn servers_user() -> User {
    let known = |name: &&str| User::from_name(name).ok().flatten();
    ["postgres", "nobody"].iter().find_map(known).expect("a user to run the server as")
}

/// A data folder as earlier versions left it: the server's user owned it and all that is in it.
fn earlier_folder(parent: &Path) -> PathBuf {
    let data_dir = parent.join("kasparro");
    fs::create_dir(&data_dir).unwrap();
    fs::set_permissions(&data_dir, Permissions::from_mode(0o700)).unwrap();
    fs::write(data_dir.join("lock"), "").unwrap();
    give_to_the_servers_user(&data_dir);
    give_to_the_servers_user(&data_dir.join("lock"));
    data_dir
}

fn give_to_the_servers_user(path: &Path) {
    let user = servers_user();
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
}

/// What root has to lose: a file, a folder with a file in it, and the right to say what is where.
struct Victim {
    folder: TempDir,
    before: Vec<String>,
}

impl Victim {
    fn new() -> Self {
        let folder = parent_folder();
        fs::write(folder.path().join("file"), "root's own words").unwrap();
        fs::set_permissions(folder.path().join("file"), Permissions::from_mode(0o640)).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        for name in [".s.PGSQL.5432.lock", "postmaster.pid"] {
            fs::write(folder.path().join("folder").join(name), "1\n").unwrap();
        }
        fs::create_dir(folder.path().join("empty")).unwrap();
        let before = Self::look(folder.path());
        Self { folder, before }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every entry with owner, mode and content.
    fn look(folder: &Path) -> Vec<String> {
        let mut seen = Vec::new();
        let mut waiting = vec![folder.to_owned()];
        while let Some(path) = waiting.pop() {
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                String::new()
            } else {
                fs::read_to_string(&path).unwrap()
            };
            let (uid, gid, mode) = (found.uid(), found.gid(), found.mode());
            seen.push(format!("{} {uid} {gid} {mode:o} {content:?}", path.display()));
        }
        seen.sort();
        seen
    }

    #[track_caller]
    fn is_untouched(&self, trap: &str) {
        assert_eq!(Self::look(self.folder.path()), self.before, "{trap}");
    }
}

/// Starts and stops, and says how it was refused, if it was. Nothing planted may hold it up.
async fn start_and_stop(options: &Options) -> Result<(), EmbeddedError> {
    let starting = tokio::time::timeout(Duration::from_secs(120), find_or_start(options));
    let server = starting.await.expect("nothing waits for what was planted")?;
    assert_eq!(number(server.url(), "select 1::int8").await, 1);
    assert_eq!(server.stop().await?, Leaving::ServerStopped);
    Ok(())
}

#[tokio::test]
async fn planted_links_fifos_and_foreign_files_are_never_followed() {
    if !is_root("planted_links_fifos_and_foreign_files_are_never_followed") {
        return;
    }
    type Plant = fn(&Victim, &Path);
    let traps: [(&str, Plant); 7] = [
        ("a link to a file", |victim, at| symlink(victim.path("file"), at).unwrap()),
        ("a link to a folder", |victim, at| symlink(victim.path("folder"), at).unwrap()),
        ("a link to nothing yet", |victim, at| symlink(victim.path("made"), at).unwrap()),
        ("a hard link", |victim, at| fs::hard_link(victim.path("file"), at).unwrap()),
        ("a FIFO", |_, at| {
            nix::unistd::mkfifo(at, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
            give_to_the_servers_user(at);
        }),
        ("a device", |_, at| symlink("/dev/zero", at).unwrap()),
        ("a socket", |_, at| {
            std::os::unix::net::UnixListener::bind(at).unwrap();
            give_to_the_servers_user(at);
        }),
    ];
    let parent = parent_folder();
    let data_dir = earlier_folder(parent.path());
    let project = Project { jobs: PathBuf::from("/shop/jobs"), may_claim: true };
    let options = Options { project: Some(project), ..options(&data_dir) };
    for place in ["lock", "users", "project", "postgres.log", "data", "socket"] {
        for (trap, plant) in &traps {
            let trap = format!("{trap} as {place}");
            let victim = Victim::new();
            let at = data_dir.join(place);
            let _ = fs::remove_file(&at).or_else(|_| fs::remove_dir(&at));
            plant(&victim, &at);
            // As if no kasparro of now had been here yet.
            give_to_the_servers_user(&data_dir);

            let error = start_and_stop(&options).await.expect_err(&trap);
            victim.is_untouched(&trap);
            let clear = matches!(error, EmbeddedError::Planted { .. });
            let message = error.to_string();
            assert!(clear && message.contains(&*at.to_string_lossy()), "{trap}: {message}");
            fs::remove_file(&at).unwrap();
            if place == "lock" {
                fs::write(&at, "").unwrap();
            }
        }
    }
    start_and_stop(&options).await.unwrap();
    let found = fs::metadata(&data_dir).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o710), "root has taken it back");
}

#[tokio::test]
async fn a_planted_socket_folder_is_neither_used_nor_removed() {
    if !is_root("a_planted_socket_folder_is_neither_used_nor_removed") {
        return;
    }
    // So long that the socket needs a short folder.
    let parent = parent_folder();
    let long = parent.path().join("a".repeat(60)).join("b".repeat(60));
    fs::create_dir_all(&long).unwrap();
    let data_dir = earlier_folder(&long);
    let victim = Victim::new();
    let record = data_dir.join("socket_folder");
    // A folder of the servers' user beside a link into root's: what leads there can change its mind.
    let theirs = parent_folder();
    give_to_the_servers_user(theirs.path());
    symlink(victim.path("folder"), theirs.path().join("kasparro-0")).unwrap();
    let plants = [
        victim.path("empty"),
        victim.path("folder"),
        theirs.path().join("kasparro-0"),
        theirs.path().to_owned(),
        PathBuf::from("kasparro-0"),
    ];
    for planted in plants {
        fs::write(&record, planted.as_os_str().as_encoded_bytes()).unwrap();
        give_to_the_servers_user(&record);
        give_to_the_servers_user(&data_dir);
        start_and_stop(&options(&data_dir)).await.unwrap();
        victim.is_untouched(&format!("{}", planted.display()));
        assert!(!record.exists(), "the short folder went with its server");
    }
    let written_through = Victim::new();
    for planted in [written_through.path("file"), written_through.path("made")] {
        symlink(planted, &record).unwrap();
        give_to_the_servers_user(&data_dir);
        let error = start_and_stop(&options(&data_dir)).await.unwrap_err();
        assert!(matches!(error, EmbeddedError::Planted { .. }), "{error}");
        written_through.is_untouched("a link in the place of the record");
        fs::remove_file(&record).unwrap();
    }
}

#[tokio::test]
async fn what_the_server_writes_for_us_to_read_leads_nowhere_and_ends_nobody() {
    if !is_root("what_the_server_writes_for_us_to_read_leads_nowhere_and_ends_nobody") {
        return;
    }
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    start_and_stop(&options(&data_dir)).await.unwrap();
    let victim = Victim::new();
    let cluster = data_dir.join("data");
    let pid_file = cluster.join("postmaster.pid");
    for planted in [victim.path("file"), PathBuf::from("/dev/zero"), victim.path("made")] {
        symlink(&planted, &pid_file).unwrap();
        symlink(&planted, data_dir.join("socket/.s.PGSQL.5432")).unwrap();
        symlink(&planted, data_dir.join("socket/.s.PGSQL.5432.lock")).unwrap();
        start_and_stop(&options(&data_dir)).await.unwrap();
        victim.is_untouched("links in the cluster and beside the socket");
    }
    nix::unistd::mkfifo(&pid_file, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    start_and_stop(&options(&data_dir)).await.unwrap();

    // A process of root's that happens to work in the cluster's folder.
    let shell = Command::new("sleep").arg("60").current_dir(&cluster).spawn();
    let mut shell = shell.unwrap();
    let text = format!("{}\n{}\n1700000000\n5432\n\n\n", shell.id(), cluster.display());
    fs::write(&pid_file, text).unwrap();
    assert_eq!(stop_if_unused(&data_dir).await.unwrap(), Leaving::NotRunning);
    assert!(shell.try_wait().unwrap().is_none(), "root's process must live");
    shell.kill().unwrap();
    shell.wait().unwrap();

    let version = cluster.join("PG_VERSION");
    fs::rename(&version, parent.path().join("PG_VERSION")).unwrap();
    symlink("/dev/zero", &version).unwrap();
    let error = start_and_stop(&options(&data_dir)).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::NotACluster(_)), "{error}");
}

#[tokio::test]
async fn the_servers_user_can_put_nothing_into_the_data_folder_and_exchange_no_program() {
    if !is_root("the_servers_user_can_put_nothing_into_the_data_folder") {
        return;
    }
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let server = find_or_start(&options(&data_dir)).await.unwrap();
    for entry in fs::read_dir(&data_dir).unwrap() {
        let path = entry.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        let theirs = found.uid() == servers_user().uid.as_raw();
        let may_be = ["data", "socket"].iter().any(|name| path == data_dir.join(name));
        assert_eq!(theirs, may_be, "{}", path.display());
    }
    let attempts = [
        "ln -s /etc/passwd planted",
        "ln -f lock planted",
        "mv data moved",
        "rm -f lock",
        "mv socket moved",
        ": >> postgres.log",
    ];
    for attempt in attempts {
        assert!(!as_the_servers_user(attempt, &data_dir), "{attempt}");
    }
    assert!(as_the_servers_user("test -w data && test -w socket", &data_dir));
    assert!(postmaster(&data_dir).is_some());
    server.stop().await.unwrap();
}

fn as_the_servers_user(script: &str, folder: &Path) -> bool {
    use std::os::unix::process::CommandExt;
    let user = servers_user();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).current_dir(folder).uid(user.uid.as_raw()).gid(user.gid.as_raw());
    shell.stderr(std::process::Stdio::null()).status().unwrap().success()
}

#[tokio::test]
async fn a_folder_that_others_can_change_is_refused_untouched() {
    if !is_root("a_folder_that_others_can_change_is_refused_untouched") {
        return;
    }
    let parent = parent_folder();
    let theirs = parent.path().join("theirs");
    let open = parent.path().join("open");
    let home = parent.path().join("home");
    for (folder, mode) in [(&theirs, 0o755), (&open, 0o777), (&home, 0o700)] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
    }
    chown(&theirs, Some(4711), None).unwrap();
    // The home of `postgres`, say, named by mistake.
    fs::write(home.join(".psqlrc"), "").unwrap();
    give_to_the_servers_user(&home);
    let link = parent.path().join("link");
    symlink(&theirs, &link).unwrap();
    let before: Vec<_> =
        [&theirs, &open, &home].map(|folder| fs::metadata(folder).unwrap().mode()).into();
    for data_dir in [&theirs, &open, &home, &theirs.join("deep/kasparro"), &link.join("kasparro")] {
        let error = start_and_stop(&options(data_dir)).await.unwrap_err();
        assert!(matches!(error, EmbeddedError::NotOursAlone { .. }), "{error}");
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }
    let after: Vec<_> =
        [&theirs, &open, &home].map(|folder| fs::metadata(folder).unwrap().mode()).into();
    assert_eq!(before, after);
    assert_eq!(fs::read_dir(&theirs).unwrap().count() + fs::read_dir(&open).unwrap().count(), 0);
    assert_eq!(fs::metadata(&home).unwrap().uid(), servers_user().uid.as_raw());
}

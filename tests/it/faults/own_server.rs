//! A PostgreSQL of one test's own, that can be taken down in the middle and brought up again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use kasparro::embedded::{DownloadSource, EmbeddedError, Options, PrivatePostgres, find_or_start};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::until;

/// For when only the server is killed, not the machine: what it has written, the system keeps.
pub const FORGETFUL: [(&str, &str); 4] = [
    ("fsync", "off"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "off"),
    ("max_connections", "200"),
];

pub struct OwnServer {
    /// Its cluster is in `data`.
    pub folder: PathBuf,
    private: Option<PrivatePostgres>,
    settings: Vec<(String, String)>,
}

impl OwnServer {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Not the build's folder: run as root, the server's user may not get in there.
        let name = format!("kasparro-fault-server-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(owned).collect();
        let mut server = Self { folder, private: None, settings };
        server.bring_up().await;
        server
    }

    pub fn url(&self) -> &str {
        self.private.as_ref().expect("the server is up").url()
    }

    /// Starts the server again after a crash; it recovers from its log first.
    pub async fn bring_up(&mut self) {
        let options = Options {
            binaries: std::env::var_os("KASPARRO_PG_BIN").map(PathBuf::from),
            download: DownloadSource::pinned(
                std::env::var("KASPARRO_PG_DOWNLOAD_URL").ok().as_deref(),
            ),
            settings: self.settings.clone(),
            database: "postgres".to_owned(),
            ..Options::new(&self.folder)
        };
        // Once it runs it is only slow to answer, as everything is on a busy machine.
        let mut started = find_or_start(&options).await;
        for _ in 0..3 {
            if !matches!(started, Err(EmbeddedError::NoAnswer { .. })) {
                break;
            }
            started = find_or_start(&options).await;
        }
        self.private = Some(started.expect("the server starts"));
    }

    /// What `pg_ctl stop --mode immediate` does: no goodbye, no checkpoint.
    pub async fn crash(&mut self) {
        let postmaster = self.postmaster().expect("the server is up");
        self.private = None;
        kill(postmaster, Signal::SIGQUIT).expect("the server is ours");
        until("the server is gone", async || kill(postmaster, None) == Err(Errno::ESRCH)).await;
    }

    fn postmaster(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        Some(Pid::from_raw(text.lines().next()?.parse().ok()?))
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.private = None;
        if let Some(postmaster) = self.postmaster() {
            let _ = kill(postmaster, Signal::SIGQUIT);
            while kill(postmaster, None).is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

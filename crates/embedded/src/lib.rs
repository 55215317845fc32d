//! The private Postgres: kasparro's own cluster for those who give no DATABASE_URL.
//!
//! Problem: `kasparro up` should work on a machine where nothing is prepared, and several
//! kasparro processes may share one data folder, start at once, and be killed at any instruction.
//!
//! Principle: no process owns the server. Each process *uses* it: [`find_or_start`] joins whatever
//! answers on the folder's socket or starts a server, and [`PrivatePostgres::stop`] stops it only
//! when no other process uses it. Two flocks carry this, because the kernel returns them when a
//! process dies: `lock`, exclusive, around starting and stopping; `users`, shared, for as long as
//! the server is used. After `kill -9` the server runs on, and the next kasparro joins it.
//!
//! Rules: everything that changes the folder happens under `lock`; things come to be under another
//! name and are renamed; no process is signalled unless it works in our cluster's folder. This crate
//! depends on nothing of kasparro and knows none of its tables, settings or commands.

#![forbid(unsafe_code)]

mod account;
mod binaries;
mod claim;
mod cluster;
mod connection;
mod download;
mod error;
mod folder;
mod keeper;
mod leftovers;
mod options;
mod planted;
mod provision;
mod rejected;
mod server;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use claim::Project;
pub use download::{DownloadError, DownloadSource};
pub use error::{EmbeddedError, OwnerNow};
pub use folder::default_data_dir;
pub use options::Options;
pub use rejected::Rejected;

use account::Account;
use folder::DataFolder;
use tokio_util::task::AbortOnDropHandle;

/// A private Postgres in use by this process. Dropping it ends the use but leaves the server
/// running for whoever comes next; [`PrivatePostgres::stop`] also stops the server.
#[derive(Debug)]
pub struct PrivatePostgres {
    url: String,
    version: String,
    started: bool,
    folder: DataFolder,
    socket: PathBuf,
    users: File,
    keeper: Option<AbortOnDropHandle<()>>,
}

/// What became of the server when a user left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Nobody else used it: it has been stopped.
    ServerStopped,
    /// Other processes use it: it runs on.
    OthersRemain,
    /// It was not running any more.
    NotRunning,
}

/// Joins the server that answers on the folder's socket, else starts one.
///
/// Safe with any number of processes at once: exactly one of them creates the cluster and starts
/// the server. Dropping the future midway is safe as well; a server that it has just started then
/// waits for the next caller.
pub async fn find_or_start(options: &Options) -> Result<PrivatePostgres, EmbeddedError> {
    let folder = DataFolder::open(&options.data_dir, Account::choose()?, options.announce)?;
    let _lock = folder.lock().await?;
    if let Some(project) = &options.project {
        claim::check(&folder, project)?;
    }
    // Before looking for the server, so that nobody stops it beneath us once the lock is released.
    let users = folder.join_users()?;
    let socket = folder.socket_folder()?;
    let running = server::ensure_running(&folder, &socket, options).await?;
    let prepared = connection::ensure_database(&socket, &options.database).await;
    let prepared = prepared.and_then(|()| match &options.project {
        Some(project) if project.may_claim => claim::claim_if_free(&folder, project),
        _ => Ok(()),
    });
    if let Err(error) = prepared {
        if running.started {
            // The first error is the one to report.
            let _ = server::stop(&folder).await;
        }
        return Err(error);
    }
    Ok(PrivatePostgres {
        url: connection::url(&socket, &options.database),
        version: running.version,
        started: running.started,
        folder,
        socket,
        users,
        keeper: None,
    })
}

/// Makes the cluster of a data folder belong to the project with these job files, which was moved, say.
/// Answers whom it belonged to.
pub async fn claim(data_dir: &Path, jobs: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    if !data_dir.join("data").is_dir() {
        return Err(EmbeddedError::NothingToClaim(data_dir.to_owned()));
    }
    let folder = DataFolder::open(data_dir, Account::choose()?, |_| ())?;
    let _lock = folder.lock().await?;
    let before = claim::owner(&folder)?;
    claim::claim(&folder, jobs)?;
    Ok(before.map(|owner| owner.jobs))
}

/// Stops the server of a data folder if it runs and no process uses it.
pub async fn stop_if_unused(data_dir: &Path) -> Result<Leaving, EmbeddedError> {
    if !data_dir.is_dir() {
        return Ok(Leaving::NotRunning);
    }
    let folder = DataFolder::open(data_dir, Account::choose()?, |_| ())?;
    let _lock = folder.lock().await?;
    stop_unless_used(&folder).await
}

impl PrivatePostgres {
    /// The database's URL, for sqlx and psql alike.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether this process started the server, rather than joining one.
    pub fn started(&self) -> bool {
        self.started
    }

    /// The server's version, e.g. `17.11`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The data folder's full path.
    pub fn data_dir(&self) -> &Path {
        self.folder.root()
    }

    /// For a log line: which Postgres, where, and whether it was there already.
    pub fn description(&self) -> String {
        let how = if self.started { "started" } else { "joined" };
        format!("private PostgreSQL {} in {}, {how}", self.version, self.data_dir().display())
    }

    /// From now on the server is started again when it was killed, for as long as this process uses it.
    /// `options` are those that it was found or started with.
    pub fn keep_running(&mut self, options: &Options) {
        let keeping = keeper::keep(self.folder.clone(), self.socket.clone(), options.clone());
        self.keeper = Some(AbortOnDropHandle::new(tokio::spawn(keeping)));
    }

    /// Ends the use; the last user stops the server and waits until it has ended. Close pools
    /// first: their open transactions would be rolled back.
    pub async fn stop(mut self) -> Result<Leaving, EmbeddedError> {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
            // Until it has let go of the lock.
            let _ = keeper.await;
        }
        let _lock = self.folder.lock().await?;
        self.folder.leave_users(&self.users)?;
        stop_unless_used(&self.folder).await
    }
}

/// To be called under the folder's lock.
async fn stop_unless_used(folder: &DataFolder) -> Result<Leaving, EmbeddedError> {
    if folder.is_used()? {
        return Ok(Leaving::OthersRemain);
    }
    Ok(if server::stop(folder).await? { Leaving::ServerStopped } else { Leaving::NotRunning })
}

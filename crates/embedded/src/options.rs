//! Owns what the private Postgres needs to know, and the usual choice.

use std::path::PathBuf;

use super::claim::Project;
use super::download::DownloadSource;

/// What the private Postgres needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds the cluster, its socket, its log and downloaded programs.
    pub data_dir: PathBuf,
    /// Where the programs are, if somebody says so (`KASPARRO_PG_BIN`): an installation, its `bin`
    /// or the program itself. Nothing else is tried then.
    pub binaries: Option<PathBuf>,
    /// Where to fetch programs when the machine has none; `None` never downloads.
    pub download: Option<DownloadSource>,
    /// Further settings of the server, `fsync=off` for throw-away clusters, say. They only count
    /// for the process that starts the server.
    pub settings: Vec<(String, String)>,
    /// The database to use; created if it is missing.
    pub database: String,
    /// Who wants to use it; `None` uses it whoever it belongs to.
    pub project: Option<Project>,
    /// Told in a line what takes its time: making the cluster, a download, waiting.
    pub announce: fn(&str),
}

impl Options {
    /// The usual choice: programs of the machine or the pinned download, database `kasparro`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            binaries: None,
            download: DownloadSource::pinned(None),
            settings: Vec::new(),
            database: "kasparro".to_owned(),
            project: None,
            announce: |line| tracing::info!("{line}"),
        }
    }
}

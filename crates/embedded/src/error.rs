//! What can go wrong with the private Postgres, each with what to do about it.
//!
//! The texts are for a user who has just typed `kasparro up` and knows nothing of our folders:
//! an error names the path, the process and the next step. It must not know how to recover; the
//! modules that raise an error have already tried that.

use std::fmt;
use std::path::{Path, PathBuf};

use super::download::DownloadError;
use super::rejected::Rejected;

/// What has become of the folder of job files that a cluster belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerNow {
    /// It is where it was.
    There,
    /// It is not there any more.
    Gone,
    /// At its place stands a folder that was made at another time.
    Another,
}

/// Why the private Postgres could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No usable Postgres binaries, and downloading was off or failed.
    #[error("no usable PostgreSQL binaries were found{}\n{INSTALL_ADVICE}", Rejections(.rejected))]
    NoBinaries {
        /// Every place that was looked at, with the reason it would not do.
        rejected: Vec<Rejected>,
    },
    /// A file or folder of the data folder could not be used.
    #[error("cannot {action} {}; give a folder that kasparro may write with --data-dir", path.display())]
    Folder {
        /// What was tried, as a verb: "create", "lock".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// We are root, and the user that Postgres would run as cannot reach the data folder.
    #[error(
        "PostgreSQL cannot run as root, so it would run as `{user}`, but that user cannot enter {}; \
         give another folder with --data-dir, or allow it: chmod o+x {}",
        blocker.display(), blocker.display()
    )]
    Unreachable {
        /// The user that Postgres would run as.
        user: String,
        /// The first parent folder that shuts it out.
        blocker: PathBuf,
    },
    /// What lies in the place of one of our files is not one.
    #[error(
        "{} is {what}, and not a file or folder that kasparro made; it is not used, because it could \
         lead kasparro to write elsewhere. Find out who put it there, remove it, and try again",
        path.display()
    )]
    Planted {
        /// The place.
        path: PathBuf,
        /// What lies there.
        what: String,
    },
    /// We are root, and others could replace what is in the data folder.
    #[error(
        "kasparro runs as root here, and others than root can write {}: they could plant links and \
         have root follow them. Give a folder of root's with --data-dir (without one it is \
         /var/lib/kasparro), or run kasparro as the user that owns the folder; if nobody else needs \
         to write it: chown root {} && chmod go-w {}",
        folder.display(), folder.display(), folder.display()
    )]
    NotOursAlone {
        /// The data folder, or a folder above it.
        folder: PathBuf,
    },
    /// The cluster holds the records of another project.
    #[error(
        "the private database in {} holds the records of the job files in {}, and those of this \
         project are in {}. Two projects in one database would overwrite each other's records.\n{}",
        data_dir.display(), owner.display(), jobs.display(), WayOut(.data_dir, .owner, .jobs, *.now)
    )]
    BelongsToAnother {
        /// The data folder.
        data_dir: PathBuf,
        /// The job files that it belongs to.
        owner: PathBuf,
        /// The current job files.
        jobs: PathBuf,
        /// What has become of those that it belongs to.
        now: OwnerNow,
    },
    /// There is no cluster in the data folder.
    #[error("there is no private database in {} yet; `kasparro up` makes one", .0.display())]
    NothingToClaim(PathBuf),
    /// The server's former socket folder is gone, so its users would not find it.
    #[error(
        "the folder of its socket, {}, is gone (the next would be {}); start kasparro again",
        before.display(), now.display()
    )]
    SocketMoved {
        /// Where the socket was.
        before: PathBuf,
        /// Where it would be.
        now: PathBuf,
    },
    /// We are root, and there is no other user to run Postgres as.
    #[error(
        "PostgreSQL cannot run as root, and neither a user `postgres` nor `nobody` exists; create \
         one (useradd --system postgres) or run kasparro as an ordinary user"
    )]
    NoAccount,
    /// The folder that should hold the cluster holds something else.
    #[error(
        "{} is not empty and holds no PostgreSQL cluster (no PG_VERSION); move it away or give \
         another folder with --data-dir", .0.display()
    )]
    NotACluster(PathBuf),
    /// A program of Postgres could not be run at all.
    #[error("cannot run {}", program.display())]
    CannotRun {
        /// The program.
        program: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// `initdb` failed.
    #[error("initdb could not create the cluster in {}:\n{output}", folder.display())]
    Initdb {
        /// Where the cluster should have been made.
        folder: PathBuf,
        /// The end of what initdb said.
        output: String,
    },
    /// The server ended while starting.
    #[error("PostgreSQL did not start; the end of its log ({}):\n{tail}", log.display())]
    DidNotStart {
        /// The server's log.
        log: PathBuf,
        /// Its last lines of this attempt.
        tail: String,
    },
    /// The server runs but does not answer in time.
    #[error(
        "PostgreSQL (process {pid}) does not answer after {seconds} s: {reason}. It goes on in the \
         background (crash recovery of a large database takes its time): try again, or look into \
         its log ({}):\n{tail}", log.display()
    )]
    NoAnswer {
        /// The postmaster.
        pid: i32,
        /// How long we waited.
        seconds: u64,
        /// The last refusal.
        reason: String,
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The server runs but does not end.
    #[error("PostgreSQL (process {pid}) does not stop; look into its log ({})", log.display())]
    DoesNotStop {
        /// The postmaster.
        pid: i32,
        /// The server's log.
        log: PathBuf,
    },
    /// Another kasparro has been starting or stopping the server for too long.
    #[error(
        "another kasparro has held {} for {seconds} s while starting or stopping PostgreSQL; end \
         that process (fuser {}) and try again", path.display(), path.display()
    )]
    LockBusy {
        /// The lock file.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// Processes of a killed server could not be ended.
    #[error(
        "processes {pids:?} of a killed PostgreSQL server still work in {} and cannot be ended; \
         end them with kill and try again", folder.display()
    )]
    Leftovers {
        /// The processes.
        pids: Vec<i32>,
        /// The cluster's folder.
        folder: PathBuf,
    },
    /// Something else answers on our socket.
    #[error(
        "the server answering on {} keeps its data in {found}, not in {}; give another folder with \
         --data-dir", socket.display(), expected.display()
    )]
    ForeignServer {
        /// The socket folder.
        socket: PathBuf,
        /// The cluster that should answer there.
        expected: PathBuf,
        /// The cluster that does.
        found: String,
    },
    /// No folder for the socket: the path of the data folder is too long, and no short one could be
    /// made.
    #[error(
        "{} is too long for a socket (at most {limit} bytes) and no short folder could be made \
         under the temporary folder; give a shorter --data-dir", path.display()
    )]
    SocketPath {
        /// The path that is too long.
        path: PathBuf,
        /// The limit of this system.
        limit: usize,
        /// Why the short folder failed.
        source: std::io::Error,
    },
    /// A statement on the started server failed.
    #[error("the private PostgreSQL refused to {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// The refusal.
        source: sqlx::Error,
    },
}

impl EmbeddedError {
    /// For `map_err`: what was tried with which path.
    pub(super) fn folder(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Folder { action, path, source }
    }

    /// For `map_err`: which statement failed.
    pub(super) fn database(action: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { action, source }
    }
}

/// Adds the download's failure to the list of candidates: it is one more place that would not do.
impl From<DownloadError> for Rejected {
    fn from(error: DownloadError) -> Self {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            reason.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Rejected { place: "download".to_owned(), reason }
    }
}

/// What to do about a cluster of another project.
struct WayOut<'a>(&'a Path, &'a Path, &'a Path, OwnerNow);

impl fmt::Display for WayOut<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(data_dir, owner, jobs, now) = self;
        // The job files mostly lie in a folder `jobs` of the project.
        let project = jobs.parent().and_then(Path::file_name).unwrap_or_default();
        let own = format!("{}-{}", data_dir.display(), project.to_string_lossy());
        let own = format!(
            "ive this project a database of its own: --data-dir {own}, or data_dir = {own:?} in its \
             kasparro.toml"
        );
        match now {
            OwnerNow::There => write!(
                formatter,
                "G{own}. If the database shall go over to this project: kasparro claim"
            ),
            OwnerNow::Gone => write!(
                formatter,
                "{} is not there any more. If it was moved here: kasparro claim. If not, g{own}",
                owner.display()
            ),
            OwnerNow::Another => write!(
                formatter,
                "{} is another folder now than the one that it was: made anew, or another project's. \
                 If its job files are the same, cloned or restored, say: kasparro claim. If not, g{own}",
                owner.display()
            ),
        }
    }
}

/// One rejected candidate a line.
struct Rejections<'a>(&'a [Rejected]);

impl fmt::Display for Rejections<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str(" (no installation in any of the usual places)");
        }
        formatter.write_str(":")?;
        self.0.iter().try_for_each(|rejected| write!(formatter, "\n  - {rejected}"))
    }
}

const INSTALL_ADVICE: &str = "\
Install PostgreSQL 14 or later with its contrib extensions:
  Debian, Ubuntu   apt install postgresql
  Fedora, RHEL     dnf install postgresql-server postgresql-contrib
  Arch             pacman -S postgresql
  Alpine           apk add postgresql postgresql-contrib
  macOS            brew install postgresql@17
or name the folder of its programs in KASPARRO_PG_BIN, or use a server of yours: DATABASE_URL=postgresql://…";

//! Owns starting the server, waiting until it answers, and stopping it.
//!
//! Owns the server's process and its settings. Everything here happens under the folder's lock. It
//! must not know who uses the server.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::oneshot;

use super::account::Account;
use super::binaries::Binaries;
use super::connection::{self, Knock};
use super::error::EmbeddedError;
use super::folder::DataFolder;
use super::options::Options;
use super::{cluster, leftovers, planted, provision};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// After SIGQUIT, which does not wait for anything.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(15);
/// Every knock on a recovering server is a line in its log.
const SLOWEST_POLL: Duration = Duration::from_millis(500);
/// A start may meet a rival of a killed kasparro that has no pid file yet; Postgres then lets only
/// one of them live, and the next round finds it.
const START_ROUNDS: u32 = 3;
const LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
const TAIL_BYTES: u64 = 4 * 1024;

/// Modest, for a machine that also does something else; everything else stays as Postgres has it,
/// fsync above all.
const SETTINGS: [(&str, &str); 9] = [
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("max_connections", "100"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "2GB"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("cluster_name", "kasparro"),
];

/// A server that answers.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) version: String,
    /// Whether this call started it.
    pub(super) started: bool,
}

/// The server that answers on the socket, else a new one.
pub(super) async fn ensure_running(
    folder: &DataFolder,
    socket: &Path,
    options: &Options,
) -> Result<Running, EmbeddedError> {
    let cluster = folder.cluster();
    if let Knock::Answers { version } =
        connection::knock(socket, &cluster, folder.account()).await?
    {
        return Ok(Running { version, started: false });
    }
    let mut round = 0;
    loop {
        round += 1;
        let log = Log::open(folder)?;
        if let Some(pid) = leftovers::live_postmaster(&cluster, folder.account()).await {
            match wait_for_answer(folder, socket, pid, &log, None).await? {
                Some(version) => return Ok(Running { version, started: false }),
                None => continue,
            }
        }
        leftovers::clear(&cluster, socket, folder.account()).await?;
        let binaries = provision::programs(folder, options).await?;
        let durable =
            !options.settings.iter().any(|(name, value)| name == "fsync" && value == "off");
        cluster::ensure(folder, &binaries, durable).await?;
        let (pid, ended) = spawn(folder, socket, options, &binaries, &log)?;
        match wait_for_answer(folder, socket, pid, &log, Some(ended)).await? {
            Some(version) => return Ok(Running { version, started: true }),
            None if round < START_ROUNDS && log.shows_a_rival() => {
                tracing::warn!(
                    "processes of an earlier PostgreSQL server are in the way; retrying"
                );
            }
            None => {
                return Err(EmbeddedError::DidNotStart { log: log.path.clone(), tail: log.tail() });
            }
        }
    }
}

/// The server's process, and a channel that closes when it has ended.
fn spawn(
    folder: &DataFolder,
    socket: &Path,
    options: &Options,
    binaries: &Binaries,
    log: &Log,
) -> Result<(Pid, oneshot::Receiver<()>), EmbeddedError> {
    let program = binaries.program("postgres");
    tracing::debug!(programs = %binaries.folder().display(), "starting the private PostgreSQL");
    let cannot_run = |source| EmbeddedError::CannotRun { program: program.clone(), source };
    let mut command = folder.account().command(&program, folder.root()).map_err(cannot_run)?;
    command.arg("-D").arg(folder.cluster());
    let socket = socket.to_string_lossy().replace('"', "\"\"");
    command.arg("-c").arg(format!("unix_socket_directories=\"{socket}\""));
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in SETTINGS.into_iter().chain(given) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let (out, err) = (log.for_writing()?, log.for_writing()?);
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.into_std().spawn().map_err(cannot_run)?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let (ended, ending) = oneshot::channel();
    // The process has to be collected when it ends, however it is stopped and however long after;
    // a thread does, because no runtime lives as surely as the process itself.
    let collector = std::thread::Builder::new().name("postgres-collector".to_owned());
    let spawned = collector.spawn(move || {
        let _ = child.wait();
        drop(ended);
    });
    spawned.map_err(EmbeddedError::folder("start a thread for", folder.root()))?;
    Ok((pid, ending))
}

/// The server's version once it answers, `None` when it ended instead.
async fn wait_for_answer(
    folder: &DataFolder,
    socket: &Path,
    pid: Pid,
    log: &Log,
    mut ending: Option<oneshot::Receiver<()>>,
) -> Result<Option<String>, EmbeddedError> {
    let begin = Instant::now();
    let cluster = folder.cluster();
    let mut pause = POLL;
    let mut said = false;
    loop {
        let reason = match connection::knock(socket, &cluster, folder.account()).await? {
            Knock::Answers { version } => return Ok(Some(version)),
            Knock::Refused(reason) => reason,
        };
        let ended = match &mut ending {
            Some(ending) => !matches!(ending.try_recv(), Err(oneshot::error::TryRecvError::Empty)),
            None => !leftovers::is_alive(pid),
        };
        if ended {
            return Ok(None);
        }
        if begin.elapsed() > START_TIMEOUT {
            return Err(EmbeddedError::NoAnswer {
                pid: pid.as_raw(),
                seconds: START_TIMEOUT.as_secs(),
                reason,
                log: log.path.clone(),
                tail: log.tail(),
            });
        }
        tokio::time::sleep(pause).await;
        // The first second, in which a server usually comes up, is looked at closely.
        if begin.elapsed() > Duration::from_secs(1) {
            pause = (pause * 2).min(SLOWEST_POLL);
            if !std::mem::replace(&mut said, true) {
                folder.announce("the private PostgreSQL is starting; it may have to recover first");
            }
        }
    }
}

/// Stops the server if it runs, and says whether it did. Fast shutdown: open transactions are
/// rolled back, everything is written. Only a server that does not manage this in time is made to
/// quit; its log then repairs the cluster at the next start.
pub(super) async fn stop(folder: &DataFolder) -> Result<bool, EmbeddedError> {
    let Some(pid) = leftovers::live_postmaster(&folder.cluster(), folder.account()).await else {
        return Ok(false);
    };
    for (signal, patience) in [(Signal::SIGINT, STOP_TIMEOUT), (Signal::SIGQUIT, QUIT_TIMEOUT)] {
        // It may have ended on its own in the meantime.
        let _ = kill(pid, signal);
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if !leftovers::is_alive(pid) {
                folder.forget_short_socket_folder();
                return Ok(true);
            }
            tokio::time::sleep(POLL).await;
        }
        tracing::warn!(%signal, "PostgreSQL takes too long to stop");
    }
    Err(EmbeddedError::DoesNotStop { pid: pid.as_raw(), log: folder.log() })
}

/// The server's log as this attempt sees it: what was there before is not quoted.
struct Log {
    path: PathBuf,
    begin: u64,
    account: Account,
}

impl Log {
    fn open(folder: &DataFolder) -> Result<Self, EmbeddedError> {
        let mut log = Self { path: folder.log(), begin: 0, account: folder.account().clone() };
        let written = log.for_writing()?.metadata();
        log.begin = written.map_err(EmbeddedError::folder("read", &log.path))?.len();
        if log.begin > LOG_LIMIT_BYTES {
            // One generation is kept: enough to look back, and bounded.
            fs::rename(&log.path, log.path.with_extension("log.old"))
                .map_err(EmbeddedError::folder("rename", &log.path))?;
            log.begin = 0;
        }
        Ok(log)
    }

    /// It stays ours: the server is handed the open file.
    fn for_writing(&self) -> Result<File, EmbeddedError> {
        planted::open_file(&self.path, OpenOptions::new().append(true).create(true), &self.account)
    }

    /// The end of this attempt's part.
    fn tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let options = &mut OpenOptions::new();
            let file = planted::open_file(&self.path, options.read(true), &self.account);
            let mut file = file.map_err(std::io::Error::other)?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    }

    /// Whether Postgres refused because of another server's remains in the same cluster. The words
    /// are English whatever the system's language, because the server runs with LC_ALL=C.
    fn shows_a_rival(&self) -> bool {
        let tail = self.tail();
        ["pre-existing shared memory block", "lock file \"postmaster.pid\" already exists"]
            .iter()
            .any(|words| tail.contains(words))
    }
}

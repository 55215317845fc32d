//! What a killed server leaves behind: its pid file and, now and then, processes that still work.
//!
//! Owns telling our processes from strangers and ending ours. Postgres numbers a killed server's
//! shared memory as "pre-existing" and refuses to start while such a process lives; a pid file whose
//! number now belongs to a stranger makes it refuse as well, and so does the socket's lock file. All
//! are only touched under the lock.
//! It must not start anything that lasts.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::Account;
use super::error::EmbeddedError;
use super::planted;

/// How long a process may take over SIGTERM before it gets SIGKILL. Both are safe here: without its
/// postmaster a backend cannot commit any more, and the next start recovers from the log.
const TERM_TIMEOUT: Duration = Duration::from_secs(5);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The postmaster of this cluster, if it lives: the pid file's number, provided that the process
/// works in our folder.
pub(super) async fn live_postmaster(cluster: &Path, account: &Account) -> Option<Pid> {
    let pid = pid_in_file(cluster)?;
    (is_alive(pid) && works_in(pid, cluster, account).await).then_some(pid)
}

/// Makes the cluster startable: ends what a killed server left running, and takes away the files in
/// which it noted its number, which may be a stranger's by now (or a zombie's: Postgres takes that
/// for alive). To be called under the lock, without a live postmaster.
pub(super) async fn clear(
    cluster: &Path,
    socket: &Path,
    account: &Account,
) -> Result<(), EmbeddedError> {
    let mut left = processes_in(cluster, account).await;
    for (signal, patience) in [(Signal::SIGTERM, TERM_TIMEOUT), (Signal::SIGKILL, KILL_TIMEOUT)] {
        if left.is_empty() {
            break;
        }
        let pids: Vec<i32> = left.iter().map(|pid| pid.as_raw()).collect();
        tracing::warn!(?pids, %signal, "ending the processes of a killed PostgreSQL server");
        for pid in &left {
            let _ = kill(*pid, signal);
        }
        let begin = Instant::now();
        while begin.elapsed() < patience && left.iter().any(|pid| is_alive(*pid)) {
            tokio::time::sleep(POLL).await;
        }
        left = processes_in(cluster, account).await;
    }
    if !left.is_empty() {
        let pids = left.iter().map(|pid| pid.as_raw()).collect();
        return Err(EmbeddedError::Leftovers { pids, folder: cluster.to_owned() });
    }
    remove_if_there(&cluster.join("postmaster.pid"))?;
    // The socket's folder is private to this cluster, so its lock is a former server's, too.
    remove_if_there(&socket.join(".s.PGSQL.5432.lock"))
}

/// The number in the pid file, whoever has it now.
pub(super) fn pid_in_file(cluster: &Path) -> Option<Pid> {
    let text = planted::read_small(&cluster.join("postmaster.pid"))?;
    // A standalone backend writes its number negative.
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    (pid != 0).then(|| Pid::from_raw(pid.abs()))
}

/// Whether the process still runs; a zombie does not, it only waits to be noticed by its parent.
pub(super) fn is_alive(pid: Pid) -> bool {
    if matches!(kill(pid, None), Err(nix::errno::Errno::ESRCH)) {
        return false;
    }
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
        stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next())
    });
    !matches!(state, Some('Z' | 'X'))
}

async fn works_in(pid: Pid, cluster: &Path, account: &Account) -> bool {
    if !Path::new("/proc/self/cwd").exists() {
        return names_folder_on_its_command_line(pid, cluster).await;
    }
    working_folders(&[pid], account).await.iter().any(|(_, folder)| folder == cluster)
}

/// Every living process of Postgres whose working folder is the cluster: each process of a server
/// goes there first thing. Its name counts too, so that a shell somebody left in that folder is not
/// ended. Empty where there is no /proc.
async fn processes_in(cluster: &Path, account: &Account) -> Vec<Pid> {
    let all: Vec<Pid> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| is_postgres(*pid))
        .collect();
    working_folders(&all, account)
        .await
        .into_iter()
        .filter(|(pid, folder)| folder == cluster && is_alive(*pid))
        .map(|(pid, _)| pid)
        .collect()
}

/// Some packages wrap the program, so the name is looked for inside the process's name.
fn is_postgres(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.contains("postgres") || name.contains("postmaster"))
}

/// The working folders of those processes that belong to us or to the cluster's user.
async fn working_folders(pids: &[Pid], account: &Account) -> Vec<(Pid, PathBuf)> {
    let mut known = Vec::new();
    let mut hidden = Vec::new();
    // The files that name processes are the other user's to write: it must not name somebody else's.
    for pid in pids.iter().filter(|pid| belongs_to(**pid, account)) {
        match fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(folder) => known.push((*pid, folder)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => hidden.push(*pid),
            Err(_) => {}
        }
    }
    if !hidden.is_empty() {
        known.extend(ask_as_the_user(&hidden, account).await);
    }
    known
}

fn belongs_to(pid: Pid, account: &Account) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|metadata| metadata.uid() == account.uid())
}

/// A root without the capability to trace (that is every root in a container) may not see where
/// another user's process works; that user itself may.
async fn ask_as_the_user(pids: &[Pid], account: &Account) -> Vec<(Pid, PathBuf)> {
    let script = r#"for pid do folder=$(readlink "/proc/$pid/cwd") && echo "$pid $folder"; done"#;
    let Ok(mut shell) = account.command(Path::new("/bin/sh"), Path::new("/")) else {
        return Vec::new();
    };
    shell
        .args(["-c", script, "sh"])
        .args(pids.iter().map(Pid::to_string))
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let Ok(output) = shell.output().await else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let (pid, folder) = line.split_once(' ')?;
            Some((Pid::from_raw(pid.parse().ok()?), PathBuf::from(folder)))
        })
        // The shell is that user's process; its word counts for what was asked.
        .filter(|(pid, _)| pids.contains(pid))
        .collect()
}

/// Systems without /proc: our postmaster is started with its folder as an argument.
async fn names_folder_on_its_command_line(pid: Pid, cluster: &Path) -> bool {
    let Ok(mut ps) = Account::Ourselves.command(Path::new("ps"), Path::new("/")) else {
        return false;
    };
    ps.args(["-ww", "-o", "command=", "-p", &pid.to_string()]).stdin(Stdio::null());
    let Ok(output) = ps.output().await else { return false };
    String::from_utf8_lossy(&output.stdout).contains(&*cluster.to_string_lossy())
}

fn remove_if_there(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(EmbeddedError::folder("remove", path)(error))
        }
        _ => Ok(()),
    }
}

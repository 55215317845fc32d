//! Owns the user that Postgres runs as: ourselves, or another user when we are root (Postgres refuses root).
//!
//! Owns switching a command to that user and giving it files and folders. It must not know what the
//! files are for.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};
use process_wrap::tokio::{CommandWrap, CommandWrapper, ProcessSession};
use tokio::process::Command;

use super::error::EmbeddedError;

/// The user that owns the cluster.
#[derive(Debug, Clone)]
pub(super) enum Account {
    /// The user we are: nothing to switch, nothing to give away.
    Ourselves,
    /// We are root and lend the cluster to this user.
    Other {
        /// For messages.
        name: String,
        /// User id.
        uid: u32,
        /// The user's own group; it gets no other.
        gid: u32,
    },
}

impl Account {
    /// Ourselves, or for root `postgres`, else `nobody`. Postgres looks its user up by name, so a
    /// bare number without an entry in passwd would not do.
    pub(super) fn choose() -> Result<Self, EmbeddedError> {
        if !geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .filter(|user| !user.uid.is_root())
            .map(|user| Self::Other {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
            .ok_or(EmbeddedError::NoAccount)
    }

    /// The user id that owns the cluster's processes and files.
    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Ourselves => geteuid().as_raw(),
            Self::Other { uid, .. } => *uid,
        }
    }

    /// A command that will run as this user, in a folder it can enter, with nothing of our
    /// environment but what finding programs and libraries takes: a stray `PGDATA`, `PGPORT` or
    /// locale must not reach the cluster.
    ///
    /// It begins a session of its own, without a terminal. Who shares root's terminal can type into it
    /// (TIOCSTI), and whoever is this user decides what the server runs. It also keeps Ctrl-C, which
    /// goes to our group, from stopping the server before our work is done.
    pub(super) fn command(&self, program: &Path, folder: &Path) -> io::Result<Command> {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir(folder);
        for name in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Self::Other { uid, gid, .. } = self {
            // As root the standard library also drops the supplementary groups.
            command.uid(*uid).gid(*gid);
        }
        // It only prepares the command, and has no use for the other that it is shown.
        ProcessSession.pre_spawn(&mut command, &CommandWrap::from(Command::new(program)))?;
        Ok(command)
    }

    /// Gives an open file or folder (not what is in it) to this user.
    pub(super) fn give(&self, opened: &File) -> io::Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => fchown(opened, Some(*uid), Some(*gid)),
        }
    }

    /// Fails when an existing parent of `path` shuts this user out. Looked at before anything is
    /// created, so that a refused start leaves nothing behind.
    pub(super) fn check_reach(&self, path: &Path) -> Result<(), EmbeddedError> {
        let Self::Other { name, .. } = self else { return Ok(()) };
        let mut parents: Vec<PathBuf> =
            path.ancestors().skip(1).filter(|parent| parent.is_dir()).map(Path::to_owned).collect();
        parents.reverse();
        for parent in parents {
            let metadata = fs::metadata(&parent).map_err(EmbeddedError::folder("read", &parent))?;
            if !self.may_enter(&metadata) {
                return Err(EmbeddedError::Unreachable { user: name.clone(), blocker: parent });
            }
        }
        Ok(())
    }

    fn may_enter(&self, folder: &Metadata) -> bool {
        let Self::Other { uid, gid, .. } = self else { return true };
        let bit = if folder.uid() == *uid {
            0o100
        } else if folder.gid() == *gid {
            0o010
        } else {
            0o001
        };
        folder.permissions().mode() & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn whatever_runs_for_the_server_has_a_session_of_its_own() {
        let account = Account::choose().unwrap();
        let mut command = account.command(Path::new("cat"), Path::new("/")).unwrap();
        let output = command.arg("/proc/self/stat").output().await.unwrap();
        let stat = String::from_utf8(output.stdout).unwrap();
        // Behind its number and name: state, parent, group, session, terminal; see proc(5).
        let (number, rest) = stat.split_once(" (cat) ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        assert_eq!((fields[2], fields[3], fields[4]), (number, number, "0"), "{stat}");
    }
}

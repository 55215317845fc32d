//! The data folder: what lies where, who owns it, its two locks, and where the socket goes.
//!
//! Owns paths, permissions and locks. It must not know what runs in the folder.
//!
//! | entry | what |
//! | --- | --- |
//! | `data/` | the cluster |
//! | `postgres.log` | the server's log |
//! | `postgres-VERSION/` | downloaded binaries |
//! | `socket/` or the folder named in `socket_folder` | the socket |
//! | `project` | whose cluster it is |
//! | `lock` | held exclusively while the server is being started or stopped |
//! | `users` | held shared by every process that uses the server |
//!
//! The locks are flocks: the kernel takes them back from a killed process.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::account::Account;
use super::error::EmbeddedError;
use super::planted::{self, LOCK};

/// `sun_path` without its final zero: 108 bytes on Linux, 104 elsewhere.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
const USERS: &str = "users";
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// Beginning of the name of a short socket folder.
const SHORT_PREFIX: &str = "kasparro-";
/// A download on a slow line happens under the lock, so this is far beyond a normal start.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// An opened data folder. Its path is absolute and free of symbolic links, because it is compared
/// with the working folders of processes.
#[derive(Debug, Clone)]
pub(super) struct DataFolder {
    root: PathBuf,
    account: Account,
    announce: fn(&str),
}

impl DataFolder {
    /// Opens the folder; a missing one is created, closed to everybody else. As root it is root's, and
    /// the cluster's user may pass through it to what is its own.
    pub(super) fn open(
        path: &Path,
        account: Account,
        announce: fn(&str),
    ) -> Result<Self, EmbeddedError> {
        let path = std::path::absolute(path).map_err(EmbeddedError::folder("find", path))?;
        // A link's own path has other parents than what it points to. `data` stands for whatever
        // will be inside: an existing folder must let the user pass too.
        let place = without_links(&path);
        planted::check_parents(&place, &account)?;
        account.check_reach(&place.join("data"))?;
        create_data_folder(&path, &account)?;
        let root = path.canonicalize().map_err(EmbeddedError::folder("find", &path))?;
        planted::check_parents(&root, &account)?;
        planted::take_data_folder(&root, &account)?;
        let folder = Self { root, account, announce };
        if fs::symlink_metadata(folder.cluster()).is_ok() {
            planted::open_folder(&folder.cluster(), &folder.account)?;
        }
        Ok(folder)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Tells the person who waits what takes its time.
    pub(super) fn announce(&self, line: &str) {
        (self.announce)(line);
    }

    /// The cluster itself.
    pub(super) fn cluster(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The server's log.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// The major version of the existing cluster.
    pub(super) fn cluster_major(&self) -> Option<u32> {
        planted::read_small(&self.cluster().join("PG_VERSION"))?.trim().parse().ok()
    }

    /// Waits for the right to start or stop the server. Polled rather than blocked on, so that the
    /// future can be dropped and the wait has an end.
    pub(super) async fn lock(&self) -> Result<File, EmbeddedError> {
        let path = self.root.join(LOCK);
        let file = self.open_lock_file(&path)?;
        let begin = Instant::now();
        let mut said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if begin.elapsed() > LOCK_TIMEOUT => {
                    return Err(EmbeddedError::LockBusy { path, seconds: LOCK_TIMEOUT.as_secs() });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(EmbeddedError::folder("lock", &path)(error));
                }
            }
            if !said && begin.elapsed() > Duration::from_secs(2) {
                said = true;
                self.announce(
                    "another kasparro is starting or stopping the private PostgreSQL; waiting",
                );
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// Registers this process as a user of the server. To be called under [`DataFolder::lock`];
    /// nobody holds the exclusive side then, so it does not wait.
    pub(super) fn join_users(&self) -> Result<File, EmbeddedError> {
        let path = self.root.join(USERS);
        let file = self.open_lock_file(&path)?;
        file.lock_shared().map_err(EmbeddedError::folder("lock", &path))?;
        Ok(file)
    }

    /// Whether any process uses the server. To be asked under [`DataFolder::lock`]: with it nobody
    /// can join in the meantime.
    pub(super) fn is_used(&self) -> Result<bool, EmbeddedError> {
        let path = self.root.join(USERS);
        let file = self.open_lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => self.leave_users(&file).map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(EmbeddedError::folder("lock", &path)(error)),
        }
    }

    /// Unlocks rather than merely closes: a child that another thread of ours is just starting
    /// still holds a copy of the file, and with it the lock.
    pub(super) fn leave_users(&self, file: &File) -> Result<(), EmbeddedError> {
        file.unlock().map_err(EmbeddedError::folder("unlock", self.root.join(USERS)))
    }

    fn open_lock_file(&self, path: &Path) -> Result<File, EmbeddedError> {
        open_lock_file(path, &self.account)
    }

    /// The folder of the socket, 0700: `socket/` in the data folder, or where that path is too long
    /// for a socket a short folder elsewhere, recorded in `socket_folder` so that others find it.
    pub(super) fn socket_folder(&self) -> Result<PathBuf, EmbeddedError> {
        let own = self.root.join("socket");
        if fits_a_socket(&own) {
            planted::make_private_folder(&own, &self.account)?;
            return Ok(own);
        }
        let record = self.root.join("socket_folder");
        if let Some(recorded) = self.recorded_short_folder()? {
            return Ok(recorded);
        }
        let short = self.create_short_folder().map_err(|source| EmbeddedError::SocketPath {
            path: own.join(SOCKET_NAME),
            limit: SOCKET_PATH_LIMIT,
            source,
        })?;
        let mut file = planted::open_file(
            &record,
            OpenOptions::new().write(true).create(true).truncate(false),
            &self.account,
        )?;
        file.set_len(0)
            .and_then(|()| file.write_all(short.as_os_str().as_bytes()))
            .map_err(EmbeddedError::folder("write", &record))?;
        Ok(short)
    }

    /// The short folder that `socket_folder` names, if it is one that we made. What the file says may
    /// have been written by whoever owned the data folder under an earlier kasparro.
    fn recorded_short_folder(&self) -> Result<Option<PathBuf>, EmbeddedError> {
        let record = self.root.join("socket_folder");
        if fs::symlink_metadata(&record).is_err() {
            return Ok(None);
        }
        let file = planted::open_file(&record, OpenOptions::new().read(true), &self.account)?;
        let mut recorded = String::new();
        file.take(SOCKET_PATH_LIMIT as u64)
            .read_to_string(&mut recorded)
            .map_err(EmbeddedError::folder("read", &record))?;
        let folder = PathBuf::from(recorded.trim_end());
        let named_by_us =
            folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SHORT_PREFIX));
        let ours = folder.is_absolute()
            && named_by_us
            && planted::check_parents(&folder, &self.account).is_ok()
            && self.is_private(&folder);
        Ok(ours.then_some(folder))
    }

    /// Removes a short socket folder again; one inside the data folder stays.
    pub(super) fn forget_short_socket_folder(&self) {
        if let Ok(Some(recorded)) = self.recorded_short_folder() {
            // Best effort: only an empty folder goes, and the next start makes another one.
            if fs::remove_dir(recorded).is_ok() {
                let _ = fs::remove_file(self.root.join("socket_folder"));
            }
        }
    }

    /// The temporary folder belongs to everyone: the new folder's name is not to be guessed ahead,
    /// and creating it must not follow anything that is already there.
    fn create_short_folder(&self) -> io::Result<PathBuf> {
        let mut last = io::Error::other("no temporary folder is short enough");
        let runtime = match self.account {
            Account::Ourselves => std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            // Root's own runtime folder shuts the other user out.
            Account::Other { .. } => None,
        };
        // The runtime folder comes second: it goes when the user logs out, the server may stay.
        let parents = [Some(std::env::temp_dir()), runtime, Some(PathBuf::from("/tmp"))];
        for parent in parents.into_iter().flatten().filter(|parent| parent.is_absolute()) {
            // A link's own path has other parents than what it points to.
            let Ok(parent) = parent.canonicalize() else { continue };
            let folder = parent.join(format!("{SHORT_PREFIX}{:016x}", once_only(&self.root)));
            if !fits_a_socket(&folder)
                || self.account.check_reach(&folder).is_err()
                || planted::check_parents(&folder, &self.account).is_err()
            {
                continue;
            }
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {
                    let made = planted::make_private_folder(&folder, &self.account);
                    return made.map(|()| folder).map_err(io::Error::other);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn is_private(&self, folder: &Path) -> bool {
        fs::symlink_metadata(folder).is_ok_and(|metadata| {
            metadata.is_dir()
                && metadata.uid() == self.account.uid()
                && metadata.permissions().mode() & 0o077 == 0
        })
    }
}

/// Where kasparro keeps its data when nobody says otherwise: the user's data folder by the
/// conventions of the system. Root gets a folder of the system instead, because its home is closed
/// to the user that Postgres must run as.
pub fn default_data_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/kasparro");
    }
    directories::ProjectDirs::from("", "", "kasparro")
        .map_or_else(|| PathBuf::from(".kasparro"), |folders| folders.data_dir().to_owned())
}

/// A path that is not UTF-8 cannot stand in a URL that sqlx reads, so it counts as unfit too.
fn fits_a_socket(folder: &Path) -> bool {
    let path = folder.join(SOCKET_NAME);
    path.as_os_str().as_bytes().len() <= SOCKET_PATH_LIMIT && path.to_str().is_some()
}

/// Creates the data folder unless it is there; an existing one is left as it is, since it may be any
/// folder that somebody named by mistake.
///
/// It is made ready beside its place and then renamed into it, so that a process racing with us
/// never sees a folder that the cluster's user cannot enter yet. It comes with its lock file:
/// renaming fails on a folder with something in it, but would replace a rival's empty one beneath
/// its feet.
fn create_data_folder(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    let cannot = |error| EmbeddedError::folder("create", path)(error);
    if path.is_dir() {
        return Ok(());
    }
    let mut missing: Vec<&Path> =
        path.ancestors().skip(1).take_while(|parent| !parent.exists()).collect();
    while let Some(parent) = missing.pop() {
        match fs::create_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot(error)),
            // Whatever root's umask is: this folder is new, and the other user must pass.
            Ok(()) if matches!(account, Account::Other { .. }) => {
                fs::set_permissions(parent, Permissions::from_mode(0o755)).map_err(cannot)?;
            }
            Ok(()) => {}
        }
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new.{}.{:016x}", std::process::id(), once_only(path)));
    let beside = PathBuf::from(beside);
    planted::create_data_folder(&beside, account).map_err(cannot)?;
    let lock = open_lock_file(&beside.join(LOCK), account);
    lock.and_then(|_| fs::rename(&beside, path).map_err(cannot)).or_else(|error| {
        fs::remove_dir_all(&beside).map_err(cannot)?;
        if path.is_dir() { Ok(()) } else { Err(error) }
    })
}

fn open_lock_file(path: &Path, account: &Account) -> Result<File, EmbeddedError> {
    planted::open_file(path, OpenOptions::new().read(true).append(true).create(true), account)
}

/// The path with the links in its existing part followed.
fn without_links(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let (Ok(real), Ok(missing)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return real.join(missing);
        }
    }
    path.to_owned()
}

/// A number that no other call, thread or process gets.
fn once_only(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, std::process::id(), std::thread::current().id(), SystemTime::now()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racing_openers_of_a_missing_folder_all_get_the_same_one() {
        for _ in 0..200 {
            let parent = tempfile::tempdir().unwrap();
            fs::set_permissions(&parent, Permissions::from_mode(0o755)).unwrap();
            let path = parent.path().join("data");
            let start = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let account = Account::choose().unwrap();
                        start.wait();
                        let folder = DataFolder::open(&path, account, |_| ()).unwrap();
                        folder.join_users().unwrap();
                    });
                }
            });
            let left = fs::read_dir(parent.path()).unwrap().count();
            assert_eq!(left, 1, "what the losers made is gone");
        }
    }
}

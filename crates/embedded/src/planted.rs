//! Opening files and folders where an attacker may have planted a link.
//!
//! Problem: as root we keep files in a folder beside those of the user that PostgreSQL runs as. Whoever
//! is that user must not lead us elsewhere: by a link in the place of a lock, say, that we would
//! write through or give away (CVE-2017-12172 was that, in PostgreSQL's own start scripts).
//!
//! Rules: the data folder and everything above it can be changed by root only, so no name in it
//! changes its meaning beneath us. What is opened is never followed, and is checked and given away
//! by its open handle, not by its name. What lies in folders that belong to the other user is only
//! read, a little of it, and only if it is a plain file.
//! It must not know what the files are for.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::{getegid, geteuid};

use super::account::Account;
use super::error::EmbeddedError;

/// What is held while the folder is changed; its presence shows that a folder is ours.
pub(super) const LOCK: &str = "lock";
/// More than any file has that the server keeps for us to read.
const SMALL_BYTES: u64 = 4096;
/// For a folder of root's: the group, which is that of the server's user, passes through.
const PASSABLE: u32 = 0o710;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// Opens a file of ours in the data folder as `options` say. It belongs to us alone afterwards, also
/// if an earlier kasparro gave it to the server's user.
pub(super) fn open_file(
    path: &Path,
    options: &mut OpenOptions,
    account: &Account,
) -> Result<File, EmbeddedError> {
    let cannot = |error| EmbeddedError::folder("open", path)(error);
    // Before it is opened: to open a device does something already.
    match fs::symlink_metadata(path) {
        Ok(found) => judge_file(path, &found, account)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(error)),
    }
    let file = options.mode(0o600).custom_flags(not_followed().bits()).open(path);
    let file = file.map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?;
    judge_file(path, &found, account)?;
    keep(&file, &found).map_err(EmbeddedError::folder("take over", path))?;
    Ok(file)
}

/// Neither followed nor waited for.
fn not_followed() -> OFlag {
    OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY
}

fn judge_file(path: &Path, found: &Metadata, account: &Account) -> Result<(), EmbeddedError> {
    let planted = |what| Err(EmbeddedError::Planted { path: path.to_owned(), what });
    if !found.is_file() {
        return planted(kind(found).to_owned());
    }
    if found.nlink() > 1 {
        return planted(format!("a file with {} names (hard links)", found.nlink()));
    }
    if found.uid() != geteuid().as_raw() && found.uid() != account.uid() {
        return planted(format!("a file of the user with the number {}", found.uid()));
    }
    Ok(())
}

fn kind(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_file() => "a file",
        () => "a device",
    }
}

fn keep(file: &File, found: &Metadata) -> io::Result<()> {
    if found.uid() != geteuid().as_raw() {
        fchown(file, Some(geteuid().as_raw()), Some(getegid().as_raw()))?;
    }
    if found.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Opens a folder, which a link to one is not. It has to belong to us or to the cluster's user.
pub(super) fn open_folder(path: &Path, account: &Account) -> Result<File, EmbeddedError> {
    let found = fs::symlink_metadata(path).map_err(EmbeddedError::folder("find", path))?;
    judge_folder(path, &found, account)?;
    let folder = open_directory(path).map_err(EmbeddedError::folder("open", path))?;
    let found = folder.metadata().map_err(EmbeddedError::folder("find", path))?;
    judge_folder(path, &found, account)?;
    Ok(folder)
}

fn judge_folder(path: &Path, found: &Metadata, account: &Account) -> Result<(), EmbeddedError> {
    let planted = |what| Err(EmbeddedError::Planted { path: path.to_owned(), what });
    if !found.is_dir() {
        return planted(kind(found).to_owned());
    }
    if found.uid() != geteuid().as_raw() && found.uid() != account.uid() {
        return planted(format!("a folder of the user with the number {}", found.uid()));
    }
    Ok(())
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | not_followed();
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// The text of a small file in a folder that belongs to the cluster's user. Anything but a plain
/// file counts as not there.
pub(super) fn read_small(path: &Path) -> Option<String> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(not_followed().bits()).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(SMALL_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether a socket of the cluster's user lies there.
pub(super) fn is_socket_of(path: &Path, account: &Account) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket() && found.uid() == account.uid())
}

/// Fails when a user other than root can replace what is at `path`, by way of a folder above it. Only
/// root has something to lose: an ordinary user's server is that user itself.
pub(super) fn check_parents(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    if matches!(account, Account::Ourselves) {
        return Ok(());
    }
    for parent in path.ancestors().skip(1) {
        let found = match fs::metadata(parent) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(EmbeddedError::folder("read", parent)(error)),
        };
        // In a sticky folder, like /tmp, nobody moves what belongs to others.
        let sticky = found.permissions().mode() & STICKY != 0;
        if found.uid() != 0 || (is_writable(&found) && !sticky) {
            return Err(EmbeddedError::NotOursAlone { folder: parent.to_owned() });
        }
    }
    Ok(())
}

/// Whether others than the owner can write. Root's own group is no other.
fn is_writable(found: &Metadata) -> bool {
    let mode = found.permissions().mode();
    mode & WRITABLE_BY_OTHERS != 0 || (mode & WRITABLE_BY_GROUP != 0 && found.gid() != 0)
}

/// Fails when a user other than root can put something into the data folder. One that an earlier kasparro
/// gave to the server's user is taken back; the user can still pass through.
pub(super) fn take_data_folder(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    let Account::Other { name, uid, gid } = account else { return Ok(()) };
    let cannot = |error| EmbeddedError::folder("take over", path)(error);
    let folder = open_directory(path).map_err(EmbeddedError::folder("open", path))?;
    let found = folder.metadata().map_err(cannot)?;
    if found.uid() == *uid && (is_empty(path).map_err(cannot)? || looks_like_ours(path)) {
        folder.set_permissions(Permissions::from_mode(PASSABLE)).map_err(cannot)?;
        fchown(&folder, Some(0), Some(*gid)).map_err(cannot)?;
        tracing::warn!(
            folder = %path.display(),
            "the data folder belonged to `{name}`, who could plant links in it; it belongs to root now"
        );
        return Ok(());
    }
    if found.uid() != 0 || is_writable(&found) {
        return Err(EmbeddedError::NotOursAlone { folder: path.to_owned() });
    }
    Ok(())
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.next().is_none())
}

/// A folder that was named by mistake, the home of `postgres` say, must not change its owner.
fn looks_like_ours(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(LOCK)).is_ok()
}

/// Creates a data folder: ours alone, but the server's user may pass through it.
pub(super) fn create_data_folder(path: &Path, account: &Account) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    if let Account::Other { gid, .. } = account {
        let folder = open_directory(path)?;
        fchown(&folder, Some(0), Some(*gid))?;
        folder.set_permissions(Permissions::from_mode(PASSABLE))?;
    }
    Ok(())
}

/// Makes a folder that only the server's user may enter, unless it is there.
pub(super) fn make_private_folder(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(EmbeddedError::folder("create", path)(error));
        }
        _ => {}
    }
    let folder = open_folder(path, account)?;
    account
        .give(&folder)
        .and_then(|()| folder.set_permissions(Permissions::from_mode(0o700)))
        .map_err(EmbeddedError::folder("give away", path))
}

/// Lets everybody read what root has unpacked, programs run, and nobody write. To be used where nobody
/// but root could put a link.
pub(super) fn open_up_tree(folder: &Path, account: &Account) -> io::Result<()> {
    if matches!(account, Account::Ourselves) {
        return Ok(());
    }
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let found = fs::symlink_metadata(&path)?;
        let mode = found.permissions().mode();
        if found.is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else if found.is_file() {
            let mode = if mode & 0o100 != 0 { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        std::os::unix::fs::lchown(&path, Some(0), Some(0))?;
    }
    Ok(())
}

//! Floor 2, below those that read: opening and reading files that others name or put there. Only
//! regular files are opened: a named pipe would wait for a writer, a device has no end, and both
//! may be where a file is expected, by mistake or on purpose. Whole files are read up to a
//! limit.
//!
//! Must not know what the files hold, nor which files may be read.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// The most bytes of a job file.
pub const MAX_JOB_FILE: u64 = 1 << 20;
/// The most bytes of the settings file.
pub const MAX_SETTINGS_FILE: u64 = 1 << 20;
/// The most bytes of a file with a secret in it.
pub const MAX_SECRET_FILE: u64 = 64 << 10;

/// Why something is not read although it is there and may be. It is the cause within an
/// [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has no bytes that one could read to an end.
    #[error("it is {0}, not a file")]
    NoFile(&'static str),
    /// It is too large.
    #[error("it is larger than {0} bytes, the most that is read")]
    TooLarge(u64),
}

impl Unfit {
    /// The reason within an error, if that is it.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unfit)
    }
}

/// Opens a regular file, following links, without ever waiting for it.
///
/// # Errors
/// Those of the operating system; [`Unfit::NoFile`].
pub fn open(path: &Path) -> io::Result<File> {
    // Opening alone does something to some devices, so this looks first; and again afterwards, for
    // what counts is what was opened.
    refuse_no_file(&std::fs::metadata(path)?)?;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    refuse_no_file(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As of [`open`]; [`Unfit::TooLarge`].
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > most {
        return Err(Unfit::TooLarge(most).into());
    }
    let mut bytes = Vec::new();
    // Files of the kernel have no size, and others grow.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Unfit::TooLarge(most).into()) } else { Ok(bytes) }
}

/// Reads a regular file of at most `most` bytes of UTF-8.
///
/// # Errors
/// As of [`read`]; [`io::ErrorKind::InvalidData`] when it is no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Refuses what is neither a regular file nor a folder; folders refuse to be read by themselves.
///
/// # Errors
/// [`Unfit::NoFile`].
pub fn refuse_no_file(metadata: &Metadata) -> io::Result<()> {
    match kind(metadata.file_type()) {
        None => Ok(()),
        Some(kind) => Err(Unfit::NoFile(kind).into()),
    }
}

fn kind(kind: FileType) -> Option<&'static str> {
    if kind.is_fifo() {
        Some("a named pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("a device")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn what_is_no_file_is_refused_by_name_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        let _listener = UnixListener::bind(path("socket")).unwrap();
        symlink("/dev/zero", path("device")).unwrap();
        symlink("pipe", path("link")).unwrap();
        for (name, kind) in [
            ("pipe", "a named pipe"),
            ("link", "a named pipe"),
            ("socket", "a socket"),
            ("device", "a device"),
        ] {
            for error in [open(&path(name)).unwrap_err(), read(&path(name), 10).unwrap_err()] {
                assert_eq!(Unfit::of(&error), Some(Unfit::NoFile(kind)), "{name}");
                assert_eq!(error.to_string(), format!("it is {kind}, not a file"));
            }
        }
    }

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "ten bytes.").unwrap();
        assert_eq!(read_text(&path, 10).unwrap(), "ten bytes.");
        let error = read(&path, 9).unwrap_err();
        assert_eq!(Unfit::of(&error), Some(Unfit::TooLarge(9)));
        // The kernel's files say that they are empty.
        let kernel = read(Path::new("/proc/self/status"), 9).unwrap_err();
        assert_eq!(Unfit::of(&kernel), Some(Unfit::TooLarge(9)));
        assert!(Unfit::of(&read(folder.path(), 9).unwrap_err()).is_none());
    }
}

//! Owns what an error of the file system means for a task.

use std::io;
use std::path::Path;

use crate::files::Unfit;
use crate::sources::files::location::Setting;
use crate::sources::{SourceError, SourceErrorKind};

/// What cannot be fixed by waiting is permanent; a disk or network share may come back.
pub(super) fn meaning(path: &Path, setting: Setting, error: io::Error) -> SourceError {
    let path = path.display();
    if Unfit::of(&error).is_some() {
        return SourceError::new(SourceErrorKind::FileUnreadable, format!("{path} is not read"))
            .caused_by(error);
    }
    let of = |kind, what: &str| SourceError::new(kind, format!("{path} {what}"));
    let failed = match error.kind() {
        io::ErrorKind::NotFound => of(SourceErrorKind::FileMissing, "does not exist")
            .advise(format!("put the file there, or change {setting}")),
        io::ErrorKind::PermissionDenied => of(SourceErrorKind::FileUnreadable, "may not be read")
            .advise("give the user that kasparro runs as the right to"),
        _ if leads_nowhere(&error) => of(SourceErrorKind::FileUnreadable, "leads nowhere"),
        _ => of(SourceErrorKind::FileBusy, "cannot be read just now"),
    };
    failed.caused_by(error)
}

/// Whether a path will never lead to a file as it is: links in a circle, a name that is too long.
pub(super) fn leads_nowhere(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let bad = [Errno::ELOOP, Errno::ENAMETOOLONG, Errno::ENOTDIR, Errno::EINVAL, Errno::ENXIO];
    error.kind() == io::ErrorKind::InvalidInput
        || error.raw_os_error().is_some_and(|code| bad.contains(&Errno::from_raw(code)))
}

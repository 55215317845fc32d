//! Owns what it means that a file cannot be unpacked although all of it has come.

use std::io;

use crate::sources::{SourceError, SourceErrorKind};

/// Whether an error says that what was to be unpacked is not as it should be, rather than that bytes did not come.
pub fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    error.raw_os_error().is_none()
        && matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// A file that has come as it is, and cannot be unpacked.
pub fn damaged(name: &str, error: &io::Error) -> SourceError {
    let text = match error.kind() {
        io::ErrorKind::InvalidData => format!("{name}: {error}"),
        _ => format!("{name} is damaged, or not all of it is there: {error}"),
    };
    SourceError::new(SourceErrorKind::InvalidFile, text)
}

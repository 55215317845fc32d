//! Owns what became of a file that was sent, or why it is not kept.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::upload::UploadOutcome;
use crate::sources::SourceError;

/// How long nothing may come of a file.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A file that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptFile {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) outcome: UploadOutcome,
}

/// Why a file was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// It has more bytes than that.
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// The folder of its source is a link that leads out of the folder for uploads.
    #[error("{} leads out of the folder for uploads", .0.display())]
    Outside(PathBuf),
    /// It stopped coming.
    #[error("nothing came for {} s", SILENCE.as_secs())]
    Stalled,
    /// It ended early.
    #[error("it ended before it was complete")]
    CutOff,
    /// It is not what was sent.
    #[error("its SHA-256 is {}", hex(.0))]
    OtherDigest([u8; 32]),
    /// There is another one of that name.
    #[error("there is another file of that name")]
    Exists,
    /// The disk is full, or its owner has no more of it.
    #[error("there is no room for it")]
    NoRoom,
    /// The folder cannot be used.
    #[error("the folder cannot be used")]
    Failed(#[source] io::Error),
    /// The bucket does not take it.
    #[error("the bucket does not take it")]
    Refused(#[source] SourceError),
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoRoom,
            _ => Self::Failed(error),
        }
    }
}

/// The digits of a digest.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

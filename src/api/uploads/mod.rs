//! Owns where uploaded files are kept: each appears whole, under its name, or not at all.
//!
//! Must not know HTTP, nor which source wants which file.

mod bucket;
mod folder;
mod kept;
mod receive;

pub(crate) use self::bucket::AT_ONCE;
pub use self::bucket::UploadBucket;
pub use self::folder::UploadFolder;
pub(crate) use self::kept::{KeptFile, NotKept, hex};

/// Where uploaded files are kept.
#[derive(Debug, Clone)]
pub enum Uploads {
    /// On this machine, or where it seems to be.
    Folder(UploadFolder),
    /// In a bucket.
    Bucket(UploadBucket),
}

impl Uploads {
    /// The most bytes of a file.
    pub(crate) fn most(&self) -> Option<u64> {
        match self {
            Self::Folder(folder) => folder.most(),
            Self::Bucket(bucket) => Some(bucket.most()),
        }
    }
}

//! Owns keeping uploaded files in a bucket, by the keys of the job file that reads them there.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;

use super::kept::{KeptFile, NotKept, SILENCE};
use super::receive::{Limits, Received, receive};
use crate::sources::{Access, Source, Upload};

/// The most that services take by one request, in bytes: S3 says 5 GB, others say more.
pub(crate) const AT_ONCE: u64 = 5_000_000_000;

/// A bucket for uploaded files, with a folder in it for each source.
#[derive(Debug, Clone)]
pub struct UploadBucket {
    /// Without a slash at its end.
    address: String,
    most: u64,
}

impl UploadBucket {
    /// That address, and the most bytes that a file may have; `None`: as many as the service takes.
    pub fn new(address: String, most: Option<u64>) -> Self {
        Self { address, most: most.unwrap_or(AT_ONCE).min(AT_ONCE) }
    }

    /// The most bytes of a file.
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// The address of a file of a source.
    pub(crate) fn place(&self, source: &str, file: &str) -> String {
        format!("{}/{source}/{file}", self.address)
    }

    /// Keeps what comes as the file of this address, if it has this digest, once all of it has come: until then it is
    /// in a file without a name, among the temporary ones.
    ///
    /// # Errors
    /// When it is not kept, or nobody knows.
    pub(crate) async fn keep(
        &self,
        (source, access): (Arc<dyn Source>, Access),
        address: String,
        pieces: impl Stream<Item = io::Result<Bytes>> + Unpin,
        expected: Option<[u8; 32]>,
        replace: bool,
    ) -> Result<KeptFile, NotKept> {
        let limits = Limits { most: Some(self.most), silence: SILENCE };
        let received = receive(pieces, expected, limits, tempfile::tempfile).await?;
        let Received { file, bytes, sha256 } = received;
        let upload = Upload { address, file: Arc::new(file), bytes, sha256, replace };
        match source.keep_object(access, upload).await {
            Ok(Some(outcome)) => Ok(KeptFile { bytes, sha256, outcome }),
            Ok(None) => Err(NotKept::Exists),
            Err(error) => Err(NotKept::Refused(error)),
        }
    }
}

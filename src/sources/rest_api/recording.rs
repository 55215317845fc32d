//! Owns recorded pages: a folder with `page-0001.json`, `page-0002.json` … of bodies as they came,
//! so that a source can be tried without network and without a key.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::files;
use crate::sources::{AllowedRoots, SourceError, SourceErrorKind};

/// The folder of recorded pages of one source.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    /// As the job file says.
    folder: PathBuf,
    /// Where it is.
    path: PathBuf,
}

impl Recording {
    pub fn new(base_dir: &Path, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), path: base_dir.join(folder) }
    }

    /// Whether the folder is below the allowed roots.
    ///
    /// # Errors
    /// Permanent when it is not.
    pub fn check(&self, base_dir: &Path, allowed_roots: &AllowedRoots) -> Result<(), SourceError> {
        allowed_roots.check(base_dir, &self.path, "rest_api.recording", |error| {
            let path = self.path.display();
            let message = format!("rest_api.recording: {path} cannot be used");
            SourceError::new(SourceErrorKind::BadRecording, message).caused_by(error)
        })
    }

    /// The address of a recorded page, the same on every machine.
    pub fn address(&self, page: u64) -> String {
        self.folder.join(file_name(page)).display().to_string()
    }

    /// Reads page `page` of a full sync, from 1, of at most `most` bytes.
    pub async fn read(&self, page: u64, most: u64) -> Result<Vec<u8>, SourceError> {
        let path = self.path.join(file_name(page));
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || files::read(&file, most)).await;
        read.unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| self.unread(page, &path, error))
    }

    fn unread(&self, page: u64, path: &Path, error: std::io::Error) -> SourceError {
        let of = |message: String| SourceError::new(SourceErrorKind::BadRecording, message);
        let unread = match error.kind() {
            ErrorKind::NotFound if page == 1 => {
                of(format!("there is no recording in {}", self.path.display()))
                    .advise("run the source once with `--record` to make one")
            }
            ErrorKind::NotFound => of(format!("the recording ends before {}", path.display()))
                .advise(format!(
                    "run the source once with `--record` to make it whole, or set `max_pages` of \
                     `rest_api.paginator` to {}",
                    page - 1
                )),
            _ => of(format!("the recorded page {} cannot be read", path.display())),
        };
        unread.caused_by(error)
    }

    /// Keeps page `page` of a full sync. The file appears whole or not at all.
    pub async fn write(&self, page: u64, body: &str) -> Result<(), SourceError> {
        let path = self.path.join(file_name(page));
        // Two workers may be given the same task: each has a file of its own until the rename.
        let draft = self.path.join(format!(".{}.{}", file_name(page), Ulid::generate()));
        let written = async {
            tokio::fs::create_dir_all(&self.path).await?;
            tokio::fs::write(&draft, body).await?;
            tokio::fs::rename(&draft, &path).await
        };
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => {
                // The draft may not even exist; what matters is the error before.
                let _ = tokio::fs::remove_file(&draft).await;
                let path = path.display();
                let message = format!("the page cannot be recorded in {path}");
                Err(SourceError::new(SourceErrorKind::BadRecording, message).caused_by(error))
            }
        }
    }
}

fn file_name(page: u64) -> String {
    format!("page-{page:04}.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    #[tokio::test]
    async fn a_recorded_page_is_read_as_it_was_written_and_nothing_else_is_left() {
        let base = tempfile::tempdir().unwrap();
        let recording = Recording::new(base.path(), Path::new("recordings/x"));
        recording.write(12, "[ 1.50 ]\n").await.unwrap();
        recording.write(12, "[ 1.5 ]\n").await.unwrap();
        assert_eq!(recording.read(12, 8).await.unwrap(), b"[ 1.5 ]\n");
        let files: Vec<_> = std::fs::read_dir(base.path().join("recordings/x")).unwrap().collect();
        assert_eq!(files.len(), 1);
        assert_eq!(recording.address(12), "recordings/x/page-0012.json");
    }

    #[tokio::test]
    async fn what_is_not_recorded_is_named_with_the_way_to_record_it() {
        let base = tempfile::tempdir().unwrap();
        let recording = Recording::new(base.path(), Path::new("x"));
        for (page, named) in [(1, base.path().join("x")), (2, base.path().join("x/page-0002.json"))]
        {
            let error = recording.read(page, 8).await.unwrap_err();
            assert_eq!(error.class(), FailureClass::Permanent);
            assert!(error.text().contains(&named.display().to_string()), "{error}");
            assert!(error.text().contains("--record"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("x"), "a file").unwrap();
        let error = Recording::new(base.path(), Path::new("x")).write(1, "[]").await.unwrap_err();
        assert!(error.text().contains("cannot be recorded"), "{error}");
    }
}

//! Owns files of this machine that are read from their start to their end: those that are packed, for example.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Body, Coded, Listed, OpenedFile, Place};
use crate::sources::files::location::Setting;
use crate::sources::files::off_thread::off_thread;
use crate::sources::files::store::local::LocalStore;
use crate::sources::files::store::{FileState, Store, changed, stored_name};
use crate::sources::{AllowedRoots, Loss, SourceError, SourceErrorKind};

/// A file that was so young when it was read may have changed within the same tick of its clock.
const YOUNG: Duration = Duration::from_secs(2);

/// The file system.
#[derive(Debug)]
pub(super) struct Local {
    base_dir: PathBuf,
    store: Arc<LocalStore>,
}

impl Local {
    pub fn new(base_dir: PathBuf, allowed_roots: AllowedRoots, setting: Setting) -> Self {
        let store = Arc::new(LocalStore::new(base_dir.clone(), allowed_roots, setting));
        Self { base_dir, store }
    }

    /// A file as it is listed, by its name. Blocking.
    ///
    /// # Errors
    /// When it is not there, or is no file.
    pub fn look(&self, name: &str) -> Result<Listed, SourceError> {
        Ok(listed(name.to_owned(), self.store.stat(&self.base_dir.join(name))?))
    }
}

impl Place for Local {
    fn list<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SourceError>> {
        let (store, base, entry) =
            (Arc::clone(&self.store), self.base_dir.clone(), entry.to_owned());
        let unneeded = Unneeded::default();
        let stopped = Arc::clone(&unneeded.0);
        let list = off_thread(move || {
            let found = store.list(&[entry], &stopped)?;
            if let Some(lost) = found.left_out.iter().find(|left| left.loss != Loss::Nothing) {
                return Err(SourceError::new(SourceErrorKind::FileUnreadable, lost.why.clone()));
            }
            let listed = |path: &PathBuf| Ok(listed(stored_name(&base, path), store.stat(path)?));
            found.files.iter().map(listed).collect()
        });
        async move {
            let _patience = unneeded;
            list.await
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        file: &'a Listed,
        _known: Option<&'a Listed>,
        from: u64,
    ) -> BoxFuture<'a, Result<OpenedFile, SourceError>> {
        let (store, path) = (Arc::clone(&self.store), self.base_dir.join(&file.name));
        let file = file.clone();
        off_thread(move || {
            let mut bytes = store.open(&path)?;
            refuse_changed(&store, &path, &file)?;
            io::copy(&mut bytes.by_ref().take(from), &mut io::sink())
                .map_err(|error| store.failed(&path, error))?;
            let bytes = Watched { bytes, store, path, file: file.clone() };
            Ok(OpenedFile::Body(Body {
                file,
                bytes: Box::new(bytes),
                end_is_told: true,
                charset: None,
                from,
                coded: Coded::Not,
                is_same: true,
            }))
        })
        .boxed()
    }

    fn proves_unchanged(&self, known: &Listed, listed: &Listed, read_at: DateTime<Utc>) -> bool {
        let is_old = |time| read_at.signed_duration_since(DateTime::<Utc>::from(time)).to_std();
        let was_old = listed.modified.is_some_and(|time| is_old(time).is_ok_and(|age| age > YOUNG));
        let same_etag = known.etag.is_some() && known.etag == listed.etag;
        known.size == listed.size && known.modified == listed.modified && was_old && same_etag
    }
}

/// Refuses a file that is not the one that was listed.
fn refuse_changed(store: &LocalStore, path: &Path, file: &Listed) -> Result<(), SourceError> {
    match listed(file.name.clone(), store.stat(path)?) == *file {
        true => Ok(()),
        false => Err(changed(path)),
    }
}

fn listed(name: String, state: FileState) -> Listed {
    let FileState { stamp, etag } = state;
    Listed { name, size: Some(stamp.size), modified: Some(stamp.modified), etag, version: None }
}

/// A file that must still be what it was when its end is reached.
struct Watched {
    bytes: Box<dyn Read + Send>,
    store: Arc<LocalStore>,
    path: PathBuf,
    file: Listed,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer);
        let read = read.map_err(|error| io::Error::other(self.store.failed(&self.path, error)))?;
        if read == 0 && !buffer.is_empty() {
            refuse_changed(&self.store, &self.path, &self.file).map_err(io::Error::other)?;
        }
        Ok(read)
    }
}

/// Tells the thread that lists, once it is dropped, that nobody waits for it any more.
#[derive(Default)]
struct Unneeded(Arc<AtomicBool>);

impl Drop for Unneeded {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::SourceErrorKind;

    fn place(folder: &Path) -> Local {
        let setting = Setting { table: "files", extension: "csv" };
        Local::new(folder.to_owned(), AllowedRoots::default(), setting)
    }

    async fn open(place: &Local, file: &Listed, from: u64) -> Result<Body, SourceError> {
        match place.open(file, None, from).await? {
            OpenedFile::Body(body) => Ok(body),
            OpenedFile::Unchanged => panic!("nothing was known of it"),
        }
    }

    #[tokio::test]
    async fn a_file_that_is_another_than_was_listed_is_not_read_and_one_that_changes_has_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "a\n1\n").unwrap();
        let place = place(folder.path());
        let listed = place.list("*.csv").await.unwrap();
        let [file] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((file.name.as_str(), file.size), ("a.csv", Some(4)));
        let read = |mut body: Body| {
            let mut text = String::new();
            body.bytes.read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(read(open(&place, file, 0).await.unwrap()).unwrap(), "a\n1\n");
        assert_eq!(read(open(&place, file, 2).await.unwrap()).unwrap(), "1\n");
        let opened = open(&place, file, 0).await.unwrap();
        std::fs::write(&path, "a\n22\n").unwrap();
        let error = read(opened).unwrap_err().downcast::<SourceError>().unwrap();
        assert_eq!(error.kind, SourceErrorKind::FileChanged);
        let error = open(&place, file, 0).await.err().unwrap();
        assert_eq!(error.kind, SourceErrorKind::FileChanged);
    }

    #[test]
    fn a_file_that_was_young_when_it_was_read_may_be_another_of_the_same_look() {
        let place = place(Path::new("/"));
        let now = Utc::now();
        let of = |age: i64| {
            let modified = Some((now - chrono::TimeDelta::seconds(age)).into());
            Listed { size: Some(1), modified, etag: Some("1".into()), ..Listed::default() }
        };
        assert!(place.proves_unchanged(&of(3), &of(3), now));
        assert!(!place.proves_unchanged(&of(1), &of(1), now));
        assert!(!place.proves_unchanged(&of(3), &of(4), now));
        let other = Listed { etag: Some("2".into()), ..of(3) };
        assert!(!place.proves_unchanged(&of(3), &other, now));
    }
}

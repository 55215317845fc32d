//! Owns the folder in which uploaded files are kept.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::Stream;
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, PersistError};
use tokio::task::spawn_blocking;

use super::kept::{KeptFile, NotKept, SILENCE};
use super::receive::{Limits, Received, receive};
use crate::domain::upload::UploadOutcome;
use crate::sources::INCOMING;

/// After that long what is left of a file is of a process that was killed: no file is longer on its way.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// The folder for uploaded files, with a folder in it for each source.
#[derive(Debug, Clone)]
pub struct UploadFolder {
    folder: PathBuf,
    /// The most bytes of a file.
    most: Option<u64>,
    /// How long nothing may come of a file.
    silence: Duration,
}

impl UploadFolder {
    /// That folder, and the most bytes that a file in it may have; `None`: any number.
    pub fn new(folder: PathBuf, most: Option<u64>) -> Self {
        Self { folder, most, silence: SILENCE }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The most bytes of a file.
    pub(crate) fn most(&self) -> Option<u64> {
        self.most
    }

    /// Makes it where it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> io::Result<()> {
        make(&self.folder)
    }

    /// Where a file of a source is kept, in a folder that is made where it is not there, and stays only if the
    /// file is wanted there.
    ///
    /// # Errors
    /// When it cannot be made, is elsewhere, or the file is not wanted.
    pub(crate) fn place<E: From<NotKept>>(
        &self,
        source: &str,
        file: &str,
        wanted: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let failed = |error: io::Error| E::from(error.into());
        let folder = self.folder.join(source);
        let was_there = folder.exists();
        make(&folder).map_err(failed)?;
        let real = fs::canonicalize(&folder).map_err(failed)?;
        if !real.starts_with(fs::canonicalize(&self.folder).map_err(failed)?) {
            return Err(NotKept::Outside(folder).into());
        }
        let place = folder.join(file);
        let is_wanted = wanted(&place);
        if is_wanted.is_err() && !was_there {
            // It stays if another upload was quicker.
            let _ = fs::remove_dir(&folder);
        }
        is_wanted.map(|()| place)
    }

    /// Where files are as long as they are incomplete: on the same disk, and where no pattern leads.
    fn incoming(&self) -> PathBuf {
        self.folder.join(INCOMING)
    }

    /// Keeps what comes as a file at this place, if it has this digest, once all of it has come. One that is there is
    /// replaced if that is wanted, unless it is the same.
    ///
    /// # Errors
    /// When it is not kept; then nothing has changed.
    pub(crate) async fn keep(
        &self,
        place: PathBuf,
        pieces: impl Stream<Item = io::Result<Bytes>> + Unpin,
        expected: Option<[u8; 32]>,
        replace: bool,
    ) -> Result<KeptFile, NotKept> {
        let incoming = self.incoming();
        let limits = Limits { most: self.most, silence: self.silence };
        let received = receive(pieces, expected, limits, move || unnamed(&incoming)).await?;
        let Received { file, bytes, sha256 } = received;
        let kept = spawn_blocking(move || publish(file, &place, &sha256, replace)).await;
        let outcome = kept.map_err(io::Error::other)??;
        Ok(KeptFile { bytes, sha256, outcome })
    }
}

/// A file that has no name among those that are complete. Blocking.
fn unnamed(incoming: &Path) -> io::Result<NamedTempFile> {
    make(incoming)?;
    remove_left_behind(incoming);
    let of_owner_and_group = Permissions::from_mode(0o640);
    tempfile::Builder::new().permissions(of_owner_and_group).suffix(".part").tempfile_in(incoming)
}

/// Gives a complete file its name. Blocking.
fn publish(
    file: NamedTempFile,
    place: &Path,
    sha256: &[u8; 32],
    replace: bool,
) -> Result<UploadOutcome, NotKept> {
    file.as_file().sync_all()?;
    if let Some(folder) = place.parent() {
        make(folder)?;
    }
    let is_there = place.symlink_metadata();
    let outcome = match is_there.as_ref().map(|there| there.is_dir()) {
        Ok(true) => return Err(NotKept::Exists),
        Ok(false) if replace && is_same(place, sha256)? => UploadOutcome::Unchanged,
        there if replace => {
            file.persist(place).map_err(|PersistError { error, .. }| error)?;
            if there.is_ok() { UploadOutcome::Replaced } else { UploadOutcome::New }
        }
        _ => match file.persist_noclobber(place) {
            Ok(_) => UploadOutcome::New,
            Err(PersistError { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                match is_same(place, sha256)? {
                    true => UploadOutcome::Unchanged,
                    false => return Err(NotKept::Exists),
                }
            }
            Err(PersistError { error, .. }) => return Err(error.into()),
        },
    };
    if let Some(folder) = place.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(outcome)
}

fn is_same(place: &Path, sha256: &[u8; 32]) -> io::Result<bool> {
    let mut file = crate::files::open(place)?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finalize()[..] == sha256[..]),
            Ok(read) => hasher.update(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Others of its group may read what is in it, such as workers that run as another user.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

/// Removes what killed processes have left. What cannot be removed only takes room.
fn remove_left_behind(incoming: &Path) {
    let Ok(entries) = fs::read_dir(incoming) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        if age.is_ok_and(|age| age > LEFT_BEHIND) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{StreamExt, stream};

    use super::*;

    fn pieces(pieces: &[&'static str]) -> impl Stream<Item = io::Result<Bytes>> + Unpin {
        let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        stream::iter(pieces.collect::<Vec<_>>())
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_file_is_kept_once_and_another_of_its_name_only_where_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = UploadFolder::new(folder.path().join("new/uploads"), Some(9));
        let place = uploads.place("shop", "a.csv", |_| Ok::<_, NotKept>(())).unwrap();
        let keep = |texts: &'static [&'static str], replace| {
            uploads.keep(place.clone(), pieces(texts), None, replace)
        };
        assert_eq!(keep(&["id\n", "1\n"], false).await.unwrap().outcome, UploadOutcome::New);
        assert_eq!(keep(&["i", "d\n1\n"], false).await.unwrap().outcome, UploadOutcome::Unchanged);
        assert!(matches!(keep(&["id\n2\n"], false).await, Err(NotKept::Exists)));
        assert_eq!(fs::read_to_string(&place).unwrap(), "id\n1\n");
        assert_eq!(keep(&["id\n1\n"], true).await.unwrap().outcome, UploadOutcome::Unchanged);
        let kept = keep(&["id\n2\n"], true).await.unwrap();
        assert_eq!((kept.outcome, kept.bytes), (UploadOutcome::Replaced, 5));
        assert_eq!(fs::read_to_string(&place).unwrap(), "id\n2\n");
        assert_eq!(names(&uploads.incoming()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_does_not_come_whole_leaves_nothing_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = UploadFolder::new(folder.path().to_owned(), Some(9));
        let place = uploads.place("shop", "a.csv", |_| Ok::<_, NotKept>(())).unwrap();
        fs::write(&place, "old").unwrap();
        let cut = pieces(&["id\n"]).chain(stream::iter([Err(io::Error::other("cut"))]));
        let cut = uploads.keep(place.clone(), pin!(cut), None, true).await;
        assert!(matches!(cut, Err(NotKept::CutOff)), "{cut:?}");
        let large = uploads.keep(place.clone(), pieces(&["12345", "67890"]), None, true).await;
        assert!(matches!(large, Err(NotKept::TooLarge(9))), "{large:?}");
        let other = uploads.keep(place.clone(), pieces(&["id\n"]), Some([0; 32]), true).await;
        assert!(matches!(other, Err(NotKept::OtherDigest(_))), "{other:?}");
        let silent = pieces(&["id\n"]).chain(stream::pending());
        let uploads = UploadFolder { silence: Duration::from_millis(20), ..uploads };
        let silent = uploads.keep(place.clone(), pin!(silent), None, true).await;
        assert!(matches!(silent, Err(NotKept::Stalled)), "{silent:?}");
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        assert_eq!(names(&uploads.incoming()), Vec::<String>::new());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_coming_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.part"), folder.path().join("new.part"));
        fs::write(&new, "").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
        File::create(&old).unwrap().set_modified(long_ago).unwrap();
        remove_left_behind(folder.path());
        assert_eq!(names(folder.path()), ["new.part"]);
    }
}

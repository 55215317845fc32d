//! Owns recorded pages: a folder of bodies as they came, so that a source can be tried without network and
//! without a key.
//!
//! A page is in `page-0001-KEY.json`, named by its number in the full sync and by its request, so that pages
//! of any paginator and any body are told apart; the headers that came with it are in
//! `page-0001-KEY.headers.json`. `recording.json` holds what a run without a network cannot know: the address,
//! and where the run began. The parents for whose children was asked are in `parents-000000.json`, by lane. Recordings of earlier versions have `page-0001.json` alone, and are still read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;

use crate::domain::hash::ContentHash;
use crate::domain::parent::Parent;
use crate::files;
use crate::sources::{AllowedRoots, SourceError, SourceErrorKind};

/// The file of what a run without a network cannot know.
const INDEX: &str = "recording.json";
/// The largest of the small files.
const MOST_SMALL: u64 = 1 << 20;
/// What the names of the files begin with that hold parents, one for each lane.
const PARENTS: &str = "parents-";
/// The largest of them.
const MOST_PARENTS: u64 = 64 << 20;
/// How many digits of a request's hash are in the name of its page.
const DIGITS: usize = 16;
/// Headers that say nothing of the page as it is kept, differ with each request, or hold a session.
const UNKEPT: &[&str] = &[
    "age",
    "alt-svc",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expires",
    "keep-alive",
    "nel",
    "report-to",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "via",
];
/// The header beside a recorded page that says in how many places of it a secret was replaced.
const REDACTED: &str = "kasparro-redacted";
const UNKEPT_PREFIXES: &[&str] =
    &["cf-", "x-amz", "x-ratelimit", "ratelimit", "x-rate-limit", "x-request", "x-runtime"];

/// The folder of recorded pages of one source.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    /// As the job file says.
    folder: PathBuf,
    /// Where it is.
    path: PathBuf,
}

/// Which page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recorded {
    /// Its number in the full sync, from 1.
    pub page: u64,
    /// A hash of its request.
    pub request: ContentHash,
}

/// A page that was read.
#[derive(Debug)]
pub(super) struct RecordedPage {
    /// Where it is, the same on every machine.
    pub from: String,
    pub body: Vec<u8>,
    pub headers: HeaderMap,
    /// In how many places of the body a secret was replaced.
    pub redacted: u64,
}

/// What a run without a network cannot know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    /// The address that was asked, where it is not in the job file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Where the chains of pages began, with their lanes, where that is not the same in every run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begins: Vec<(u32, Value)>,
}

impl Recorded {
    fn name(self) -> String {
        let request = self.request.to_string();
        format!("page-{:04}-{}.json", self.page, &request[..DIGITS.min(request.len())])
    }

    fn headers_name(self) -> String {
        self.name().replace(".json", ".headers.json")
    }

    /// The name in recordings of earlier versions.
    fn old_name(self) -> String {
        format!("page-{:04}.json", self.page)
    }
}

impl Recording {
    pub fn new(base_dir: &Path, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), path: base_dir.join(folder) }
    }

    /// The folder, as the job file says.
    pub fn folder(&self) -> String {
        self.folder.display().to_string()
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

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a run without a network cannot know; nothing where nobody has written it.
    pub fn index(&self) -> Index {
        let text = files::read_text(&self.path.join(INDEX), MOST_SMALL);
        text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Keeps what a run without a network cannot know.
    pub async fn write_index(&self, index: &Index) -> Result<(), SourceError> {
        let text = serde_json::to_string_pretty(index).unwrap_or_default();
        self.write_file(INDEX, text.as_bytes()).await
    }

    /// Keeps the parents of a lane, for whose children was asked.
    pub async fn write_parents(&self, lane: u32, parents: &[Parent]) -> Result<(), SourceError> {
        let text = serde_json::to_string_pretty(parents).unwrap_or_default();
        self.write_file(&format!("{PARENTS}{lane:06}.json"), text.as_bytes()).await
    }

    /// Forgets the parents of an earlier recording.
    pub async fn remove_parents(&self) -> Result<(), SourceError> {
        for (path, _) in self.parents_files()? {
            tokio::fs::remove_file(&path)
                .await
                .map_err(|error| self.unread_parents(&path, error))?;
        }
        Ok(())
    }

    /// The parents that were recorded, in their order; none where that was not done.
    pub fn parents(&self) -> Result<Vec<Parent>, SourceError> {
        let mut parents = Vec::new();
        for (path, _) in self.parents_files()? {
            let text = files::read_text(&path, MOST_PARENTS);
            let text = text.map_err(|error| self.unread_parents(&path, error))?;
            let of_lane: Vec<Parent> = serde_json::from_str(&text)
                .map_err(|error| self.unread_parents(&path, error.into()))?;
            parents.extend(of_lane);
        }
        Ok(parents)
    }

    /// The files with parents, by their lanes.
    fn parents_files(&self) -> Result<Vec<(PathBuf, u32)>, SourceError> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.unread_parents(&self.path, error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.unread_parents(&self.path, error))?;
            let name = entry.file_name();
            let lane = name.to_str().and_then(|name| name.strip_prefix(PARENTS));
            let lane = lane.and_then(|lane| lane.strip_suffix(".json")?.parse().ok());
            found.extend(lane.map(|lane| (entry.path(), lane)));
        }
        found.sort_by_key(|(_, lane)| *lane);
        Ok(found)
    }

    fn unread_parents(&self, path: &Path, error: std::io::Error) -> SourceError {
        let message = format!("the recorded parents in {} cannot be used", path.display());
        SourceError::new(SourceErrorKind::BadRecording, message).caused_by(error)
    }

    /// The file of a page, if it is there.
    pub fn find(&self, page: Recorded) -> Option<PathBuf> {
        let path = self.path.join(page.name());
        if path.exists() {
            return Some(path);
        }
        // Pages of an earlier recording may be left beside those of a new one, and are none of it.
        let old = self.path.join(page.old_name());
        (old.exists() && !self.path.join(INDEX).exists()).then_some(old)
    }

    /// Reads a page of at most `most` bytes.
    pub async fn read(&self, page: Recorded, most: u64) -> Result<RecordedPage, SourceError> {
        let recording = self.clone();
        let read = move || {
            let path = recording.find(page).unwrap_or_else(|| recording.path.join(page.name()));
            match files::read(&path, most) {
                Err(error) => Err(recording.unread(page, &path, error)),
                Ok(body) => {
                    let name = path.file_name().unwrap_or_default();
                    let from = recording.folder.join(name).display().to_string();
                    let headers =
                        files::read_text(&recording.path.join(page.headers_name()), MOST_SMALL);
                    let mut headers = headers_of(&headers.unwrap_or_default());
                    let redacted = headers.remove(REDACTED);
                    let redacted = redacted.and_then(|places| places.to_str().ok()?.parse().ok());
                    Ok(RecordedPage { from, body, headers, redacted: redacted.unwrap_or_default() })
                }
            }
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| {
            let message = "the recorded page cannot be read";
            Err(SourceError::new(SourceErrorKind::BadRecording, message).caused_by(error))
        })
    }

    fn unread(&self, page: Recorded, path: &Path, error: std::io::Error) -> SourceError {
        let of = |message: String| SourceError::new(SourceErrorKind::BadRecording, message);
        let is_there = self.path.join(INDEX).exists();
        let unread = match error.kind() {
            ErrorKind::NotFound if page.page == 1 && !is_there => {
                of(format!("there is no recording in {}", self.path.display()))
                    .advise("run the source once with `--record` to make one")
            }
            ErrorKind::NotFound if page.page == 1 => of(format!(
                "{} was not recorded: the job file asks for something else by now",
                path.display()
            ))
            .advise("run the source once with `--record`"),
            ErrorKind::NotFound => of(format!(
                "the recording ends before {}",
                if is_there { path.to_owned() } else { self.path.join(page.old_name()) }.display()
            ))
            .advise(format!(
                "run the source once with `--record` to make it whole, or set `max_pages` of \
                 `rest_api.paginator` to {}",
                page.page - 1
            )),
            _ => of(format!("the recorded page {} cannot be read", path.display())),
        };
        unread.caused_by(error)
    }

    /// Keeps a page, and the headers that came with it.
    pub async fn write(
        &self,
        page: Recorded,
        (body, redacted): (&str, u64),
        headers: &HeaderMap,
    ) -> Result<(), SourceError> {
        let mut headers = headers.clone();
        if redacted > 0 {
            headers.insert(REDACTED, redacted.into());
        }
        let headers = text_of(&headers);
        if let Some(headers) = &headers {
            self.write_file(&page.headers_name(), headers.as_bytes()).await?;
        }
        self.write_file(&page.name(), body.as_bytes()).await?;
        if headers.is_none() {
            // Of an earlier recording of the same request; mostly there is none.
            let _ = tokio::fs::remove_file(self.path.join(page.headers_name())).await;
        }
        Ok(())
    }

    /// Writes a file, which appears whole or not at all.
    async fn write_file(&self, name: &str, content: &[u8]) -> Result<(), SourceError> {
        let path = self.path.join(name);
        // Two workers may be given the same task: each has a file of its own until the rename.
        let draft = self.path.join(format!(".{name}.{}", Ulid::generate()));
        let written = async {
            tokio::fs::create_dir_all(&self.path).await?;
            tokio::fs::write(&draft, content).await?;
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

/// The headers that are kept, as JSON: names and values, in their order.
fn text_of(headers: &HeaderMap) -> Option<String> {
    let is_kept = |name: &str| {
        !UNKEPT.contains(&name) && !UNKEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let kept = headers.iter().filter(|(name, _)| is_kept(name.as_str()));
    let kept: Vec<_> =
        kept.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    if kept.is_empty() {
        return None;
    }
    serde_json::to_string_pretty(&kept).ok()
}

fn headers_of(text: &str) -> HeaderMap {
    let pairs: Vec<(String, String)> = serde_json::from_str(text).unwrap_or_default();
    let header = |(name, value): (String, String)| {
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(&value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.into_iter().filter_map(header) {
        headers.append(name, value);
    }
    headers
}

/// Whether an error of reading says that the page was not recorded.
pub(super) fn is_missing(error: &SourceError) -> bool {
    let cause = error.source.as_ref().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    fn page(page: u64) -> Recorded {
        Recorded { page, request: ContentHash::of(b"GET\nx\n") }
    }

    #[tokio::test]
    async fn a_recorded_page_is_read_as_it_was_written_with_its_headers_and_nothing_else_is_left() {
        let base = tempfile::tempdir().unwrap();
        let recording = Recording::new(base.path(), Path::new("recordings/x"));
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("link", "<a>; rel=\"next\""), ("link", "<b>"), ("x-total", "7"), ("set-cookie", "s")]
        {
            headers.append(name, value.parse().unwrap());
        }
        recording.write(page(12), ("[ 1.50 ]\n", 0), &headers).await.unwrap();
        recording.write(page(12), ("[ 1.5 ]\n", 3), &headers).await.unwrap();
        let read = recording.read(page(12), 8).await.unwrap();
        assert_eq!(read.body, b"[ 1.5 ]\n");
        headers.remove("set-cookie");
        assert_eq!(read.headers, headers);
        assert!(read.from.starts_with("recordings/x/page-0012-"), "{}", read.from);
        let files = || std::fs::read_dir(base.path().join("recordings/x")).unwrap().count();
        assert_eq!(files(), 2);
        recording.write(page(12), ("[]", 0), &HeaderMap::new()).await.unwrap();
        assert_eq!((files(), recording.read(page(12), 8).await.unwrap().headers.len()), (1, 0));
    }

    #[tokio::test]
    async fn pages_of_an_earlier_version_are_read_until_something_is_recorded() {
        let base = tempfile::tempdir().unwrap();
        let recording = Recording::new(base.path(), Path::new("x"));
        std::fs::create_dir(base.path().join("x")).unwrap();
        std::fs::write(base.path().join("x/page-0001.json"), "[]").unwrap();
        assert_eq!(recording.read(page(1), 8).await.unwrap().from, "x/page-0001.json");
        recording.write_index(&Index::default()).await.unwrap();
        let error = recording.read(page(1), 8).await.unwrap_err();
        assert!(error.text().contains("was not recorded"), "{error}");
    }

    #[tokio::test]
    async fn what_is_not_recorded_is_named_with_the_way_to_record_it() {
        let base = tempfile::tempdir().unwrap();
        let recording = Recording::new(base.path(), Path::new("x"));
        for (number, named) in
            [(1, base.path().join("x")), (2, base.path().join("x/page-0002.json"))]
        {
            let error = recording.read(page(number), 8).await.unwrap_err();
            assert_eq!(error.class(), FailureClass::Permanent);
            assert!(error.text().contains(&named.display().to_string()), "{error}");
            assert!(error.text().contains("--record"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("x"), "a file").unwrap();
        let recording = Recording::new(base.path(), Path::new("x"));
        let error = recording.write(page(1), ("[]", 0), &HeaderMap::new()).await.unwrap_err();
        assert!(error.text().contains("cannot be recorded"), "{error}");
    }
}

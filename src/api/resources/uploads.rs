//! Owns taking files for sources that read files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::Stream;
use poem::web::Data;
use poem_openapi::param::{self, Header, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::catalog::Catalog;
use crate::api::http::file_body::FileBody;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::api::uploads::{AT_ONCE, KeptFile, NotKept, UploadBucket, UploadFolder, Uploads, hex};
use crate::domain::source_name::SourceName;
use crate::domain::upload::UploadOutcome;
use crate::sources::{self, Access, Source, SourceError};

/// Files that are taken at once.
const MOST: usize = 8;
static ROOM: Semaphore = Semaphore::const_new(MOST);
/// The longest name of a file, in bytes: some systems take no more than 255.
const LONGEST_NAME: usize = 200;

string_enums! {
    UploadOutcome = "UploadOutcome": "What became of an uploaded file.",
}

/// A file that was uploaded.
#[derive(Debug, Object)]
struct UploadedFile {
    /// The source whose runs read it.
    source: String,
    /// Its name.
    file: String,
    /// Where it is kept.
    path: String,
    /// Its size.
    bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    sha256: String,
    /// What was there before.
    outcome: UploadOutcome,
}

#[derive(ApiResponse)]
enum Uploaded {
    /// It is kept now.
    #[oai(status = 201)]
    Kept(Json<UploadedFile>),
    /// It was there already, byte for byte.
    #[oai(status = 200)]
    Unchanged(Json<UploadedFile>),
}

/// `POST /sources/{name}/files`
struct UploadFile;
impl Declares for UploadFile {
    const KINDS: &'static [Kind] = &[
        Kind::InvalidParameter,
        Kind::UnknownSource,
        Kind::InvalidJobFile,
        Kind::NoUploads,
        Kind::FileExists,
        Kind::SlowRequest,
        Kind::BodyTooLarge,
        Kind::UnsupportedMediaType,
        Kind::DamagedBody,
        Kind::UnreadFile,
        Kind::NoRoom,
        Kind::UnreadableSource,
        Kind::Busy,
    ];
}

/// The operation that takes files.
pub(crate) struct UploadsApi;

#[OpenApi(tag = "Tag::Sources")]
impl UploadsApi {
    /// Upload a file
    ///
    /// Keeps the body as a file in the folder or the bucket that the setting `upload_dir` names, where the job file's `paths` must lead
    /// to it. It appears there once all of it has come. A source with `schedule = "on_change"` reads it by itself;
    /// for others start a run. A file that is there is not replaced by another one unless `replace` says so, since a run
    /// may not have read it yet; the same file again changes nothing, so a request can be repeated.
    #[oai(path = "/sources/:name/files", method = "post", operation_id = "upload_file")]
    async fn upload(
        &self,
        state: Data<&ApiState>,
        /// The source's name.
        name: param::Path<SourceName>,
        /// What the file is to be called, without folders.
        file: Query<String>,
        /// Whether another file of that name is replaced.
        #[oai(default)]
        replace: Query<bool>,
        /// What the body must be: `sha-256=:BASE64:` (RFC 9530).
        #[oai(name = "Content-Digest")]
        digest: Header<Option<String>>,
        body: FileBody,
    ) -> Result<Uploaded, Refusal<UploadFile>> {
        let Some(uploads) = &state.uploads else {
            let detail =
                "the operator has not named a place for uploaded files: the setting `upload_dir`";
            return Err(Problem::new(Kind::NoUploads, detail).into());
        };
        let (source, file) = (name.0, file.0);
        refuse_name(&file)?;
        let expected = digest.0.as_deref().map(sha256_of).transpose()?.flatten();
        let catalog = Catalog::load(&state.jobs).await?;
        let definition = catalog.require(source.as_str())?.clone();
        let reader = sources::open(&definition, &state.allowed_roots)
            .map_err(|error| Problem::new(Kind::InvalidJobFile, error.text()))?;
        let place = wanted((uploads, state.access), reader, source.as_str(), &file).await?;
        let too_large = |most: &u64| body.length.is_some_and(|length| length > *most);
        if let Some(most) = uploads.most().filter(too_large) {
            return Err(failed(NotKept::TooLarge(most)).into());
        }
        let room = ROOM.try_acquire().map_err(|_| {
            Problem::new(Kind::Busy, format!("{MOST} files are being uploaded; try again"))
        })?;
        let pieces = Box::pin(body.body.into_bytes_stream());
        let path = place.to_string();
        let kept = place.keep(pieces, expected, replace.0).await;
        drop(room);
        let kept = kept.map_err(|error| match error {
            NotKept::Exists => {
                let detail = format!(
                    "{source} has a file {file} with other content: give the new one another name, or replace it with \
                     `replace=true`"
                );
                Problem::new(Kind::FileExists, detail)
            }
            error => failed(error),
        })?;
        let (sha256, bytes) = (hex(&kept.sha256), kept.bytes);
        tracing::info!(source = source.as_str(), path, bytes, sha256, "a file was uploaded");
        let (source, outcome) = (source.to_string(), kept.outcome);
        let uploaded = Json(UploadedFile { source, file, path, bytes, sha256, outcome });
        Ok(match outcome {
            UploadOutcome::New | UploadOutcome::Replaced => Uploaded::Kept(uploaded),
            UploadOutcome::Unchanged => Uploaded::Unchanged(uploaded),
        })
    }
}

/// Refuses what is no plain name of a file.
fn refuse_name(file: &str) -> Result<(), Problem> {
    let why = if file.is_empty() {
        "is empty"
    } else if file.len() > LONGEST_NAME {
        "is too long: 200 bytes are the most"
    } else if file.starts_with('.') {
        "begins with a dot, and so is hidden"
    } else if file.contains(['/', '\\']) {
        "has a folder in it: name the file alone"
    } else if file.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        "has a character in it that no name should have"
    } else {
        return Ok(());
    };
    Err(Problem::new(Kind::InvalidParameter, format!("parameter `file`: {file:?} {why}")))
}

/// Where a file is kept.
enum Kept {
    InFolder(UploadFolder, PathBuf),
    InBucket(UploadBucket, String, (Arc<dyn Source>, Access)),
}

impl Kept {
    async fn keep(
        self,
        pieces: impl Stream<Item = io::Result<Bytes>> + Unpin,
        expected: Option<[u8; 32]>,
        replace: bool,
    ) -> Result<KeptFile, NotKept> {
        match self {
            Self::InFolder(folder, path) => folder.keep(path, pieces, expected, replace).await,
            Self::InBucket(bucket, address, by) => {
                bucket.keep(by, address, pieces, expected, replace).await
            }
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InFolder(_, path) => path.display().fmt(f),
            Self::InBucket(_, address, _) => f.write_str(address),
        }
    }
}

/// Where a file is kept, if runs read it there. Folders of other machines may take their time.
async fn wanted(
    (uploads, access): (&Uploads, Access),
    source: Arc<dyn Source>,
    name: &str,
    file: &str,
) -> Result<Kept, Problem> {
    let (name, file, uploads) = (name.to_owned(), file.to_owned(), uploads.clone());
    let looking = spawn_blocking(move || {
        let unread = |error: SourceError| Problem::new(Kind::UnreadFile, error.text());
        match uploads {
            Uploads::Folder(folder) => {
                let wanted = |place: &Path| source.takes_file(place).map_err(unread);
                let place = folder.place(&name, &file, wanted)?;
                Ok(Kept::InFolder(folder, place))
            }
            Uploads::Bucket(bucket) => {
                let address = bucket.place(&name, &file);
                source.takes_object(access, &address).map_err(unread)?;
                Ok(Kept::InBucket(bucket, address, (source, access)))
            }
        }
    });
    looking.await.unwrap_or_else(|_| Err(Problem::internal()))
}

/// The SHA-256 that a `Content-Digest` names; `None` if it names other digests only.
fn sha256_of(header: &str) -> Result<Option<[u8; 32]>, Problem> {
    let wrong = || {
        let detail =
            format!("parameter `Content-Digest`: {header:?} is not of the form sha-256=:BASE64:");
        Problem::new(Kind::InvalidParameter, detail)
    };
    for digest in header.split(',').map(str::trim) {
        let (algorithm, value) = digest.split_once('=').ok_or_else(wrong)?;
        if algorithm.eq_ignore_ascii_case("sha-256") {
            let value = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
            let bytes = value.and_then(|value| BASE64_STANDARD.decode(value).ok());
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            return bytes.map(Some).ok_or_else(wrong);
        }
    }
    Ok(None)
}

impl From<NotKept> for Problem {
    fn from(error: NotKept) -> Self {
        failed(error)
    }
}

/// Why a file was not kept.
fn failed(error: NotKept) -> Problem {
    match error {
        NotKept::TooLarge(most) => {
            let why = match most {
                AT_ONCE => "a bucket takes no more by one request",
                _ => "the setting `upload_max_bytes` says so",
            };
            let detail = format!("an uploaded file may have {most} bytes at most; {why}");
            Problem::new(Kind::BodyTooLarge, detail)
        }
        NotKept::Stalled => {
            Problem::new(Kind::SlowRequest, format!("the upload was given up: {error}"))
        }
        NotKept::Empty => {
            Problem::new(Kind::DamagedBody, "the body is empty: an empty file is not taken")
        }
        NotKept::Outside(_) => Problem::new(Kind::UnreadFile, error.to_string()),
        NotKept::CutOff => Problem::new(Kind::DamagedBody, "the body ended before it was complete"),
        NotKept::OtherDigest(sha256) => {
            let detail = format!(
                "the SHA-256 of what arrived is {}, not that of `Content-Digest`",
                hex(&sha256)
            );
            Problem::new(Kind::DamagedBody, detail)
        }
        NotKept::NoRoom => Problem::new(Kind::NoRoom, "the folder for uploads is full"),
        NotKept::Exists => Problem::new(Kind::FileExists, error.to_string()),
        NotKept::Refused(error) => Problem::new(Kind::UnreadableSource, error.text()),
        NotKept::Failed(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an uploaded file cannot be kept"
            );
            Problem::internal()
        }
    }
}

//! Files that are objects in buckets: listed page by page, opened in the version that was listed.
//!
//! `s3`, `gs` and `az` say how each service is asked, `dialect` what they have in common, `xml` reads lists, and
//! `credentials` signs requests. Keys are taken as they are: with spaces, `+`, `//` and whatever else they have.

mod az;
mod credentials;
mod dialect;
mod gs;
mod put;
mod s3;
mod xml;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

use self::dialect::{Dialect, ListOf, Object};
use super::get::{Asked, has_strong_etag, opened, whole};
use super::glob::{Exclude, Pattern, no_pattern};
use super::params::{AzParams, GsParams, S3Params};
use super::{Listed, OpenedFile, Place};
use crate::domain::upload::UploadOutcome;
use crate::job_file::setting::Setting;
use crate::sources::rest_api::file_request::{FileClient, FileRequest, Words};
use crate::sources::rest_api::{RestApiParams, Tls};
use crate::sources::token_store::TokensInMemory;
use crate::sources::{SourceError, SourceErrorKind, Upload};

/// What marks a folder in a bucket, which has none.
const FOLDER: &[&str] = &["/", "_$folder$"];

/// Buckets of a service.
#[derive(Debug)]
pub(super) struct Buckets {
    scheme: &'static str,
    dialect: Box<dyn Dialect>,
    client: FileClient,
    exclude: Exclude,
}

impl Buckets {
    /// Those of S3, or of what speaks like it. Reads secrets, and asks nothing.
    ///
    /// # Errors
    /// When the parameters cannot be used, or a secret cannot be had.
    pub fn s3(params: &S3Params, base_dir: &Path, exclude: Exclude) -> Result<Self, SourceError> {
        let dialect = Box::new(s3::S3::new(params, base_dir)?);
        let words = Words { table: "files.s3", unauthorized: "see `s3` of [files]" };
        let client = client(words, params.timeout, &params.tls, base_dir)?;
        Ok(Self { scheme: "s3", dialect, client, exclude })
    }

    /// Those of Google.
    ///
    /// # Errors
    /// As of [`Buckets::s3`].
    pub fn gs(params: &GsParams, base_dir: &Path, exclude: Exclude) -> Result<Self, SourceError> {
        let dialect = Box::new(gs::Gs::new(params, base_dir)?);
        let words = Words { table: "files.gs", unauthorized: "see `gs` of [files]" };
        let client = client(words, params.timeout, &params.tls, base_dir)?;
        Ok(Self { scheme: "gs", dialect, client, exclude })
    }

    /// Those of Azure, which calls them containers.
    ///
    /// # Errors
    /// As of [`Buckets::s3`].
    pub fn az(params: &AzParams, base_dir: &Path, exclude: Exclude) -> Result<Self, SourceError> {
        let dialect = Box::new(az::Az::new(params, base_dir)?);
        let words = Words { table: "files.az", unauthorized: "see `az` of [files]" };
        let client = client(words, params.timeout, &params.tls, base_dir)?;
        Ok(Self { scheme: "az", dialect, client, exclude })
    }

    /// The bucket and the key, or the pattern of keys, of an entry or of a name.
    fn parts<'n>(&self, name: &'n str) -> Result<(&'n str, &'n str), SourceError> {
        parts(name).map_err(|why| {
            SourceError::new(SourceErrorKind::InvalidConfig, format!("files.paths: {name} {why}"))
        })
    }

    fn listed(&self, bucket: &str, object: Object) -> Listed {
        Listed {
            name: format!("{}://{bucket}/{}", self.scheme, object.key),
            size: Some(object.size),
            modified: object.modified,
            etag: object.etag,
            version: object.version,
        }
    }

    /// All objects that an entry leads to.
    async fn all(&self, entry: &str) -> Result<Vec<Listed>, SourceError> {
        let (bucket, pattern) = self.parts(entry)?;
        let pattern = Pattern::new(pattern).map_err(|why| no_pattern(entry, &why))?;
        let mut files = Vec::new();
        let mut next: Option<String> = None;
        let mut asked = HashSet::new();
        loop {
            let list = ListOf {
                bucket,
                prefix: pattern.prefix(),
                flat: !pattern.is_deep(),
                next: next.as_deref(),
            };
            let page = match self.page(entry, list).await {
                // Who may read an object may not always list its bucket.
                Err(error)
                    if error.kind == SourceErrorKind::Forbidden && pattern.name().is_some() =>
                {
                    return Ok(vec![Listed { name: entry.to_owned(), ..Listed::default() }]);
                }
                page => page?,
            };
            let found =
                page.objects.into_iter().filter(|object| self.is_meant(&pattern, &object.key));
            files.extend(found.map(|object| self.listed(bucket, object)));
            if page.next.is_none() || pattern.name().is_some() && !files.is_empty() {
                break;
            }
            if page.next.as_ref().is_some_and(|next| !asked.insert(next.clone())) {
                let message = format!("{entry}: the list of the bucket leads in a circle");
                return Err(SourceError::new(SourceErrorKind::InvalidResponse, message));
            }
            next = page.next;
        }
        // Most list in this order, and none has to.
        files.sort_by(|one, other| one.name.cmp(&other.name));
        match pattern.name() {
            Some(_) if files.is_empty() => {
                let message = format!("files.paths: there is no {entry}");
                Err(SourceError::new(SourceErrorKind::FileMissing, message))
            }
            _ => Ok(files),
        }
    }

    fn is_meant(&self, pattern: &Pattern, key: &str) -> bool {
        // What the job file writes out is meant, whatever it is called.
        let is_left_out = pattern.name().is_none()
            && (FOLDER.iter().any(|mark| key.ends_with(mark)) || self.exclude.leaves_out(key));
        pattern.matches(key) && !is_left_out
    }

    async fn page(&self, entry: &str, list: ListOf<'_>) -> Result<dialect::Page, SourceError> {
        let mut url = self.dialect.list_address(list)?;
        let mut request =
            FileRequest { name: format!("the list of {entry}"), ..FileRequest::default() };
        let asked = async {
            self.dialect.sign(&mut url, &mut request).await?;
            let body = self.client.text(&url, &request).await?;
            self.dialect.page(&body).map_err(|why| {
                let message = format!("the list of {entry} cannot be read: {why}");
                SourceError::new(SourceErrorKind::InvalidResponse, message)
            })
        };
        let page = asked.await;
        page.map_err(|error| self.advised(error))
    }

    async fn ask(&self, asked: Asked<'_>) -> Result<Option<OpenedFile>, SourceError> {
        let (bucket, key) = self.parts(&asked.file.name)?;
        let version = asked.file.version.as_deref();
        let pinned = self.is_pinned(asked.file);
        let asked = Asked { pinned, ..asked };
        let mut url = self.dialect.object_address(bucket, key, version)?;
        let mut request = FileRequest {
            name: asked.file.name.clone(),
            conditions: asked.conditions(),
            ..FileRequest::default()
        };
        let opened = async {
            self.dialect.sign(&mut url, &mut request).await?;
            opened(&self.client, &url, &request, asked).await
        };
        let opened = opened.await;
        opened.map_err(|error| self.advised(error))
    }

    /// Whether the address of a file means the version that was listed.
    fn is_pinned(&self, file: &Listed) -> bool {
        self.dialect.pins_versions() && file.version.is_some()
    }

    fn advised(&self, error: SourceError) -> SourceError {
        match self.dialect.advice(&error) {
            Some(advice) => error.advise(advice),
            None => error,
        }
    }
}

impl Place for Buckets {
    fn list<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SourceError>> {
        self.all(entry).boxed()
    }

    fn open<'a>(
        &'a self,
        file: &'a Listed,
        known: Option<&'a Listed>,
        from: u64,
    ) -> BoxFuture<'a, Result<OpenedFile, SourceError>> {
        async move {
            // Where the list has said what the file is, whether it is known was decided by that.
            let known = known.filter(|_| file.etag.is_none() && file.version.is_none());
            match self.ask(Asked { file, known, from, pinned: false }).await? {
                Some(opened) => Ok(opened),
                None => {
                    let again = Asked { file, known, from: 0, pinned: false };
                    whole(self.ask(again).await?, &file.name)
                }
            }
        }
        .boxed()
    }

    fn leads_to(&self, entry: &str, address: &str) -> Result<bool, SourceError> {
        self.leads(entry, address)
    }

    fn keep<'a>(
        &'a self,
        upload: &'a Upload,
    ) -> BoxFuture<'a, Result<Option<UploadOutcome>, SourceError>> {
        self.kept(upload).boxed()
    }

    fn identifies(&self, file: &Listed, _: DateTime<Utc>) -> bool {
        self.is_pinned(file) || has_strong_etag(file)
    }

    fn proves_unchanged(&self, known: &Listed, listed: &Listed, _: DateTime<Utc>) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        let is_same = match listed.version {
            Some(_) => same(&known.version, &listed.version),
            None => same(&known.etag, &listed.etag),
        };
        is_same && known.size == listed.size
    }
}

/// The bucket and what is behind it.
///
/// # Errors
/// What is wrong with an entry, to be read behind it.
pub(super) fn parts(name: &str) -> Result<(&str, &str), &'static str> {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err("names no bucket");
    }
    if bucket.contains(['*', '?', '[', '{', '@', ':']) {
        return Err(
            "has a bucket that is no name: patterns are for what is behind it, and keys for `[files]`",
        );
    }
    if key.is_empty() {
        return Err("names no file of the bucket: write `/**/*.csv` behind it, for example");
    }
    Ok((bucket, key))
}

fn client(
    words: Words,
    timeout: Duration,
    tls: &Option<Tls>,
    base_dir: &Path,
) -> Result<FileClient, SourceError> {
    // Every request has an address of its own.
    let nowhere = Setting::Literal("https://bucket.invalid".to_owned());
    let params = RestApiParams { timeout, tls: tls.clone(), ..RestApiParams::at(nowhere) };
    FileClient::new(
        params,
        base_dir.to_owned(),
        std::sync::Arc::new(TokensInMemory::default()),
        words,
    )
}

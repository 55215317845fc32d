//! Owns requests for files that are not told of by an API but named by the job file, and lists of such files: one GET,
//! under the same rules of addresses, certificates, times and secrets as any other.
//!
//! Must not know what is in a file, nor where a job file says that it is.

use std::borrow::Cow;
use std::fs::File;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use tokio::sync::mpsc::Receiver;

use super::http::{client, put};
use super::jobs::{hidden, hide, may_renew, pumped};
use super::params::RestApiParams;
use super::position::PagePosition;
use super::request::RequestParts;
use super::source::RestApiSource;
use crate::job_file::setting::SecretText;
use crate::sources::{SourceError, TokenStore};

/// Asks for files.
#[derive(Debug)]
pub(in crate::sources) struct FileClient {
    source: RestApiSource,
    tokens: Arc<dyn TokenStore>,
    words: Words,
}

/// How errors speak of what is asked for: with the keys of whoever asks.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources) struct Words {
    /// The table that stands where `rest_api` would, such as `files.http`.
    pub table: &'static str,
    /// What to do when the request is not authorized.
    pub unauthorized: &'static str,
}

/// A request for a file, or for a list of files.
#[derive(Default)]
pub(in crate::sources) struct FileRequest {
    /// What it is called in messages, in place of its address.
    pub name: String,
    /// Headers that go to the host of the address alone.
    pub headers: HeaderMap,
    /// Headers that go wherever the request leads; there is nothing secret in them.
    pub conditions: HeaderMap,
    /// What must not be shown, each with the key of the job file that it comes from.
    pub secrets: Vec<(&'static str, SecretText)>,
    /// Whether the query of the address is as good as a key.
    pub is_presigned: bool,
    /// How a file is sent; GET where one is asked for.
    pub method: Method,
    /// The SHA-256 of what is sent.
    pub sha256: Option<[u8; 32]>,
}

/// An answer, whatever its status is, whose body is still to come if it is one of a file.
pub(in crate::sources) struct FileResponse {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Whether the server says where the body ends; otherwise the end of the connection is taken for that.
    pub end_is_told: bool,
    /// The bytes of a body, as they come; `None` is its end, and an error ends them.
    pub bytes: Receiver<Result<Option<Bytes>, SourceError>>,
    /// How their error is told.
    pub told: Told,
}

/// Tells an error in other words.
pub(in crate::sources) type Told = Box<dyn Fn(SourceError) -> SourceError + Send>;

impl FileClient {
    /// One that asks as these parameters say. Asks nothing and reads no secret.
    ///
    /// # Errors
    /// When the parameters cannot be used.
    pub fn new(
        params: RestApiParams,
        base_dir: PathBuf,
        tokens: Arc<dyn TokenStore>,
        words: Words,
    ) -> Result<Self, SourceError> {
        let source = RestApiSource::new(params, base_dir, Vec::new());
        let source = source.map_err(|error| words.renamed(error))?;
        Ok(Self { source, tokens, words })
    }

    /// Asks for a file. Answers with a status of these are given back without their bodies; other refusals are errors.
    ///
    /// # Errors
    /// When there is no answer, or it refuses.
    pub async fn get(
        &self,
        url: &Url,
        asked: &FileRequest,
        expected: &[u16],
    ) -> Result<FileResponse, SourceError> {
        let got = self.got(url, asked, expected).await;
        got.map_err(|error| self.words.renamed(named(error, url, &asked.name)))
    }

    async fn got(
        &self,
        url: &Url,
        asked: &FileRequest,
        expected: &[u16],
    ) -> Result<FileResponse, SourceError> {
        let params = Arc::clone(&self.source.params);
        let mut refused = Vec::new();
        loop {
            let (request, sent) = self.request(url, asked, &refused).await?;
            let hidden = match asked.is_presigned {
                true => hidden(iter::once(url)),
                false => Some(Default::default()),
            };
            let shown = |error| hide(&hidden, request.secrets.redact_error(error));
            let clients = self.source.clients()?;
            let begun = client::begin_download(clients, &request, &params, &asked.conditions).await;
            let response = begun.map_err(shown)?;
            let status = response.status();
            if !status.is_success() && !expected.contains(&status.as_u16()) {
                match client::refusal(response, &request, &params).await {
                    error if may_renew(&error, &refused, &sent) => refused = sent,
                    error => return Err(shown(error)),
                }
                continue;
            }
            let headers = response.headers().clone();
            let download = pumped(response, request, params, hidden);
            let (words, url, name) = (self.words, url.clone(), asked.name.clone());
            return Ok(FileResponse {
                status: status.as_u16(),
                headers,
                end_is_told: download.end_is_told,
                bytes: download.bytes,
                told: Box::new(move |error| words.renamed(named(error, &url, &name))),
            });
        }
    }

    /// Sends a file, and gives the status of the answer: of a success, or one of those that are `expected`.
    ///
    /// # Errors
    /// When there is no answer, or it refuses.
    pub async fn put(
        &self,
        url: &Url,
        asked: &FileRequest,
        file: &Arc<File>,
        expected: &[u16],
    ) -> Result<u16, SourceError> {
        let params = &self.source.params;
        let sent = async {
            let (request, _) = self.request(url, asked, &[]).await?;
            let hidden = match asked.is_presigned {
                true => hidden(iter::once(url)),
                false => Some(Default::default()),
            };
            let shown = |error| hide(&hidden, request.secrets.redact_error(error));
            let clients = self.source.clients()?;
            let by = (&request, &asked.method);
            let sent = put::put(clients, by, params, &asked.conditions, file).await;
            let response = sent.map_err(shown)?;
            let status = response.status();
            match status.is_success() || expected.contains(&status.as_u16()) {
                true => Ok(status.as_u16()),
                false => Err(shown(client::refusal(response, &request, params).await)),
            }
        };
        let sent = sent.await;
        sent.map_err(|error| self.words.renamed(named(error, url, &asked.name)))
    }

    /// Asks for a text, which a list of files is, and reads all of it.
    ///
    /// # Errors
    /// When there is no answer, or it refuses.
    pub async fn text(&self, url: &Url, asked: &FileRequest) -> Result<Vec<u8>, SourceError> {
        let read = async {
            let (request, _) = self.request(url, asked, &[]).await?;
            let clients = self.source.clients()?;
            let answered = client::send_for_any(clients, &request, &self.source.params).await;
            let shown = |error| request.secrets.redact_error(error);
            let response = answered.map_err(shown)?;
            match response.refused {
                Some(refused) => Err(shown(refused.into())),
                None => Ok(response.body),
            }
        };
        let read = read.await;
        read.map_err(|error| self.words.renamed(named(error, url, &asked.name)))
    }

    async fn request(
        &self,
        url: &Url,
        asked: &FileRequest,
        refused: &[super::auth::SentToken],
    ) -> Result<(RequestParts, Vec<super::auth::SentToken>), SourceError> {
        let mut request = RequestParts::new(url.clone());
        let mut shown = url.clone();
        if asked.is_presigned {
            shown.set_query(None);
        }
        request.shown = Some(shown);
        request.advice = self.words.unauthorized.to_owned();
        request.headers = asked.headers.clone();
        for (key, secret) in &asked.secrets {
            request.secrets.add(secret.expose(), key)?;
        }
        let at = PagePosition::from_json(&self.source.first())?;
        let sent = self.source.authorize(&mut request, &at, &self.tokens, refused).await?;
        Ok((request, sent))
    }
}

/// A client like those that pages are asked by, for who makes requests of his own: nothing of a job file is in it.
/// A direct one goes through no proxy.
///
/// # Errors
/// When there can be none.
pub(in crate::sources) fn bare_client(direct: bool) -> Result<reqwest::Client, SourceError> {
    client::bare(direct)
}

impl Words {
    /// The error in the words of whoever asks.
    pub fn renamed(self, error: SourceError) -> SourceError {
        let table = self.table;
        let key = table.strip_prefix("files.").unwrap_or(table);
        let text = |text: &str| {
            text.replace("under [rest_api]", &format!("in `{key}` of [files]"))
                .replace("`rest_api.", &format!("`{table}."))
                .replace("if that is right, put it in `base_url`, or let", "if that is right, let")
                .replace("`base_url`", "`files.paths`")
        };
        let advice = error.advice.as_deref().map(text);
        SourceError { message: text(&error.message), advice, ..error }
    }
}

/// The error with the name of what was asked for in place of its address.
fn named(error: SourceError, url: &Url, name: &str) -> SourceError {
    let mut bare = url.clone();
    bare.set_query(None);
    let text = |text: &str| {
        let text = text.replace(url.as_str(), name);
        text.replace(bare.as_str(), name)
    };
    let advice = error.advice.as_deref().map(text);
    SourceError { message: text(&error.message), advice, ..error }
}

/// An address as it may be shown and stored: without the query, where that is as good as a key.
pub(in crate::sources) fn is_presigned(url: &Url) -> bool {
    const SIGNS: &[&str] = &[
        "x-amz-signature",
        "x-goog-signature",
        "x-oss-signature",
        "signature",
        "sig",
        "key-pair-id",
        "hmac",
    ];
    const KEYS: &[&str] = &["token", "apikey", "accesskey", "secret", "password", "auth"];
    url.query_pairs().any(|(name, _)| {
        let name: Cow<'_, str> = name.to_ascii_lowercase().into();
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        SIGNS.contains(&&*name) || KEYS.iter().any(|key| plain.contains(key))
    })
}

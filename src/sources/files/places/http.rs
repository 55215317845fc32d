//! Owns files behind http and https addresses. Each address is one file: a web server has no list of its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;

use super::get::{Asked, has_strong_etag, opened, whole};
use super::params::HttpParams;
use super::{Listed, OpenedFile, Place};
use crate::domain::address;
use crate::job_file::setting::Setting;
use crate::sources::rest_api::RestApiParams;
use crate::sources::rest_api::file_request::{FileClient, FileRequest, Words, is_presigned};
use crate::sources::token_store::TokensInMemory;
use crate::sources::{SourceError, SourceErrorKind, TokenStore};

const WORDS: Words = Words {
    table: "files.http",
    unauthorized: "if it needs a user name or a key, add `http = { auth = { … } }` to [files]",
};

/// Web servers.
#[derive(Debug)]
pub(super) struct Http {
    client: FileClient,
    /// The addresses of the job file by their names.
    addresses: BTreeMap<String, Url>,
}

impl Http {
    /// Those of these entries of `files.paths`. Asks nothing and reads no secret.
    ///
    /// # Errors
    /// When an entry is no address, or the parameters cannot be used.
    pub fn new(
        params: &HttpParams,
        entries: &[&str],
        base_dir: &Path,
    ) -> Result<Self, SourceError> {
        let mut addresses = BTreeMap::new();
        let mut home = None;
        for entry in entries {
            let url = address(entry).map_err(|why| {
                let shown = entry.split('?').next().unwrap_or_default();
                SourceError::new(
                    SourceErrorKind::InvalidConfig,
                    format!("files.paths: {shown} {why}"),
                )
            })?;
            home.get_or_insert_with(|| url.origin().ascii_serialization());
            addresses.insert(name_of(&url), url);
        }
        let client = FileClient::new(common(params, home), base_dir.to_owned(), tokens(), WORDS)?;
        Ok(Self { client, addresses })
    }
}

impl Http {
    async fn ask(&self, url: &Url, asked: Asked<'_>) -> Result<Option<OpenedFile>, SourceError> {
        let request = FileRequest {
            name: asked.file.name.clone(),
            conditions: asked.conditions(),
            is_presigned: is_presigned(url),
            ..FileRequest::default()
        };
        opened(&self.client, url, &request, asked).await
    }
}

/// What requests have in common; `home` is the host of the first.
pub(super) fn common(params: &HttpParams, home: Option<String>) -> RestApiParams {
    let home = home.unwrap_or_else(|| "http://localhost".to_owned());
    RestApiParams {
        auth: params.auth.clone(),
        headers: params.headers.clone(),
        allowed_hosts: params.allowed_hosts.clone(),
        timeout: params.timeout,
        tls: params.tls.clone(),
        ..RestApiParams::at(Setting::Literal(home))
    }
}

/// Tokens of login servers are kept as long as the process lives.
fn tokens() -> Arc<dyn TokenStore> {
    static TOKENS: LazyLock<TokensInMemory> = LazyLock::new(TokensInMemory::default);
    Arc::new(TOKENS.clone())
}

impl Place for Http {
    fn list<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SourceError>> {
        let name = address(entry).map(|url| name_of(&url)).unwrap_or_default();
        async move { Ok(vec![Listed { name, ..Listed::default() }]) }.boxed()
    }

    fn open<'a>(
        &'a self,
        file: &'a Listed,
        known: Option<&'a Listed>,
        from: u64,
    ) -> BoxFuture<'a, Result<OpenedFile, SourceError>> {
        async move {
            let url = self.addresses.get(&file.name).ok_or_else(|| {
                let message = format!("{} is not among `files.paths` any more", file.name);
                SourceError::new(SourceErrorKind::InvalidState, message)
            })?;
            match self.ask(url, Asked { file, known, from, pinned: false }).await? {
                Some(opened) => Ok(opened),
                None => whole(
                    self.ask(url, Asked { file, known, from: 0, pinned: false }).await?,
                    &file.name,
                ),
            }
        }
        .boxed()
    }

    fn identifies(&self, file: &Listed, _: DateTime<Utc>) -> bool {
        has_strong_etag(file)
    }

    /// A web server is asked, with what is known of the file.
    fn proves_unchanged(&self, _: &Listed, _: &Listed, _: DateTime<Utc>) -> bool {
        false
    }
}

/// The address that an entry is.
///
/// # Errors
/// What is wrong with it, to be read behind it.
pub(super) fn address(entry: &str) -> Result<Url, String> {
    let url = Url::parse(entry)
        .map_err(|error| format!("is no address: {}", address::fault(&error.to_string())))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name in it, and would be stored and shown with it: write http = { auth = { type = \
                    \"basic\", username = \"…\", password = { env = \"NAME_OF_VARIABLE\" } } } under [files]"
            .to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a `#` in it, behind which nothing is sent: write `%23` if it is a part of the name".to_owned());
    }
    Ok(url)
}

/// What a file is called: its address, without a query that is as good as a key.
pub(super) fn name_of(url: &Url) -> String {
    let mut url = url.clone();
    if is_presigned(&url) {
        url.set_query(None);
    }
    url.to_string()
}

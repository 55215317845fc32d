//! Owns Google Cloud Storage.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::gcp::GcpCredentialProvider;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::credentials;
use super::dialect::{Dialect, ListOf, Object, Page, address, encoded, query, time};
use crate::job_file::setting::SecretText;
use crate::sources::files::places::params::{Credentials, GsParams};
use crate::sources::rest_api::file_request::FileRequest;
use crate::sources::{SourceError, SourceErrorKind};

/// Where it is.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// What a list says of each object.
const FIELDS: &str = "nextPageToken,items(name,size,updated,generation)";

/// Google Cloud Storage.
#[derive(Debug)]
pub struct Gs {
    endpoint: Url,
    /// `None` for what is public.
    provider: Option<GcpCredentialProvider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    size: String,
    updated: Option<String>,
    generation: String,
}

impl Gs {
    /// As the job file says. Reads its secret, and asks nothing.
    ///
    /// # Errors
    /// When the secret cannot be had or is no key, or the address is none.
    pub fn new(params: &GsParams, base_dir: &Path) -> Result<Self, SourceError> {
        let endpoint = match &params.endpoint {
            Some(endpoint) => endpoint.resolve("files.gs.endpoint")?,
            None => ENDPOINT.to_owned(),
        };
        let endpoint = credentials::endpoint(&endpoint, "files.gs.endpoint")?;
        let provider = match &params.service_account {
            Some(key) => {
                let text = key.resolve("files.gs.service_account", base_dir)?;
                Some(credentials::gcp_of_key(&text)?)
            }
            None if params.credentials == Some(Credentials::Environment) => {
                Some(credentials::gcp()?)
            }
            None => None,
        };
        Ok(Self { endpoint, provider })
    }
}

impl Dialect for Gs {
    fn list_address(&self, list: ListOf<'_>) -> Result<Url, SourceError> {
        let mut parameters =
            vec![("prefix", list.prefix), ("fields", FIELDS), ("maxResults", "1000")];
        parameters.extend(list.flat.then_some(("delimiter", "/")));
        parameters.extend(list.next.map(|next| ("pageToken", next)));
        let path = format!("storage/v1/b/{}/o", encoded(list.bucket));
        address(&self.endpoint, &path, Some(&query(&parameters)))
    }

    fn page(&self, body: &[u8]) -> Result<Page, String> {
        let list: List =
            serde_json::from_slice(body).map_err(|error| format!("it is no such JSON: {error}"))?;
        let object = |item: Item| {
            let size = item
                .size
                .parse()
                .map_err(|_| "it has an object whose size is no number".to_owned())?;
            Ok(Object {
                key: item.name,
                size,
                modified: item.updated.as_deref().and_then(time),
                etag: None,
                version: Some(item.generation),
            })
        };
        let objects = list.items.into_iter().map(object).collect::<Result<_, String>>()?;
        Ok(Page { objects, next: list.next_page_token.filter(|next| !next.is_empty()) })
    }

    fn object_address(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Url, SourceError> {
        let mut parameters = vec![("alt", "media")];
        parameters.extend(version.map(|version| ("ifGenerationMatch", version)));
        let path = format!("storage/v1/b/{}/o/{}", encoded(bucket), encoded(key));
        address(&self.endpoint, &path, Some(&query(&parameters)))
    }

    fn put_address(
        &self,
        bucket: &str,
        key: &str,
        only_new: bool,
        request: &mut FileRequest,
    ) -> Result<Url, SourceError> {
        request.method = Method::POST;
        let mut parameters = vec![("uploadType", "media"), ("name", key)];
        parameters.extend(only_new.then_some(("ifGenerationMatch", "0")));
        let path = format!("upload/storage/v1/b/{}/o", encoded(bucket));
        address(&self.endpoint, &path, Some(&query(&parameters)))
    }

    fn pins_versions(&self) -> bool {
        true
    }

    fn sign<'a>(
        &'a self,
        _: &'a mut Url,
        request: &'a mut FileRequest,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        async move {
            // Otherwise what is stored packed is unpacked on the way, and has neither a length nor parts.
            request.conditions.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            let Some(provider) = &self.provider else { return Ok(()) };
            let given = provider.get_credential().await.map_err(credentials::not_given)?;
            if given.bearer.is_empty() {
                return Ok(());
            }
            let mut value =
                HeaderValue::try_from(format!("Bearer {}", given.bearer)).map_err(|_| {
                    SourceError::new(
                        SourceErrorKind::MissingValue,
                        "the token of Google cannot be sent in a header",
                    )
                })?;
            value.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, value);
            request.secrets.push(("files.gs", SecretText::from(given.bearer.clone())));
            Ok(())
        }
        .boxed()
    }

    fn advice(&self, error: &SourceError) -> Option<String> {
        let is_refused =
            matches!(error.kind, SourceErrorKind::Forbidden | SourceErrorKind::Unauthorized);
        is_refused.then(|| match self.provider {
            None => "nobody is named who asks: write `service_account`, or credentials = \"environment\", into `gs` of \
                     [files]"
                .to_owned(),
            Some(_) => "see whether the service account may storage.objects.list and storage.objects.get there".to_owned(),
        })
    }
}

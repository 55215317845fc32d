//! Owns Azure Blob Storage.

use std::path::Path;

use chrono::DateTime;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, split_sas};
use object_store::client::CredentialProvider;
use reqwest::header::{HeaderName, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, Url};
use std::sync::Arc;

use super::credentials::{self, signed};
use super::dialect::{Dialect, ListOf, Object, Page, address, encoded_key, query};
use super::xml::Element;
use crate::job_file::setting::SecretText;
use crate::sources::files::places::params::{AzParams, Credentials};
use crate::sources::rest_api::file_request::FileRequest;
use crate::sources::{SourceError, SourceErrorKind};

/// The version of the interface: without a word, Azure takes one of 2009.
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-ms-version"), HeaderValue::from_static("2023-11-03"));

/// Azure Blob Storage.
#[derive(Debug)]
pub struct Az {
    endpoint: Url,
    account: String,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    /// Nothing: what is public.
    None,
    /// What the job file names, with the texts that must not be shown.
    Own(AzureCredential, Vec<SecretText>),
    /// What the environment of the process has.
    Environment(Arc<dyn CredentialProvider<Credential = AzureCredential>>),
}

impl Az {
    /// As the job file says. Reads its secrets, and asks nothing.
    ///
    /// # Errors
    /// When a secret cannot be had or is none, or the address is none.
    pub fn new(params: &AzParams, base_dir: &Path) -> Result<Self, SourceError> {
        let account = params.account.clone();
        let endpoint = match &params.endpoint {
            Some(endpoint) => endpoint.resolve("files.az.endpoint")?,
            None => format!("https://{account}.blob.core.windows.net"),
        };
        let endpoint = credentials::endpoint(&endpoint, "files.az.endpoint")?;
        let no_key = |key: &str, what: &str| {
            // What the library says is not repeated: it may have something of the secret.
            SourceError::new(
                SourceErrorKind::MissingValue,
                format!("`files.az.{key}` holds no {what} of Azure"),
            )
        };
        let keys = match (&params.key, &params.sas) {
            (Some(key), _) => {
                let text = key.resolve("files.az.key", base_dir)?;
                let key = AzureAccessKey::try_new(text.expose().trim())
                    .map_err(|_| no_key("key", "account key"))?;
                Keys::Own(AzureCredential::AccessKey(key), vec![text])
            }
            (None, Some(sas)) => {
                let text = sas.resolve("files.az.sas", base_dir)?;
                let pairs = split_sas(text.expose())
                    .map_err(|_| no_key("sas", "shared access signature"))?;
                let hidden = pairs.iter().filter(|(name, _)| name == "sig");
                let hidden = hidden.map(|(_, value)| SecretText::from(value.clone())).collect();
                Keys::Own(AzureCredential::SASToken(pairs), hidden)
            }
            (None, None) if params.credentials == Some(Credentials::Environment) => {
                Keys::Environment(credentials::azure(&account)?)
            }
            (None, None) => Keys::None,
        };
        Ok(Self { endpoint, account, keys })
    }
}

impl Dialect for Az {
    fn list_address(&self, list: ListOf<'_>) -> Result<Url, SourceError> {
        let mut parameters =
            vec![("restype", "container"), ("comp", "list"), ("prefix", list.prefix)];
        parameters.extend(list.flat.then_some(("delimiter", "/")));
        parameters.extend(list.next.map(|next| ("marker", next)));
        address(&self.endpoint, &encoded_key(list.bucket), Some(&query(&parameters)))
    }

    fn page(&self, body: &[u8]) -> Result<Page, String> {
        let list = Element::parse(body, "EnumerationResults")?;
        let mut objects = Vec::new();
        let blobs = list.first("Blobs").ok_or_else(|| "it has no `Blobs`".to_owned())?;
        for blob in blobs.all("Blob") {
            let missing = |what: &str| format!("it has a blob without `{what}`");
            let properties = blob.first("Properties").ok_or_else(|| missing("Properties"))?;
            if properties.text("ResourceType").is_some_and(|kind| kind == "directory") {
                continue;
            }
            let size = properties.text("Content-Length").and_then(|size| size.parse().ok());
            let modified = properties.text("Last-Modified");
            let modified = modified.and_then(|time| DateTime::parse_from_rfc2822(&time).ok());
            let quoted =
                |etag: String| if etag.starts_with('"') { etag } else { format!("\"{etag}\"") };
            objects.push(Object {
                key: blob.text("Name").ok_or_else(|| missing("Name"))?,
                size: size.ok_or_else(|| missing("Content-Length"))?,
                modified: modified.map(Into::into),
                etag: properties.text("Etag").or_else(|| properties.text("ETag")).map(quoted),
                version: None,
            });
        }
        Ok(Page { objects, next: list.text("NextMarker") })
    }

    fn object_address(&self, bucket: &str, key: &str, _: Option<&str>) -> Result<Url, SourceError> {
        address(&self.endpoint, &format!("{}/{}", encoded_key(bucket), encoded_key(key)), None)
    }

    fn put_address(
        &self,
        bucket: &str,
        key: &str,
        only_new: bool,
        request: &mut FileRequest,
    ) -> Result<Url, SourceError> {
        request.method = Method::PUT;
        let of_blocks = HeaderValue::from_static("BlockBlob");
        request.conditions.insert(HeaderName::from_static("x-ms-blob-type"), of_blocks);
        if only_new {
            request.conditions.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        self.object_address(bucket, key, None)
    }

    fn sign<'a>(
        &'a self,
        url: &'a mut Url,
        request: &'a mut FileRequest,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        async move {
            let (name, version) = VERSION;
            request.headers.insert(name, version);
            let given;
            let credential = match &self.keys {
                Keys::None => return Ok(()),
                Keys::Own(credential, hidden) => {
                    request
                        .secrets
                        .extend(hidden.iter().map(|secret| ("files.az", secret.clone())));
                    credential
                }
                Keys::Environment(provider) => {
                    given = provider.get_credential().await.map_err(credentials::not_given)?;
                    &*given
                }
            };
            if let AzureCredential::BearerToken(token) = credential {
                request.secrets.push(("files.az", SecretText::from(token.clone())));
            }
            request.is_presigned = credential.sensitive_request();
            let authorizer = AzureAuthorizer::new(credential, &self.account);
            signed(url, request, |unsigned| authorizer.try_authorize(unsigned))
        }
        .boxed()
    }

    fn advice(&self, error: &SourceError) -> Option<String> {
        let is_public_missing =
            matches!(self.keys, Keys::None) && error.kind == SourceErrorKind::NotFound;
        let is_refused =
            matches!(error.kind, SourceErrorKind::Forbidden | SourceErrorKind::Unauthorized);
        (is_refused || is_public_missing).then(|| match self.keys {
            Keys::None => "nobody signs the requests: write `key` or `sas`, or credentials = \"environment\", into `az` of \
                           [files]"
                .to_owned(),
            Keys::Own(..) => "see whether `key` or `sas` in `az` of [files] is right and still good, and may read and \
                              list there"
                .to_owned(),
            Keys::Environment(_) => {
                "see whether the credentials of the environment have the role Storage Blob Data Reader there".to_owned()
            }
        })
    }
}

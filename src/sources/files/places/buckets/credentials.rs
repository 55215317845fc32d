//! Owns how requests to services of buckets are signed, and where credentials come from that the environment has: from
//! servers that are asked by our own client, once for each attempt. Whether another follows is decided by whoever
//! runs the task.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::aws::{AmazonS3Builder, AwsCredentialProvider};
use object_store::azure::{AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{
    CredentialProvider, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpRequestBody, HttpResponse, HttpService,
};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder};
use object_store::{ClientOptions, RetryConfig};
use reqwest::Url;

use crate::domain::{address, text};
use crate::job_file::setting::SecretText;
use crate::sources::rest_api::file_request::{self, FileRequest};
use crate::sources::{SourceError, SourceErrorKind};

/// The longest that a server of credentials may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Builders want to know a bucket, and credentials are for all.
const ANY: &str = "any";

/// Signs a request with all the headers that it has.
///
/// # Errors
/// When it cannot be signed.
pub fn signed(
    url: &mut Url,
    request: &mut FileRequest,
    sign: impl FnOnce(&mut HttpRequest) -> object_store::Result<()>,
) -> Result<(), SourceError> {
    // What the library says is not repeated: it may have something of a secret.
    let failed = || SourceError::new(SourceErrorKind::MissingValue, "the request cannot be signed");
    let mut unsigned = http::Request::builder()
        .method(&request.method)
        .uri(url.as_str())
        .body(HttpRequestBody::empty())
        .map_err(|_| failed())?;
    let headers = request.headers.iter().chain(&request.conditions);
    unsigned.headers_mut().extend(headers.map(|(name, value)| (name.clone(), value.clone())));
    sign(&mut unsigned).map_err(|_| failed())?;
    *url = Url::parse(&unsigned.uri().to_string()).map_err(|_| failed())?;
    for (name, value) in unsigned.headers() {
        if !request.conditions.contains_key(name) {
            let mut value = value.clone();
            value.set_sensitive(true);
            request.headers.insert(name, value);
        }
    }
    Ok(())
}

/// The address of a service.
///
/// # Errors
/// When a text is none.
pub fn endpoint(text: &str, key: &str) -> Result<Url, SourceError> {
    let invalid = |why: &str| {
        SourceError::new(SourceErrorKind::InvalidConfig, format!("`{key}` is no address: {why}"))
            .advise("expected one such as https://storage.example.com")
    };
    let url = Url::parse(text).map_err(|error| invalid(address::fault(&error.to_string())))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("it does not begin with https:// or http://"));
    }
    let has_more = url.query().is_some() || url.fragment().is_some();
    if has_more || !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it has a user name, a query or a fragment in it"));
    }
    Ok(url)
}

/// What Amazon's programs find: variables, roles of containers and of the machine.
///
/// # Errors
/// When they cannot be asked for.
pub fn aws(region: &str) -> Result<AwsCredentialProvider, SourceError> {
    let builder = AmazonS3Builder::from_env().with_bucket_name(ANY).with_region(region);
    let store = builder.with_retry(once()).with_http_connector(Own).build().map_err(unusable)?;
    Ok(Arc::clone(store.credentials()))
}

/// What Google's programs find: variables, the file of application default credentials, the machine.
///
/// # Errors
/// When they cannot be asked for.
pub fn gcp() -> Result<GcpCredentialProvider, SourceError> {
    let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(ANY);
    let store = builder.with_retry(once()).with_http_connector(Own).build().map_err(unusable)?;
    Ok(Arc::clone(store.credentials()))
}

/// Tokens for the key of a service account.
///
/// # Errors
/// When it is none. It is never shown.
pub fn gcp_of_key(key: &SecretText) -> Result<GcpCredentialProvider, SourceError> {
    let builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(ANY)
        .with_service_account_key(key.expose());
    let store = builder.with_retry(once()).with_http_connector(Own).build();
    let store = store.map_err(|_| {
        let message = "`files.gs.service_account` holds no key of a service account";
        SourceError::new(SourceErrorKind::MissingValue, message)
            .advise("it is a JSON file with \"type\": \"service_account\" and a \"private_key\"")
    })?;
    Ok(Arc::clone(store.credentials()))
}

/// What Azure's programs find: variables, identities of workloads and of the machine.
///
/// # Errors
/// When they cannot be asked for.
pub fn azure(
    account: &str,
) -> Result<Arc<dyn CredentialProvider<Credential = AzureCredential>>, SourceError> {
    let builder = MicrosoftAzureBuilder::from_env().with_account(account).with_container_name(ANY);
    let store = builder.with_retry(once()).with_http_connector(Own).build().map_err(unusable)?;
    Ok(Arc::clone(store.credentials()))
}

/// What it means that credentials were not given.
pub fn not_given(error: object_store::Error) -> SourceError {
    let mut beneath: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = beneath {
        if let Some(Refused { status, text }) = error.downcast_ref() {
            let message =
                format!("the credentials of the environment were refused with {status}: {text}");
            let kind = match status {
                429 | 500..=599 => SourceErrorKind::ServerError,
                _ => SourceErrorKind::Unauthorized,
            };
            return SourceError::new(kind, message).advise(FIND);
        }
        if let Some(error) = error.downcast_ref::<HttpError>() {
            let kind = match error.kind() {
                HttpErrorKind::Connect => SourceErrorKind::Unreachable,
                HttpErrorKind::Timeout => SourceErrorKind::TimedOut,
                _ => SourceErrorKind::BrokenOff,
            };
            let message = "whoever gives the credentials of the environment cannot be reached";
            return SourceError::new(kind, message).advise(FIND);
        }
        beneath = error.source();
    }
    unusable(error)
}

/// What to do where the environment has no credentials.
const FIND: &str = "credentials = \"environment\" takes those of variables, of the container or of the machine: see \
                    docs/places.md";

/// The library's error may have something of a secret, and is not repeated.
fn unusable(_: object_store::Error) -> SourceError {
    let message = "the credentials of the environment cannot be used";
    SourceError::new(SourceErrorKind::MissingValue, message).advise(FIND)
}

fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// A refusal.
#[derive(Debug)]
struct Refused {
    status: u16,
    text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.text)
    }
}

impl Error for Refused {}

/// Connects with our own client.
#[derive(Debug)]
struct Own;

impl HttpConnector for Own {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = |direct| {
            file_request::bare_client(direct).map_err(|error| object_store::Error::Generic {
                store: "credentials",
                source: Box::new(error),
            })
        };
        Ok(HttpClient::new(Asked { usual: client(false)?, direct: client(true)? }))
    }
}

/// Asks servers of credentials.
#[derive(Debug)]
struct Asked {
    usual: reqwest::Client,
    /// For the machine's own server, to which no proxy leads.
    direct: reqwest::Client,
}

impl HttpService for Asked {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let host = request.uri().host().unwrap_or_default();
        let is_near = host.starts_with("169.254.")
            || host.starts_with("metadata.")
            || host == "[fd00:ec2::254]";
        let client = if is_near { &self.direct } else { &self.usual };
        async move {
            let sent = tokio::time::timeout(TIMEOUT, HttpService::call(client, request)).await;
            let late = |_| {
                HttpError::new(
                    HttpErrorKind::Timeout,
                    Refused { status: 408, text: "no answer".to_owned() },
                )
            };
            let response = sent.map_err(late)??;
            let status = response.status().as_u16();
            if response.status().is_success() {
                return Ok(response);
            }
            let body = tokio::time::timeout(TIMEOUT, response.into_body().bytes()).await;
            let body = body.ok().and_then(Result::ok).unwrap_or_default();
            let text = text::beginning(&String::from_utf8_lossy(&body[..body.len().min(4096)]));
            Err(HttpError::new(HttpErrorKind::Unknown, Refused { status, text }))
        }
        .boxed()
    }
}

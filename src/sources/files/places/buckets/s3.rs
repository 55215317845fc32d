//! Owns S3 and what speaks like it.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::aws::{AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use reqwest::Url;

use super::credentials::{self, signed};
use super::dialect::{Dialect, ListOf, Object, Page, address, encoded_key, query, time};
use super::xml::Element;
use crate::job_file::setting::SecretText;
use crate::sources::files::places::params::{Credentials, S3Params};
use crate::sources::rest_api::file_request::FileRequest;
use crate::sources::{SourceError, SourceErrorKind};

/// Where Amazon's buckets are if nobody says so.
const REGION: &str = "us-east-1";

/// S3.
#[derive(Debug)]
pub struct S3 {
    /// The address of the service, without a bucket.
    endpoint: Url,
    /// Whether the bucket stands in the path, and not in front of the host.
    path_style: bool,
    region: String,
    keys: Keys,
}

/// What requests are signed with.
#[derive(Debug)]
enum Keys {
    /// Nothing: what is public.
    None,
    /// What the job file names.
    Own(AwsCredential),
    /// What the environment of the process has.
    Environment(AwsCredentialProvider),
}

impl S3 {
    /// As the job file says. Reads its secrets, and asks nothing.
    ///
    /// # Errors
    /// When a secret cannot be had, or the address is none.
    pub fn new(params: &S3Params, base_dir: &Path) -> Result<Self, SourceError> {
        let from_environment = params.credentials == Some(Credentials::Environment);
        let variable = |name: &str| std::env::var(name).ok().filter(|_| from_environment);
        let of_environment = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = params.region.clone().or(of_environment).unwrap_or_else(|| REGION.to_owned());
        let endpoint = match &params.endpoint {
            Some(endpoint) => endpoint.resolve("files.s3.endpoint")?,
            None => format!("https://s3.{region}.amazonaws.com"),
        };
        let endpoint = credentials::endpoint(&endpoint, "files.s3.endpoint")?;
        let keys = match (&params.access_key_id, &params.secret_access_key) {
            (Some(id), Some(secret)) => Keys::Own(AwsCredential {
                key_id: id.resolve("files.s3.access_key_id", base_dir)?.expose().to_owned(),
                secret_key: secret
                    .resolve("files.s3.secret_access_key", base_dir)?
                    .expose()
                    .to_owned(),
                token: match &params.session_token {
                    Some(token) => {
                        Some(token.resolve("files.s3.session_token", base_dir)?.expose().to_owned())
                    }
                    None => None,
                },
            }),
            _ if from_environment => Keys::Environment(credentials::aws(&region)?),
            _ => Keys::None,
        };
        let path_style = params.path_style.unwrap_or(params.endpoint.is_some());
        Ok(Self { endpoint, path_style, region, keys })
    }

    /// The address of a bucket, and what stands in front of a key in its path.
    fn bucket(&self, bucket: &str) -> Result<(Url, String), SourceError> {
        // A certificate is for one name in front of the host, and no dot in it.
        if self.path_style || bucket.contains('.') {
            return Ok((self.endpoint.clone(), format!("{}/", encoded_key(bucket))));
        }
        let host = format!("{bucket}.{}", self.endpoint.host_str().unwrap_or_default());
        let mut url = self.endpoint.clone();
        url.set_host(Some(&host)).map_err(|error| {
            let message = format!("`{bucket}` cannot be the name of a bucket: {error}");
            SourceError::new(SourceErrorKind::InvalidConfig, message)
        })?;
        Ok((url, String::new()))
    }
}

impl Dialect for S3 {
    fn list_address(&self, list: ListOf<'_>) -> Result<Url, SourceError> {
        let (base, path) = self.bucket(list.bucket)?;
        let mut parameters = vec![("list-type", "2"), ("prefix", list.prefix)];
        parameters.extend(list.flat.then_some(("delimiter", "/")));
        parameters.extend(list.next.map(|next| ("continuation-token", next)));
        address(&base, path.trim_end_matches('/'), Some(&query(&parameters)))
    }

    fn page(&self, body: &[u8]) -> Result<Page, String> {
        let list = Element::parse(body, "ListBucketResult")?;
        let object = |object: &Element| {
            let missing = |what: &str| format!("it has an object without `{what}`");
            Ok(Object {
                key: object.text("Key").ok_or_else(|| missing("Key"))?,
                size: object
                    .text("Size")
                    .and_then(|size| size.parse().ok())
                    .ok_or_else(|| missing("Size"))?,
                modified: object.text("LastModified").and_then(|at| time(&at)),
                etag: object.text("ETag"),
                version: None,
            })
        };
        let objects = list.all("Contents").map(object).collect::<Result<_, String>>()?;
        let is_cut = match list.text("IsTruncated") {
            Some(cut) => cut == "true",
            // Nothing but the token says so.
            None => list.text("NextContinuationToken").is_some_and(|next| !next.is_empty()),
        };
        let next = list.text("NextContinuationToken").filter(|_| is_cut);
        if is_cut && next.is_none() {
            return Err("it says that there is more, and not how to ask for it".to_owned());
        }
        Ok(Page { objects, next })
    }

    fn object_address(&self, bucket: &str, key: &str, _: Option<&str>) -> Result<Url, SourceError> {
        let (base, path) = self.bucket(bucket)?;
        address(&base, &format!("{path}{}", encoded_key(key)), None)
    }

    fn sign<'a>(
        &'a self,
        url: &'a mut Url,
        request: &'a mut FileRequest,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        async move {
            let given;
            let credential = match &self.keys {
                Keys::None => return Ok(()),
                Keys::Own(credential) => credential,
                Keys::Environment(provider) => {
                    given = provider.get_credential().await.map_err(credentials::not_given)?;
                    &*given
                }
            };
            let secrets = [Some(&credential.secret_key), credential.token.as_ref()];
            let secrets =
                secrets.into_iter().flatten().map(|secret| SecretText::from(secret.clone()));
            request.secrets.extend(secrets.map(|secret| ("files.s3", secret)));
            let authorizer = AwsAuthorizer::new(credential, "s3", &self.region);
            let sha256 = request.sha256;
            signed(url, request, |unsigned| {
                authorizer.try_authorize(unsigned, sha256.as_ref().map(|sha256| &sha256[..]))
            })
        }
        .boxed()
    }

    fn advice(&self, error: &SourceError) -> Option<String> {
        let says = |words: &[&str]| words.iter().any(|word| error.message.contains(word));
        if says(&["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"])
        {
            return Some(format!(
                "the bucket is in another region: set `files.s3.region`, which is `{}`",
                self.region
            ));
        }
        if says(&["RequestTimeTooSkewed"]) {
            return Some("the clock of this machine is wrong".to_owned());
        }
        let is_refused =
            matches!(error.kind, SourceErrorKind::Forbidden | SourceErrorKind::Unauthorized);
        is_refused.then(|| {
            match self.keys {
                Keys::None => {
                    "nobody signs the requests: write `access_key_id` and `secret_access_key`, or credentials = \
                     \"environment\", into `s3` of [files]"
                }
                Keys::Own(_) => {
                    "see whether `access_key_id` and `secret_access_key` in `s3` of [files] are right, and may \
                     s3:ListBucket and s3:GetObject there"
                }
                Keys::Environment(_) => {
                    "see whether the credentials of the environment may s3:ListBucket and s3:GetObject there"
                }
            }
            .to_owned()
        })
    }
}

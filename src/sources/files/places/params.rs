//! Owns the keys of `[files]` that say how places are reached. The doc comments are what editors show.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::job_file::setting::{PlainOrSecret, Secret, Setting};
use crate::sources::rest_api::params::default_timeout;
use crate::sources::rest_api::{AllowedHost, AuthList, Tls};

/// How http and https addresses are asked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpParams {
    /// How requests are authenticated: a table, or a list of several. Nothing of it is sent to another host.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthList>,
    /// Headers of every request; a secret one as { env = "X" } or { file = "/run/secrets/x" }.
    pub headers: BTreeMap<String, PlainOrSecret>,
    /// Other hosts that answers may lead to, by a redirect, such as "cdn.example.com". Neither `auth` nor `headers` are
    /// sent there, and names must lead to public addresses.
    pub allowed_hosts: Vec<AllowedHost>,
    /// The longest that an answer may take to begin, and that nothing may come of a file: "30s".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Certificates besides those of the system, each as { file = "ca.pem" } or { env = "X" }.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl Default for HttpParams {
    fn default() -> Self {
        Self {
            auth: None,
            headers: BTreeMap::new(),
            allowed_hosts: Vec::new(),
            timeout: default_timeout(),
            tls: None,
        }
    }
}

/// Where credentials come from that no key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// The environment in which kasparro runs: its variables, or the server of the machine that gives some.
    Environment,
}

/// How s3:// addresses are asked. Without keys and `credentials` what is public can be read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3Params {
    /// The address of a service other than Amazon's, such as `https://s3.example.com`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Setting>,
    /// The region of the buckets; us-east-1 without it.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The id of an access key.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    /// The access key.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// The token of a session, for keys that are good for a while.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// Takes the credentials of the environment, in place of keys.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Whether the bucket stands in the path of addresses, and not in front of the host: yes where there is an
    /// `endpoint`, no at Amazon's.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// The longest that an answer may take to begin, and that nothing may come of a file: "30s".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Certificates besides those of the system, each as { file = "ca.pem" } or { env = "X" }.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl Default for S3Params {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            credentials: None,
            path_style: None,
            timeout: default_timeout(),
            tls: None,
        }
    }
}

/// How gs:// addresses are asked. Without `service_account` and `credentials` what is public can be read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GsParams {
    /// The key of a service account: a JSON file.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Secret>,
    /// Takes the credentials of the environment, in place of a service account.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// The address of another service than Google's.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Setting>,
    /// The longest that an answer may take to begin, and that nothing may come of a file: "30s".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Certificates besides those of the system, each as { file = "ca.pem" } or { env = "X" }.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl Default for GsParams {
    fn default() -> Self {
        Self {
            service_account: None,
            credentials: None,
            endpoint: None,
            timeout: default_timeout(),
            tls: None,
        }
    }
}

/// How az:// addresses are asked. Without `key`, `sas` and `credentials` what is public can be read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzParams {
    /// The name of the storage account.
    pub account: String,
    /// A key of the account.
    pub key: Option<Secret>,
    /// A shared access signature that may read and list, in place of a key.
    pub sas: Option<Secret>,
    /// Takes the credentials of the environment, in place of both.
    pub credentials: Option<Credentials>,
    /// The address of the account where it is not `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: Option<Setting>,
    /// The longest that an answer may take to begin, and that nothing may come of a file: "30s".
    #[serde(default = "default_timeout", with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Certificates besides those of the system, each as { file = "ca.pem" } or { env = "X" }.
    pub tls: Option<Tls>,
}

/// How sftp:// addresses are read: who we are, by `password` or `key`, and which servers are told, by `host_key` or
/// `known_hosts`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftpParams {
    /// The name of the user.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// A private key, as `ssh-keygen` or PuTTY writes it.
    pub key: Option<Secret>,
    /// The passphrase of the key.
    pub passphrase: Option<Secret>,
    /// The fingerprint of the server's host key, such as "SHA256:Nn4c…", or a list of several.
    #[serde(default)]
    pub host_key: HostKeys,
    /// A file with host keys as `ssh` keeps them, relative to the job file.
    pub known_hosts: Option<PathBuf>,
    /// The longest that connecting, and any one answer, may take: "30s".
    #[serde(default = "default_timeout", with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

/// The fingerprints of host keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMore")]
pub struct HostKeys(pub Vec<String>);

/// A text, or a list of texts.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a fingerprint such as \"SHA256:Nn4c…\", or a list of some")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TryFrom<OneOrMore> for HostKeys {
    type Error = String;

    fn try_from(texts: OneOrMore) -> Result<Self, String> {
        let texts = match texts {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        let fingerprint = |text: String| {
            let hash = text.trim().strip_prefix("SHA256:").map(|hash| hash.trim_end_matches('='));
            match hash
                .filter(|hash| STANDARD_NO_PAD.decode(hash).is_ok_and(|bytes| bytes.len() == 32))
            {
                Some(hash) => Ok(format!("SHA256:{hash}")),
                None => Err(format!(
                    "`{}` is no fingerprint: expected SHA256: and 43 characters, as `ssh-keygen -lf` shows it",
                    crate::domain::text::beginning(&text)
                )),
            }
        };
        texts.into_iter().map(fingerprint).collect::<Result<_, _>>().map(Self)
    }
}

impl JsonSchema for HostKeys {
    fn schema_name() -> Cow<'static, str> {
        "HostKeys".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }
}

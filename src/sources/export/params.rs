//! Owns the keys of a job file's `[export]` table. The doc comments are what editors show.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::job_file::setting::{PlainOrSecret, Setting};
use crate::sources::SourceError;
use crate::sources::rest_api::params::default_timeout;
use crate::sources::rest_api::template::JOB_ID;
use crate::sources::rest_api::{
    AllowedHost, AuthList, Incremental, Method, ParamValue, RateLimitParams, RestApiParams, Retry,
    Tls,
};

/// The table's name.
pub(super) const TABLE: &str = "export";

/// An API that makes files when it is asked for them: a job is created, looked at until it is done, and its files
/// are downloaded. `kind` says what stands in them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportParams {
    /// The address that the paths are relative to, such as `https://api.example.com/v1/`.
    pub base_url: Setting,
    /// Headers of every request; a secret one as { env = "X" } or { file = "/run/secrets/x" }. Texts may have
    /// templates.
    #[serde(default)]
    pub headers: BTreeMap<String, PlainOrSecret>,
    /// How requests are authenticated: a table, or a list of several. Nothing of it is sent to another host.
    pub auth: Option<AuthList>,
    /// The request that creates a job.
    pub create: Create,
    /// The request that looks at it.
    pub poll: Poll,
    /// Where its files are.
    pub download: Download,
    /// What is new: only that is asked for. The end of what is asked for is where the next run begins.
    pub incremental: Option<Incremental>,
    /// How often jobs may be created and looked at, over all workers and all sources with the same key.
    pub rate_limit: Option<RateLimitParams>,
    /// What to do when a request fails.
    #[serde(default)]
    pub retry: Retry,
    /// The longest that one request may take, and that nothing may come of a file: "30s".
    #[serde(default = "default_timeout", with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Certificates besides those of the system, each as { file = "ca.pem" } or { env = "X" }.
    pub tls: Option<Tls>,
}

/// The request that creates a job.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// GET, or POST, which is the default of a request with `json` or `form`.
    pub method: Option<Method>,
    /// The path below `base_url`. May have templates.
    pub path: String,
    /// Query parameters. Texts may have templates.
    #[serde(default)]
    pub params: BTreeMap<String, ParamValue>,
    /// The body, sent as JSON. Texts may have templates.
    pub json: Option<Value>,
    /// The body, sent as a form. Texts may have templates.
    pub form: Option<BTreeMap<String, ParamValue>>,
    /// JSONPath of the job's id in the answer: `${job.id}` in `poll`.
    pub id: String,
    /// Whether the API knows a header `Idempotency-Key`: a job that is asked for twice by the same run, since a worker
    /// was killed between the answer and its note of it, is created once.
    #[serde(default)]
    pub idempotency_key: bool,
}

/// The request that looks at a job.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// GET, or POST, which is the default of a request with `json` or `form`.
    pub method: Option<Method>,
    /// The path below `base_url`, such as `reports/${job.id}`.
    pub path: String,
    /// Query parameters. Texts may have templates.
    #[serde(default)]
    pub params: BTreeMap<String, ParamValue>,
    /// The body, sent as JSON. Texts may have templates.
    pub json: Option<Value>,
    /// The body, sent as a form. Texts may have templates.
    pub form: Option<BTreeMap<String, ParamValue>>,
    /// How long to wait between two looks: "15s".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub every: Duration,
    /// How long a job may take, 24 hours at most: "2h".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// JSONPath of the job's status in the answer.
    pub status: String,
    /// What the status is when the files are there.
    pub done: Vec<String>,
    /// What it is when there will be none. Any other status is waited for.
    #[serde(default)]
    pub failed: Vec<String>,
}

/// Where the files of a job are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// JSONPath of the address of the file in the answer to `poll`, or of a list of addresses with `[*]` at its end. An
    /// empty list is a job without rows.
    pub url: String,
    /// Other hosts that files may be on, such as "storage.googleapis.com". Neither `auth` nor `headers` are sent there,
    /// and names must lead to public addresses.
    #[serde(default)]
    pub allowed_hosts: Vec<AllowedHost>,
    /// The largest file that is read, in bytes after unpacking.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: NonZeroU64,
}

fn default_max_bytes() -> NonZeroU64 {
    const GIBIBYTES_64: NonZeroU64 = NonZeroU64::new(64 << 30).unwrap();
    GIBIBYTES_64
}

impl ExportParams {
    /// What the requests have in common.
    fn common(&self) -> RestApiParams {
        RestApiParams {
            headers: self.headers.clone(),
            auth: self.auth.clone(),
            rate_limit: self.rate_limit.clone(),
            retry: self.retry.clone(),
            timeout: self.timeout,
            allowed_hosts: self.download.allowed_hosts.clone(),
            tls: self.tls.clone(),
            ..RestApiParams::at(self.base_url.clone())
        }
    }

    /// The request that creates a job; `read_by` is what its files are read by.
    pub fn creating(&self, read_by: String) -> RestApiParams {
        let Create { method, path, params, json, form, .. } = self.create.clone();
        let incremental = self.incremental.clone();
        RestApiParams { method, path, params, json, form, incremental, read_by, ..self.common() }
    }

    /// The request that looks at a job.
    pub fn polling(&self) -> RestApiParams {
        let Poll { method, path, params, json, form, .. } = self.poll.clone();
        let more_names = vec![JOB_ID];
        RestApiParams { method, path, params, json, form, more_names, ..self.common() }
    }
}

/// The error in the words of this table: requests are made as those of `rest_api` are, whose keys they name.
pub(super) fn renamed(error: SourceError) -> SourceError {
    let text = |text: &str| {
        text.replace("under [rest_api]", "in `download` of [export]")
            .replace("`rest_api.allowed_hosts", "`export.download.allowed_hosts")
            .replace("`rest_api.", "`export.")
    };
    let advice = error.advice.as_deref().map(text);
    SourceError { message: text(&error.message), advice, ..error }
}

//! Owns what is kept of a page besides its body, so that its server can be asked whether it has changed.

use serde_json::Value;

use super::hash::StoredHash;

/// What a server said of the version of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as it came.
    pub etag: Option<String>,
    /// `Last-Modified`, as it came.
    pub last_modified: Option<String>,
    /// The headers that stood beside the body, a list of texts for each name: an answer that it has not changed may
    /// lack them, and the next page may be in one.
    pub headers: Value,
    /// What tells the credentials of the request from others; `None` where it had none.
    pub credentials: Option<StoredHash>,
}

/// A page that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPage {
    /// What is known of its version.
    pub validators: Validators,
    /// What it is kept under.
    pub page: StoredHash,
}

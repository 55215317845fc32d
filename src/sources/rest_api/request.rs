//! Owns the parts of a request, how they are added, and what tells one request from another.
//!
//! Must not know what asks for the parts, nor what responses look like.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

use super::body::Body;
use super::http::redact::{Secrets, SentIn};
use crate::domain::address;
use crate::domain::hash::{ContentHash, ContentHasher};
use crate::job_file::setting::{SecretText, Setting, SettingError};
use crate::sources::{SourceError, SourceErrorKind};

/// The key of the address.
pub(super) const BASE_URL: &str = "rest_api.base_url";
/// Stands for an address that cannot be had: its variable is not set where a recording is read.
const NO_ADDRESS: &str = "http://base-url.invalid/";

/// The parts of a request. Has no `Debug`: they hold secrets.
pub(super) struct RequestParts {
    /// GET, or POST for a request with a body.
    pub method: Method,
    /// The address to ask, without secrets.
    pub url: Url,
    /// Query parameters behind those of the address that are not a part of what is asked: secrets, and what is
    /// another each time.
    secret_query: Vec<(String, SecretText)>,
    pub headers: HeaderMap,
    /// What the request carries, without secrets.
    pub body: Body,
    /// The address of the job file, where `url` is one that an answer led to.
    pub home: Option<Url>,
    /// What is shown of `url`, where it holds a secret of the API's own.
    pub shown: Option<Url>,
    /// What to do when the API finds the request unauthorized.
    pub advice: String,
    /// The secrets that were added so far.
    pub secrets: Secrets,
}

impl RequestParts {
    /// A request for this address: GET, without a body.
    pub fn new(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            secret_query: Vec::new(),
            headers: HeaderMap::new(),
            body: Body::None,
            home: None,
            shown: None,
            advice: "if it needs a key, add `rest_api.auth`".to_owned(),
            secrets: Secrets::default(),
        }
    }

    /// The address that stands for one that cannot be had.
    #[expect(clippy::expect_used, reason = "the address is a constant")]
    pub fn no_address() -> Url {
        Url::parse(NO_ADDRESS).expect("an address")
    }

    /// A request for an address that cannot be had, which nobody sends.
    pub fn without_address(path: &str) -> Self {
        let mut url = Self::no_address();
        url.set_path(path);
        Self::new(url)
    }

    /// Adds a query parameter.
    pub fn add_query(&mut self, name: &str, value: &str) {
        self.url.query_pairs_mut().append_pair(name, value);
    }

    /// Sets a query parameter, in place of one of the same name.
    pub fn set_query(&mut self, name: &str, value: &str) {
        if self.url.query_pairs().any(|(key, _)| key == name) {
            let others = self.url.query_pairs().filter(|(key, _)| key != name);
            let others: Vec<_> =
                others.map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
            self.url.set_query(None);
            self.url.query_pairs_mut().extend_pairs(others);
        }
        self.add_query(name, value);
    }

    /// Asks for an address that an answer led to, in place of that of the job file. On another host than that
    /// of the job file it is asked without any key, and only where the job file allows it.
    pub fn follow(&mut self, url: Url) {
        let before = std::mem::replace(&mut self.url, url);
        self.home.get_or_insert(before);
    }

    /// Asks for an address that an answer led to and that is good for a while, to whoever has it: nobody else is
    /// to see more of it than where it is.
    pub fn follow_presigned(&mut self, url: Url) {
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        self.shown = Some(shown);
        self.method = Method::GET;
        self.body = Body::None;
        self.follow(url);
    }

    /// The address as it may be shown.
    pub fn shown(&self) -> &Url {
        self.shown.as_ref().unwrap_or(&self.url)
    }

    /// Sets the value at an exact JSONPath of the body, such as `$.paging.after`; objects on the way
    /// are made. Of a form it names a field.
    ///
    /// # Errors
    /// When the body has no such place, or there is no body.
    pub fn set_body_value(&mut self, path: &str, value: Value) -> Result<(), SourceError> {
        if self.method == Method::POST && self.body == Body::None {
            self.body = Body::Json(Value::Object(Map::new()));
        }
        self.body.set(path, value)
    }

    /// Sets a variable of the GraphQL query.
    ///
    /// # Errors
    /// When the body is none.
    pub fn set_variable(&mut self, name: &str, value: Value) -> Result<(), SourceError> {
        self.body.set_variable(name, value)
    }

    /// Adds a query parameter behind all others, whose value is a secret; `key` is the key of the job
    /// file that asks for it.
    pub fn add_secret_query(
        &mut self,
        name: &str,
        value: SecretText,
        key: &str,
    ) -> Result<(), SourceError> {
        self.secrets.add_sent(value.expose(), SentIn::Query(name), key)?;
        self.secret_query.push((name.to_owned(), value));
        Ok(())
    }

    /// Adds a query parameter behind all others, whose value is another each time, such as the time of a
    /// signature.
    pub fn add_passing_query(&mut self, name: &str, value: String) {
        self.secret_query.push((name.to_owned(), value.into()));
    }

    /// Sets a header; `key` is the key of the job file that asks for it.
    pub fn set_header(&mut self, name: &str, text: &str, key: &str) -> Result<(), SourceError> {
        self.insert_header(name, text, key, false)
    }

    /// Sets a header that holds a secret, with this text around it: `Bearer {}`.
    pub fn set_secret_header(
        &mut self,
        name: &str,
        prefix: &str,
        secret: &SecretText,
        key: &str,
    ) -> Result<(), SourceError> {
        self.secrets.add_sent(secret.expose(), SentIn::Header(name), key)?;
        self.insert_header(name, &format!("{prefix}{}", secret.expose()), key, true)
    }

    fn insert_header(
        &mut self,
        name: &str,
        text: &str,
        key: &str,
        is_secret: bool,
    ) -> Result<(), SourceError> {
        let header = header_name(name)?;
        // The library's error is not repeated: it has nothing to add, and must not have the value.
        let mut value = HeaderValue::from_str(text).map_err(|_| {
            let message = format!("the value of `{key}` cannot be sent in a header");
            SourceError::new(SourceErrorKind::MissingValue, message)
        })?;
        value.set_sensitive(is_secret);
        self.headers.insert(header, value);
        Ok(())
    }

    /// The address to send the request to, with the secrets in it.
    pub fn secret_url(&self) -> Url {
        let mut url = self.url.clone();
        for (name, value) in &self.secret_query {
            url.query_pairs_mut().append_pair(name, value.expose());
        }
        url
    }

    /// The names of the query parameters that are not shown.
    pub fn secret_query(&self) -> impl Iterator<Item = &str> {
        self.secret_query.iter().map(|(name, _)| name.as_str())
    }

    /// The headers and query parameters that hold secrets, by their names.
    pub fn secret_parts(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.headers.iter().filter(|(_, value)| value.is_sensitive());
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let query = self.secret_query.iter();
        headers.chain(query.map(|(name, value)| (name.as_str(), value.expose().as_bytes())))
    }

    /// A hash of the request that does not depend on the address that everything is below.
    pub fn key_below(&self, base: Option<&Url>) -> ContentHash {
        let url = self.url.as_str();
        let base = base.map(|base| base.as_str().trim_end_matches('/'));
        let below = base.and_then(|base| url.strip_prefix(base)).unwrap_or(url);
        let below = below.trim_start_matches('/');
        let mut hasher = ContentHasher::default();
        for part in [self.method.as_str(), "\n", below, "\n"] {
            hasher.update(part.as_bytes());
        }
        hasher.update(&self.body.to_bytes());
        hasher.take()
    }

    /// What stays of the request when its page is read. The same for each attempt, with any key and
    /// without one.
    pub fn asked(&self) -> Asked {
        let body = self.body.to_bytes();
        let fingerprint = fingerprint(&self.method, &self.url, &body);
        Asked { fingerprint, url: self.url.clone(), parent: None }
    }
}

/// What was asked for, without secrets.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The address.
    pub url: Url,
    /// Tells the request from others, and from itself for a parent that has changed.
    pub fingerprint: ContentHash,
    /// What is known of the parent whose children are asked for, as JSON.
    pub parent: Option<String>,
}

impl Asked {
    /// The same for the children of a parent, of which this is known.
    pub fn for_parent(self, parent: Option<String>) -> Self {
        let Some(parent) = parent else { return self };
        let both = [self.fingerprint.as_bytes(), parent.as_bytes()].concat();
        Self { fingerprint: ContentHash::of(&both), parent: Some(parent), ..self }
    }
}

/// A hash over the method, the address without secrets, and the body. Neither of the first two can
/// hold the line end that stands behind it.
fn fingerprint(method: &Method, url: &Url, body: &[u8]) -> ContentHash {
    let mut hasher = ContentHasher::default();
    for part in [method.as_str(), "\n", url.as_str(), "\n"] {
        hasher.update(part.as_bytes());
    }
    hasher.update(body);
    hasher.take()
}

/// The name of a header.
pub(super) fn header_name(name: &str) -> Result<HeaderName, SourceError> {
    name.parse().map_err(|_| {
        let message = format!("`{name}` cannot be the name of a header");
        SourceError::new(SourceErrorKind::InvalidConfig, message)
    })
}

/// The address without any query parameters of ours.
pub(super) fn address(base_url: &Setting, path: &str) -> Result<Url, SourceError> {
    let invalid = |message: String| SourceError::new(SourceErrorKind::InvalidConfig, message);
    let base = base_url.resolve(BASE_URL)?;
    let url = Url::parse(&base).map_err(|error| {
        let why = match base.contains("://") {
            true => address::fault(&error.to_string()).to_owned(),
            false => "it does not begin with https:// or http://".to_owned(),
        };
        invalid(format!("`{BASE_URL}` is no address: {why}"))
            .advise("expected one such as https://api.example.com/v1/")
    })?;
    let has_password = !url.username().is_empty() || url.password().is_some();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(format!("`{BASE_URL}` begins with `{}:`", url.scheme()))
            .advise("it must be an http or https address, such as https://api.example.com/v1/"));
    }
    if has_password || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(format!("`{BASE_URL}` has a user name, a query or a fragment in it"))
            .advise("put a key in `rest_api.auth` and query parameters in `rest_api.params`"));
    }
    if path.is_empty() {
        return Ok(url);
    }
    let whole = format!("{}/{}", url.as_str().trim_end_matches('/'), path.trim_start_matches('/'));
    Url::parse(&whole).map_err(|error| {
        let why = address::fault(&error.to_string()).to_owned();
        invalid(format!("{whole} is no address: {why}"))
    })
}

impl From<SettingError> for SourceError {
    fn from(error: SettingError) -> Self {
        let without_cause = Self::new(SourceErrorKind::MissingValue, error.to_string());
        match error.source {
            Some(cause) => without_cause.caused_by(cause),
            None => without_cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn requests_differ_by_method_address_and_body_and_by_nothing_else() {
        let asked = "https://api.example.com/v1/coins?page=1";
        let all = [
            fingerprint(&Method::GET, &url(asked), b""),
            fingerprint(&Method::POST, &url(asked), b""),
            fingerprint(&Method::POST, &url(asked), b"{}"),
            fingerprint(&Method::GET, &url("https://api.example.com/v1/coins?page=2"), b""),
            fingerprint(&Method::GET, &url("https://api.example.com/v2/coins?page=1"), b""),
            fingerprint(&Method::GET, &url("https://api.example.org/v1/coins?page=1"), b""),
            fingerprint(&Method::GET, &url("http://api.example.com/v1/coins?page=1"), b""),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        // Stored identities hang on it: it must stay what it is.
        let stored = ContentHash::of(b"GET\nhttps://api.example.com/v1/coins?page=1\n");
        assert_eq!(RequestParts::new(url(asked)).asked().fingerprint, stored);
        let mut parts = RequestParts::new(url(asked));
        (parts.method, parts.body) = (Method::POST, Body::Json(serde_json::json!({})));
        parts.set_body_value("$.after", "c".into()).unwrap();
        let stored = b"POST\nhttps://api.example.com/v1/coins?page=1\n{\"after\":\"c\"}";
        assert_eq!(parts.asked().fingerprint, ContentHash::of(stored));
    }

    #[test]
    fn neither_keys_nor_headers_change_the_fingerprint_and_keys_do_not_show() {
        let mut parts = RequestParts::new(url("https://api.example.com/coins"));
        let before = parts.asked().fingerprint;
        parts.set_header("x-plain", "yes", "the test").unwrap();
        let key = || SecretText::from("s3cr3t key".to_owned());
        parts.set_secret_header("authorization", "Bearer ", &key(), "the test").unwrap();
        parts.add_secret_query("k", key(), "the test").unwrap();
        assert_eq!(parts.asked().fingerprint, before);
        assert_eq!(parts.url.as_str(), "https://api.example.com/coins");
        assert_eq!(parts.secret_url().as_str(), "https://api.example.com/coins?k=s3cr3t+key");
        assert!(parts.headers["authorization"].is_sensitive());
    }

    #[test]
    fn a_key_comes_behind_the_parameters_that_are_added_after_it() {
        let mut parts = RequestParts::new(url("https://api.example.com/coins?a=1"));
        parts.add_secret_query("k", SecretText::from("key".to_owned()), "the test").unwrap();
        parts.add_query("page", "2");
        assert_eq!(parts.secret_url().query(), Some("a=1&page=2&k=key"));
    }
}

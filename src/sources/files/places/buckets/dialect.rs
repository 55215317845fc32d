//! Owns what every service of buckets does: how it is asked for a list and for an object, and what its lists say.

use std::fmt;
use std::time::SystemTime;

use futures::future::BoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, Url};

use crate::sources::rest_api::file_request::FileRequest;
use crate::sources::{SourceError, SourceErrorKind};

/// What stands for itself in addresses.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same of a whole key, whose slashes stay.
const OF_KEY: &AsciiSet = &UNRESERVED.remove(b'/');

/// An object of a bucket, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its whole key, as it is.
    pub key: String,
    pub size: u64,
    pub modified: Option<SystemTime>,
    /// As requests have it: within quotes.
    pub etag: Option<String>,
    /// What tells the object of this key from those before it, where the service says so.
    pub version: Option<String>,
}

/// A part of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub objects: Vec<Object>,
    /// What the next part is asked for by.
    pub next: Option<String>,
}

/// What a list is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ListOf<'a> {
    pub bucket: &'a str,
    /// What all keys begin with.
    pub prefix: &'a str,
    /// Whether keys with a further `/` behind the prefix are left out.
    pub flat: bool,
    /// What the page before this one has named.
    pub next: Option<&'a str>,
}

/// A service of buckets.
pub trait Dialect: fmt::Debug + Send + Sync {
    /// Where a part of a list is.
    ///
    /// # Errors
    /// When there is no such address.
    fn list_address(&self, list: ListOf<'_>) -> Result<Url, SourceError>;

    /// What an answer to that says.
    ///
    /// # Errors
    /// What is wrong with it.
    fn page(&self, body: &[u8]) -> Result<Page, String>;

    /// Where an object is, in the version that was listed if the service has such.
    ///
    /// # Errors
    /// When there is no such address.
    fn object_address(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Url, SourceError>;

    /// Where an object is sent, and what its request says besides: by which method, and that it be refused where there
    /// is one, if it is meant `only_new`.
    ///
    /// # Errors
    /// When there is no such address.
    fn put_address(
        &self,
        bucket: &str,
        key: &str,
        only_new: bool,
        request: &mut FileRequest,
    ) -> Result<Url, SourceError> {
        request.method = Method::PUT;
        if only_new {
            request.conditions.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        self.object_address(bucket, key, None)
    }

    /// Whether the address of an object with a version means that version and no other.
    fn pins_versions(&self) -> bool {
        false
    }

    /// Adds to a request what the service knows us by, after everything else.
    ///
    /// # Errors
    /// When that cannot be had.
    fn sign<'a>(
        &'a self,
        url: &'a mut Url,
        request: &'a mut FileRequest,
    ) -> BoxFuture<'a, Result<(), SourceError>>;

    /// What to do about an error, if that is known.
    fn advice(&self, _error: &SourceError) -> Option<String> {
        None
    }
}

/// A part of an address.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A key in an address.
pub fn encoded_key(key: &str) -> String {
    utf8_percent_encode(key, OF_KEY).to_string()
}

/// A query of these parameters.
pub fn query(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    pairs.join("&")
}

/// The address that these texts make, whose path is to stay as it is: addresses know folders `.` and `..`, and keys do
/// not.
///
/// # Errors
/// When it is none, or would mean another key.
pub fn address(base: &Url, path: &str, query: Option<&str>) -> Result<Url, SourceError> {
    let mut url = base.clone();
    let whole = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&whole);
    url.set_query(query);
    match url.path() == whole {
        true => Ok(url),
        false => {
            let message =
                format!("{path} cannot be asked for: an address has no folders named `.` or `..`");
            Err(SourceError::new(SourceErrorKind::FileUnreadable, message)
                .advise("give it another name"))
        }
    }
}

/// A time of RFC 3339.
pub fn time(text: &str) -> Option<SystemTime> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_asked_for_as_they_are_or_not_at_all() {
        let base = Url::parse("https://x.example/b").unwrap();
        let of = |key: &str| address(&base, &encoded_key(key), None).map(|url| url.to_string());
        assert_eq!(of("in/a b+ä%.csv").unwrap(), "https://x.example/b/in/a%20b%2B%C3%A4%25.csv");
        assert_eq!(of("in//a.csv").unwrap(), "https://x.example/b/in//a.csv");
        assert_eq!(of("/a.csv").unwrap(), "https://x.example/b//a.csv");
        for key in ["in/../a.csv", "./a.csv", "in/.."] {
            assert!(of(key).unwrap_err().text().contains("no folders named"), "{key}");
        }
        assert_eq!(query(&[("prefix", "a b/+"), ("x", "")]), "prefix=a%20b%2F%2B&x=");
    }
}

//! Owns how a request is put together.
//!
//! Must not know what answers look like.

use std::path::Path;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::params::{Auth, KeyPlace, RestApiParams};
use super::secrets::Secrets;
use crate::domain::address;
use crate::job_file::setting::{PlainOrSecret, Setting, SettingError};
use crate::sources::SourceError;

/// The key of the address.
pub(super) const BASE_URL: &str = "rest_api.base_url";

/// A request ready to be sent. Has no `Debug`: the address may hold a secret.
pub(super) struct Request {
    /// The address to ask; it may hold a secret.
    pub url: Url,
    /// The same without secrets.
    pub shown: String,
    pub headers: HeaderMap,
    /// What to do when the API finds it unauthorized.
    pub advice: String,
    pub secrets: Secrets,
}

/// The address of the page that `query` asks for, without secrets.
pub(super) fn asked(params: &RestApiParams, query: &[(&str, String)]) -> Result<Url, SourceError> {
    let mut url = address(&params.base_url, &params.path)?;
    for (name, value) in &params.params {
        url.query_pairs_mut().append_pair(name, &value.to_string());
    }
    for (name, value) in query {
        url.query_pairs_mut().append_pair(name, value);
    }
    Ok(url)
}

impl Request {
    /// The request for the page that `query` asks for.
    pub fn build(
        params: &RestApiParams,
        base_dir: &Path,
        query: &[(&str, String)],
    ) -> Result<Self, SourceError> {
        let url = asked(params, query)?;
        let shown = url.to_string();
        let mut request = Self {
            url,
            shown,
            headers: HeaderMap::new(),
            advice: "if it needs a key, add `rest_api.auth`".to_owned(),
            secrets: Secrets::default(),
        };
        request.add_headers(params, base_dir)?;
        request.add_auth(params, base_dir)?;
        Ok(request)
    }

    fn add_headers(&mut self, params: &RestApiParams, base_dir: &Path) -> Result<(), SourceError> {
        for (name, value) in &params.headers {
            let key = format!("rest_api.headers.{name}");
            match value {
                PlainOrSecret::Plain(text) => self.add_header(name, text, &key, false)?,
                PlainOrSecret::Secret(secret) => {
                    let text = secret.resolve(&key, base_dir)?;
                    self.secrets.add(text.expose(), &key)?;
                    self.add_header(name, text.expose(), &key, true)?;
                }
            }
        }
        Ok(())
    }

    fn add_auth(&mut self, params: &RestApiParams, base_dir: &Path) -> Result<(), SourceError> {
        let Some(auth) = &params.auth else { return Ok(()) };
        let (key, secret) = auth.secret();
        let text = match secret.resolve(key, base_dir) {
            Ok(text) => text,
            Err(error) if auth.is_optional() && error.is_absent() => {
                self.advice = format!("no key was sent: put one in {secret} (`{key}`)");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.advice = format!("put a valid key in {secret} (`{key}`)");
        let text = text.expose();
        self.secrets.add(text, key)?;
        match auth {
            Auth::ApiKey { place: KeyPlace::Query, name, .. } => {
                self.url.query_pairs_mut().append_pair(name, text);
                Ok(())
            }
            Auth::ApiKey { place: KeyPlace::Header, name, .. } => {
                self.add_header(name, text, key, true)
            }
            Auth::Bearer { .. } => {
                self.add_header(AUTHORIZATION.as_str(), &format!("Bearer {text}"), key, true)
            }
        }
    }

    fn add_header(
        &mut self,
        name: &str,
        text: &str,
        key: &str,
        is_secret: bool,
    ) -> Result<(), SourceError> {
        let header = header_name(name)?;
        // The library's error is not repeated: it has nothing to add, and must not have the value.
        let mut value = HeaderValue::from_str(text).map_err(|_| {
            SourceError::permanent(format!("the value of `{key}` cannot be sent in a header"))
        })?;
        value.set_sensitive(is_secret);
        self.headers.insert(header, value);
        Ok(())
    }
}

/// Refuses what no environment can mend, before the first request.
pub(super) fn validate(params: &RestApiParams) -> Result<(), SourceError> {
    // A variable that is not set here may be set where the source runs.
    if params.base_url.resolve(BASE_URL).is_ok() {
        address(&params.base_url, &params.path)?;
    }
    for name in params.headers.keys() {
        header_name(name)?;
    }
    match &params.auth {
        Some(Auth::ApiKey { place: KeyPlace::Header, name, .. }) => header_name(name).map(drop),
        Some(Auth::ApiKey { place: KeyPlace::Query, .. } | Auth::Bearer { .. }) | None => Ok(()),
    }
}

/// The name of a header.
pub(super) fn header_name(name: &str) -> Result<HeaderName, SourceError> {
    name.parse()
        .map_err(|_| SourceError::permanent(format!("`{name}` cannot be the name of a header")))
}

/// The address without any query parameters of ours.
pub(super) fn address(base_url: &Setting, path: &str) -> Result<Url, SourceError> {
    let base = base_url.resolve(BASE_URL)?;
    let url = Url::parse(&base).map_err(|error| {
        let why = match base.contains("://") {
            true => address::fault(&error.to_string()).to_owned(),
            false => "it does not begin with https:// or http://".to_owned(),
        };
        SourceError::permanent(format!(
            "`{BASE_URL}` is no address: {why}; expected one such as https://api.example.com/v1/"
        ))
    })?;
    let has_password = !url.username().is_empty() || url.password().is_some();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(SourceError::permanent(format!(
            "`{BASE_URL}` begins with `{}:`; it must be an http or https address, such as \
             https://api.example.com/v1/",
            url.scheme()
        )));
    }
    if has_password || url.query().is_some() || url.fragment().is_some() {
        return Err(SourceError::permanent(format!(
            "`{BASE_URL}` has a user name, a query or a fragment in it: put a key in `rest_api.auth` \
             and query parameters in `rest_api.params`"
        )));
    }
    if path.is_empty() {
        return Ok(url);
    }
    let whole = format!("{}/{}", url.as_str().trim_end_matches('/'), path.trim_start_matches('/'));
    Url::parse(&whole).map_err(|error| {
        let why = address::fault(&error.to_string()).to_owned();
        SourceError::permanent(format!("{whole} is no address: {why}"))
    })
}

impl From<SettingError> for SourceError {
    fn from(error: SettingError) -> Self {
        let without_cause = Self::permanent(error.to_string());
        match error.source {
            Some(cause) => without_cause.caused_by(cause),
            None => without_cause,
        }
    }
}

//! Owns where a key or a token stands in a request.

use reqwest::header::{AUTHORIZATION, COOKIE};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::job_file::setting::SecretText;
use crate::sources::SourceError;
use crate::sources::rest_api::request::{RequestParts, header_name};

/// Where something secret is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyPlace {
    /// In a header.
    #[default]
    Header,
    /// In the query of the address.
    Query,
    /// In a cookie.
    Cookie,
}

/// How the token is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SendAs {
    /// Where the token is sent.
    #[serde(rename = "in")]
    pub(super) place: KeyPlace,
    /// The name of the header, the query parameter or the cookie.
    pub(super) name: String,
    /// What stands in front of the token; nothing in a query or a cookie, unless it is said here.
    pub(super) prefix: Option<String>,
}

impl Default for SendAs {
    fn default() -> Self {
        Self { place: KeyPlace::Header, name: AUTHORIZATION.to_string(), prefix: None }
    }
}

impl SendAs {
    /// What is wrong with the name.
    pub(super) fn problem(&self) -> Option<String> {
        problem(self.place, &self.name)
    }

    /// Where that is, in words.
    pub(super) fn place(&self) -> String {
        words(self.place, &self.name)
    }

    /// Writes the token into a request; `key` is the key of the job file.
    pub(super) fn write(
        &self,
        request: &mut RequestParts,
        token: SecretText,
        key: &str,
    ) -> Result<(), SourceError> {
        let is_authorization = self.name.eq_ignore_ascii_case(AUTHORIZATION.as_str());
        let usual = match self.place {
            KeyPlace::Header if is_authorization => "Bearer ",
            KeyPlace::Header | KeyPlace::Query | KeyPlace::Cookie => "",
        };
        let prefix = self.prefix.as_deref().unwrap_or(usual);
        write(request, self.place, &self.name, prefix, token, key)
    }
}

/// What is wrong with the name.
pub(super) fn problem(place: KeyPlace, name: &str) -> Option<String> {
    match place {
        KeyPlace::Header => header_name(name).err().map(|error| error.text()),
        KeyPlace::Query => None,
        KeyPlace::Cookie => {
            let is_plain = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
            let is_name = !name.is_empty() && name.chars().all(is_plain);
            (!is_name).then(|| format!("`{name}` cannot be the name of a cookie"))
        }
    }
}

/// Where that is, in words.
pub(super) fn words(place: KeyPlace, name: &str) -> String {
    match place {
        KeyPlace::Header => format!("the header `{}`", name.to_ascii_lowercase()),
        KeyPlace::Query => format!("the query parameter `{name}`"),
        KeyPlace::Cookie => format!("the cookie `{name}`"),
    }
}

/// Writes a secret into a request; `key` is the key of the job file.
pub(super) fn write(
    request: &mut RequestParts,
    place: KeyPlace,
    name: &str,
    prefix: &str,
    secret: SecretText,
    key: &str,
) -> Result<(), SourceError> {
    match place {
        KeyPlace::Header => request.set_secret_header(name, prefix, &secret, key),
        KeyPlace::Query if prefix.is_empty() => request.add_secret_query(name, secret, key),
        KeyPlace::Query => {
            request.secrets.add(secret.expose(), key)?;
            request.add_secret_query(name, format!("{prefix}{}", secret.expose()).into(), key)
        }
        KeyPlace::Cookie => {
            let before = request.headers.get(COOKIE).and_then(|value| value.to_str().ok());
            let before = before.map(|before| format!("{before}; ")).unwrap_or_default();
            let prefix = format!("{before}{name}={prefix}");
            request.set_secret_header(COOKIE.as_str(), &prefix, &secret, key)
        }
    }
}

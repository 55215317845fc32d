//! Owns authentication by a user name and a password, HTTP's `Basic`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;

use super::authorize::{AuthContext, Authorize, SecretKey, SentToken, text_of};
use super::send_as::{self, KeyPlace};
use crate::job_file::setting::{PlainOrSecret, Secret};
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

/// An `Authorization: Basic` header: a user name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user name; a secret one, such as a key that is sent in its place, as { env = "X" } or
    /// { file = "/run/secrets/x" }.
    username: PlainOrSecret,
    /// The password; none when it is left out.
    password: Option<Secret>,
    /// Whether to go without both when one of them is not supplied.
    #[serde(default)]
    optional: bool,
}

/// What APIs that are sent a key in place of the user name want for a password: nothing, or a word that is the same for
/// everybody.
fn is_no_password(password: &str) -> bool {
    password.len() <= 3
        || matches!(password, "api_token" | "x-oauth-basic" | "api-key" | "api_key" | "token")
}

impl Basic {
    fn add(&self, request: &mut RequestParts, context: AuthContext<'_>) -> Result<(), SourceError> {
        for key in self.secrets() {
            if key.resolve(request, context)?.is_none() {
                return Ok(());
            }
        }
        let at = |key: &str| context.whole_key(key);
        let (username, is_kept_elsewhere) =
            text_of(&self.username, &at("username"), context.base_dir)?;
        if username.expose().contains(':') {
            let message = format!("`{}` has a colon in it, which ends a user name", at("username"));
            return Err(SourceError::new(SourceErrorKind::MissingValue, message));
        }
        let password = match &self.password {
            Some(secret) => {
                let password = secret.resolve(&at("password"), context.base_dir)?;
                request.secrets.add(password.expose(), &at("password"))?;
                password.expose().to_owned()
            }
            None => String::new(),
        };
        // A name beside a password is no secret, and records may well have it.
        if is_kept_elsewhere && is_no_password(&password) {
            request.secrets.add(username.expose(), &at("username"))?;
        }
        let both = STANDARD.encode(format!("{}:{password}", username.expose()));
        let name = AUTHORIZATION.as_str();
        request.set_secret_header(name, "Basic ", &both.into(), context.at)
    }
}

impl Authorize for Basic {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        let optional = self.optional;
        let username = SecretKey::of_plain("username", &self.username);
        let password = self.password.as_ref().map(|secret| {
            let key = Cow::Borrowed("password");
            SecretKey { key, secret, optional }
        });
        let username = username.map(|key| SecretKey { optional, ..key });
        username.into_iter().chain(password).collect()
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        match &self.username {
            PlainOrSecret::Plain(name) if name.contains(':') => {
                vec![("username", "has a colon in it, which ends a user name".to_owned())]
            }
            PlainOrSecret::Plain(_) | PlainOrSecret::Secret(_) => Vec::new(),
        }
    }

    fn writes(&self) -> Vec<String> {
        vec![send_as::words(KeyPlace::Header, AUTHORIZATION.as_str())]
    }

    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<Option<SentToken>, SourceError>> {
        async move { self.add(request, context).map(|()| None) }.boxed()
    }
}

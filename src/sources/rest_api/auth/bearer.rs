//! Owns authentication by an `Authorization: Bearer` header.

use std::borrow::Cow;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;

use super::authorize::{AuthContext, Authorize, SecretKey, SentToken};
use super::send_as::{self, KeyPlace};
use crate::job_file::setting::Secret;
use crate::sources::SourceError;
use crate::sources::rest_api::request::RequestParts;

/// An `Authorization: Bearer` header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// The token.
    token: Secret,
    /// Whether to go without it when it is not supplied.
    #[serde(default)]
    optional: bool,
}

impl Bearer {
    fn key(&self) -> SecretKey<'_> {
        let key = Cow::Borrowed("token");
        SecretKey { key, secret: &self.token, optional: self.optional }
    }

    fn add(&self, request: &mut RequestParts, context: AuthContext<'_>) -> Result<(), SourceError> {
        let Some(token) = self.key().resolve(request, context)? else { return Ok(()) };
        let name = AUTHORIZATION.as_str();
        request.set_secret_header(name, "Bearer ", &token, &context.whole_key("token"))
    }
}

impl Authorize for Bearer {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        vec![self.key()]
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        Vec::new()
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

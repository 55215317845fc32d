//! Owns authentication by an `Authorization: Bearer` header.

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;

use super::authorize::{AuthContext, Authorize, SecretKey};
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
        SecretKey { key: "token", secret: &self.token, optional: self.optional }
    }

    fn add(&self, request: &mut RequestParts, context: AuthContext<'_>) -> Result<(), SourceError> {
        let key = self.key();
        let Some(token) = key.resolve(request, context)? else { return Ok(()) };
        let name = AUTHORIZATION.as_str();
        request.set_secret_header(name, "Bearer ", &token, &key.whole_key())
    }
}

impl Authorize for Bearer {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        vec![self.key()]
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        async move { self.add(request, context) }.boxed()
    }
}

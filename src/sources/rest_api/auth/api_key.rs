//! Owns authentication by a key in a header, in the query or in a cookie.

use std::borrow::Cow;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use super::authorize::{AuthContext, Authorize, SecretKey, SentToken};
use super::send_as::{self, KeyPlace};
use crate::job_file::setting::Secret;
use crate::sources::SourceError;
use crate::sources::rest_api::request::RequestParts;

/// A key in a header, in the query or in a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Where the key is sent.
    #[serde(default, rename = "in")]
    place: KeyPlace,
    /// The name of the header, the query parameter or the cookie.
    name: String,
    /// The key.
    value: Secret,
    /// What stands in front of the key, such as "Token ".
    #[serde(default)]
    prefix: String,
    /// Whether to go without it when it is not supplied.
    #[serde(default)]
    optional: bool,
}

impl ApiKey {
    fn key(&self) -> SecretKey<'_> {
        let key = Cow::Borrowed("value");
        SecretKey { key, secret: &self.value, optional: self.optional }
    }

    fn add(&self, request: &mut RequestParts, context: AuthContext<'_>) -> Result<(), SourceError> {
        let Some(value) = self.key().resolve(request, context)? else { return Ok(()) };
        let Self { place, name, prefix, .. } = self;
        send_as::write(request, *place, name, prefix, value, &context.whole_key("value"))
    }
}

impl Authorize for ApiKey {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        vec![self.key()]
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let problem = send_as::problem(self.place, &self.name);
        problem.map(|problem| ("name", problem)).into_iter().collect()
    }

    fn writes(&self) -> Vec<String> {
        vec![send_as::words(self.place, &self.name)]
    }

    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<Option<SentToken>, SourceError>> {
        async move { self.add(request, context).map(|()| None) }.boxed()
    }
}

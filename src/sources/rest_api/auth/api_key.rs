//! Owns authentication by a key in a header or in the query.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use super::authorize::{AuthContext, Authorize, SecretKey};
use crate::job_file::setting::Secret;
use crate::sources::SourceError;
use crate::sources::rest_api::request::{RequestParts, header_name};

/// A key in a header or in the query.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Where the key is sent.
    #[serde(default, rename = "in")]
    place: KeyPlace,
    /// The name of the header or of the query parameter.
    name: String,
    /// The key.
    value: Secret,
    /// Whether to go without it when it is not supplied.
    #[serde(default)]
    optional: bool,
}

/// Where an API key is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum KeyPlace {
    /// In a header.
    #[default]
    Header,
    /// In the query of the address.
    Query,
}

impl ApiKey {
    fn key(&self) -> SecretKey<'_> {
        SecretKey { key: "value", secret: &self.value, optional: self.optional }
    }

    fn add(&self, request: &mut RequestParts, context: AuthContext<'_>) -> Result<(), SourceError> {
        let key = self.key();
        let Some(value) = key.resolve(request, context)? else { return Ok(()) };
        match self.place {
            KeyPlace::Header => request.set_secret_header(&self.name, "", &value, &key.whole_key()),
            KeyPlace::Query => request.add_secret_query(&self.name, value, &key.whole_key()),
        }
    }
}

impl Authorize for ApiKey {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        vec![self.key()]
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        match (self.place, header_name(&self.name)) {
            (KeyPlace::Header, Err(error)) => vec![("name", error.text())],
            (KeyPlace::Header, Ok(_)) | (KeyPlace::Query, _) => Vec::new(),
        }
    }

    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        async move { self.add(request, context) }.boxed()
    }
}

//! Owns what every kind of authentication does.

use std::fmt;
use std::path::Path;

use futures::future::BoxFuture;

use crate::job_file::setting::{Secret, SecretText};
use crate::sources::SourceError;
use crate::sources::rest_api::request::RequestParts;

/// A secret that a job file asks for.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) struct SecretKey<'a> {
    /// The key below `rest_api.auth`.
    pub key: &'static str,
    pub secret: &'a Secret,
    /// Whether to go without it when it is not supplied.
    pub optional: bool,
}

/// What a kind may need for its work.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) struct AuthContext<'a> {
    /// The folder of the job file.
    pub base_dir: &'a Path,
}

/// A kind of authentication.
pub(in crate::sources::rest_api) trait Authorize:
    fmt::Debug + Send + Sync
{
    /// The secrets that it needs.
    fn secrets(&self) -> Vec<SecretKey<'_>>;

    /// What serde cannot check: the key below `rest_api.auth`, and what is wrong there.
    fn problems(&self) -> Vec<(&'static str, String)>;

    /// Adds to a request what the API knows us by.
    ///
    /// # Errors
    /// When a secret cannot be had, or not be sent.
    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>>;
}

impl SecretKey<'_> {
    /// The key of the job file.
    pub fn whole_key(&self) -> String {
        format!("rest_api.auth.{}", self.key)
    }

    /// Reads the secret, and says in the request what to do when the API refuses it; `None` when
    /// nobody supplies it and it may be absent.
    ///
    /// # Errors
    /// When it must be there, or cannot be read.
    pub fn resolve(
        &self,
        request: &mut RequestParts,
        context: AuthContext<'_>,
    ) -> Result<Option<SecretText>, SourceError> {
        let (key, secret) = (self.whole_key(), self.secret);
        match secret.resolve(&key, context.base_dir) {
            Ok(text) => {
                request.advice = format!("put a valid key in {secret} (`{key}`)");
                Ok(Some(text))
            }
            Err(error) if self.optional && error.is_absent() => {
                request.advice = format!("no key was sent: put one in {secret} (`{key}`)");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

//! Owns what every kind of authentication does.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::job_file::setting::{PlainOrSecret, Secret, SecretText, Setting};
use crate::sources::rest_api::http::response::Response;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::token_store::{Generation, TokenKey};
use crate::sources::{SourceError, TokenStore};

/// A secret that a job file asks for.
#[derive(Debug, Clone)]
pub(in crate::sources::rest_api) struct SecretKey<'a> {
    /// The key below the table of the kind, such as `value` or `json.password`.
    pub key: Cow<'static, str>,
    pub secret: &'a Secret,
    /// Whether to go without it when it is not supplied.
    pub optional: bool,
}

/// How login servers are asked: with the time limits and the certificates of the source.
pub(in crate::sources::rest_api) trait Calls: Send + Sync {
    /// Sends a request; the response is as it came, with the token in it, and errors are without the secrets
    /// of the request.
    fn call(&self, request: RequestParts) -> BoxFuture<'_, Result<Response, SourceError>>;

    /// `rest_api.base_url`.
    fn base_url(&self) -> &Setting;
}

/// What a kind may need for its work.
#[derive(Clone, Copy)]
pub(in crate::sources::rest_api) struct AuthContext<'a> {
    /// The key of its table: `rest_api.auth`, or `rest_api.auth[1]`.
    pub at: &'a str,
    /// The folder of the job file.
    pub base_dir: &'a Path,
    /// How login servers are asked.
    pub calls: &'a Arc<dyn Calls>,
    /// Where their tokens are kept.
    pub tokens: &'a Arc<dyn TokenStore>,
    /// The tokens with which the API has refused this request.
    pub refused: &'a [SentToken],
}

/// A token that went with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources::rest_api) struct SentToken {
    pub key: TokenKey,
    pub generation: Generation,
}

/// A kind of authentication.
pub(in crate::sources::rest_api) trait Authorize:
    fmt::Debug + Send + Sync
{
    /// The secrets that it needs.
    fn secrets(&self) -> Vec<SecretKey<'_>>;

    /// What serde cannot check: the key below the table of the kind, and what is wrong there.
    fn problems(&self) -> Vec<(&'static str, String)>;

    /// Where in a request it writes something, such as `the header authorization`: nothing else may write there.
    fn writes(&self) -> Vec<String>;

    /// Whether it has a token that can be had anew when the API refuses it.
    fn renews(&self) -> bool {
        false
    }

    /// Names the token that must be kept between runs, if there is one: see
    /// [`crate::sources::token_store::TokenRequest::must_be_kept`].
    fn kept_token(&self) -> Option<TokenKey> {
        None
    }

    /// Adds to a request what the API knows us by; answers the token of a login server that went with it.
    ///
    /// # Errors
    /// When a secret or a token cannot be had, or not be sent.
    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<Option<SentToken>, SourceError>>;
}

impl AuthContext<'_> {
    /// The whole key of the job file for a key below the table of the kind.
    pub fn whole_key(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    /// The generation of this token that the API has refused.
    pub fn refused(&self, key: &TokenKey) -> Option<Generation> {
        let refused = self.refused.iter().find(|sent| sent.key == *key);
        refused.map(|sent| sent.generation)
    }
}

impl<'a> SecretKey<'a> {
    /// A secret that must be there.
    pub fn of(key: &'static str, secret: &'a Secret) -> Self {
        Self { key: Cow::Borrowed(key), secret, optional: false }
    }

    /// A secret that may be written as a plain text.
    pub fn of_plain(key: &'static str, text: &'a PlainOrSecret) -> Option<Self> {
        match text {
            PlainOrSecret::Plain(_) => None,
            PlainOrSecret::Secret(secret) => Some(Self::of(key, secret)),
        }
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
        let (key, secret) = (context.whole_key(&self.key), self.secret);
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

/// The text of what may be a secret, and whether it is one.
///
/// # Errors
/// When it is a secret that cannot be read.
pub(super) fn text_of(
    text: &PlainOrSecret,
    key: &str,
    base_dir: &Path,
) -> Result<(SecretText, bool), SourceError> {
    match text {
        PlainOrSecret::Plain(text) => Ok((text.clone().into(), false)),
        PlainOrSecret::Secret(secret) => Ok((secret.resolve(key, base_dir)?, true)),
    }
}

/// Where a text is from, without the text if it is secret: for the names of tokens.
pub(super) fn described(text: &PlainOrSecret) -> String {
    match text {
        PlainOrSecret::Plain(text) => format!("{text:?}"),
        PlainOrSecret::Secret(secret) => secret.to_string(),
    }
}

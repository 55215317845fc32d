//! Owns telling whether a page is asked for with the same credentials as before: another account may be given another
//! page under the same `ETag`.
//!
//! What is kept for that is slow to compute on purpose, so that nobody finds a password by trying many.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ring::pbkdf2;

use super::auth::AuthList;
use super::params::RestApiParams;
use super::request::RequestParts;
use crate::domain::hash::{ContentHash, ContentHasher};
use crate::job_file::setting::{PlainOrSecret, Secret};
use crate::sources::{SourceError, SourceErrorKind};

/// How often the hash is applied: some 50 ms, once a process and source.
const ROUNDS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

/// The credentials that were met last: how they are told apart in this process, and what is kept of them.
#[derive(Debug, Default)]
pub(super) struct Credentials(Mutex<Option<(ContentHash, ContentHash)>>);

impl Credentials {
    /// What is kept of the credentials that a request has; `None` where it has none.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn of(
        &self,
        params: &RestApiParams,
        base_dir: &Path,
        request: &RequestParts,
    ) -> Result<Option<ContentHash>, SourceError> {
        let Some(now) = told(params, base_dir, request)? else { return Ok(None) };
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kept)) = last.filter(|(met, _)| *met == now) {
            return Ok(Some(kept));
        }
        let home = request.home.as_ref().unwrap_or(&request.url).origin();
        let salt = format!("kasparro page validators\n{}", home.ascii_serialization());
        let slow = tokio::task::spawn_blocking(move || {
            let mut out = [0; 32];
            let (salt, secret) = (salt.as_bytes(), now.as_bytes());
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, secret, &mut out);
            ContentHash::of(&out)
        });
        let kept = slow.await.map_err(|error| {
            SourceError::new(SourceErrorKind::Internal, "hashing the credentials failed")
                .caused_by(error)
        })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, kept));
        Ok(Some(kept))
    }
}

/// A hash of the secrets of a job file, which tells them apart within this process. What a login server gives is
/// another each time and belongs to what it was given for; but where that may be set by hand, it is all there is.
fn told(
    params: &RestApiParams,
    base_dir: &Path,
    request: &RequestParts,
) -> Result<Option<ContentHash>, SourceError> {
    let mut hasher = ContentHasher::default();
    let mut has_any = false;
    let mut add = |key: &str, text: &[u8]| {
        has_any = true;
        for part in [key.as_bytes(), text] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    };
    let mut read = |key: &str, secret: &Secret, optional| {
        match secret.resolve(key, base_dir) {
            Ok(text) => add(key, text.expose().as_bytes()),
            Err(error) if optional && error.is_absent() => {}
            Err(error) => return Err(SourceError::from(error)),
        }
        Ok(())
    };
    for (name, value) in &params.headers {
        if let PlainOrSecret::Secret(secret) = value {
            read(&format!("rest_api.headers.{name}"), secret, false)?;
        }
    }
    for placed in params.auth.iter().flat_map(AuthList::each) {
        for key in placed.kind.secrets() {
            read(&format!("{}.{}", placed.at(), key.key), key.secret, key.optional)?;
        }
    }
    for (name, secret) in params.tls.iter().flat_map(|tls| tls.secrets()) {
        read(&format!("rest_api.tls.{name}"), secret, false)?;
    }
    let mut kinds = params.auth.iter().flat_map(AuthList::each);
    if kinds.any(|placed| placed.kind.kept_token().is_some()) {
        for (key, text) in request.secret_parts() {
            add(key, text);
        }
    }
    Ok(has_any.then(|| hasher.take()))
}

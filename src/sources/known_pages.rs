//! Owns what a source may ask about the pages of earlier runs: whether one is kept, by which validators its server
//! tells that it has not changed, and its body.
//!
//! Must not know where they are kept.

use futures::future::BoxFuture;

use super::SourceError;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::known_page::KnownPage;

/// The pages that earlier runs of a source with the same definition have kept.
pub trait KnownPages: std::fmt::Debug + Send + Sync {
    /// The page that a request was answered with last, if it is kept and has validators.
    fn find(&self, request: ContentHash) -> BoxFuture<'_, Result<Option<KnownPage>, SourceError>>;

    /// The body of a page; `None` when it is not kept any more.
    fn body(&self, page: StoredHash) -> BoxFuture<'_, Result<Option<String>, SourceError>>;
}

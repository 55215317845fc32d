//! Owns noticing an API that answers the same page for ever.

use crate::domain::hash::{ContentHash, StoredHash};
use crate::sources::{SourceError, SourceErrorKind};

/// Refuses a page with records that is the one before it again; `page` names it, and `param` is the
/// parameter that should have changed it.
///
/// A hash of an old kind is like none: that the page repeats is noticed a page later then.
pub(super) fn refuse(
    previous: Option<StoredHash>,
    hash: ContentHash,
    page: &str,
    param: &str,
) -> Result<(), SourceError> {
    if previous != Some(hash.into()) {
        return Ok(());
    }
    let message =
        format!("the paginator repeats itself: {page} is the page before it, byte for byte");
    let advice = format!("the API may know no query parameter `{param}`: see `rest_api.paginator`");
    Err(SourceError::new(SourceErrorKind::RepeatedPage, message).advise(advice))
}

//! Owns the chapters of the document.

use poem_openapi::Tags;

/// The chapters of the document.
#[derive(Tags)]
pub(crate) enum Tag {
    /// Start runs and follow them.
    Runs,
    /// The job files and how each source is doing.
    Sources,
    /// The clean, deduplicated result.
    Records,
    /// Rows set aside with their reason.
    Quarantine,
    /// What the sources look like, and how that changed.
    Schemas,
    /// Health and figures of the service itself.
    Operations,
}

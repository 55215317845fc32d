//! Owns what a source may ask about the parents of its run, for which it reads children.
//!
//! Must not know where they are kept.

use futures::future::BoxFuture;

use super::SourceError;
use crate::domain::parent::Parent;

/// The parents of a run, as they were when it was planned.
pub trait Parents: std::fmt::Debug + Send + Sync {
    /// Those of a lane, in their order; none behind the last lane.
    fn of_lane(&self, lane: u32) -> BoxFuture<'_, Result<Vec<Parent>, SourceError>>;
}

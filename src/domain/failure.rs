//! Owns what a task's error means for the task. Deciding which error is which belongs to the
//! floors that raise them; every error type there has one exhaustive `class`.

use std::time::Duration;

/// What to do about a task that could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// Trying again may help: durable backoff, one attempt spent.
    Transient,
    /// It is not the time yet (a rate limit, a `Retry-After`): wait that long, no attempt spent.
    NotYet(Duration),
    /// Trying again cannot help: the task is dead at once.
    Permanent,
    /// The run was cancelled: the task ends without a verdict.
    Cancelled,
}

//! Owns what a task's error means for the task, and how an error is told in one line. Deciding
//! which error is which belongs to the floors that raise them; every error type there has one
//! exhaustive `class`.

use std::error::Error;
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

/// An error and its causes in one line. A cause that the text names already is not said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

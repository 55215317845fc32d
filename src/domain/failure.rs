//! Owns what a task's error means for the task, and how an error is shown in one line. Deciding
//! which error is which belongs to the floors that raise them; every error type there has one
//! exhaustive `class`.

use std::error::Error;
use std::time::Duration;

use super::text::error_text;

/// What to do about a task that could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// Trying again may help: durable backoff, one attempt spent.
    Transient,
    /// It is not the time yet (a rate limit, a `Retry-After`): wait that long, no attempt spent.
    NotYet(Duration),
    /// The infrastructure fails: the database is down, full, read-only, or refuses the login.
    /// Wait as long as it takes, no attempt spent.
    Infrastructure,
    /// Trying again cannot help: the task fails at once.
    Permanent,
    /// The run was cancelled: the task ends without a verdict.
    Cancelled,
}

/// An error and its causes in one line, as it is stored and shown: foreign text in it is escaped, and
/// the whole is cut to [`super::text::MAX_ERROR`]. A cause that the text names already is not said
/// twice.
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
    error_text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(String, #[source] std::io::Error);

    #[test]
    fn an_error_of_megabytes_keeps_where_it_happened_and_its_first_cause() {
        let cause = std::io::Error::other("\u{1b}[31mdisk full");
        let text = chain(&Told(format!("page 7: {}", "x".repeat(20 << 20)), cause));
        assert!(text.starts_with("page 7: xxx"), "{text}");
        assert!(text.ends_with("xxx: \\u{1b}[31mdisk full"), "{text}");
        assert!(text.len() < 9 << 10 && text.contains("bytes cut"), "{}", text.len());
    }
}

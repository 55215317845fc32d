//! Owns why a value cannot be what its field declares.

use std::borrow::Cow;

use crate::domain::reject::ReasonCode;

/// What keeps a value from its type, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConversionError {
    pub(crate) reason: ReasonCode,
    pub(crate) problem: Cow<'static, str>,
}

impl ConversionError {
    pub(crate) fn new(reason: ReasonCode, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, problem: problem.into() }
    }

    /// Whether the value is of another type, rather than a bad value of the right one.
    pub(crate) fn is_of_type(&self) -> bool {
        use ReasonCode::{
            InvalidBoolean, InvalidDate, InvalidDecimal, InvalidInteger, InvalidJson,
            InvalidTimestamp, InvalidUrl, InvalidUuid,
        };
        matches!(
            self.reason,
            InvalidDecimal
                | InvalidInteger
                | InvalidBoolean
                | InvalidTimestamp
                | InvalidDate
                | InvalidJson
                | InvalidUrl
                | InvalidUuid
        )
    }
}

//! Owns how durations are written in job files: `"90d"`, for serde's `with`.

use std::time::Duration;

use humantime_serde::Serde;
use humantime_serde::re::humantime::format_duration;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

// For the defaults that the JSON Schema shows.
pub use humantime_serde::serialize;

/// The longest: with more, times in front of now or behind it cannot be told any more, here or by the database.
const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// A duration, or none.
pub trait Span: Sized {
    /// The duration.
    fn span(&self) -> Option<Duration>;
}

impl Span for Duration {
    fn span(&self) -> Option<Duration> {
        Some(*self)
    }
}

impl Span for Option<Duration> {
    fn span(&self) -> Option<Duration> {
        *self
    }
}

/// Reads a duration.
///
/// # Errors
/// When the text is none, or says more than 100 years.
pub fn deserialize<'de, T: Span, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>
where
    Serde<T>: Deserialize<'de>,
{
    let span = Serde::<T>::deserialize(deserializer)?.into_inner();
    match span.span().filter(|time| *time > LONGEST) {
        Some(time) => Err(D::Error::custom(format!(
            "expected 100 years (\"36525d\") at most, found {}",
            format_duration(time)
        ))),
        None => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Times {
        #[serde(with = "crate::job_file::duration")]
        one: Duration,
        #[serde(default, with = "crate::job_file::duration")]
        other: Option<Duration>,
    }

    #[test]
    fn a_hundred_years_are_the_longest() {
        let read = |text: &str| toml::from_str::<Times>(text).map_err(|error| error.to_string());
        let times = read("one = '36525d'").unwrap();
        assert_eq!((times.one, times.other), (LONGEST, None));
        assert_eq!(read("one = '1s'\nother = '36525d'").unwrap().other, Some(LONGEST));
        for text in ["one = '36526d'", "one = '1s'\nother = '999999999d'", "one = '36525d 1s'"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("expected 100 years (\"36525d\") at most"), "{text}: {error}");
        }
        assert!(read("one = '1x'").is_err());
    }
}

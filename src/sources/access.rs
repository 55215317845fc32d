//! Where pages come from, and how often they may be asked for.

use std::time::Duration;

/// Where API pages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// From the network.
    #[default]
    Network,
    /// From the network, keeping a copy of each page in the recording.
    Record,
    /// From the recording, without any network.
    Offline,
}

impl Access {
    /// The word stored with a run.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Record => "record",
            Self::Offline => "offline",
        }
    }

    /// The inverse of [`Access::as_str`].
    pub fn from_word(word: &str) -> Self {
        match word {
            "record" => Self::Record,
            "offline" => Self::Offline,
            _ => Self::Network,
        }
    }
}

/// How often the requests of a bucket may be made, across all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Sources with the same key share one bucket.
    pub key: String,
    /// Requests allowed per period; also the size of the bucket.
    pub requests: u32,
    /// The period.
    pub per: Duration,
}

/// What an answer says about how often we may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateState {
    /// How many requests are left until the reset.
    pub remaining: Option<u64>,
    /// How long until there are more.
    pub reset: Option<Duration>,
    /// How long we were asked to wait.
    pub retry_after: Option<Duration>,
}

impl RateState {
    /// Both of what two places of an answer say: the one with fewer requests left counts, and with as many the one
    /// that lasts longer.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let retry_after = self.retry_after.max(other.retry_after);
        let fewer = match (self.remaining, other.remaining) {
            (Some(one), Some(another)) if another < one => other,
            (Some(one), Some(another)) if one < another => self,
            _ => Self {
                remaining: self.remaining.or(other.remaining),
                reset: self.reset.max(other.reset),
                retry_after,
            },
        };
        Self { retry_after, ..fewer }
    }

    /// How long an answer that is a refusal asks us to wait.
    pub fn wait(self) -> Option<Duration> {
        // Requests that are left say that the reset is not what it waits for.
        let reset = self.reset.filter(|_| self.remaining.is_none_or(|left| left == 0));
        self.retry_after.or(reset)
    }
}

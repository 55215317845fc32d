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

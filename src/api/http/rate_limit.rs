//! Owns how often one client may ask: a bucket for each token, for each address that has none, and for
//! the probes of each address.
//!
//! Must not know: what is asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::token::TokenId;

/// So many seconds' worth of requests may come at once.
const BURST_SECONDS: f64 = 2.0;
/// More clients than this are not remembered at a time: memory has an end.
const CLIENTS: usize = 10_000;

/// Who asks, as far as rates go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// Whoever holds the token.
    Token(TokenId),
    /// An address; of IPv6 the network, for a client has a whole one.
    Address(IpAddr),
    /// Whoever asks from an address how the service is, apart from what else is asked from there.
    Prober(IpAddr),
    /// Nobody knows.
    Unknown,
}

impl Client {
    /// The client at an address.
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self::Address(IpAddr::V6(network.into()))
            }
            Some(address) => Self::Address(address),
            None => Self::Unknown,
        }
    }

    /// The same when it asks for a probe: however much is asked from an address, its probes count by
    /// themselves.
    pub(crate) fn probing(self) -> Self {
        match self {
            Self::Address(address) => Self::Prober(address),
            other => other,
        }
    }
}

/// The buckets of all clients.
pub(crate) struct RateLimits {
    per_second: Option<NonZeroU32>,
    buckets: Mutex<HashMap<Client, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimits {
    /// Buckets that fill so fast; `None` is no limit.
    pub(crate) fn new(per_second: Option<NonZeroU32>) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Lets a request through, or says how long the client must wait.
    pub(crate) fn take(&self, client: Client) -> Result<(), Duration> {
        self.take_at(client, Instant::now())
    }

    fn take_at(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let Some(per_second) = self.per_second else { return Ok(()) };
        let rate = f64::from(per_second.get());
        let capacity = rate * BURST_SECONDS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CLIENTS && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| bucket.level(now, rate, capacity) < capacity);
            if buckets.len() >= CLIENTS {
                // All of them busy at once is an attack from many sides: the new ones wait.
                return Err(Duration::from_secs(1));
            }
        }
        let new = Bucket { tokens: capacity, filled_at: now };
        let bucket = buckets.entry(client).or_insert(new);
        bucket.tokens = bucket.level(now, rate, capacity);
        bucket.filled_at = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn level(&self, now: Instant, rate: f64, capacity: f64) -> f64 {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        (self.tokens + passed * rate).min(capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Client {
        Client::at(Some(text.parse().unwrap()))
    }

    #[test]
    fn a_client_that_asks_too_often_waits_and_the_others_do_not() {
        let rate_limits = RateLimits::new(NonZeroU32::new(5));
        let start = Instant::now();
        let ask = |client, after| rate_limits.take_at(client, start + Duration::from_millis(after));
        for _ in 0..10 {
            ask(address("192.0.2.1"), 0).unwrap();
        }
        assert_eq!(ask(address("192.0.2.1"), 0), Err(Duration::from_millis(200)));
        ask(address("192.0.2.2"), 0).unwrap();
        ask(address("192.0.2.1"), 200).unwrap();
        assert!(ask(address("192.0.2.1"), 200).is_err());
        ask(address("192.0.2.1").probing(), 200).unwrap();
    }

    #[test]
    fn clients_beyond_what_is_remembered_wait_until_others_rest() {
        let rate_limits = RateLimits::new(NonZeroU32::new(1));
        let start = Instant::now();
        for bits in 0..CLIENTS as u32 {
            rate_limits.take_at(Client::at(Some(IpAddr::V4(bits.into()))), start).unwrap();
        }
        assert!(rate_limits.take_at(address("203.0.113.1"), start).is_err());
        rate_limits.take_at(address("203.0.113.1"), start + Duration::from_secs(2)).unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_mapped_address_is_ipv4() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }
}

//! Owns what tells the records of a page from those of others: a hash of the key, and the cursor.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::domain::hash::ContentHash;
use crate::sources::SourceError;
use crate::sources::rest_api::mark::{Clockwork, Mark};
use crate::sources::rest_api::params::RestApiParams;
use crate::sources::rest_api::record_keys::{RecordKeys, cursor_of};
use crate::sources::rows::path::Path;
use crate::values::field::Locator;

/// The bytes of what is kept of a record: a hash of its key, and its cursor.
const HALF: usize = 6;

/// What tells a record from others, and one version of it from another.
#[derive(Debug)]
pub(super) struct Identities {
    keys: RecordKeys,
    cursor: Path,
    /// Whether pages are read side by side.
    pub aside: bool,
}

/// A record that was met: a hash of its key, and what stands for its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Met {
    pub key: u64,
    pub cursor: u64,
}

impl Identities {
    /// For records with this key; `None` where they have none, or no cursor.
    ///
    /// # Errors
    /// When a part of the key is no JSONPath.
    pub fn new(params: &RestApiParams, key: &[Locator]) -> Result<Option<Self>, SourceError> {
        let (Some(cursor), Some(keys)) = (cursor_of(params), RecordKeys::new(params, key)?) else {
            return Ok(None);
        };
        Ok(Some(Self { keys, cursor, aside: params.paginator.is_side_by_side() }))
    }

    /// What is kept of the records of a page.
    pub fn of(&self, records: &[Cow<'_, str>], clockwork: &Clockwork) -> String {
        let met = records.iter().filter_map(|record| self.met(record, clockwork));
        let half = |number: u64| number.to_be_bytes().into_iter().skip(8 - HALF);
        let bytes: Vec<u8> = met.flat_map(|met| half(met.key).chain(half(met.cursor))).collect();
        STANDARD_NO_PAD.encode(bytes)
    }

    fn met(&self, record: &str, clockwork: &Clockwork) -> Option<Met> {
        let key = self.keys.of(record)?;
        let found = self.cursor.find(record).ok()?.into_iter().next();
        let mark = found.and_then(|cursor| clockwork.of_json(&cursor));
        Some(Met { key: hashed(&key), cursor: mark.as_ref().map_or(0, short) })
    }
}

fn hashed(text: &str) -> u64 {
    let hash = ContentHash::of(text.as_bytes());
    hash.as_bytes()[..HALF].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A mark in [`HALF`] bytes: times in milliseconds since 1970, in their order; of others what tells them apart.
pub(super) fn short(mark: &Mark) -> u64 {
    const MOST: i64 = (1 << (8 * HALF)) - 1;
    match mark {
        Mark::Time(micros) => micros.div_euclid(1_000).clamp(0, MOST).unsigned_abs(),
        Mark::Integer(number) => {
            u64::try_from(number.rem_euclid(i128::from(MOST) + 1)).unwrap_or_default()
        }
        Mark::Text(text) => hashed(text),
    }
}

/// The records of a page, from what was kept of them.
pub(super) fn kept(text: &str) -> Vec<Met> {
    let bytes = STANDARD_NO_PAD.decode(text).unwrap_or_default();
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let met = bytes.chunks_exact(2 * HALF).map(|met| met.split_at(HALF));
    met.map(|(key, cursor)| Met { key: number(key), cursor: number(cursor) }).collect()
}

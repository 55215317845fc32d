//! Owns finding the keys that may occur more than once among the rows of a run, in bounded memory
//! and one pass: rows with other keys can be applied in any order.
//!
//! A blocked Bloom filter: each key sets four bits within one cache line. It never misses a
//! repeated key and rarely mistakes a single one for a repeated one, which costs time and nothing else.
//! Source: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007).

use xxhash_rust::xxh3::xxh3_64;

use super::string_enum::string_enum;

/// Words of a block: one cache line of 64 bytes.
const BLOCK_WORDS: usize = 8;
/// Bits spent per expected key, for 0.1 % of false repeats.
const BITS_PER_KEY: u64 = 24;
/// The shortest rows worth planning for, in bytes.
const BYTES_PER_ROW: u64 = 64;
/// 32 MiB; beyond about ten million keys more and more single keys count as repeated.
const MAX_BLOCKS: u64 = (32 << 20) / 64;
/// Keys looked at together.
const AT_ONCE: usize = 64;
/// So many repeated keys are no exception any more.
const MAX_REPEATED: usize = 100_000;

string_enum! {
    /// The order in which the slices of a run must be applied, as it is stored with the run.
    SliceOrder ("slice order") {
        /// Any.
        Distinct = "distinct",
        /// Any, but for the rows with repeated keys: those in order.
        Split = "split",
        /// In order.
        Ordered = "ordered",
    }
}

/// The order in which the slices of a run must be applied, and to which rows it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeyOrder {
    /// No key occurs twice: any order.
    Distinct,
    /// Only rows with these keys, given by their sorted hashes, must be applied in order.
    Split(Vec<u64>),
    /// Too many keys occur twice, or nobody knows which do: all slices in order.
    #[default]
    Ordered,
}

impl KeyOrder {
    /// Whether the key of this hash may occur more than once.
    pub fn may_repeat(&self, hash: u64) -> bool {
        match self {
            Self::Distinct => false,
            Self::Split(repeated) => repeated.binary_search(&hash).is_ok(),
            Self::Ordered => true,
        }
    }

    /// The order without the keys.
    pub fn slices(&self) -> SliceOrder {
        match self {
            Self::Distinct => SliceOrder::Distinct,
            Self::Split(_) => SliceOrder::Split,
            Self::Ordered => SliceOrder::Ordered,
        }
    }
}

/// The hash by which keys are looked up and unchanged pages name theirs. Keys of one hash, made on purpose,
/// count as repeated, or as changed together: that costs time and nothing else. So it is
/// xxh3, the fastest.
pub fn key_hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

/// Sees every key once and remembers those it may have seen before.
#[derive(Debug)]
pub struct BloomFilter {
    words: Vec<u64>,
    blocks: u64,
    repeated: Vec<u64>,
    too_many: bool,
    /// Hashes not looked at yet: looked at together, their cache misses overlap.
    waiting: Vec<u64>,
}

impl BloomFilter {
    /// A filter for the rows of a file of this many bytes.
    pub fn for_bytes(bytes: u64) -> Self {
        let blocks = (bytes / BYTES_PER_ROW * BITS_PER_KEY / 512).clamp(64, MAX_BLOCKS);
        let words = vec![0; blocks as usize * BLOCK_WORDS];
        Self {
            words,
            blocks,
            repeated: Vec::new(),
            too_many: false,
            waiting: Vec::with_capacity(AT_ONCE),
        }
    }

    /// Sees a key, given by a well-mixed 64-bit hash of it.
    pub fn see(&mut self, hash: u64) {
        if self.too_many {
            return;
        }
        self.waiting.push(hash);
        if self.waiting.len() == AT_ONCE {
            self.look();
        }
    }

    fn look(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for hash in waiting.drain(..) {
            self.look_at(hash);
        }
        self.waiting = waiting;
    }

    fn look_at(&mut self, hash: u64) {
        // The upper half chooses the block, the lower half the bits.
        let block = ((hash >> 32) * self.blocks) >> 32;
        let words = &mut self.words[block as usize * BLOCK_WORDS..][..BLOCK_WORDS];
        let mut fresh = false;
        let mut bits = hash;
        for _ in 0..4 {
            let (word, bit) = ((bits & 7) as usize, (bits >> 3) & 63);
            fresh |= words[word] & (1 << bit) == 0;
            words[word] |= 1 << bit;
            bits >>= 8;
        }
        if !fresh {
            self.repeated.push(hash);
            if self.repeated.len() > 2 * MAX_REPEATED {
                self.compact();
            }
        }
    }

    fn compact(&mut self) {
        self.repeated.sort_unstable();
        self.repeated.dedup();
        if self.repeated.len() > MAX_REPEATED {
            self.too_many = true;
            self.repeated = Vec::new();
        }
    }

    /// What the keys seen allow.
    pub fn order(mut self) -> KeyOrder {
        self.look();
        self.compact();
        match (self.too_many, self.repeated.is_empty()) {
            (true, _) => KeyOrder::Ordered,
            (false, true) => KeyOrder::Distinct,
            (false, false) => KeyOrder::Split(self.repeated),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn order_of(keys: impl Iterator<Item = u64>, bytes: u64) -> KeyOrder {
        let mut filter = BloomFilter::for_bytes(bytes);
        keys.for_each(|key| filter.see(key_hash(&key.to_string())));
        filter.order()
    }

    #[test]
    fn a_repeated_key_is_never_missed_and_single_ones_rarely_taken_for_it() {
        let keys = (0..200_000).chain((0..200_000).step_by(1_000));
        let KeyOrder::Split(found) = order_of(keys, 200_000 * 64) else { panic!() };
        for key in (0..200_000u64).step_by(1_000) {
            assert!(found.binary_search(&key_hash(&key.to_string())).is_ok(), "{key}");
        }
        assert!(found.len() < 200 + 600, "{} false repeats", found.len() - 200);
    }

    #[test]
    fn few_distinct_keys_need_no_order_and_many_repeated_ones_need_all() {
        assert_eq!(order_of(0..100, 6_400), KeyOrder::Distinct);
        assert_eq!(order_of((0..300_000).chain(0..300_000), 600_000 * 64), KeyOrder::Ordered);
    }
}

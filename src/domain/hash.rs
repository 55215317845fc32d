//! Owns the hashes that decide whether a source has changed, and how a stored hash says
//! which kind it is.
//!
//! An attacker who writes a source may want two contents with one hash: the second would pass for the first.
//! So what is compared is a [`ContentHash`], BLAKE3 with all of its 256 bits: of 128 bits an attacker
//! with 2^64 attempts finds two. Databases of earlier versions hold xxh3-128, for which such contents
//! are easily made. [`StoredHash`] is either kind, told by its length, and can only be compared with
//! a content: two hashes of different kinds have nothing to say about each other.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

/// The BLAKE3 hash of a body, a file, a job file or a record's canonical content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; Self::BYTES]);

impl ContentHash {
    /// Its length.
    pub const BYTES: usize = blake3::OUT_LEN;

    /// Of nothing yet.
    pub(super) const UNSET: Self = Self([0; Self::BYTES]);

    /// Hashes bytes held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// As stored in `bytea` columns.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A hash as a table, a task or a raw reference holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoredHash {
    /// What is written today: 32 bytes.
    Blake3(ContentHash),
    /// xxh3-128, as kasparro wrote it up to migration 11: 16 bytes.
    Xxh3([u8; 16]),
}

impl StoredHash {
    /// The hash that earlier versions would have stored, to find what they left.
    pub fn old_kind_of(bytes: &[u8]) -> Self {
        Self::Xxh3(xxh3_128(bytes).to_be_bytes())
    }

    /// Whether it is the hash of these bytes, by its own kind.
    pub fn is_of(self, bytes: &[u8]) -> bool {
        match self {
            Self::Blake3(hash) => hash == ContentHash::of(bytes),
            Self::Xxh3(_) => self == Self::old_kind_of(bytes),
        }
    }

    /// As stored in `bytea` columns.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Blake3(hash) => hash.as_bytes(),
            Self::Xxh3(hash) => hash,
        }
    }

    /// Reads what [`StoredHash::as_bytes`] wrote; the length says the kind. `None` when it is of
    /// neither kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let blake3 = bytes.try_into().map(|hash| Self::Blake3(ContentHash(hash)));
        blake3.or_else(|_| bytes.try_into().map(Self::Xxh3)).ok()
    }
}

impl From<ContentHash> for StoredHash {
    fn from(hash: ContentHash) -> Self {
        Self::Blake3(hash)
    }
}

/// The hashes of one content, of each kind that may be stored of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// What is stored of it today.
    pub content: ContentHash,
    /// What earlier versions have stored of it.
    pub old_kind: StoredHash,
}

impl Hashes {
    /// Hashes bytes held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self { content: ContentHash::of(bytes), old_kind: StoredHash::old_kind_of(bytes) }
    }

    /// Whether a stored hash is of this content.
    pub fn matches(&self, stored: StoredHash) -> bool {
        stored == StoredHash::Blake3(self.content) || stored == self.old_kind
    }
}

/// Hashes a content that comes in pieces.
#[derive(Default)]
pub struct Hasher {
    blake3: blake3::Hasher,
    xxh3: Xxh3,
}

impl Hasher {
    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.xxh3.update(bytes);
    }

    /// The hashes of all pieces up to here.
    pub fn hashes(&self) -> Hashes {
        Hashes {
            content: ContentHash(self.blake3.finalize().into()),
            old_kind: StoredHash::Xxh3(self.xxh3.digest128().to_be_bytes()),
        }
    }
}

/// Hashes contents that follow each other, each in pieces, by one kind only.
#[derive(Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of the pieces since the last time.
    pub fn take(&mut self) -> ContentHash {
        let hash = ContentHash(self.0.finalize().into());
        self.0.reset();
        hash
    }
}

/// What a chunk of a file must be when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkHash {
    /// What is planned today.
    Blake3(ContentHash),
    /// xxh3-64, a number: planned by kasparro up to migration 11.
    Xxh3(u64),
}

impl ChunkHash {
    /// Whether it is the hash of these bytes, by its own kind.
    pub fn is_of(self, bytes: &[u8]) -> bool {
        match self {
            Self::Blake3(hash) => hash == ContentHash::of(bytes),
            Self::Xxh3(hash) => hash == xxh3_64(bytes),
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.as_bytes())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredHash({self})")
    }
}

/// A text that is no hash.
#[derive(Debug, thiserror::Error)]
#[error("expected 64 hexadecimal digits, or 32 of an earlier version's hash")]
pub struct InvalidHash;

impl FromStr for StoredHash {
    type Err = InvalidHash;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        let (pairs, rest) = hex.as_bytes().as_chunks();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        let bytes = bytes.filter(|_| rest.is_empty()).ok_or(InvalidHash)?;
        Self::from_bytes(&bytes).ok_or(InvalidHash)
    }
}

impl FromStr for ContentHash {
    type Err = InvalidHash;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        match hex.parse()? {
            StoredHash::Blake3(hash) => Ok(hash),
            StoredHash::Xxh3(_) => Err(InvalidHash),
        }
    }
}

impl Serialize for StoredHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoredHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for ChunkHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Blake3(hash) => serializer.collect_str(hash),
            Self::Xxh3(hash) => serializer.serialize_u64(*hash),
        }
    }
}

impl<'de> Deserialize<'de> for ChunkHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChunkHashVisitor)
    }
}

struct ChunkHashVisitor;

impl Visitor<'_> for ChunkHashVisitor {
    type Value = ChunkHash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hexadecimal digits, or a number")
    }

    fn visit_str<E: serde::de::Error>(self, hex: &str) -> Result<ChunkHash, E> {
        hex.parse().map(ChunkHash::Blake3).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, hash: u64) -> Result<ChunkHash, E> {
        Ok(ChunkHash::Xxh3(hash))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_content_hash_is_blake3() {
        // The test vector of an empty input.
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(ContentHash::of(b"").to_string(), empty);
    }

    #[test]
    fn a_hash_of_no_known_length_is_none() {
        for length in [0, 8, 15, 17, 31, 33] {
            assert_eq!(StoredHash::from_bytes(&vec![0; length]), None);
        }
        assert!("+1111111111111111111111111111111".parse::<StoredHash>().is_err());
        assert!("é1".repeat(16).parse::<StoredHash>().is_err());
    }

    proptest! {
        #[test]
        fn a_stored_hash_keeps_its_kind_in_every_form(
            content in proptest::collection::vec(any::<u8>(), 0..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let hashes = Hashes::of(&content);
            for stored in [hashes.content.into(), hashes.old_kind] {
                prop_assert_eq!(StoredHash::from_bytes(stored.as_bytes()), Some(stored));
                prop_assert_eq!(stored.to_string().parse::<StoredHash>().unwrap(), stored);
                let json = serde_json::to_value(stored).unwrap();
                prop_assert_eq!(serde_json::from_value::<StoredHash>(json).unwrap(), stored);
                prop_assert!(stored.is_of(&content) && hashes.matches(stored));
                let other = [&content[..], b"x"].concat();
                prop_assert!(!stored.is_of(&other) && !Hashes::of(&other).matches(stored));
            }
            let (head, tail) = content.split_at(cut.index(content.len() + 1));
            let mut hasher = Hasher::default();
            hasher.update(head);
            prop_assert_eq!(hasher.hashes(), Hashes::of(head));
            hasher.update(tail);
            prop_assert_eq!(hasher.hashes(), hashes);
        }

        #[test]
        fn a_chunk_hash_keeps_its_kind_in_its_stored_form(content: Vec<u8>) {
            let kinds = [
                ChunkHash::Blake3(ContentHash::of(&content)),
                ChunkHash::Xxh3(xxh3_64(&content)),
            ];
            for hash in kinds {
                let json = serde_json::to_value(hash).unwrap();
                prop_assert_eq!(serde_json::from_value::<ChunkHash>(json).unwrap(), hash);
                prop_assert!(hash.is_of(&content));
                prop_assert!(!hash.is_of(&[&content[..], b"x"].concat()));
            }
        }
    }
}

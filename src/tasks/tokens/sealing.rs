//! Owns how what must stay secret is stored: sealed with ChaCha20-Poly1305 under a key of its own, made of
//! `KASPARRO_SECRET_KEY`.

use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// The form of what is sealed: its first byte.
const FORM: u8 = 1;
/// What the key is used for: another use has another key.
const PURPOSE: &str = "kasparro 2026-11 sealed tokens";

/// Seals, and opens what was sealed.
pub struct Sealing {
    key: LessSafeKey,
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing(***)")
    }
}

impl Sealing {
    /// With the key of this text, which has enough of what nobody can guess.
    ///
    /// # Panics
    /// Never: the key has the length that the algorithm asks for.
    #[expect(clippy::expect_used, reason = "the key is as long as the algorithm asks")]
    pub fn new(secret: &str) -> Self {
        let key = blake3::derive_key(PURPOSE, secret.as_bytes());
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("32 bytes");
        Self { key: LessSafeKey::new(key) }
    }

    /// Seals a text for this place: it can be opened there only. `None` when the system gives no random
    /// numbers.
    pub fn seal(&self, place: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = text.to_vec();
        let for_place = Aad::from(place);
        let once = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(once, for_place, &mut sealed).ok()?;
        Some([&[FORM][..], &nonce, &sealed].concat())
    }

    /// What was sealed for this place; `None` when it was not, or with another key.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.strip_prefix(&[FORM])?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(place), &mut text).ok()?;
        let length = opened.len();
        text.truncate(length);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_at_its_place_and_never_looks_the_same() {
        let sealing = Sealing::new("a secret key of thirty-two bytes");
        let sealed = sealing.seal(b"here", b"s3cr3t token").unwrap();
        assert_eq!(sealing.open(b"here", &sealed).as_deref(), Some(&b"s3cr3t token"[..]));
        assert_ne!(sealing.seal(b"here", b"s3cr3t token").unwrap(), sealed);
        assert!(!sealed.windows(6).any(|bytes| bytes == b"s3cr3t"));
        assert_eq!(sealing.open(b"there", &sealed), None);
        assert_eq!(Sealing::new("another").open(b"here", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealing.open(b"here", &changed), None, "byte {at}");
            assert_eq!(sealing.open(b"here", &sealed[..at]), None, "{at} bytes");
        }
    }
}

//! Owns API tokens: their scopes, their text, and how a secret is compared with its hash.
//!
//! Must not know: where tokens are kept, where random numbers come from.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::string_enum::string_enum;

string_enum! {
    /// What a token allows; each includes those before it.
    Scope ("token scope") {
        /// Looking at everything.
        Read = "read",
        /// Starting and cancelling runs.
        Run = "run",
        /// Whatever the API can do.
        Admin = "admin",
    }
}

/// What every token begins with, so that scanners for lost secrets know one.
const PREFIX: &str = "kas";
const ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 32;

/// The public part of a token: it is listed, logged, and says which token to revoke.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenId(String);

impl TokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no id of a token.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the id of a token; expected {ID_DIGITS} hexadecimal digits", ID_DIGITS = 2 * ID_BYTES)]
pub struct NoTokenId(String);

impl std::str::FromStr for TokenId {
    type Err = NoTokenId;

    fn from_str(text: &str) -> Result<Self, NoTokenId> {
        match is_hex(text, ID_BYTES) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoTokenId(text.to_owned())),
        }
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept of a secret. The secret is random and long, so a plain hash cannot be searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash that was stored as these bytes; `None` when they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// A whole token. It has no `Debug`: nothing may print it by accident.
pub struct Token {
    id: TokenId,
    secret: String,
}

impl Token {
    /// Random bytes that a token is made of.
    pub const RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;

    /// Makes a token of random bytes.
    pub fn from_random(bytes: &[u8; Self::RANDOM_BYTES]) -> Self {
        let (id, secret) = bytes.split_at(ID_BYTES);
        Self { id: TokenId(hex(id)), secret: hex(secret) }
    }

    /// Reads what a client sent; `None` when it cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
        let id = id.parse().ok()?;
        is_hex(secret, SECRET_BYTES).then(|| Self { id, secret: secret.to_owned() })
    }

    /// The public part.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What to keep of the secret.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.secret.as_bytes()).into())
    }

    /// Whether this is the token of that hash. Takes the same time whatever differs.
    pub fn matches(&self, kept: &SecretHash) -> bool {
        self.hash().0.ct_eq(&kept.0).into()
    }

    /// The text for the client, to be shown once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}_{}_{}", self.id, self.secret)
    }
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(first: u8) -> Token {
        let mut bytes = [7; Token::RANDOM_BYTES];
        bytes[0] = first;
        Token::from_random(&bytes)
    }

    #[test]
    fn a_token_is_read_back_from_its_text() {
        let text = token(0xab).reveal();
        assert!(text.starts_with("kas_ab070707_0707"), "{text}");
        let read = Token::parse(&text).unwrap();
        assert_eq!(read.id().as_str(), "ab070707");
        assert!(read.matches(&token(0xab).hash()));
        assert_eq!(read.reveal(), text);
    }

    #[test]
    fn another_secret_does_not_match() {
        let mut text = token(1).reveal();
        text.replace_range(text.len() - 1.., "8");
        assert!(!Token::parse(&text).unwrap().matches(&token(1).hash()));
    }

    #[test]
    fn what_is_no_token_is_not_read_as_one() {
        let good = token(1).reveal();
        let upper = good.to_uppercase();
        let long = format!("{good}0");
        let bad = ["", "kas", "kas_", "kas__", "kas_01070707_", &upper, &long, &good[1..]];
        assert!(bad.iter().all(|text| Token::parse(text).is_none()));
        assert!("0107070g".parse::<TokenId>().is_err());
    }

    #[test]
    fn a_larger_scope_includes_the_smaller_ones() {
        assert!(Scope::Read < Scope::Run && Scope::Run < Scope::Admin);
    }
}

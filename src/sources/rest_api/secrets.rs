//! Owns that nothing secret of a request is ever shown: every spelling of a secret is struck out of
//! texts and bodies, for an API may well repeat the key it was sent.
//!
//! Must not know what a secret is for.

use memchr::memmem;
use reqwest::Url;

use crate::sources::SourceError;

/// Shorter pieces of text could be anything.
const SHORTEST: usize = 4;

/// The secrets of a request, each in every spelling that an answer may use.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// In bodies a shorter secret could not be told from data.
    const SHORTEST_IN_BODY: usize = 8;

    #[cfg(test)]
    pub fn of<'s>(secrets: impl IntoIterator<Item = &'s str>) -> Self {
        let mut all = Self::default();
        secrets.into_iter().for_each(|secret| all.add(secret));
        all
    }

    pub fn add(&mut self, secret: &str) {
        let encoded = Url::parse_with_params("x:", [("", secret)]).ok();
        let encoded = encoded.as_ref().and_then(Url::query).map(|query| query[1..].to_owned());
        let in_json = serde_json::Value::from(secret).to_string();
        let in_json = in_json[1..in_json.len() - 1].to_owned();
        // Some servers escape slashes too.
        let in_shy_json = in_json.replace('/', "\\/");
        self.0.extend(
            [Some(secret.to_owned()), encoded, Some(in_json), Some(in_shy_json)]
                .into_iter()
                .flatten(),
        );
        // The longest first, so that no secret is hidden in part by one it contains.
        self.0.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.0.dedup();
    }

    /// Whether an address holds a secret, in any spelling and with any capital letters.
    pub fn appear_in(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        let decoded = percent_encoding::percent_decode_str(&address).decode_utf8_lossy();
        let long = self.0.iter().filter(|secret| secret.len() >= SHORTEST);
        long.map(|secret| secret.to_lowercase())
            .any(|secret| address.contains(&secret) || decoded.contains(&secret))
    }

    /// The body without secrets: a good page may repeat the key too, in the address of the next
    /// page for example, and bodies are stored and shown.
    pub fn hide_in_body(&self, mut body: Vec<u8>) -> Vec<u8> {
        for secret in self.0.iter().filter(|secret| secret.len() >= Self::SHORTEST_IN_BODY) {
            let mut hidden = Vec::new();
            let mut rest = 0;
            for at in memmem::find_iter(&body, secret) {
                hidden.extend_from_slice(&body[rest..at]);
                hidden.extend_from_slice(b"***");
                rest = at + secret.len();
            }
            if rest > 0 {
                hidden.extend_from_slice(&body[rest..]);
                body = hidden;
            }
        }
        body
    }

    /// The text without secrets, and without the beginning of one where a text was cut.
    fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret, "***");
            let cuts = secret.char_indices().map(|(cut, _)| cut).rev();
            for cut in cuts.take_while(|cut| *cut >= SHORTEST) {
                text = text.replace(&format!("{}…", &secret[..cut]), "***…");
            }
        }
        text
    }

    /// The error without secrets.
    pub fn hide_in(&self, error: SourceError) -> SourceError {
        SourceError { message: self.hide(&error.message), ..error }
    }
}

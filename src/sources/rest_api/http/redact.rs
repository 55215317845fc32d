//! Owns that nothing secret of a request is ever shown: every spelling of a secret is replaced in
//! texts, headers and bodies, for an API may well repeat the key it was sent.
//!
//! Must not know what a secret is for.

use std::borrow::Cow;

use regex::bytes::{NoExpand, Regex};
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::response::Response;
use crate::sources::{SourceError, SourceErrorKind};

/// Shorter pieces of text could be anything.
const SHORTEST: usize = 4;
/// In bodies a shorter secret could not be told from data.
const SHORTEST_IN_BODY: usize = 8;
const REDACTED: NoExpand<'static> = NoExpand(b"***");

/// The secrets of a request.
#[derive(Default)]
pub(in crate::sources::rest_api) struct Secrets(Vec<Secret>);

struct Secret {
    text: String,
    /// Finds it in every spelling.
    anywhere: Regex,
    /// The spellings whose beginning may be left where a text is cut.
    spellings: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Adds a secret; `key` is the key of the job file that asks for it.
    ///
    /// # Errors
    /// When it is too long to be searched for.
    pub fn add(&mut self, secret: &str, key: &str) -> Result<(), SourceError> {
        let pattern: String = secret.chars().map(spellings_of).collect();
        // The error is not repeated: it has the pattern in it.
        let anywhere = Regex::new(&pattern).map_err(|_| {
            let message = format!("the value of `{key}` is too long for a secret");
            SourceError::new(SourceErrorKind::MissingValue, message)
        })?;
        let (text, spellings) = (secret.to_owned(), common_spellings(secret));
        self.0.push(Secret { text, anywhere, spellings });
        // The longest first, so that no secret is redacted in part by one it contains.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.text.len()));
        Ok(())
    }

    /// Whether an address holds a secret, in any spelling and with any capital letters.
    pub fn appear_in(&self, address: &str) -> bool {
        let decoded = percent_encoding::percent_decode_str(address).decode_utf8_lossy();
        let decoded = decoded.to_lowercase();
        let mut long = self.0.iter().filter(|secret| secret.text.len() >= SHORTEST);
        long.any(|secret| {
            secret.anywhere.is_match(address.as_bytes())
                || decoded.contains(&secret.text.to_lowercase())
        })
    }

    /// The body without secrets: a good page may repeat the key too, in the address of the next
    /// page for example, and bodies are stored and shown.
    pub fn redact_body(&self, mut body: Vec<u8>) -> Vec<u8> {
        for secret in self.0.iter().filter(|secret| secret.text.len() >= SHORTEST_IN_BODY) {
            if let Cow::Owned(redacted) = secret.anywhere.replace_all(&body, REDACTED) {
                body = redacted;
            }
        }
        body
    }

    /// A response without secrets in its headers and its body.
    pub fn redact_response(&self, mut response: Response) -> Response {
        for value in response.headers.values_mut() {
            let redacted = self.redact_body(value.as_bytes().to_vec());
            if redacted != value.as_bytes() {
                let text = HeaderValue::from_bytes(&redacted);
                *value = text.unwrap_or_else(|_| HeaderValue::from_static("***"));
            }
        }
        let refused = response.refused.map(|refused| self.redact_error(refused.into()).into());
        Response { body: self.redact_body(response.body), refused, ..response }
    }

    /// The text without secrets, and without the beginning of one where a text was cut.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if let Cow::Owned(redacted) = secret.anywhere.replace_all(text.as_bytes(), REDACTED) {
                text = String::from_utf8_lossy(&redacted).into_owned();
            }
            for spelling in &secret.spellings {
                let cuts = spelling.char_indices().map(|(cut, _)| cut).rev();
                for cut in cuts.take_while(|cut| *cut >= SHORTEST) {
                    text = text.replace(&format!("{}…", &spelling[..cut]), "***…");
                }
            }
        }
        text
    }

    /// The error without secrets.
    pub fn redact_error(&self, error: SourceError) -> SourceError {
        let advice = error.advice.as_deref().map(|advice| self.redact(advice));
        SourceError { message: self.redact(&error.message), advice, ..error }
    }
}

/// A pattern for a character as it is, in addresses, in JSON and in HTML. What is longer than the
/// character comes first, so that nothing of it is left.
fn spellings_of(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        return c.to_string();
    }
    let in_address: String =
        c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
    let in_json: String =
        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!(r"\\u{unit:04X}")).collect();
    let (code, plain) = (u32::from(c), regex::escape(&c.to_string()));
    let named = match c {
        '&' => "&amp;|",
        '<' => "&lt;|",
        '>' => "&gt;|",
        '"' => "&quot;|",
        '\'' => "&apos;|",
        '\n' => r"\\n|",
        ' ' => r"\+|",
        _ => "",
    };
    format!(r"(?:(?i:{in_address}|{in_json}|&#x0*{code:X};|&#0*{code};)|{named}\\{plain}|{plain})")
}

fn common_spellings(secret: &str) -> Vec<String> {
    let encoded = Url::parse_with_params("x:", [("", secret)]).ok();
    let encoded = encoded.as_ref().and_then(Url::query).map(|query| query[1..].to_owned());
    let in_json = serde_json::Value::from(secret).to_string();
    let in_json = in_json[1..in_json.len() - 1].to_owned();
    // Some servers escape slashes too.
    let in_shy_json = in_json.replace('/', "\\/");
    let mut all = vec![secret.to_owned(), in_json, in_shy_json];
    all.extend(encoded);
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
impl Secrets {
    /// These secrets.
    pub fn of<'s>(secrets: impl IntoIterator<Item = &'s str>) -> Self {
        let mut all = Self::default();
        for secret in secrets {
            all.add(secret, "the test").expect("a secret of the test");
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "s3cr3t+canary/01 <&>\"'\\é";

    #[test]
    fn every_spelling_of_a_secret_is_redacted_whole() {
        let secrets = Secrets::of([KEY]);
        for spelling in [
            KEY,
            "s3cr3t%2Bcanary%2F01+%3C%26%3E%22%27%5C%C3%A9",
            "s3cr3t%2bcanary/01%20%3c%26%3e%22'%5c%c3%a9",
            "s3cr3t+canary/01 <&>\\\"'\\\\é",
            "s3cr3t+canary\\/01 \\u003c\\u0026\\u003e\\\"'\\\\\\u00e9",
            "s3cr3t\\u002Bcanary/01 \\u003C\\u0026\\u003E\\u0022\\u0027\\\\\\u00E9",
            "s3cr3t+canary/01 &lt;&amp;&gt;&quot;&#39;\\é",
            "s3cr3t&#43;canary&#x2f;01 &lt;&amp;&gt;&quot;&#x27;\\&#xE9;",
        ] {
            let text = format!("before {spelling} and {spelling}, behind");
            let expected = "before *** and ***, behind";
            assert_eq!(secrets.redact(&text), expected);
            assert_eq!(secrets.redact_body(text.into_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn a_response_shows_no_secret_in_headers_and_body() {
        let secrets = Secrets::of([KEY]);
        let next = "<https://a/?k=s3cr3t%2Bcanary%2F01+%3C%26%3E%22%27%5C%C3%A9>; rel=\"next\"";
        let mut response = Response { body: KEY.into(), ..Response::default() };
        response.headers.insert("link", next.parse().unwrap());
        response.headers.insert("x-total", "7".parse().unwrap());
        let response = secrets.redact_response(response);
        assert_eq!(response.headers["link"], "<https://a/?k=***>; rel=\"next\"");
        assert_eq!(response.headers["x-total"], "7");
        assert_eq!(response.body, b"***");
    }

    #[test]
    fn a_secret_within_another_leaves_nothing_of_it() {
        let secrets = Secrets::of(["canary-1", "canary-1-and-more"]);
        assert_eq!(secrets.redact("canary-1-and-more canary-1"), "*** ***");
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let secrets = Secrets::of(["key"]);
        assert_eq!(secrets.redact_body(b"a monkey".to_vec()), b"a monkey");
        let body = b"s3cr3t canary \xff".to_vec();
        assert_eq!(Secrets::of([KEY]).redact_body(body.clone()), body);
    }

    #[test]
    fn no_secret_shows_in_debug_output_and_a_very_long_one_is_refused_by_name() {
        assert_eq!(format!("{:?}", Secrets::of([KEY])), "Secrets(1)");
        let error = Secrets::default().add(&"+/".repeat(1 << 14), "rest_api.auth.value");
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "the value of `rest_api.auth.value` is too long for a secret");
    }
}

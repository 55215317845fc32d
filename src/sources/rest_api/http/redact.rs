//! Owns that nothing secret of a request is ever shown: every spelling of a secret is replaced in
//! texts, headers and bodies, for an API may well repeat the key it was sent.
//!
//! Bodies are data: a secret that could be a value of its own, being short or nothing but digits, is found there only
//! where it stands as it was sent, by the name of its parameter.
//!
//! JSON stays JSON, see [`redact_json`](super::redact_json).
//!
//! Must not know what a secret is for.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::bytes::{NoExpand, Regex, RegexBuilder};
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, SET_COOKIE};

use super::body_text;
use super::redact_json::{self, REDACTED};
use super::response::Response;
use crate::sources::{Finding, SourceError, SourceErrorKind};

/// Shorter pieces of text could be anything.
const SHORTEST: usize = 4;
/// In bodies a shorter secret could not be told from data.
const SHORTEST_IN_BODY: usize = 8;
/// The largest pattern for the spellings of a secret, compiled.
const MOST_COMPILED: usize = 16 << 20;
/// What stands in front of the name of a parameter in an address, in the spellings of texts.
const BEFORE_NAME: &str = r"(?:[?&;]|&amp;|%3[Ff]|%26|\\u0026|\\u003[Ff])";
/// What stands behind the value of one: nothing that could be a part of it.
const BEHIND_VALUE: &str = r"(?:[^A-Za-z0-9._~+-]|$)";

/// The secrets of a request.
#[derive(Default)]
pub(in crate::sources::rest_api) struct Secrets(Vec<Secret>);

/// Where in a request a secret was sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) enum SentIn<'a> {
    /// In this parameter of the query.
    Query(&'a str),
    /// In this header.
    Header(&'a str),
    /// Somewhere else, or not itself.
    Elsewhere,
}

struct Secret {
    text: String,
    /// Finds it in every spelling.
    anywhere: Regex,
    /// The spellings whose beginning may be left where a text is cut.
    spellings: Vec<String>,
    /// Whether data could have it as a value of its own: then bodies and headers show it only in its place.
    could_be_data: bool,
    /// Finds it as the value of its parameter, in an address.
    in_address: Option<Regex>,
    /// The header that it was sent in.
    header: Option<HeaderName>,
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
        self.add_sent(secret, SentIn::Elsewhere, key)
    }

    /// Adds a secret that is sent at this place.
    ///
    /// # Errors
    /// When it is too long to be searched for.
    pub fn add_sent(
        &mut self,
        secret: &str,
        place: SentIn<'_>,
        key: &str,
    ) -> Result<(), SourceError> {
        if secret.is_empty() {
            return Ok(());
        }
        // The error is not repeated: it has the pattern in it.
        let compiled = |pattern: &str| {
            RegexBuilder::new(pattern).size_limit(MOST_COMPILED).build().map_err(|_| {
                let message = format!("the value of `{key}` is too long for a secret");
                SourceError::new(SourceErrorKind::MissingValue, message)
            })
        };
        let could_be_data = could_be_data(secret);
        let plain = pattern_of(secret);
        let anywhere = match could_be_data {
            true => compiled(&plain)?,
            false => compiled(&format!("{plain}{}", in_base64(secret)))?,
        };
        let in_address = match place {
            SentIn::Query(name) if could_be_data => {
                let name = pattern_of(name);
                let before = format!("{BEFORE_NAME}{name}(?:=|%3[Dd]|\\\\u003[Dd])");
                Some(compiled(&format!("(?<before>{before}){plain}(?<behind>{BEHIND_VALUE})"))?)
            }
            SentIn::Query(_) | SentIn::Header(_) | SentIn::Elsewhere => None,
        };
        let header = match place {
            SentIn::Header(name) => name.parse().ok(),
            SentIn::Query(_) | SentIn::Elsewhere => None,
        };
        let (text, spellings) = (secret.to_owned(), common_spellings(secret));
        self.0.push(Secret { text, anywhere, spellings, could_be_data, in_address, header });
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

    /// The body without secrets, and in how many places one was: a good page may repeat the key too, in the address of
    /// the next page for example, and bodies are stored and shown.
    pub fn redact_body(&self, body: Vec<u8>) -> (Vec<u8>, u64) {
        let is_there = self.0.iter().any(|secret| secret.is_in_data(&body));
        if !is_there && (self.0.is_empty() || !body.contains(&b'\\')) {
            return (body, 0);
        }
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let json = text.strip_prefix('\u{feff}').unwrap_or(text);
        if redact_json::is_json(json) {
            let (redacted, places) =
                redact_json::redacted(json, &|data| self.redact_data(data), !is_there);
            return if places > 0 { (redacted.into_bytes(), places) } else { (body, 0) };
        }
        self.redact_data(&body).unwrap_or((body, 0))
    }

    /// Data without secrets, and in how many places one was; `None` where there is none.
    fn redact_data(&self, data: &[u8]) -> Option<(Vec<u8>, u64)> {
        let mut redacted: Option<(Vec<u8>, u64)> = None;
        for secret in &self.0 {
            let data = redacted.as_ref().map_or(data, |(data, _)| data);
            if let Some((data, places)) = secret.redact_data(data) {
                let before = redacted.map_or(0, |(_, places)| places);
                redacted = Some((data, before + places));
            }
        }
        redacted
    }

    /// A response without secrets in its headers and its body.
    pub fn redact_response(&self, mut response: Response) -> Response {
        for (name, value) in &mut response.headers {
            let mut redacted = Cow::Borrowed(value.as_bytes());
            for secret in &self.0 {
                let found = match secret.was_sent_in(name) {
                    true => secret.redact_text(&redacted),
                    false => secret.redact_data(&redacted).map(|(redacted, _)| redacted),
                };
                redacted = found.map_or(redacted, Cow::Owned);
            }
            if let Cow::Owned(redacted) = redacted {
                let text = HeaderValue::from_bytes(&redacted);
                *value = text.unwrap_or_else(|_| HeaderValue::from_static("***"));
            }
        }
        let refused = response.refused.map(|refused| self.redact_error(refused.into()).into());
        // A secret is not found in another encoding; without one the body stays as it came.
        let in_utf_8 = body_text::not_in_utf_8(&response.body, &response.headers);
        let in_utf_8 = in_utf_8.map(|text| self.redact_body(text.into_bytes()));
        let (body, redacted) = match in_utf_8 {
            Some((body, places)) if places > 0 => {
                let json = HeaderValue::from_static("application/json; charset=utf-8");
                response.headers.insert(CONTENT_TYPE, json);
                (body, places)
            }
            _ => self.redact_body(response.body),
        };
        Response { body, redacted, refused, ..response }
    }

    /// The text without secrets, and without the beginning of one where a text was cut.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if let Some(redacted) = secret.redact_text(text.as_bytes()) {
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
        let findings = error.findings().iter();
        let findings = findings
            .map(|finding| Finding { text: self.redact(&finding.text), ..finding.clone() })
            .collect();
        SourceError { message: self.redact(&error.message), advice, ..error }
            .with_findings(findings)
    }
}

impl Secret {
    /// A text for people without the secret, wherever it stands; `None` where it does not.
    fn redact_text(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self.anywhere.replace_all(text, NoExpand(REDACTED.as_bytes())) {
            Cow::Owned(redacted) => Some(redacted),
            Cow::Borrowed(_) => None,
        }
    }

    /// What finds the secret in data, if anything does.
    fn in_data(&self) -> Option<&Regex> {
        match self.could_be_data {
            true => self.in_address.as_ref(),
            false => Some(&self.anywhere),
        }
    }

    /// Whether the secret may be in data.
    fn is_in_data(&self, data: &[u8]) -> bool {
        self.in_data().is_some_and(|finder| finder.is_match(data))
    }

    /// Data without the secret, and in how many places it was; `None` where it is not.
    fn redact_data(&self, data: &[u8]) -> Option<(Vec<u8>, u64)> {
        let finder = self.in_data()?;
        let places = finder.find_iter(data).count() as u64;
        if places == 0 {
            return None;
        }
        let redacted = match self.could_be_data {
            true => finder.replace_all(data, b"${before}***${behind}".as_slice()),
            false => finder.replace_all(data, NoExpand(REDACTED.as_bytes())),
        };
        Some((redacted.into_owned(), places))
    }

    /// Whether an answer may repeat the secret in this header as it was sent.
    fn was_sent_in(&self, header: &HeaderName) -> bool {
        self.header
            .as_ref()
            .is_some_and(|sent| sent == header || (*sent == COOKIE && *header == SET_COOKIE))
    }
}

/// Whether data could have a text as a value of its own, although nobody repeats a secret.
fn could_be_data(text: &str) -> bool {
    text.len() < SHORTEST_IN_BODY || text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A pattern for a text in every spelling.
fn pattern_of(text: &str) -> String {
    text.chars().map(spellings_of).collect()
}

/// Further alternatives of a pattern: the text in base64, in both alphabets, with and without its padding.
fn in_base64(text: &str) -> String {
    let [mut usual, safe] = [STANDARD_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(text)];
    let end = r"(?:=|%3[Dd]|%253[Dd]|\\u003[Dd]){0,2}";
    usual = format!("|{}{end}", pattern_of(&usual));
    if usual.contains(&safe) { usual } else { format!("{usual}|{}{end}", pattern_of(&safe)) }
}

/// A pattern for a character as it is, in addresses (encoded once or twice), in JSON and in HTML. What is longer than
/// the character comes first, so that nothing of it is left.
fn spellings_of(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        return c.to_string();
    }
    let in_address: String =
        c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%(?:25)?{byte:02X}")).collect();
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
        ' ' => r"\+|%2[Bb]|",
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
            "s3cr3t%252Bcanary%252F01%2520%253C%2526%253E%2522%2527%255C%25C3%25A9",
            "czNjcjN0K2NhbmFyeS8wMSA8Jj4iJ1zDqQ==",
            "czNjcjN0K2NhbmFyeS8wMSA8Jj4iJ1zDqQ%3D%3D",
            "czNjcjN0K2NhbmFyeS8wMSA8Jj4iJ1zDqQ",
        ] {
            let text = format!("before {spelling} and {spelling}, behind");
            let expected = "before *** and ***, behind";
            assert_eq!(secrets.redact(&text), expected);
            assert_eq!(secrets.redact_body(text.into_bytes()), (expected.into(), 2));
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
        assert_eq!((response.body.as_slice(), response.redacted), (b"***".as_slice(), 1));
    }

    #[test]
    fn a_secret_within_another_leaves_nothing_of_it() {
        let secrets = Secrets::of(["canary-1", "canary-1-and-more"]);
        assert_eq!(secrets.redact("canary-1-and-more canary-1"), "*** ***");
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let secrets = Secrets::of(["key"]);
        assert_eq!(secrets.redact_body(b"a monkey".to_vec()), (b"a monkey".to_vec(), 0));
        let body = b"s3cr3t canary \xff".to_vec();
        assert_eq!(Secrets::of([KEY]).redact_body(body.clone()), (body, 0));
    }

    #[test]
    fn what_could_be_data_is_redacted_in_its_place_and_nowhere_else() {
        for secret in ["admin", "7", "4111111111111111", "a+b"] {
            let mut secrets = Secrets::default();
            secrets.add_sent(secret, SentIn::Query("api key"), "the test").unwrap();
            secrets.add_sent(secret, SentIn::Header("x-key"), "the test").unwrap();
            let encoded = secret.replace('+', "%2B");
            let body = format!(
                r#"{{"name":"{secret}","id":{n},"xapi+key":"?xapi+key={encoded}","next":"/x?api%20key={encoded}9&b=1"}}"#,
                n = if secret.starts_with(char::is_numeric) { secret } else { "0" }
            );
            assert_eq!(secrets.redact_body(body.clone().into()), (body.into_bytes(), 0));
            for (link, shown) in [
                (format!("\"/x?api+key={encoded}&b=1\""), "\"/x?api+key=***&b=1\""),
                (format!("\"/x?a=1\\u0026api%20key={encoded}\""), "\"/x?a=1\\u0026api%20key=***\""),
                (format!("</x?a=1&amp;api%20key={encoded}>"), "</x?a=1&amp;api%20key=***>"),
            ] {
                assert_eq!(secrets.redact_body(link.into()), (shown.into(), 1));
            }
            let mut response = Response::default();
            response.headers.insert("x-total", secret.parse().unwrap());
            response.headers.insert("x-key", format!("<{secret}>").parse().unwrap());
            let response = secrets.redact_response(response);
            assert_eq!(response.headers["x-total"], secret);
            assert_eq!(response.headers["x-key"], "<***>");
            assert_eq!(secrets.redact(&format!("key {secret} is wrong")), "key *** is wrong");
        }
    }

    #[test]
    fn no_secret_shows_in_debug_output_and_a_very_long_one_is_refused_by_name() {
        assert_eq!(format!("{:?}", Secrets::of([KEY])), "Secrets(1)");
        let error = Secrets::default().add(&"+/".repeat(1 << 14), "rest_api.auth.value");
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "the value of `rest_api.auth.value` is too long for a secret");
    }
}

//! Owns authentication by a signature over the request: an HMAC of what the job file says, with a secret that
//! is never sent.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures::FutureExt;
use futures::future::BoxFuture;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::authorize::{AuthContext, Authorize, SecretKey, SentToken};
use super::send_as::{self, KeyPlace};
use crate::job_file::setting::{PlainOrSecret, Secret};
use crate::sources::rest_api::bound::Side;
use crate::sources::rest_api::request::{RequestParts, header_name};
use crate::sources::rest_api::template::{Moment, Names, Supplied, Template};
use crate::sources::{SourceError, SourceErrorKind};

/// The names that a message, a header or a query parameter may have in it.
const NAMES: [&str; 7] = ["method", "path", "query", "body", "body_sha256", "timestamp", "nonce"];
/// The name of what the message is signed to.
const SIGNATURE: &str = "signature";

/// A signature over each request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hmac {
    /// How the message is signed.
    #[serde(default)]
    algorithm: Algorithm,
    /// The secret that signs it.
    secret: Secret,
    /// How the secret is written.
    #[serde(default)]
    secret_encoding: SecretEncoding,
    /// What is signed, with `${method}`, `${path}`, `${query}`, `${body}`, `${body_sha256}`, `${timestamp}`
    /// and `${nonce}` in it.
    message: String,
    /// How the signature is written.
    #[serde(default)]
    encoding: Encoding,
    /// Headers that are sent, with the same names and `${signature}` in them; a secret one, such as the id of
    /// the key, as { env = "X" } or { file = "/run/secrets/x" }.
    #[serde(default)]
    headers: BTreeMap<String, PlainOrSecret>,
    /// Query parameters that are sent; those without `${signature}` are a part of `${query}`.
    #[serde(default)]
    query: BTreeMap<String, String>,
}

/// How a message is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Algorithm {
    /// HMAC with SHA-1, which some old APIs ask for.
    Sha1,
    /// HMAC with SHA-256.
    #[default]
    Sha256,
    /// HMAC with SHA-384.
    Sha384,
    /// HMAC with SHA-512.
    Sha512,
}

/// How the secret is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SecretEncoding {
    /// As it is.
    #[default]
    Text,
    /// In hexadecimal digits.
    Hex,
    /// In base64.
    Base64,
}

/// How the signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    /// In hexadecimal digits.
    #[default]
    Hex,
    /// In base64.
    Base64,
}

/// What a request has to say.
struct Said {
    method: String,
    path: String,
    query: String,
    body: String,
    body_sha256: String,
    now: DateTime<Utc>,
    nonce: String,
    signature: Option<String>,
}

impl Names for Said {
    fn supply(&self, name: &str) -> Option<Supplied> {
        let text = match name {
            "method" => &self.method,
            "path" => &self.path,
            "query" => &self.query,
            "body" => &self.body,
            "body_sha256" => &self.body_sha256,
            "nonce" => &self.nonce,
            SIGNATURE => self.signature.as_ref()?,
            "timestamp" => {
                let seconds = self.now.timestamp().into();
                let moment = Moment { time: self.now, zone: Tz::UTC, side: Side::Neither };
                return Some(Supplied::Time(moment, seconds));
            }
            _ => return None,
        };
        Some(Supplied::Value(text.as_str().into()))
    }
}

impl Hmac {
    fn add(&self, request: &mut RequestParts, context: AuthContext<'_>) -> Result<(), SourceError> {
        let random = random()?;
        self.sign(request, context.at, context.base_dir, Utc::now(), hex(&random))
    }

    fn sign(
        &self,
        request: &mut RequestParts,
        at: &str,
        base_dir: &Path,
        now: DateTime<Utc>,
        nonce: String,
    ) -> Result<(), SourceError> {
        let key = self.key(request, at, base_dir)?;
        let body = request.body.to_bytes();
        let mut said = Said {
            method: request.method.as_str().to_owned(),
            path: request.url.path().to_owned(),
            query: String::new(),
            body_sha256: hex(&Sha256::digest(&body)),
            body: String::from_utf8_lossy(&body).into_owned(),
            now,
            nonce,
            signature: None,
        };
        let (signed, unsigned): (Vec<_>, Vec<_>) =
            self.query.iter().partition(|(_, text)| !names_signature(text));
        let write_query =
            |request: &mut RequestParts, said: &Said, pairs: &[(&String, &String)]| {
                for (name, text) in pairs {
                    let value = template(text)?.text(said)?;
                    request.add_passing_query(name, value);
                }
                Ok::<_, SourceError>(())
            };
        write_query(request, &said, &signed)?;
        said.query = request.secret_url().query().unwrap_or_default().to_owned();
        let message = template(&self.message)?.text(&said)?;
        let signature = hmac::sign(&key, message.as_bytes());
        let signature = match self.encoding {
            Encoding::Hex => hex(signature.as_ref()),
            Encoding::Base64 => STANDARD.encode(signature),
        };
        // Whoever sees it may not send the request again.
        request.secrets.add(&signature, at)?;
        said.signature = Some(signature);
        write_query(request, &said, &unsigned)?;
        for (name, text) in &self.headers {
            let key = format!("{at}.headers.{name}");
            match text {
                PlainOrSecret::Plain(text) => {
                    request.set_header(name, &template(text)?.text(&said)?, &key)?;
                }
                PlainOrSecret::Secret(secret) => {
                    let text = secret.resolve(&key, base_dir)?;
                    request.set_secret_header(name, "", &text, &key)?;
                }
            }
        }
        request.advice = format!(
            "see `{at}`: the secret, and whether `message` is what the API signs, to the last character; and \
             this machine's clock"
        );
        Ok(())
    }

    fn key(
        &self,
        request: &mut RequestParts,
        at: &str,
        base_dir: &Path,
    ) -> Result<hmac::Key, SourceError> {
        let place = format!("{at}.secret");
        let secret = self.secret.resolve(&place, base_dir)?;
        request.secrets.add(secret.expose(), &place)?;
        let text = secret.expose();
        let bytes = match self.secret_encoding {
            SecretEncoding::Text => Some(text.as_bytes().to_vec()),
            SecretEncoding::Hex => bytes_of_hex(text.trim()),
            SecretEncoding::Base64 => STANDARD.decode(text.trim()).ok(),
        };
        let bytes = bytes.ok_or_else(|| {
            let message =
                format!("the value of `{place}` is not written as `secret_encoding` says");
            SourceError::new(SourceErrorKind::MissingValue, message)
        })?;
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha384 => hmac::HMAC_SHA384,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Ok(hmac::Key::new(algorithm, &bytes))
    }
}

fn random() -> Result<[u8; 16], SourceError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        SourceError::new(SourceErrorKind::Internal, "the system gives no random numbers")
    })?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    };
    digits.map(byte).collect()
}

fn names_signature(text: &str) -> bool {
    Template::parse(text).is_ok_and(|template| template.names().any(|name| name == SIGNATURE))
}

/// A text that the check has seen.
fn template(text: &str) -> Result<Template, SourceError> {
    Template::parse(text)
        .map_err(|why| SourceError::new(SourceErrorKind::InvalidConfig, format!("`{text}` {why}")))
}

/// What is wrong with a text, if anything.
fn template_problem(text: &str, with_signature: bool) -> Option<String> {
    let mut known: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    known.extend(with_signature.then(|| SIGNATURE.to_owned()));
    match Template::parse(text) {
        Ok(template) => template.unknown(&known),
        Err(problem) => Some(problem),
    }
}

impl Authorize for Hmac {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        let headers = self.headers.iter().filter_map(|(name, text)| match text {
            PlainOrSecret::Secret(secret) => {
                Some(SecretKey { key: format!("headers.{name}").into(), secret, optional: false })
            }
            PlainOrSecret::Plain(_) => None,
        });
        [SecretKey::of("secret", &self.secret)].into_iter().chain(headers).collect()
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        problems.extend(template_problem(&self.message, false).map(|problem| ("message", problem)));
        let mut is_sent = false;
        for (name, text) in &self.headers {
            let PlainOrSecret::Plain(text) = text else { continue };
            is_sent |= names_signature(text);
            let problem = header_name(name).err().map(|error| error.text());
            let problem = problem.or_else(|| template_problem(text, true));
            problems.extend(problem.map(|problem| ("headers", problem)));
        }
        for text in self.query.values() {
            is_sent |= names_signature(text);
            problems.extend(template_problem(text, true).map(|problem| ("query", problem)));
        }
        if !is_sent {
            let problem =
                "sends no signature: write `${signature}` into one of `headers` or `query`";
            problems.push(("message", problem.to_owned()));
        }
        problems
    }

    fn writes(&self) -> Vec<String> {
        let headers = self.headers.keys().map(|name| send_as::words(KeyPlace::Header, name));
        let query = self.query.keys().map(|name| send_as::words(KeyPlace::Query, name));
        headers.chain(query).collect()
    }

    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<Option<SentToken>, SourceError>> {
        async move { self.add(request, context).map(|()| None) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use reqwest::{Method, Url};
    use serde_json::json;

    use super::*;
    use crate::sources::rest_api::body::Body;

    fn signed(job: &str, secret: &str, request: &mut RequestParts) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), secret).unwrap();
        let kind: Hmac = toml::from_str(&format!("secret = {{ file = \"key\" }}\n{job}")).unwrap();
        assert_eq!(kind.problems(), []);
        let now = DateTime::from_timestamp_millis(1_499_827_319_559).unwrap();
        kind.sign(request, "rest_api.auth", folder.path(), now, "00ff".into()).unwrap();
    }

    /// The example of Binance's public documentation, "SIGNED Endpoint Examples".
    #[test]
    fn the_query_of_an_exchange_is_signed_as_its_documentation_shows() {
        let url = "https://api.example/api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC\
                   &quantity=1&price=0.1&recvWindow=5000";
        let mut request = RequestParts::new(Url::parse(url).unwrap());
        let job = "message = \"${query}\"\n\
                   query = { timestamp = \"${timestamp:%Q}\", signature = \"${signature}\" }";
        let secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
        signed(job, secret, &mut request);
        let expected = "timestamp=1499827319559&signature=\
                        c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
        assert!(request.secret_url().as_str().ends_with(expected), "{}", request.secret_url());
        assert_eq!(request.url.as_str(), url, "what is stored of the request stays the same");
    }

    #[test]
    fn method_path_body_and_nonce_are_signed_and_go_into_headers() {
        let mut request = RequestParts::new(Url::parse("https://api.example/v1/x").unwrap());
        request.method = Method::POST;
        request.body = Body::Json(json!({ "a": 1 }));
        let job = "algorithm = \"sha512\"\nencoding = \"base64\"\nsecret_encoding = \"hex\"\n\
                   message = \"${method} ${path} ${body} ${body_sha256} ${timestamp} ${nonce}\"\n\
                   headers = { x-sign = \"v1=${signature}\", x-time = \"${timestamp}\", x-nonce = \"${nonce}\" }";
        signed(job, "00ff10", &mut request);
        let body = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
        let message = format!("POST /v1/x {{\"a\":1}} {body} 1499827319 00ff");
        let key = hmac::Key::new(hmac::HMAC_SHA512, &[0, 255, 16]);
        let signature = STANDARD.encode(hmac::sign(&key, message.as_bytes()));
        assert_eq!(request.headers["x-sign"], format!("v1={signature}"));
        assert_eq!(request.headers["x-time"], "1499827319");
        assert_eq!(request.headers["x-nonce"], "00ff");
    }

    #[test]
    fn what_is_not_sent_or_not_known_is_told_before_anything_is_sent() {
        for (job, says) in [
            ("message = \"${query}\"", "sends no signature"),
            ("message = \"${qery}\"\nquery = { s = \"${signature}\" }", "did you mean `query`?"),
            ("message = \"${signature}\"\nquery = { s = \"${signature}\" }", "no value here"),
            ("message = \"x\"\nheaders = { \"a b\" = \"${signature}\" }", "name of a header"),
        ] {
            let job = format!("secret = {{ env = \"X\" }}\n{job}");
            let kind: Hmac = toml::from_str(&job).unwrap();
            let problems = kind.problems();
            assert!(problems.iter().any(|(_, problem)| problem.contains(says)), "{problems:?}");
        }
    }
}

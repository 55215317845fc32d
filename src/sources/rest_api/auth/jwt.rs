//! Owns signed assertions, JSON Web Tokens (RFC 7519) of RS256 and ES256, and the keys that sign them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How long an assertion is good for: some servers take no longer one, and it is used at once.
const LASTS: Duration = Duration::from_secs(180);

/// How an assertion is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// RSA with SHA-256.
    #[default]
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
        })
    }
}

/// A private key, and what the file says besides, if it is one of a service account.
pub(super) struct SigningKey {
    /// The key as PEM.
    pem: String,
    /// `client_email` of a service account.
    pub issuer: Option<String>,
    /// `private_key_id` of a service account.
    pub key_id: Option<String>,
}

/// What is signed.
pub(super) struct Claims<'a> {
    pub issuer: &'a str,
    pub subject: Option<&'a str>,
    pub audience: &'a str,
    pub scope: Option<&'a str>,
    pub more: &'a Map<String, Value>,
}

impl SigningKey {
    /// A key as PEM, or the JSON file of a service account with one in it.
    ///
    /// # Errors
    /// What is wrong with it, without any of it.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        if !text.trim_start().starts_with('{') {
            return Ok(Self { pem: text.to_owned(), issuer: None, key_id: None });
        }
        let account: Value =
            serde_json::from_str(text).map_err(|_| "begins like JSON, and is none")?;
        let text = |key: &str| account.get(key).and_then(Value::as_str).map(str::to_owned);
        let pem = text("private_key").ok_or("is JSON without a `private_key`")?;
        Ok(Self { pem, issuer: text("client_email"), key_id: text("private_key_id") })
    }

    /// An assertion, signed.
    ///
    /// # Errors
    /// What is wrong with the key, without any of it.
    pub fn sign(
        &self,
        algorithm: Algorithm,
        key_id: Option<&str>,
        claims: &Claims<'_>,
        now: SystemTime,
    ) -> Result<String, &'static str> {
        let mut header = json!({ "alg": algorithm.to_string(), "typ": "JWT" });
        if let Some(key_id) = key_id.or(self.key_id.as_deref()) {
            header["kid"] = key_id.into();
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut body = json!({
            "iss": claims.issuer,
            "aud": claims.audience,
            "iat": now,
            "exp": now + LASTS.as_secs(),
            "jti": ulid::Ulid::generate().to_string(),
        });
        let optional = [("sub", claims.subject), ("scope", claims.scope)];
        for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            body[name] = value.into();
        }
        for (name, value) in claims.more {
            body[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&body));
        let signature = self.signature(algorithm, signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, algorithm: Algorithm, text: &[u8]) -> Result<Vec<u8>, &'static str> {
        let random = SystemRandom::new();
        let failed = "could not be used to sign";
        match (algorithm, Pem::read(&self.pem)?) {
            (Algorithm::RS256, pem) => {
                let key = match &pem {
                    Pem::Pkcs8(der) => RsaKeyPair::from_pkcs8(der),
                    Pem::Pkcs1(der) => RsaKeyPair::from_der(der),
                };
                let key = key.map_err(|_| "is no RSA key of 2,048 bits or more, as RS256 needs")?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map_err(|_| failed)?;
                Ok(signature)
            }
            (Algorithm::ES256, Pem::Pkcs8(der)) => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let key = EcdsaKeyPair::from_pkcs8(algorithm, &der, &random)
                    .map_err(|_| "is no key of the curve P-256, as ES256 needs")?;
                let signature = key.sign(&random, text).map_err(|_| failed)?;
                Ok(signature.as_ref().to_vec())
            }
            (Algorithm::ES256, Pem::Pkcs1(_)) => Err("is an RSA key: write algorithm = \"RS256\""),
        }
    }
}

/// What stands in a PEM text.
enum Pem {
    Pkcs8(Vec<u8>),
    Pkcs1(Vec<u8>),
}

impl Pem {
    fn read(text: &str) -> Result<Self, &'static str> {
        // In variables, line ends are often written out.
        let text = text.replace("\\n", "\n");
        let whole = |label: &str| {
            let (begin, end) =
                (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
            let body = text.split_once(&begin)?.1.split_once(&end)?.0;
            let digits: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            STANDARD.decode(digits).ok()
        };
        if let Some(der) = whole("PRIVATE KEY") {
            return Ok(Self::Pkcs8(der));
        }
        if let Some(der) = whole("RSA PRIVATE KEY") {
            return Ok(Self::Pkcs1(der));
        }
        Err(match text {
            text if text.contains("ENCRYPTED") => {
                "is encrypted: decrypt it with `openssl pkcs8 -in key.pem -out plain.pem`"
            }
            text if text.contains("BEGIN EC PRIVATE KEY") => {
                "is of another form: convert it with `openssl pkcs8 -topk8 -nocrypt -in key.pem`"
            }
            _ => "is no PEM: it should begin with -----BEGIN PRIVATE KEY-----",
        })
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, UnparsedPublicKey};

    use super::*;

    fn pem_of(der: &[u8]) -> String {
        let digits = STANDARD.encode(der);
        let lines: Vec<_> = digits.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    #[test]
    fn an_assertion_is_signed_so_that_its_public_key_says_so() {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        let account = json!({
            "private_key": pem_of(der.as_ref()), "client_email": "a@b.example", "private_key_id": "k1",
        });
        for text in
            [pem_of(der.as_ref()), pem_of(der.as_ref()).replace('\n', "\\n"), account.to_string()]
        {
            let key = SigningKey::read(&text).unwrap();
            let more = json!({ "box_sub_type": "enterprise" }).as_object().unwrap().clone();
            let claims = Claims {
                issuer: key.issuer.as_deref().unwrap_or("me"),
                subject: Some("you"),
                audience: "https://login.example/token",
                scope: None,
                more: &more,
            };
            let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let jwt = key.sign(Algorithm::ES256, None, &claims, now).unwrap();
            let (signed, signature) = jwt.rsplit_once('.').unwrap();
            public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
            let (header, body) = signed.split_once('.').unwrap();
            let parsed = |part| -> Value {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            let (header, body) = (parsed(header), parsed(body));
            assert_eq!(header["kid"].as_str(), key.key_id.as_deref());
            assert_eq!(body["iss"].as_str(), Some(key.issuer.as_deref().unwrap_or("me")));
            assert_eq!(
                (&body["sub"], &body["box_sub_type"]),
                (&"you".into(), &"enterprise".into())
            );
            assert_eq!(
                (&body["iat"], &body["exp"]),
                (&1_700_000_000.into(), &1_700_000_180.into())
            );
        }
    }

    #[test]
    fn a_key_that_cannot_sign_says_what_it_should_be() {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let more = Map::new();
        let claims =
            Claims { issuer: "me", subject: None, audience: "x", scope: None, more: &more };
        for (text, algorithm, says) in [
            (pem_of(der.as_ref()), Algorithm::RS256, "is no RSA key"),
            (pem_of(b"x"), Algorithm::ES256, "is no key of the curve P-256"),
            ("s3cr3t".to_owned(), Algorithm::RS256, "is no PEM"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----".to_owned(), Algorithm::RS256, "is encrypted"),
            ("-----BEGIN EC PRIVATE KEY-----".to_owned(), Algorithm::ES256, "convert it"),
        ] {
            let key = SigningKey::read(&text).unwrap();
            let error = key.sign(algorithm, None, &claims, UNIX_EPOCH).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(SigningKey::read("{}").is_err_and(|error| error.contains("`private_key`")));
    }
}

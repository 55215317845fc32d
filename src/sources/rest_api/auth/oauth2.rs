//! Owns OAuth 2.0 (RFC 6749): access tokens by client credentials, by a refresh token that the server may
//! replace each time, and by a signed assertion (RFC 7523).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::authorize::{AuthContext, Authorize, Calls, SecretKey, SentToken, described, text_of};
use super::jwt::{Algorithm, Claims, SigningKey};
use super::login_server::{Granted, TokenForm};
use super::send_as::SendAs;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::job_file::setting::{PlainOrSecret, Secret, SecretText, Setting};
use crate::sources::rest_api::request::RequestParts;
use crate::sources::token_store::{TokenKey, TokenRequest, Tokens};
use crate::sources::{SourceError, SourceErrorKind};

/// The most refresh tokens of the job file that are remembered as used.
const MOST_REMEMBERED: usize = 16;
/// The grant of a signed assertion.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Access tokens of OAuth 2.0, had and renewed by themselves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// How an access token is had.
    grant: Grant,
    /// The address of the token endpoint, such as `https://login.example.com/oauth/token`.
    token_url: Setting,
    /// The client's id.
    client_id: Option<PlainOrSecret>,
    /// The client's secret.
    client_secret: Option<Secret>,
    /// Where the client's id and secret are sent.
    #[serde(default)]
    credentials_in: CredentialsIn,
    /// The first refresh token, for `grant = "refresh_token"`; without it, the one that `kasparro auth set`
    /// has stored.
    refresh_token: Option<Secret>,
    /// Whether the server gives a new refresh token each time and takes none twice. What it gives is then
    /// stored, sealed with KASPARRO_SECRET_KEY.
    #[serde(default = "yes")]
    rotating: bool,
    /// What the token is to allow, as the server writes it: several are separated by spaces.
    scope: Option<String>,
    /// Whom the token is for; in an assertion the claim `aud`, which is `token_url` when it is left out.
    audience: Option<String>,
    /// Further fields of the request for a token.
    #[serde(default)]
    extra: BTreeMap<String, String>,
    /// The key that signs the assertion, for `grant = "jwt_bearer"`: a PEM file, or the JSON file of a
    /// service account.
    private_key: Option<Secret>,
    /// How the assertion is signed.
    #[serde(default)]
    algorithm: Algorithm,
    /// The claim `iss` of the assertion; `client_id`, or the service account's, when it is left out.
    issuer: Option<String>,
    /// The claim `sub` of the assertion.
    subject: Option<String>,
    /// The id of the key, `kid`; that of the service account when it is left out.
    key_id: Option<String>,
    /// Further claims of the assertion.
    #[serde(default)]
    claims: Map<String, Value>,
    /// How long a token is good for when the server does not say it: "1h".
    #[serde(default = "an_hour", with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    expires_default: Duration,
    /// How the access token is sent.
    #[serde(default)]
    send: SendAs,
}

/// How an access token is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Grant {
    /// By the client's id and secret.
    ClientCredentials,
    /// By a refresh token.
    RefreshToken,
    /// By an assertion that a private key has signed.
    JwtBearer,
}

/// Where the client's id and secret are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CredentialsIn {
    /// As fields of the form.
    #[default]
    Form,
    /// As HTTP's `Basic` authentication.
    Header,
}

fn yes() -> bool {
    true
}

fn an_hour() -> Duration {
    Duration::from_secs(3600)
}

impl OAuth2 {
    /// Whether the server takes each refresh token once only.
    fn must_be_kept(&self) -> bool {
        self.grant == Grant::RefreshToken && self.rotating
    }

    /// Names the token by how it is had, and by nothing secret.
    fn token_key(&self) -> TokenKey {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(Secret::to_string);
        let token_url = match &self.token_url {
            Setting::Literal(url) => url.clone(),
            Setting::Variable(variable) => format!("{variable:?}"),
        };
        let description = json!({
            "type": "oauth2",
            "grant": format!("{:?}", self.grant),
            "token_url": token_url,
            "client_id": self.client_id.as_ref().map(described),
            "client_secret": secret(&self.client_secret),
            "refresh_token": secret(&self.refresh_token),
            "private_key": secret(&self.private_key),
            "scope": self.scope,
            "audience": self.audience,
            "extra": self.extra,
            "issuer": self.issuer,
            "subject": self.subject,
            "claims": self.claims,
        });
        TokenKey::of(&description.to_string())
    }

    async fn add(
        &self,
        request: &mut RequestParts,
        context: AuthContext<'_>,
    ) -> Result<SentToken, SourceError> {
        let key = self.token_key();
        let call = Call {
            oauth: self.clone(),
            at: context.at.to_owned(),
            base_dir: context.base_dir.to_owned(),
            calls: context.calls.clone(),
        };
        let wanted = TokenRequest {
            key: key.clone(),
            refused: context.refused(&key),
            must_be_kept: self.must_be_kept(),
            obtain: Box::new(move |before| call.obtain(before).boxed()),
        };
        let token = context.tokens.token(wanted).await?;
        request.advice = format!(
            "the token that `{}` gives is not accepted: see its `scope` and `audience`, and what the client \
             may do there",
            context.at
        );
        self.send.write(request, token.text, context.at)?;
        Ok(SentToken { key, generation: token.generation })
    }

    /// What the grant needs and what it does not know.
    fn grant_problems(&self) -> Vec<(&'static str, String)> {
        let (grant, needed, unknown): (_, &[_], &[_]) = match self.grant {
            Grant::ClientCredentials => (
                "client_credentials",
                &[("client_id", self.client_id.is_some())],
                &[
                    ("refresh_token", self.refresh_token.is_some()),
                    ("private_key", self.private_key.is_some()),
                ],
            ),
            Grant::RefreshToken => (
                "refresh_token",
                // Without one to begin with, `kasparro auth set` stores one, which only a key seals.
                &[("refresh_token", self.refresh_token.is_some() || self.rotating)],
                &[("private_key", self.private_key.is_some())],
            ),
            Grant::JwtBearer => (
                "jwt_bearer",
                &[("private_key", self.private_key.is_some())],
                &[("refresh_token", self.refresh_token.is_some())],
            ),
        };
        let missing = needed.iter().filter(|(_, is_there)| !is_there);
        let missing = missing.map(|(key, _)| (*key, format!("grant = \"{grant}\" needs `{key}`")));
        let useless = unknown.iter().filter(|(_, is_there)| *is_there);
        let useless =
            useless.map(|(key, _)| (*key, format!("means nothing to grant = \"{grant}\"")));
        missing.map(|(_, problem)| ("grant", problem)).chain(useless).collect()
    }
}

/// A request for a token, with all that it needs.
struct Call {
    oauth: OAuth2,
    at: String,
    base_dir: PathBuf,
    calls: Arc<dyn Calls>,
}

impl Call {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    async fn obtain(self, before: Option<Tokens>) -> Result<Tokens, SourceError> {
        let url = self.token_url()?;
        let mut form = TokenForm::new(url.clone());
        self.add_client(&mut form)?;
        let oauth = &self.oauth;
        // An assertion has them within.
        if oauth.grant != Grant::JwtBearer {
            for (name, value) in [("scope", &oauth.scope), ("audience", &oauth.audience)] {
                value.iter().for_each(|value| form.add(name, value));
            }
        }
        for (name, value) in &oauth.extra {
            form.add(name, value);
        }
        match oauth.grant {
            Grant::ClientCredentials => {
                form.add("grant_type", "client_credentials");
                let advice = format!("see `{}`: client_id, client_secret and scope", self.at);
                Ok(self.tokens(form.send(&self.calls, &advice).await?, None, Vec::new()))
            }
            Grant::JwtBearer => {
                form.add("grant_type", JWT_BEARER);
                let assertion = self.assertion(&url)?;
                form.add_secret("assertion", &assertion, &self.at)?;
                let advice =
                    format!("see `{}`: issuer, subject, audience and private_key", self.at);
                Ok(self.tokens(form.send(&self.calls, &advice).await?, None, Vec::new()))
            }
            Grant::RefreshToken => {
                let (refresh, grown_from) = self.refresh_token(before)?;
                form.add("grant_type", "refresh_token");
                form.add_secret("refresh_token", &refresh, &self.key("refresh_token"))?;
                let lost = match oauth.rotating {
                    true => {
                        ", perhaps since a worker was killed before it could store the next one"
                    }
                    false => "",
                };
                let advice = format!(
                    "if the refresh token is not good any more{lost}, `kasparro auth set SOURCE` stores a new one \
                     (`{}`)",
                    self.key("refresh_token")
                );
                let granted = form.send(&self.calls, &advice).await?;
                let replaced =
                    granted.refresh.as_ref().is_some_and(|new| new.expose() != refresh.expose());
                if replaced && !oauth.rotating {
                    return Err(self.rotates_all_the_same());
                }
                Ok(self.tokens(granted, Some(refresh), grown_from))
            }
        }
    }

    fn tokens(
        &self,
        granted: Granted,
        refresh: Option<SecretText>,
        grown_from: Vec<StoredHash>,
    ) -> Tokens {
        let is_refreshed = self.oauth.grant == Grant::RefreshToken;
        Tokens {
            access: granted.access,
            refresh: granted.refresh.filter(|_| is_refreshed).or(refresh),
            lasts: granted.lasts.unwrap_or(self.oauth.expires_default),
            grown_from,
            set_by_hand: false,
        }
    }

    fn rotates_all_the_same(&self) -> SourceError {
        let message = format!(
            "the login server replaces the refresh token, though `{}` is false: the new one is not kept",
            self.key("rotating")
        );
        SourceError::new(SourceErrorKind::InvalidConfig, message).advise(
            "remove `rotating`, set KASPARRO_SECRET_KEY, and store a new refresh token with `kasparro auth \
             set SOURCE`",
        )
    }

    fn token_url(&self) -> Result<Url, SourceError> {
        let key = self.key("token_url");
        let text = self.oauth.token_url.resolve(&key)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            _ => {
                let message = format!("`{key}` is no address that begins with https:// or http://");
                Err(SourceError::new(SourceErrorKind::InvalidConfig, message))
            }
        }
    }

    /// Adds the client's id and secret.
    fn add_client(&self, form: &mut TokenForm) -> Result<(), SourceError> {
        let oauth = &self.oauth;
        let (id_key, secret_key) = (self.key("client_id"), self.key("client_secret"));
        let id = oauth.client_id.as_ref();
        let id = id.map(|id| text_of(id, &id_key, self.base_dir())).transpose()?;
        let secret = oauth.client_secret.as_ref();
        let secret =
            secret.map(|secret| secret.resolve(&secret_key, self.base_dir())).transpose()?;
        match oauth.credentials_in {
            CredentialsIn::Form => {
                match id {
                    Some((id, true)) => form.add_secret("client_id", &id, &id_key)?,
                    Some((id, false)) => form.add("client_id", id.expose()),
                    None => {}
                }
                if let Some(secret) = secret {
                    form.add_secret("client_secret", &secret, &secret_key)?;
                }
            }
            CredentialsIn::Header => {
                let Some((id, is_secret)) = id else { return Ok(()) };
                if is_secret {
                    form.note_secret(&id, &id_key)?;
                }
                if let Some(secret) = &secret {
                    form.note_secret(secret, &secret_key)?;
                }
                // As forms encode it: RFC 6749, section 2.3.1.
                let secret = secret.as_ref().map_or("", SecretText::expose);
                let both = format!("{}:{}", encoded(id.expose()), encoded(secret));
                let both = STANDARD.encode(both).into();
                form.set_secret_header(AUTHORIZATION.as_str(), "Basic ", &both, &self.at)?;
            }
        }
        Ok(())
    }

    /// The refresh token to use, and those of the job file that it descends from. The stored one, unless the
    /// job file's is one that was never used.
    fn refresh_token(
        &self,
        before: Option<Tokens>,
    ) -> Result<(SecretText, Vec<StoredHash>), SourceError> {
        let key = self.key("refresh_token");
        let first = match &self.oauth.refresh_token {
            None => None,
            Some(secret) => match secret.resolve(&key, self.base_dir()) {
                Ok(text) => Some(text),
                // What is stored goes on without it.
                Err(error) if error.is_absent() && before.is_some() => None,
                Err(error) => return Err(error.into()),
            },
        };
        let hash: Option<StoredHash> =
            first.as_ref().map(|first| ContentHash::of(first.expose().as_bytes()).into());
        let (stored, mut grown_from, by_hand) = match before {
            Some(Tokens { refresh, grown_from, set_by_hand, .. }) => {
                (refresh, grown_from, set_by_hand)
            }
            None => (None, Vec::new(), false),
        };
        let is_new = hash.is_some_and(|hash| !grown_from.contains(&hash)) && !by_hand;
        if let Some(hash) = hash.filter(|hash| !grown_from.contains(hash)) {
            grown_from.push(hash);
            let surplus = grown_from.len().saturating_sub(MOST_REMEMBERED);
            grown_from.drain(..surplus);
        }
        match (stored, first) {
            (Some(stored), _) if !is_new => Ok((stored, grown_from)),
            (_, Some(first)) => Ok((first, grown_from)),
            (Some(stored), None) => Ok((stored, grown_from)),
            (None, None) => {
                let message = format!("there is no refresh token for `{}`", self.at);
                Err(SourceError::new(SourceErrorKind::MissingValue, message)
                    .advise("store one with `kasparro auth set SOURCE`"))
            }
        }
    }

    fn assertion(&self, token_url: &Url) -> Result<SecretText, SourceError> {
        let oauth = &self.oauth;
        let key = self.key("private_key");
        let unfit = |problem: &str| {
            let message = format!("the key of `{key}` {problem}");
            SourceError::new(SourceErrorKind::MissingValue, message)
        };
        let Some(secret) = &oauth.private_key else { return Err(unfit("is missing")) };
        let text = secret.resolve(&key, self.base_dir())?;
        let signing = SigningKey::read(text.expose()).map_err(unfit)?;
        let client = oauth.client_id.as_ref();
        let client = client.map(|id| text_of(id, &self.key("client_id"), self.base_dir()));
        let client = client.transpose()?;
        let client = client.as_ref().map(|(id, _)| id.expose());
        let issuer = oauth.issuer.as_deref().or(signing.issuer.as_deref()).or(client);
        let Some(issuer) = issuer else {
            return Err(unfit("names no issuer: set `issuer` or `client_id`"));
        };
        let claims = Claims {
            issuer,
            subject: oauth.subject.as_deref(),
            audience: oauth.audience.as_deref().unwrap_or(token_url.as_str()),
            scope: oauth.scope.as_deref(),
            more: &oauth.claims,
        };
        let key_id = oauth.key_id.as_deref();
        let signed = signing.sign(oauth.algorithm, key_id, &claims, SystemTime::now());
        Ok(signed.map_err(unfit)?.into())
    }
}

/// A text as forms write it.
fn encoded(text: &str) -> String {
    let url = Url::parse_with_params("x:", [("", text)]).ok();
    url.as_ref().and_then(Url::query).map(|query| query[1..].to_owned()).unwrap_or_default()
}

impl Authorize for OAuth2 {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        let client_id = self.client_id.as_ref();
        let client_id = client_id.and_then(|id| SecretKey::of_plain("client_id", id));
        let others = [
            ("client_secret", &self.client_secret),
            ("refresh_token", &self.refresh_token),
            ("private_key", &self.private_key),
        ];
        let others = others
            .into_iter()
            .filter_map(|(key, secret)| Some(SecretKey::of(key, secret.as_ref()?)));
        client_id.into_iter().chain(others).collect()
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = self.grant_problems();
        if let Ok(url) = self.token_url.resolve("token_url")
            && !Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        {
            let message = "is no address that begins with https:// or http://";
            problems.push(("token_url", message.to_owned()));
        }
        if self.credentials_in == CredentialsIn::Header && self.client_id.is_none() {
            problems.push(("credentials_in", "\"header\" needs `client_id`".to_owned()));
        }
        if self.expires_default.is_zero() {
            problems.push(("expires_default", "is no time at all".to_owned()));
        }
        let reserved = ["grant_type", "client_secret", "refresh_token", "assertion"];
        for name in self.extra.keys().filter(|name| reserved.contains(&name.as_str())) {
            problems.push(("extra", format!("cannot hold `{name}`, which has a key of its own")));
        }
        problems.extend(self.send.problem().map(|problem| ("send", problem)));
        problems
    }

    fn renews(&self) -> bool {
        true
    }

    fn writes(&self) -> Vec<String> {
        vec![self.send.place()]
    }

    fn kept_token(&self) -> Option<TokenKey> {
        self.must_be_kept().then(|| self.token_key())
    }

    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<Option<SentToken>, SourceError>> {
        async move { self.add(request, context).await.map(Some) }.boxed()
    }
}

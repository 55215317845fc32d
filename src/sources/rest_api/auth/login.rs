//! Owns authentication by a login: a request with a user's name and password, whose answer has a token.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::authorize::{AuthContext, Authorize, Calls, SecretKey, SentToken, described};
use super::login_body::LoginBody;
use super::login_server::{ask, no_token};
use super::send_as::SendAs;
use crate::job_file::setting::{PlainOrSecret, Setting};
use crate::sources::SourceError;
use crate::sources::rest_api::body::Body;
use crate::sources::rest_api::body_path::BodyPath;
use crate::sources::rest_api::http::response::Response;
use crate::sources::rest_api::request::{RequestParts, address, header_name};
use crate::sources::token_store::{TokenKey, TokenRequest, Tokens};

/// A login: a request whose answer has a token, which goes with every other request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The method of the request.
    #[serde(default)]
    method: LoginMethod,
    /// The path below `base_url`.
    path: String,
    /// The JSON that is sent; secrets in it as { env = "X" } or { file = "/run/secrets/x" }.
    json: Option<LoginBody>,
    /// The form that is sent; secrets in it as { env = "X" } or { file = "/run/secrets/x" }.
    form: Option<LoginBody>,
    /// Headers of the request; a secret one as { env = "X" } or { file = "/run/secrets/x" }.
    #[serde(default)]
    headers: BTreeMap<String, PlainOrSecret>,
    /// JSONPath of the token in the answer.
    token: Option<String>,
    /// The header of the answer that has the token, in place of `token`.
    token_header: Option<String>,
    /// How the token is sent.
    #[serde(default)]
    send: SendAs,
    /// How long a token is good for: "1h". It is had anew before, and when the API refuses it.
    #[serde(default = "an_hour", with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    ttl: Duration,
}

/// The method of a login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
enum LoginMethod {
    /// POST.
    #[default]
    #[serde(rename = "POST")]
    Post,
    /// GET.
    #[serde(rename = "GET")]
    Get,
    /// PUT.
    #[serde(rename = "PUT")]
    Put,
}

fn an_hour() -> Duration {
    Duration::from_secs(3600)
}

impl Login {
    /// Names the token by how it is had, and by nothing secret.
    fn token_key(&self, base_url: &Setting) -> TokenKey {
        let headers =
            self.headers.iter().map(|(name, text)| format!("{name}: {}", described(text)));
        let body = |body: &Option<LoginBody>| body.as_ref().map(LoginBody::described);
        let description = json!({
            "type": "login",
            "base_url": format!("{base_url:?}"),
            "path": self.path,
            "method": format!("{:?}", self.method),
            "json": body(&self.json),
            "form": body(&self.form),
            "headers": headers.collect::<Vec<_>>(),
        });
        TokenKey::of(&description.to_string())
    }

    async fn add(
        &self,
        request: &mut RequestParts,
        context: AuthContext<'_>,
    ) -> Result<SentToken, SourceError> {
        let key = self.token_key(context.calls.base_url());
        let call = Call {
            login: self.clone(),
            at: context.at.to_owned(),
            base_dir: context.base_dir.to_owned(),
            calls: context.calls.clone(),
        };
        let wanted = TokenRequest {
            key: key.clone(),
            refused: context.refused(&key),
            must_be_kept: false,
            obtain: Box::new(move |_| call.obtain().boxed()),
        };
        let token = context.tokens.token(wanted).await?;
        request.advice =
            format!("the token that the login of `{}` gives is not accepted", context.at);
        self.send.write(request, token.text, context.at)?;
        Ok(SentToken { key, generation: token.generation })
    }
}

/// A login, with all that it needs.
struct Call {
    login: Login,
    at: String,
    base_dir: PathBuf,
    calls: Arc<dyn Calls>,
}

impl Call {
    async fn obtain(self) -> Result<Tokens, SourceError> {
        let request = self.request()?;
        let advice = format!("see the user's name and password in `{}`", self.at);
        let response = ask(&self.calls, request, &advice).await?;
        let access = self.token(&response).map_err(|error| error.at(&response.from))?;
        Ok(Tokens {
            access: access.into(),
            refresh: None,
            lasts: self.login.ttl,
            grown_from: Vec::new(),
            set_by_hand: false,
        })
    }

    fn request(&self) -> Result<RequestParts, SourceError> {
        let Login { method, path, json, form, headers, .. } = &self.login;
        let mut request = RequestParts::new(address(self.calls.base_url(), path)?);
        request.method = match method {
            LoginMethod::Post => reqwest::Method::POST,
            LoginMethod::Get => reqwest::Method::GET,
            LoginMethod::Put => reqwest::Method::PUT,
        };
        for (name, value) in headers {
            let key = format!("{}.headers.{name}", self.at);
            match value {
                PlainOrSecret::Plain(text) => request.set_header(name, text, &key)?,
                PlainOrSecret::Secret(secret) => {
                    let text = secret.resolve(&key, &self.base_dir)?;
                    request.set_secret_header(name, "", &text, &key)?;
                }
            }
        }
        let mut resolved = |body: &LoginBody, key: &str| {
            let secrets = &mut request.secrets;
            let at = format!("{}.{key}", self.at);
            body.resolve(&at, &self.base_dir, &mut |text, key| secrets.add(text.expose(), key))
        };
        if let Some(json) = json {
            request.body = Body::Json(resolved(json, "json")?.into());
        } else if let Some(form) = form {
            let text = |value: Value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let fields = resolved(form, "form")?;
            let fields = fields.into_iter().map(|(name, value)| (name, text(value)));
            request.body = Body::Form(fields.collect());
        }
        Ok(request)
    }

    /// The token of an answer, of which nothing is ever repeated.
    fn token(&self, response: &Response) -> Result<String, SourceError> {
        if let Some(name) = &self.login.token_header {
            let value = name.parse::<HeaderName>().ok().and_then(|name| response.headers.get(name));
            let token = value.and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
            return token.map(str::to_owned).ok_or_else(|| {
                no_token(&format!("the answer has no header `{name}`"))
                    .advise(format!("see `{}.token_header`", self.at))
            });
        }
        let path = self.login.token.as_deref().unwrap_or_default();
        let body = std::str::from_utf8(&response.body);
        let body = body.map_err(|_| no_token("the answer is no UTF-8 text"))?;
        let found = BodyPath::parse("token", path)?.find(body);
        let unread = |error: SourceError| match serde_json::from_str::<&RawValue>(body) {
            Ok(_) => no_token(&error.message),
            Err(_) => no_token("the answer is no JSON"),
        };
        match found.map_err(unread)? {
            Some(Value::String(token)) if !token.is_empty() => Ok(token),
            Some(Value::Number(token)) => Ok(token.to_string()),
            _ => Err(no_token(&format!("`{path}` leads to no text in the answer"))
                .advise(format!("see `{}.token`", self.at))),
        }
    }
}

impl Authorize for Login {
    fn secrets(&self) -> Vec<SecretKey<'_>> {
        let mut secrets = Vec::new();
        for (body, key) in [(&self.json, "json"), (&self.form, "form")] {
            secrets.extend(body.iter().flat_map(|body| body.secrets(key)));
        }
        for (name, value) in &self.headers {
            if let PlainOrSecret::Secret(secret) = value {
                let key = format!("headers.{name}").into();
                secrets.push(SecretKey { key, secret, optional: false });
            }
        }
        secrets
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut problem = |key, text: &str| problems.push((key, text.to_owned()));
        match (&self.token, &self.token_header) {
            (None, None) => {
                problem(
                    "path",
                    "needs `token`, the JSONPath of the token in the answer, or `token_header`",
                );
            }
            (Some(_), Some(_)) => {
                problem("token_header", "and `token` are two places for one token")
            }
            (Some(path), None) => {
                if let Err(error) = BodyPath::parse("token", path) {
                    problem("token", &error.text());
                }
            }
            (None, Some(name)) => {
                if let Err(error) = header_name(name) {
                    problem("token_header", &error.text());
                }
            }
        }
        if self.json.is_some() && self.form.is_some() {
            problem("form", "and `json` are two bodies of one request");
        }
        if self.form.as_ref().is_some_and(LoginBody::is_nested) {
            problem("form", "has a list or a table in it, which a form cannot hold");
        }
        if self.method == LoginMethod::Get && (self.json.is_some() || self.form.is_some()) {
            problem("method", "GET takes neither `json` nor `form`: write \"POST\"");
        }
        for (body, key) in [(&self.json, "json"), (&self.form, "form")] {
            if let Some(name) = body.as_ref().and_then(LoginBody::suspicious) {
                let text = format!(
                    "has a secret written out under `{name}`: say where it is kept, \
                     {{ env = \"NAME_OF_VARIABLE\" }} or {{ file = \"/run/secrets/name\" }}"
                );
                problem(key, &text);
            }
        }
        if self.path.contains("://") {
            problem(
                "path",
                "is an address, and a login is asked below `rest_api.base_url`: write what follows that. A login server \
                 on another host is asked by `type = \"oauth2\"` with `token_url`",
            );
        }
        if self.ttl.is_zero() {
            problem("ttl", "is no time at all");
        }
        if let Some(name) = self.headers.keys().find(|name| header_name(name).is_err()) {
            problem("headers", &format!("`{name}` cannot be the name of a header"));
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

    fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<Option<SentToken>, SourceError>> {
        async move { self.add(request, context).await.map(Some) }.boxed()
    }
}

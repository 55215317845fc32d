//! Owns signing in and out: a token becomes a session, which a cookie names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem::http::StatusCode;
use poem::http::header::{RETRY_AFTER, SET_COOKIE};
use poem::web::{Data, Form, Query};
use poem::{Addr, Request, Response, handler};
use serde::Deserialize;

use super::shell::{Shell, page, page_with, see};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::rate_limit::Client;
use crate::api::http::session_cookie;
use crate::api::http::token_cache::{Caller, TokenCache, session_hash};
use crate::api::state::ApiState;
use crate::db::console_sessions;

/// So many tokens that are not good are told so. A secret is random and long, so nobody guesses one; but nobody has to be
/// let try.
const ATTEMPTS: u32 = 10;
/// In so long.
const WINDOW: Duration = Duration::from_secs(60);
/// More clients than this are not remembered at a time: memory has an end.
const CLIENTS: usize = 10_000;

/// How often each client tried to sign in with a token that is not good; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Attempts(Arc<Mutex<HashMap<Client, Window>>>);

/// Since when, and how often.
type Window = (Instant, u32);

impl Attempts {
    /// Counts one more that failed, or says how long the client has to wait before the next is told so.
    fn failed(&self, client: Client) -> Result<(), Duration> {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= CLIENTS && !attempts.contains_key(&client) {
            attempts.retain(|_, (since, _)| since.elapsed() < WINDOW);
            if attempts.len() >= CLIENTS {
                // All of them at once is an attack from many sides: the new ones wait.
                return Err(WINDOW);
            }
        }
        let (since, times) = attempts.entry(client).or_insert((Instant::now(), 0));
        let left = WINDOW.saturating_sub(since.elapsed());
        if left.is_zero() {
            (*since, *times) = (Instant::now(), 0);
        }
        *times = times.saturating_add(1);
        if *times > ATTEMPTS { Err(left) } else { Ok(()) }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    shell: Shell,
    to: String,
    wrong: Option<String>,
    is_https: bool,
}

/// Where to go behind the login.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct To {
    to: String,
}

/// `GET /ui/login`
#[handler]
pub(crate) fn login(shell: Shell, state: Data<&ApiState>, Query(to): Query<To>) -> Response {
    page(&Login { shell, to: ours(&to.to), wrong: None, is_https: state.is_https() })
}

/// What the login form sends.
#[derive(Deserialize)]
struct SignIn {
    token: String,
    #[serde(default)]
    to: String,
}

/// `POST /ui/session`
#[handler]
pub(crate) async fn sign_in(
    request: &Request,
    shell: Shell,
    state: Data<&ApiState>,
    tokens: Data<&TokenCache>,
    attempts: Data<&Attempts>,
    Form(form): Form<SignIn>,
) -> poem::Result<Response> {
    let address = match &request.remote_addr().0 {
        Addr::SocketAddr(address) => Some(address.ip().to_canonical()),
        _ => None,
    };
    let to = ours(&form.to);
    let wrong = |status, wrong: String| {
        let is_https = state.is_https();
        page_with(status, &Login { shell, to: to.clone(), wrong: Some(wrong), is_https })
    };
    let token = form.token.trim();
    let mut caller = tokens.caller(Some(token)).await.map_err(|_| Problem::unavailable())?;
    if !matches!(caller, Caller::Holder(_)) {
        let client = Client::at(address);
        if let Err(wait) = attempts.failed(client) {
            let seconds = wait.as_secs() + 1;
            let text = format!("Too many attempts from this address; try again in {seconds} s.");
            let mut response = wrong(StatusCode::TOO_MANY_REQUESTS, text);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            return Ok(response);
        }
        // It was made just now perhaps.
        let again = tokens.who_signs_in(token).await;
        caller = again.map_err(|_| Problem::unavailable())?;
    }
    let Caller::Holder(holder) = caller else {
        tracing::warn!(address = ?address, "somebody tried to sign in with a token that is not good");
        let text = "The token is not known, revoked or expired.".to_owned();
        return Ok(wrong(StatusCode::UNAUTHORIZED, text));
    };
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let (hash, lasts) = (session_hash(&secret), session_cookie::LASTS);
    console_sessions::sign_in(&mut *connection, &hash, &holder.id, lasts)
        .await
        .map_err(Problem::from)?;
    tokens.forget().await;
    tracing::info!(token = %holder.id, address = ?address, "somebody signed in to the console");
    let mut response = see(&to);
    let cookie = session_cookie::signing_in(&secret, state.is_https());
    let cookie = cookie.parse().map_err(|_| Problem::new(Kind::Internal, "the cookie"))?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// `POST /ui/session/end`
#[handler]
pub(crate) async fn sign_out(
    request: &Request,
    state: Data<&ApiState>,
    tokens: Data<&TokenCache>,
) -> poem::Result<Response> {
    if let Some(secret) = session_cookie::in_headers(request.headers()) {
        let mut connection = state.connection().await.map_err(Problem::from)?;
        console_sessions::sign_out(&mut *connection, &session_hash(&secret))
            .await
            .map_err(Problem::from)?;
        tokens.forget().await;
    }
    let mut response = see("/ui/login");
    if let Ok(cookie) = session_cookie::signing_out().parse() {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The address if it is a page of the console; the first page else. A link could lead anywhere.
fn ours(to: &str) -> String {
    let is_ours = to.starts_with("/ui/")
        && !to.starts_with("/ui/session")
        && !to.contains(['\\', '\r', '\n'])
        && to.bytes().all(|byte| byte.is_ascii_graphic())
        && !to.contains("//");
    if is_ours { to.to_owned() } else { "/ui/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_login_there_are_pages_of_the_console_only() {
        assert_eq!(ours("/ui/runs?status=failed"), "/ui/runs?status=failed");
        for foreign in [
            "",
            "https://evil.example/",
            "//evil.example",
            "/ui//evil",
            "/docs",
            "/ui/\\evil",
            "/ui/\r\nx: y",
        ] {
            assert_eq!(ours(foreign), "/ui/", "{foreign:?}");
        }
    }

    #[test]
    fn who_fails_too_often_waits_and_nobody_else_does() {
        let attempts = Attempts::default();
        let client = |text: &str| Client::at(text.parse().ok());
        for _ in 0..ATTEMPTS {
            assert_eq!(attempts.failed(client("192.0.2.1")), Ok(()));
        }
        assert!(attempts.failed(client("192.0.2.1")).is_err());
        assert_eq!(attempts.failed(client("192.0.2.2")), Ok(()));
        // A client has a whole network of IPv6.
        for host in 0..ATTEMPTS {
            assert_eq!(attempts.failed(client(&format!("2001:db8::{host:x}"))), Ok(()));
        }
        assert!(attempts.failed(client("2001:db8::ffff")).is_err());
    }

    #[test]
    fn clients_beyond_what_is_remembered_wait() {
        let attempts = Attempts::default();
        for number in 0..CLIENTS as u32 {
            let address = std::net::Ipv4Addr::from(number).into();
            assert_eq!(attempts.failed(Client::at(Some(address))), Ok(()));
        }
        assert!(attempts.failed(Client::at("192.0.2.1".parse().ok())).is_err());
    }
}

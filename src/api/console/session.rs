//! Owns signing in and out: a token becomes a session, which a cookie names.

use std::collections::HashMap;
use std::net::IpAddr;
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
use crate::api::http::session_cookie;
use crate::api::http::token_cache::{Caller, TokenCache, session_hash};
use crate::api::state::ApiState;
use crate::db::console_sessions;

/// A secret is random and long, so nobody guesses one; but nobody has to be let try.
const ATTEMPTS: u32 = 10;
/// In so long.
const WINDOW: Duration = Duration::from_secs(60);
/// More addresses than this are not remembered at a time.
const ADDRESSES: usize = 10_000;

/// How often somebody tried to sign in from each address; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Attempts(Arc<Mutex<HashMap<Option<IpAddr>, Window>>>);

/// Since when, and how often.
type Window = (Instant, u32);

impl Attempts {
    /// Counts one more that failed.
    fn failed(&self, address: Option<IpAddr>) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= ADDRESSES {
            attempts.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        let (since, times) = attempts.entry(address).or_insert((Instant::now(), 0));
        if since.elapsed() >= WINDOW {
            (*since, *times) = (Instant::now(), 0);
        }
        *times = times.saturating_add(1);
    }

    /// How long one at this address has to wait.
    fn wait(&self, address: Option<IpAddr>) -> Option<Duration> {
        let attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, times) = attempts.get(&address)?;
        let left = WINDOW.checked_sub(since.elapsed())?;
        (*times >= ATTEMPTS).then_some(left)
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
    if let Some(wait) = attempts.wait(address) {
        let seconds = wait.as_secs() + 1;
        let text = format!("Too many attempts from this address; try again in {seconds} s.");
        let mut response = wrong(StatusCode::TOO_MANY_REQUESTS, text);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
        return Ok(response);
    }
    let caller = tokens.who_signs_in(form.token.trim()).await;
    let Caller::Holder(holder) = caller.map_err(|_| Problem::unavailable())? else {
        attempts.failed(address);
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
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().ok());
        for _ in 0..ATTEMPTS {
            assert_eq!(attempts.wait(one), None);
            attempts.failed(one);
        }
        assert!(attempts.wait(one).is_some());
        assert_eq!(attempts.wait(other), None);
    }
}

//! Owns authentication: every request is identified by its token or its address, counted, and let
//! through only when its caller may do what it asks; operations find its caller as an `Actor`.
//!
//! Must not know any resource; what an operation needs is in `required_scope`.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use poem::http::HeaderValue;
use poem::http::Method;
use poem::http::header::{AUTHORIZATION, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use poem::{Addr, Endpoint, IntoResponse, Request, Response};

use super::credentials;
use super::problem::{Kind, Problem};
use super::rate_limit::{Client, RateLimits};
use super::required_scope;
use super::session_cookie;
use super::token_cache::{Caller, Holder, TokenCache};
use crate::api::state::ApiState;
use crate::domain::actor::Actor;
use crate::domain::host::Host;
use crate::domain::token::Scope;

/// Whom the API answers besides the holders of tokens, and how much of it one client may take.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Who is answered without a token while there is none.
    pub without_token: WithoutToken,
    /// Names that are answered without a token, besides those of this machine.
    pub allowed_hosts: Vec<Host>,
    /// Requests a second of one client; `None` is any number.
    pub rate: Option<NonZeroU32>,
    /// Connections of one address at once; `None` is any number.
    pub connections: Option<NonZeroU32>,
}

impl AuthConfig {
    /// These, by no names of their own and as often as they like.
    pub const fn of(without_token: WithoutToken) -> Self {
        Self { without_token, allowed_hosts: Vec::new(), rate: None, connections: None }
    }
}

/// Who is answered without a token while none exists. As soon as one exists: nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutToken {
    /// Programs of this machine: the API listens on loopback.
    ThisMachine,
    /// Whoever reaches the API: somebody said so.
    Everybody,
    /// Nobody.
    Nobody,
}

impl WithoutToken {
    /// What follows from the address to listen on, and from whether anonymous requests were allowed.
    pub fn on(listen: SocketAddr, allowed: bool) -> Self {
        match (allowed, listen.ip().to_canonical().is_loopback()) {
            (true, _) => Self::Everybody,
            (false, true) => Self::ThisMachine,
            (false, false) => Self::Nobody,
        }
    }
}

/// Who looks at the console.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    /// Whose token it is; `None` where none is needed.
    pub(crate) holder: Option<Holder>,
    /// What they may do.
    pub(crate) scope: Scope,
}

impl std::fmt::Display for Viewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.holder {
            Some(holder) => {
                let name = holder.name.as_deref().unwrap_or(holder.id.as_str());
                write!(f, "{name} ({})", holder.scope)
            }
            None => f.write_str("no token needed"),
        }
    }
}

/// Lets requests through to `inner`, or not.
pub(crate) struct Auth<E> {
    inner: E,
    token_cache: TokenCache,
    rate_limits: RateLimits,
    without_token: WithoutToken,
    allowed_hosts: Vec<Host>,
}

impl<E: Endpoint> Auth<E> {
    /// Before `inner`.
    pub(crate) fn new(inner: E, state: ApiState, auth_config: AuthConfig) -> Self {
        Self {
            inner,
            token_cache: TokenCache::new(state),
            rate_limits: RateLimits::new(auth_config.rate),
            without_token: auth_config.without_token,
            allowed_hosts: auth_config.allowed_hosts,
        }
    }

    /// Who asks, when they may.
    async fn admit(&self, request: &Request) -> poem::Result<Actor> {
        let address = match &request.remote_addr().0 {
            Addr::SocketAddr(address) => Some(address.ip()),
            _ => None,
        };
        let path = request.uri().path();
        let Some(needed) = required_scope::scope(request.method(), path) else {
            return self.count(Client::at(address).probing()).map(|()| Actor::address(address));
        };
        let token = credentials::token_in(request.headers().get(AUTHORIZATION), path);
        // Cheap for wrong tokens too: it looks in memory.
        let caller = self.token_cache.caller(token.as_deref()).await;
        let client = match &caller {
            Ok(Caller::Holder(holder)) => Client::Token(holder.id.clone()),
            _ => Client::at(address),
        };
        self.count(client)?;
        match caller.map_err(|_| Problem::unavailable())? {
            Caller::Holder(holder) if holder.scope >= needed => {
                Ok(Actor::token(&holder.id, holder.name.as_deref()))
            }
            Caller::Holder(holder) => Err(forbidden(holder.scope, needed)),
            Caller::Anybody => self.admit_anybody(request).map(|()| Actor::address(address)),
            Caller::Unauthenticated => Err(unauthorized(token.is_some(), path)),
        }
    }

    /// Who asks the console: whoever is signed in there. Tokens in headers do not count, so that no page of another
    /// site can use what a browser sends by itself.
    async fn admit_viewer(&self, request: &mut Request) -> poem::Result<Actor> {
        let address = match &request.remote_addr().0 {
            Addr::SocketAddr(address) => Some(address.ip()),
            _ => None,
        };
        let needed = required_scope::console_scope(request.method(), request.uri().path());
        if !matches!(*request.method(), Method::GET | Method::HEAD) && !is_same_origin(request) {
            return Err(foreign("the request comes from the page of another site"));
        }
        let Some(needed) = needed else {
            return self.count(Client::at(address)).map(|()| Actor::address(address));
        };
        let session = session_cookie::in_headers(request.headers());
        let mut caller = self.token_cache.viewer(session.as_deref()).await;
        let client = match &caller {
            Ok(Caller::Holder(holder)) => Client::Token(holder.id.clone()),
            _ => Client::at(address),
        };
        self.count(client)?;
        if let (Ok(Caller::Unauthenticated), Some(session)) = (&caller, session.as_deref()) {
            caller = self.token_cache.new_viewer(session).await;
        }
        let (holder, scope) = match caller.map_err(|_| Problem::unavailable())? {
            Caller::Holder(holder) => (Some(holder.clone()), holder.scope),
            Caller::Anybody => {
                self.admit_anybody(request)?;
                (None, Scope::Admin)
            }
            Caller::Unauthenticated => {
                return Err(Problem::new(Kind::Unauthorized, "sign in with a token").into());
            }
        };
        let actor = match &holder {
            Some(holder) => Actor::token(&holder.id, holder.name.as_deref()),
            None => Actor::address(address),
        };
        request.set_data(Viewer { holder, scope });
        match scope < needed {
            true => Err(with_viewer(forbidden(scope, needed), request)),
            false => Ok(actor),
        }
    }

    fn count(&self, client: Client) -> poem::Result<()> {
        self.rate_limits.take(client).map_err(|wait| {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            let detail = format!("this client asks too often; try again in {seconds} s");
            let problem = Problem::new(Kind::TooManyRequests, detail);
            let mut response = problem.clone().into_response();
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            problem.into_error(response)
        })
    }

    /// A browser carries requests of pages from anywhere, under any name that leads here: without a
    /// token, only the name that was asked for and the page that asks tell them apart.
    fn admit_anybody(&self, request: &Request) -> poem::Result<()> {
        let answered = match self.without_token {
            WithoutToken::ThisMachine => Host::is_loopback,
            // What a page can change is where its name leads. An address leads to itself.
            WithoutToken::Everybody => |asked: &Host| asked.is_loopback() || asked.is_address(),
            WithoutToken::Nobody => return Err(unauthorized(false, request.uri().path())),
        };
        let Some(asked) = asked(request) else {
            return Err(foreign("without a token, a request names one host that it asks for"));
        };
        if !answered(&asked) && !self.allows(&asked) {
            return Err(foreign(format!(
                "{asked} is no name that is answered without a token: ask for localhost or a \
                 loopback address, send a token (`kasparro token create` makes one), or add the \
                 name to the setting `allowed_hosts` (KASPARRO_ALLOWED_HOSTS)"
            )));
        }
        let mut pages = request.headers().get_all(ORIGIN).iter();
        let own = match (pages.next(), pages.next()) {
            (None, _) => true,
            (Some(page), None) => {
                host_of(page).is_some_and(|page| page == asked || self.allows(&page))
            }
            _ => false,
        };
        match own {
            true => Ok(()),
            false => Err(foreign("without a token, pages of other sites are not answered")),
        }
    }

    fn allows(&self, asked: &Host) -> bool {
        self.allowed_hosts.iter().any(|host| host.covers(asked))
    }
}

/// The refusal, shown to whoever asked as a page like any other.
fn with_viewer(mut refusal: poem::Error, request: &Request) -> poem::Error {
    if let Some(viewer) = request.data::<Viewer>() {
        refusal.set_data(viewer.clone());
    }
    refusal
}

/// Whether a request that changes something comes from one of our own pages: browsers say so themselves, and older
/// ones name the page's origin. Programs that are no browsers have nothing that could be misused.
/// Source: OWASP, Cross-Site Request Forgery Prevention, "Fetch Metadata headers".
fn is_same_origin(request: &Request) -> bool {
    if let Some(site) = request.headers().get("sec-fetch-site") {
        return site == "same-origin";
    }
    let mut pages = request.headers().get_all(ORIGIN).iter();
    match (pages.next(), pages.next()) {
        (None, _) => true,
        (Some(page), None) => host_of(page).is_some_and(|page| asked(request) == Some(page)),
        _ => false,
    }
}

/// The host that a request asks for; `None` when it names none, or several.
fn asked(request: &Request) -> Option<Host> {
    let mut named = request.headers().get_all(HOST).iter();
    let (host, None) = (named.next()?, named.next()) else { return None };
    let host: Host = host.to_str().ok()?.parse().ok()?;
    match request.uri().authority() {
        // A whole address in the first line counts before `Host`, and may not say otherwise.
        Some(whole) => (whole.as_str().parse() == Ok(host.clone())).then_some(host),
        None => Some(host),
    }
}

/// The host of the page that asks.
fn host_of(origin: &HeaderValue) -> Option<Host> {
    origin.to_str().ok()?.split_once("://")?.1.parse().ok()
}

fn foreign(detail: impl Into<String>) -> poem::Error {
    Problem::new(Kind::ForeignPage, detail).into()
}

fn unauthorized(has_token: bool, path: &str) -> poem::Error {
    let (detail, challenge) = match has_token {
        true => (
            "the token is not known, revoked or expired",
            "Bearer realm=\"kasparro\", error=\"invalid_token\"",
        ),
        false => (
            "send a token with `Authorization: Bearer kas_…`; `kasparro token create` makes one",
            "Bearer realm=\"kasparro\"",
        ),
    };
    let problem = Problem::new(Kind::Unauthorized, detail);
    let mut response = problem.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    if required_scope::is_page(path) {
        let basic = HeaderValue::from_static("Basic realm=\"kasparro\", charset=\"UTF-8\"");
        headers.append(WWW_AUTHENTICATE, basic);
    }
    problem.into_error(response)
}

fn forbidden(scope: Scope, needed: Scope) -> poem::Error {
    let detail = format!("the token has the scope `{scope}`; this needs `{needed}`");
    let problem = Problem::new(Kind::Forbidden, detail);
    let mut response = problem.clone().into_response();
    let challenge =
        format!("Bearer realm=\"kasparro\", error=\"insufficient_scope\", scope=\"{needed}\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    problem.into_error(response)
}

impl<E: Endpoint> Endpoint for Auth<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let actor = match required_scope::is_console(request.uri().path()) {
            true => self.admit_viewer(&mut request).await?,
            false => self.admit(&request).await?,
        };
        request.set_data(actor);
        request.set_data(self.token_cache.clone());
        let viewer = request.data::<Viewer>().cloned();
        let mut response = match self.inner.call(request).await {
            Ok(response) => response.into_response(),
            // A refusal is shown to whoever asked, as a page.
            Err(mut error) => {
                if let Some(viewer) = viewer {
                    error.set_data(viewer);
                }
                return Err(error);
            }
        };
        if let Some(viewer) = viewer {
            response.extensions_mut().insert(viewer);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_addresses_than_loopback_answer_nobody_unless_told_to() {
        let on = |listen: &str, allowed| WithoutToken::on(listen.parse().unwrap(), allowed);
        for listen in ["127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(on(listen, false), WithoutToken::ThisMachine, "{listen}");
        }
        for listen in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
            assert_eq!(on(listen, false), WithoutToken::Nobody, "{listen}");
            assert_eq!(on(listen, true), WithoutToken::Everybody, "{listen}");
        }
    }
}

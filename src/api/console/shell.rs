//! Owns what every page has around its content, and how a page is answered, errors included.

use askama::Template;
use poem::http::StatusCode;
use poem::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
};
use poem::{FromRequest, Request, RequestBody, Response};

use super::assets::{MORPH, SCRIPT, STYLE};
use super::done::Done;
use crate::api::http::auth::Viewer;
use crate::api::http::problem::Problem;
use crate::domain::token::Scope;

/// Nothing but what is below `/ui`, and no script that a page brings itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types kasparro";

/// The pages that the navigation names.
const PAGES: [(&str, &str); 7] = [
    ("/ui/", "Overview"),
    ("/ui/sources", "Sources"),
    ("/ui/runs", "Runs"),
    ("/ui/quarantine", "Quarantine"),
    ("/ui/drift", "Drift"),
    ("/ui/records", "Records"),
    ("/ui/system", "System"),
];

/// What a page has around its content.
pub(crate) struct Shell {
    path: String,
    /// What the page follows; nothing for a page that stays as it is.
    pub(crate) topics: &'static str,
    pub(crate) who: Option<String>,
    scope: Option<Scope>,
    pub(crate) is_signed_in: bool,
    pub(crate) can_sign_out: bool,
    /// What was done just now.
    pub(crate) done: Option<String>,
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
    pub(crate) morph: &'static str,
    pub(crate) version: &'static str,
}

impl Shell {
    fn new(path: &str, viewer: Option<&Viewer>, done: Option<Done>) -> Self {
        Self {
            path: path.to_owned(),
            topics: "",
            who: viewer.map(ToString::to_string),
            scope: viewer.map(|viewer| viewer.scope),
            is_signed_in: viewer.is_some(),
            can_sign_out: viewer.is_some_and(|viewer| viewer.holder.is_some()),
            done: done.map(|done| done.to_string()),
            style: STYLE.address(),
            script: SCRIPT.address(),
            morph: MORPH.address(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn of(request: &Request) -> Self {
        let done = request.uri().query().and_then(Done::in_query);
        // The router has taken `/ui` off the other.
        Self::new(request.original_uri().path(), request.data::<Viewer>(), done)
    }

    /// The same for a page that follows these topics, separated by commas.
    pub(crate) fn following(self, topics: &'static str) -> Self {
        Self { topics, ..self }
    }

    /// What a button says that needs a scope which the reader lacks.
    pub(crate) fn needs(&self, scope: Scope) -> Option<String> {
        (self.scope < Some(scope)).then(|| format!("needs a token with the scope `{scope}`"))
    }

    /// The pages of the navigation.
    pub(crate) fn pages(&self) -> &'static [(&'static str, &'static str)] {
        &PAGES
    }

    /// Whether the page is that one or lies beneath it.
    pub(crate) fn is_at(&self, address: &str) -> bool {
        match address {
            "/ui/" => self.path == address,
            _ => self.path == *address || self.path.starts_with(&format!("{address}/")),
        }
    }
}

impl<'a> FromRequest<'a> for Shell {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self::of(request))
    }
}

/// A page as an answer.
pub(crate) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

pub(crate) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "text/html; charset=utf-8")
            .header(CONTENT_SECURITY_POLICY, POLICY)
            // Forms say where they come from: that is how a foreign one is known.
            .header(REFERRER_POLICY, "same-origin")
            .header(CACHE_CONTROL, "no-store")
            .body(text),
        Err(error) => {
            tracing::error!(error = %error, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into()
        }
    }
}

/// Sends the browser to another page, with a request of its own.
pub(crate) fn see(address: &str) -> Response {
    Response::builder().status(StatusCode::SEE_OTHER).header(LOCATION, address).finish()
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal {
    shell: Shell,
    status: u16,
    title: String,
    detail: String,
    kind: &'static str,
    is_away: bool,
}

/// A problem as a page.
pub(crate) fn refusal(request: &RefusedRequest, problem: &Problem) -> Response {
    let status = problem.status();
    let page = Refusal {
        shell: Shell::new(&request.path, request.viewer.as_ref(), None),
        status: status.as_u16(),
        title: problem.title().to_owned(),
        detail: problem.to_string(),
        kind: problem.kind().as_str(),
        is_away: status == StatusCode::SERVICE_UNAVAILABLE,
    };
    page_with(status, &page)
}

/// What is known of a request that was refused.
pub(crate) struct RefusedRequest {
    pub(crate) path: String,
    pub(crate) viewer: Option<Viewer>,
}

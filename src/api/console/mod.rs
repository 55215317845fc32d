//! The console: pages for people, below `/ui`. HTML is made here and nowhere else; a page that is open asks for its own
//! address again when it is told that something has changed, so every page works without script.
//!
//! Must not know: SQL, how sources are read, the queue's tables.

mod actions;
mod assets;
mod charts;
mod done;
mod escape;
mod html;
pub(crate) mod live;
mod marked;
mod origin;
mod pages;
mod query;
mod run_rows;
mod session;
mod shell;
mod source_rows;

use poem::http::Method;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get, post};

use self::session::Attempts;
use self::shell::{RefusedRequest, refusal, see};
use crate::api::http::auth::Viewer;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::required_scope;

/// The pages and what their forms do, to be nested at `/ui`.
pub(crate) fn routes(live: live::Live) -> impl Endpoint {
    Route::new()
        .at("/", get(pages::overview::overview))
        .at("/login", get(session::login))
        .at("/session", post(session::sign_in))
        .at("/session/end", post(session::sign_out))
        .at("/stream", get(live::follow))
        .at("/assets/:hash/:name", assets::route())
        .at("/quarantine", get(pages::quarantine::list))
        .at("/quarantine/:fingerprint", get(pages::reason::show))
        .at("/quarantine/:fingerprint/dry-run", post(pages::redrive::dry_run))
        .at("/quarantine/:fingerprint/redrive", post(pages::redrive::redrive))
        .at("/quarantine/:fingerprint/raw", get(pages::raw_rows::download))
        .at("/runs", get(pages::runs::list))
        .at("/runs/:id", get(pages::run::show))
        .at("/runs/:id/cancel", post(actions::cancel))
        .at("/runs/:id/retry", post(actions::retry))
        .at("/system", get(pages::system::show))
        .at("/tokens/:id/revoke", post(pages::system::revoke))
        .at("/sources", get(pages::sources::list))
        .at("/sources/run", post(pages::sources::run_all))
        .at("/sources/pause", post(pages::sources::pause_all))
        .at("/sources/resume", post(pages::sources::resume_all))
        .at("/sources/:name", get(pages::source::show))
        .at("/sources/:name/run", post(actions::run_source))
        .at("/sources/:name/pause", post(actions::pause_one))
        .at("/sources/:name/resume", post(actions::resume_one))
        .at("/records", get(pages::records::list))
        .at("/records/:source/:key", get(pages::record::show))
        .at("/drift", get(pages::drift::list))
        .at("/drift/:id", get(pages::drift::show))
        .at("/drift/:id/acknowledge", post(pages::drift::acknowledge))
        .at("/drift/:id/replay", post(pages::drift::replay))
        .data(Attempts::default())
        .data(live)
}

/// Whether a person looks, who is led to the console whoever they are: it asks for a token by itself.
fn is_browser(request: &Request) -> bool {
    request.method() == Method::GET
        && request.header("accept").is_some_and(|accept| accept.contains("text/html"))
}

/// Shows refusals of requests to the console as pages, and leads whoever is not signed in to the login.
pub(crate) struct Pages<E>(pub(crate) E);

impl<E: Endpoint> Endpoint for Pages<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let path = request.uri().path().to_owned();
        if path == "/" && is_browser(&request) {
            return Ok(see("/ui/"));
        }
        if !required_scope::is_console(&path) {
            return Ok(self.0.call(request).await?.into_response());
        }
        if path == "/ui" {
            return Ok(see("/ui/"));
        }
        let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
        let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let mut response = self.0.call(request).await?.into_response();
        let viewer = response.extensions_mut().remove::<Viewer>();
        let Some(problem) = response.extensions_mut().remove::<Problem>() else {
            return Ok(response);
        };
        if problem.kind() == Kind::Unauthorized && is_reading {
            return Ok(match address.as_str() {
                "/ui/" => see("/ui/login"),
                _ => see(&format!("/ui/login?to={}", html::part(&address))),
            });
        }
        let mut page = refusal(&RefusedRequest { path, viewer }, &problem);
        // How long to wait, and what is allowed, are for programs.
        for (name, value) in response.headers() {
            if matches!(name.as_str(), "retry-after" | "allow") {
                page.headers_mut().insert(name, value.clone());
            }
        }
        Ok(page)
    }
}

//! Owns the layers around the operations, and their order.

use poem::endpoint::make_sync;
use poem::{Endpoint, EndpointExt, Response, Route, get};
use tokio_util::sync::CancellationToken;

use super::auth::{Auth, AuthConfig};
use super::concurrency_limit::ConcurrencyLimit;
use super::error_handler::ErrorHandler;
use super::event_stream::EventStreams;
use super::query_parameters::KnownQueries;
use super::security_headers::SecurityHeaders;
use crate::api::console::{self, live::Live};
use crate::api::openapi::{document, swagger_ui};
use crate::api::state::ApiState;

/// The whole API: operations, document, Swagger UI, console, and an answer to everything else.
///
/// From the outside in: the security headers of every answer; errors, panics and time-outs become
/// problems; who may do what; whether the parameters are known; how many requests are worked on at
/// once. Streams end when `stopping` is cancelled.
pub(crate) fn endpoint(
    state: ApiState,
    auth_config: AuthConfig,
    stopping: CancellationToken,
) -> impl Endpoint<Output = Response> {
    let service = document::service();
    let text = bytes::Bytes::from(document::openapi_json());
    let document =
        make_sync(move |_| Response::builder().content_type("application/json").body(text.clone()));
    let routes = Route::new()
        .at("/openapi.json", get(document))
        .nest("/docs", get(swagger_ui::routes()))
        .nest("/ui", console::routes(Live::new(state.clone(), stopping.clone())))
        .nest("/", service)
        .data(state.clone())
        .data(EventStreams::new(stopping));
    let limited = ConcurrencyLimit::new(routes);
    let checked = KnownQueries::new(limited, document::queries());
    let authenticated = Auth::new(checked, state, auth_config);
    SecurityHeaders(console::Pages(ErrorHandler::new(authenticated, document::paths())))
}

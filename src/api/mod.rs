//! Floor 5: the HTTP API. One file a resource, each with its operations, its shapes and the
//! problems it declares; what they share is in `page`, `body`, `catalog`, `problem` and `words`.
//!
//! Must not know: how sources are read, the queue's tables, the command line.

mod arrival;
mod body;
pub(crate) mod catalog;
mod connection;
mod declared;
mod docs;
mod document;
mod doors;
mod guard;
mod headers;
mod health;
mod keyring;
mod needs;
mod overheard;
pub(crate) mod page;
pub(crate) mod pauses;
mod places;
mod presented;
mod problem;
pub(crate) mod quarantine;
mod queries;
mod rate;
pub(crate) mod records;
mod redrive;
mod run_controls;
mod run_events;
pub(crate) mod runs;
pub(crate) mod samples;
pub(crate) mod schemas;
mod serve;
pub(crate) mod sources;
mod start_runs;
pub(crate) mod stats;
mod watch;
mod words;

use std::time::Duration;

use poem::endpoint::make_sync;
use poem::{Endpoint, EndpointExt, Response, Route, get};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::db::Transaction;
use crate::job_file::JobsFolder;
use crate::sources::Access;
pub use document::openapi_json;
pub use doors::{Admission, WithoutToken};
pub use serve::{listen, serve};

/// How long a request waits for a connection to the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the operations work with; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The database.
    pub pool: PgPool,
    /// Where the job files are.
    pub jobs: JobsFolder,
    /// Where runs started here take API pages from.
    pub access: Access,
}

impl ApiState {
    /// A connection, or an error within seconds when there is none to be had.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        timeout(CONNECT_TIMEOUT, self.pool.acquire())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// A transaction, likewise.
    async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        timeout(CONNECT_TIMEOUT, Transaction::begin(&self.pool))
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

/// The whole API: operations, document, Swagger UI, and an answer to everything else.
/// From the outside in: what every answer says to browsers; that there is an answer; who is let in;
/// whether its parameters are known; when it is worked on. Streams end when `stopping` is cancelled.
pub fn endpoint(
    state: ApiState,
    admission: Admission,
    stopping: CancellationToken,
) -> impl Endpoint<Output = Response> {
    let service = document::service();
    let text = bytes::Bytes::from(document::openapi_json());
    let document =
        make_sync(move |_| Response::builder().content_type("application/json").body(text.clone()));
    let routes = Route::new()
        .at("/openapi.json", get(document))
        .nest("/docs", get(docs::routes()))
        .nest("/", service)
        .data(state.clone())
        .data(watch::Watches::new(stopping));
    let arrival = queries::KnownQueries::new(arrival::Arrival::new(routes));
    let doors = doors::Doors::new(arrival, state, admission);
    headers::Headers(guard::Guard::new(doors))
}

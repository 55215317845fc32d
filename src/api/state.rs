//! Owns what the operations work with: the database, the job files, and where runs read from.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::timeout;

use super::uploads::Uploads;
use crate::db::Transaction;
use crate::job_file::JobsFolder;
use crate::sources::{Access, AllowedRoots};
use crate::tasks::tokens::ProcessTokens;

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
    /// The folders that job files may read.
    pub allowed_roots: AllowedRoots,
    /// Where tokens of login servers are kept.
    pub tokens: ProcessTokens,
    /// Where uploaded files are kept, if they may be.
    pub uploads: Option<Uploads>,
    /// Where people reach this server, as the operator says; `None` when nobody said.
    pub public_url: Option<url::Url>,
}

impl ApiState {
    /// Whether browsers come over https.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// A connection, or an error within seconds when there is none to be had.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        timeout(CONNECT_TIMEOUT, self.pool.acquire())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// A transaction, likewise.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        timeout(CONNECT_TIMEOUT, Transaction::begin(&self.pool))
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

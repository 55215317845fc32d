//! Owns how a command gets its database: the one named by DATABASE_URL, or a private one.

use anyhow::Context;
use sqlx::PgPool;

use crate::config::Settings;
use crate::domain::failure::chain;
use crate::domain::secret_url::SecretUrl;
use crate::embedded::{self, DownloadSource, PrivatePostgres};
use crate::{db, queue};

/// An open database; close it to let a private server stop.
pub(super) struct Database {
    pub pool: PgPool,
    url: String,
    private: Option<PrivatePostgres>,
}

/// What a command needs of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Create or update it.
    Migrate,
    /// It must be there; a private database is migrated all the same.
    Expect,
}

impl Database {
    /// Finds or starts the database and opens a pool of up to `connections`.
    pub async fn open(
        settings: &Settings,
        connections: u32,
        schema: Schema,
    ) -> anyhow::Result<Self> {
        let (url, private) = match &settings.database_url {
            Some(url) => (url.expose().to_owned(), None),
            None => {
                let private = start_private(settings).await?;
                tracing::info!("{}", private.description());
                (private.url().to_owned(), Some(private))
            }
        };
        let waiting = |error: &sqlx::Error| {
            let seconds = settings.database_wait.as_secs();
            eprintln!("waiting up to {seconds} s for the database: {}", chain(error));
        };
        let opened = db::connect(&url, connections, settings.database_wait, waiting).await;
        let opened = match opened {
            Ok(pool) => migrate_or_check(&pool, schema, private.is_some()).await.map(|()| pool),
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(pool) => Ok(Self { pool, url, private }),
            Err(error) => {
                if let Some(private) = private {
                    private.stop().await.context("the private PostgreSQL did not stop")?;
                }
                Err(error)
            }
        }
    }

    /// The URL, for programs that are started with it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Closes the pool and, as its last user, stops a private server.
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        if let Some(private) = self.private {
            private.stop().await.context("the private PostgreSQL did not stop")?;
        }
        Ok(())
    }
}

async fn migrate_or_check(pool: &PgPool, schema: Schema, private: bool) -> anyhow::Result<()> {
    if schema == Schema::Expect && !private {
        return Ok(db::check_version(pool).await?);
    }
    // Ours first: it refuses a newer schema before anything is touched.
    db::migrate(pool).await?;
    queue::setup(pool).await.context(
        "the queue's tables could not be created; the database user needs the right to create \
         a schema and the extensions pgcrypto and hstore",
    )
}

async fn start_private(settings: &Settings) -> anyhow::Result<PrivatePostgres> {
    let data_dir = settings.data_dir.clone().unwrap_or_else(embedded::default_data_dir);
    let mut options = embedded::Options::new(data_dir);
    options.binaries.clone_from(&settings.pg_bin);
    options.download = match settings.pg_download_url.as_ref().map(SecretUrl::expose) {
        Some("none") => None,
        mirror => DownloadSource::pinned(mirror),
    };
    Ok(embedded::find_or_start(&options).await?)
}

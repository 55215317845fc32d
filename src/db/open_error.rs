//! Owns why the database could not be opened, in words for the person who starts kasparro.

use std::time::Duration;

use sqlx::migrate::MigrateError;

use super::target::{Target, UrlError};

/// Why the database could not be opened. Texts are for the person who starts kasparro.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one.
    #[error("the database URL cannot be read")]
    Url(#[source] UrlError),
    /// No server answered in time.
    #[error(
        "the database did not answer within {} s; check DATABASE_URL (it leads to {target}) and that the \
         server runs", .waited.as_secs()
    )]
    Unreachable {
        /// Who was asked.
        target: Box<Target>,
        /// How long was waited.
        waited: Duration,
        /// The last answer.
        #[source]
        source: sqlx::Error,
    },
    /// The server answered, but not to us.
    #[error("the database refused the connection ({target}); {advice}")]
    Refused {
        /// Who was asked.
        target: Box<Target>,
        /// What helps.
        advice: String,
        /// The answer.
        #[source]
        source: sqlx::Error,
    },
    /// Connections are lent for a transaction at a time.
    #[error(
        "between kasparro and the database ({target}) is a pooler that lends its connections for one \
         transaction at a time, as PgBouncer does with pool_mode=transaction: kasparro listens, locks and \
         prepares statements on connections of its own. Let DATABASE_URL lead to the server itself, or to \
         a pool with pool_mode=session"
    )]
    SharedConnections {
        /// Who was asked.
        target: Box<Target>,
    },
    /// The database cannot hold every text.
    #[error(
        "the database ({target}) has the encoding {encoding}, which cannot hold every text; kasparro needs \
         UTF8. Name another one in DATABASE_URL, or move this one away and make it again: create database \
         {name} encoding 'UTF8' template template0"
    )]
    Encoding {
        /// Who was asked.
        target: Box<Target>,
        /// The database's name as SQL takes it.
        name: String,
        /// What it has.
        encoding: String,
    },
    /// Where tables are looked for none can be.
    #[error(
        "kasparro's tables have no place in the database ({target}): its search_path is {path:?}, and the \
         first schema of it that is there has to be one for tables. Take it out of DATABASE_URL and \
         PGOPTIONS if it is set there, or say in the database: alter role {user} in database {database} set \
         search_path = \"$user\", public;"
    )]
    SearchPath {
        /// Who was asked.
        target: Box<Target>,
        /// The user's name as SQL takes it.
        user: String,
        /// The database's name as SQL takes it.
        database: String,
        /// What it is.
        path: String,
    },
    /// Nothing can be written.
    #[error("nothing can be written to the database ({target}): {advice}")]
    ReadOnly {
        /// Who was asked.
        target: Box<Target>,
        /// Why, and what ends it.
        advice: String,
    },
    /// The server lacks what kasparro uses.
    #[error("the server ({target}) is PostgreSQL {version}; kasparro needs 14 or later")]
    TooOld {
        /// Who was asked.
        target: Box<Target>,
        /// What it is.
        version: String,
    },
    /// The user may not do what kasparro needs.
    #[error(
        "the database user `{user}` lacks rights; a user who may grant them (who owns the database or \
         the tables, else a superuser) says in this database:{lacking}"
    )]
    Rights {
        /// The user.
        user: String,
        /// What gives them.
        lacking: Lacking,
    },
    /// The database was migrated by a later kasparro.
    #[error(
        "the database's schema (migration {found}) is newer than this kasparro knows ({known}); \
         start the newer version"
    )]
    Newer {
        /// Latest migration of the database.
        found: i64,
        /// Latest migration of this binary.
        known: i64,
    },
    /// The database has not been migrated to what this binary needs.
    #[error("the database's schema is older than this kasparro needs; run `kasparro migrate`")]
    Older,
    /// The database has not been migrated, and this user may not do so.
    #[error(
        "the database's schema is older than this kasparro needs, or is not there yet, and the user `{user}` \
         may not change that: run `kasparro migrate` with the DATABASE_URL of the role that owns the \
         database and the tables. If `{user}` is to do it, a user who may grant rights runs in this \
         database:{lacking}"
    )]
    OlderAndNotOurs {
        /// The user.
        user: String,
        /// What would let it migrate.
        lacking: Lacking,
    },
    /// A migration failed.
    #[error("the database could not be migrated")]
    Migrate(#[source] MigrateError),
    /// Any other answer.
    #[error("the database answered with an error")]
    Database(#[source] sqlx::Error),
}

/// The missing rights, as statements that somebody else can paste.
#[derive(Debug, PartialEq, Eq)]
pub struct Lacking(pub(super) Vec<String>);

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|statement| write!(f, "\n  {statement}"))
    }
}

//! Owns opening the database: what is waited for, what is refused at once and with which advice, and
//! what a server has to be like.
//!
//! Must not know the tables.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection, Executor, PgPool, Row};
use tokio::time::timeout;

use super::open_error::OpenError;
use super::target::{self, Address, FORM, Target};

/// The oldest server that has everything kasparro uses.
const OLDEST_VERSION: i32 = 140_000;
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A frozen process, or one whose machine has vanished, holds its locks until the server gives it
/// up; its tasks cannot be taken over before. On a Unix socket no server vanishes.
///
/// A statement whose asker has given up, and closed the connection, ends soon: else it would hold its
/// locks, and one of the server's connections, for as long as it takes. Not every system can tell.
///
/// Statements outside of a [`super::Transaction`] are written for the level that is PostgreSQL's own default,
/// whatever the database's or the user's may be.
const SESSION: &str = "set idle_in_transaction_session_timeout = '30s';
    set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 3; set tcp_keepalives_count = 2;
    set default_transaction_isolation = 'read committed';
    do $$ begin
        perform set_config('client_connection_check_interval', '5s', false);
    exception when others then
        null;
    end $$";

/// Opens a pool, waiting for a server that is still starting. `waiting` is called once, with the
/// first failure, when there is something to wait for.
///
/// # Errors
/// [`OpenError::Unreachable`] after `patience`; at once whatever does not go away by waiting: an
/// address that names nothing, a refused password, a server that kasparro cannot use.
pub async fn connect(
    url: &str,
    max_connections: u32,
    patience: Duration,
    waiting: impl FnOnce(&sqlx::Error),
) -> Result<PgPool, OpenError> {
    let mut reached = reach(url, patience, waiting).await?;
    check(&mut reached).await?;
    reached.into_pool(max_connections).await
}

/// A database that answers, whether kasparro can use it or not.
#[derive(Debug)]
pub struct Reached {
    connection: PgConnection,
    options: PgConnectOptions,
    target: Target,
}

impl Reached {
    /// A pool on it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn into_pool(self, max_connections: u32) -> Result<PgPool, OpenError> {
        self.connection.close().await.map_err(OpenError::Database)?;
        Ok(PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(30))
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION).await.map(drop) })
            })
            // What a huge row took is not kept by each connection that it went through.
            .after_release(|connection, _| {
                connection.shrink_buffers();
                Box::pin(std::future::ready(Ok(true)))
            })
            .connect_lazy_with(self.options))
    }
}

/// Waits like [`connect`] until the database answers, and looks no further.
///
/// # Errors
/// [`OpenError::Url`], [`OpenError::Unreachable`] and [`OpenError::Refused`].
pub async fn reach(
    url: &str,
    patience: Duration,
    waiting: impl FnOnce(&sqlx::Error),
) -> Result<Reached, OpenError> {
    // What sqlx says of floating-point numbers at the start is the default since PostgreSQL 12, and
    // PgBouncer refuses it.
    let address = target::read(url).map_err(OpenError::Url)?;
    let mut options = address.options.clone().extra_float_digits(None).application_name("kasparro");
    if address.bare_percent {
        tracing::warn!(
            "DATABASE_URL: a `%` without two hexadecimal digits behind it stands for itself"
        );
    }
    if !address.left_out.is_empty() {
        let names = address.left_out.join(", ");
        tracing::warn!("DATABASE_URL: kasparro does not know {names} and ignores them");
    }
    // Its text is nothing for people: the default level is `warn`.
    if let Ok(level) = "debug".parse() {
        options = options.log_slow_statements(level, Duration::from_secs(1));
    }
    let target = Target::of(&options);
    let deadline = tokio::time::Instant::now() + patience;
    let mut waiting = Some(waiting);
    let connection = loop {
        let error = match open(&options).await {
            Ok(connection) => break connection,
            Err(error) => error,
        };
        let refused = nowhere(&error, &address).or_else(|| refusal(&error, &target));
        if let Some(advice) = refused {
            return Err(OpenError::Refused { target: target.into(), advice, source: error });
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(OpenError::Unreachable {
                target: target.into(),
                waited: patience,
                source: error,
            });
        }
        if let Some(waiting) = waiting.take() {
            waiting(&error);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    Ok(Reached { connection, options, target })
}

/// Fails when kasparro cannot use the database.
///
/// # Errors
/// What the server or the database lacks, with advice.
pub async fn check(reached: &mut Reached) -> Result<(), OpenError> {
    let Reached { connection, options, target } = reached;
    check_server(connection, target).await?;
    if shares_backends(connection, options).await {
        return Err(OpenError::SharedConnections { target: target.clone().into() });
    }
    Ok(())
}

/// One connection of its own, so that a pool's time-out does not hide the reason.
async fn open(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = timeout(ANSWERS_WITHIN, options.connect());
    let mut connection = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    connection.ping().await?;
    Ok(connection)
}

/// Why no server will answer at an address, however long one waits.
fn nowhere(error: &sqlx::Error, address: &Address) -> Option<String> {
    if !matches!(error, sqlx::Error::Io(_)) {
        return None;
    }
    if let Some(folder) = address.missing_folder() {
        let folder = folder.display();
        return Some(format!("there is no folder {folder}; check the host in DATABASE_URL"));
    }
    (!address.names_server).then(|| {
        format!("DATABASE_URL names no host, and there is no server here; expected {FORM}")
    })
}

/// Why waiting does not help, with what does. `None`: the error may go away by itself.
fn refusal(error: &sqlx::Error, target: &Target) -> Option<String> {
    let Target { database, user, .. } = target;
    match error {
        sqlx::Error::Database(said) => {
            let code = said.code().unwrap_or_default();
            let message = said.message();
            match &*code {
                "3D000" => Some(format!(
                    "create the database: create database {} encoding 'UTF8' template template0",
                    quoted(database)
                )),
                "42501" => Some(format!(
                    "let the user in: grant connect on database {} to {}",
                    quoted(database),
                    quoted(user)
                )),
                _ if code.starts_with("28") => Some(
                    "check user and password in DATABASE_URL, and the server's pg_hba.conf"
                        .to_owned(),
                ),
                // PgBouncer has one code for everything; it also says so while its server starts.
                "08P01" if message.starts_with("unsupported startup parameter") => Some(
                    "this is PgBouncer; take the parameter out of DATABASE_URL, or name it in \
                     PgBouncer's ignore_startup_parameters"
                        .to_owned(),
                ),
                // Or what its server said, under the same code.
                "08P01"
                    if message.starts_with("no such ")
                        || message.ends_with("does not exist")
                        || message.contains("authentication failed") =>
                {
                    Some("this is PgBouncer; check its [databases] and auth_file".to_owned())
                }
                _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => None,
                _ => Some("it answers, but not to us".to_owned()),
            }
        }
        sqlx::Error::Io(io) => refused_io(io),
        sqlx::Error::Tls(_) => Some(tls_advice(&error.to_string())),
        sqlx::Error::Protocol(_) => Some(
            "what answers there is not PostgreSQL; check host and port in DATABASE_URL".to_owned(),
        ),
        sqlx::Error::Configuration(_) => Some("check what follows `?` in DATABASE_URL".to_owned()),
        _ => None,
    }
}

fn refused_io(error: &std::io::Error) -> Option<String> {
    // The system's resolver has no codes that Rust would pass on; these are the words of glibc, musl
    // and macOS for a name that does not exist. One that is only not found now reads otherwise.
    const NO_SUCH_NAME: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "nodename nor servname provided",
    ];
    let text = error.to_string();
    if NO_SUCH_NAME.iter().any(|words| text.contains(words)) {
        return Some("there is no host of that name; check DATABASE_URL".to_owned());
    }
    match error.kind() {
        // What rustls says of a certificate comes as this.
        ErrorKind::InvalidData => Some(tls_advice(&text)),
        ErrorKind::PermissionDenied => Some("this user may not use the socket".to_owned()),
        ErrorKind::InvalidInput => Some("check host and port in DATABASE_URL".to_owned()),
        _ => None,
    }
}

fn tls_advice(said: &str) -> String {
    if said.contains("UnsupportedCertVersion") {
        "the server's certificate has X.509 version 1, which is too old for TLS here. Give the server \
         one of version 3, or put sslmode=disable into DATABASE_URL if nobody listens on the way: \
         …/name?sslmode=disable"
    } else if said.contains("does not support TLS") {
        "the server has no TLS: switch it on there, or put sslmode=disable into DATABASE_URL if nobody \
         listens on the way"
    } else if said.contains("certificate") {
        "the server's certificate is not trusted: name the authority that signed it with \
         sslrootcert=FILE in DATABASE_URL, or encrypt without a look at it with sslmode=require"
    } else {
        "TLS cannot be agreed on; see sslmode in DATABASE_URL"
    }
    .to_owned()
}

/// An identifier as SQL takes it in any case.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Fails when the database cannot hold what sources say, or lacks what kasparro uses.
async fn check_server(connection: &mut PgConnection, target: &Target) -> Result<(), OpenError> {
    let row = one_row(
        connection,
        "select current_setting('server_encoding'), current_setting('server_version'),
            current_setting('server_version_num'), current_setting('search_path'),
            coalesce(current_schema(), '')",
    )
    .await
    .map_err(OpenError::Database)?;
    let text = |at: usize| row.try_get::<String, _>(at).map_err(OpenError::Database);
    let (encoding, version, number) = (text(0)?, text(1)?, text(2)?);
    if number.parse().is_ok_and(|number: i32| number < OLDEST_VERSION) {
        return Err(OpenError::TooOld { target: target.clone().into(), version });
    }
    if encoding != "UTF8" {
        let name = quoted(&target.database);
        return Err(OpenError::Encoding { target: target.clone().into(), name, encoding });
    }
    let (path, schema) = (text(3)?, text(4)?);
    if !holds_tables(&path, &schema) {
        return Err(OpenError::SearchPath {
            user: quoted(&target.user),
            database: quoted(&target.database),
            target: target.clone().into(),
            path,
        });
    }
    Ok(())
}

/// Whether tables can be where a search path looks first, be it that their schema is yet to be made: what
/// it is called is known only if it is the user's own.
fn holds_tables(path: &str, schema: &str) -> bool {
    let is_systems = schema.starts_with("pg_") || schema == "information_schema";
    !is_systems && (!schema.is_empty() || path.contains("$user") || path.contains("public"))
}

/// Whether somebody between us and the server lends its connections for a transaction at a time, as
/// PgBouncer does in transaction mode: what is set on a connection is then lost, or lent to others.
///
/// Two connections that are open at once never have the same process of the server, and one always
/// has the same. The statements are such as need no preparing. What cannot be found out is no reason
/// to refuse.
async fn shares_backends(one: &mut PgConnection, options: &PgConnectOptions) -> bool {
    let Ok(before) = backend(one).await else { return false };
    let Ok(mut other) = open(options).await else { return false };
    let asked = async {
        run(&mut other, "begin").await?;
        let others = backend(&mut other).await?;
        Ok::<_, sqlx::Error>(others == before || backend(one).await? != before)
    };
    let shared = match timeout(ANSWERS_WITHIN, asked).await {
        Ok(Ok(shared)) => shared,
        // In its statement mode.
        Ok(Err(sqlx::Error::Database(said))) => said.message().contains("statement pooling"),
        _ => false,
    };
    // A transaction that is begun is given up with its connection.
    let _ = other.close().await;
    shared
}

async fn backend(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    one_row(connection, "select pg_backend_pid()::text").await?.try_get(0)
}

async fn one_row(connection: &mut PgConnection, sql: &'static str) -> Result<PgRow, sqlx::Error> {
    connection.fetch_one(sqlx::raw_sql(sql)).await
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(sql)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_away_by_itself_is_waited_for_and_nothing_else() {
        let lookup = |words: &str| {
            std::io::Error::other(format!("failed to lookup address information: {words}"))
        };
        for waited_for in [
            ErrorKind::ConnectionRefused.into(),
            ErrorKind::ConnectionReset.into(),
            ErrorKind::TimedOut.into(),
            // The socket of a server that does not run yet.
            ErrorKind::NotFound.into(),
            lookup("Temporary failure in name resolution"),
            lookup("Try again"),
        ] {
            assert_eq!(refused_io(&waited_for), None, "{waited_for}");
        }
        for (refused, advice) in [
            (lookup("Name or service not known"), "no host of that name"),
            (lookup("Name does not resolve"), "no host of that name"),
            (ErrorKind::PermissionDenied.into(), "may not use the socket"),
            (
                std::io::Error::new(
                    ErrorKind::InvalidData,
                    "invalid peer certificate: Other(OtherError(UnsupportedCertVersion))",
                ),
                "sslmode=disable",
            ),
            (
                std::io::Error::new(
                    ErrorKind::InvalidData,
                    "invalid peer certificate: UnknownIssuer",
                ),
                "sslrootcert=FILE",
            ),
        ] {
            let found = refused_io(&refused).unwrap_or_default();
            assert!(found.contains(advice), "{refused}: {found}");
        }
    }

    #[test]
    fn names_in_advice_can_be_pasted() {
        assert_eq!(quoted("things_2"), "things_2");
        assert_eq!(quoted("My \"own\""), "\"My \"\"own\"\"\"");
        assert_eq!(quoted("2things"), "\"2things\"");
    }
}

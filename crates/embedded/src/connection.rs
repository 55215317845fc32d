//! Owns talking to the private server: its URL, whether it answers, and its database.
//!
//! Owns the only SQL of this floor. It must not know how the server was started.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::account::Account;
use super::error::EmbeddedError;
use super::folder::SOCKET_NAME;
use super::planted;

const KNOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The database that every cluster has.
const MAINTENANCE_DATABASE: &str = "postgres";

/// Part of the socket's name; nothing listens on a network.
const PORT: u16 = 5432;
const SUPERUSER: &str = "postgres";

/// What came back from the socket.
#[derive(Debug)]
pub(super) enum Knock {
    /// The server takes statements.
    Answers {
        /// The server's version, e.g. `17.11`.
        version: String,
    },
    /// Nobody is there, or not ready yet.
    Refused(String),
}

/// The URL of a database on the server behind this socket folder. Port and `sslmode` are spelt out,
/// so that a PGPORT or PGSSLMODE in the environment cannot lead astray.
pub(super) fn url(socket: &Path, database: &str) -> String {
    let socket = percent_encoded(&socket.to_string_lossy());
    let database = percent_encoded(database);
    format!("postgresql://{SUPERUSER}@localhost:{PORT}/{database}?host={socket}&sslmode=disable")
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Asks the server for its version, and makes sure that it serves `cluster`.
pub(super) async fn knock(
    socket: &Path,
    cluster: &Path,
    account: &Account,
) -> Result<Knock, EmbeddedError> {
    // A link could lead to another program's socket.
    if !planted::is_socket_of(&socket.join(SOCKET_NAME), account) {
        return Ok(Knock::Refused("there is no socket yet".to_owned()));
    }
    let attempt = tokio::time::timeout(KNOCK_TIMEOUT, ask(socket));
    let (version, folder) = match attempt.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Ok(Knock::Refused(error.to_string())),
        Err(_) => return Ok(Knock::Refused("it accepts connections but stays silent".to_owned())),
    };
    if Path::new(&folder).canonicalize().ok().as_deref() != Some(cluster) {
        return Err(EmbeddedError::ForeignServer {
            socket: socket.to_owned(),
            expected: cluster.to_owned(),
            found: folder,
        });
    }
    // Packagers append their own: `15.18 (Debian 15.18-0+deb12u1)`.
    let version = version.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(Knock::Answers { version })
}

/// To the maintenance database. Passwords are not looked up: none is needed, and a `.pgpass` of the
/// user's is none of our business.
async fn connect(socket: &Path) -> Result<PgConnection, sqlx::Error> {
    PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .port(PORT)
        .username(SUPERUSER)
        .database(MAINTENANCE_DATABASE)
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
        .connect()
        .await
}

async fn ask(socket: &Path) -> Result<(String, String), sqlx::Error> {
    let mut connection = connect(socket).await?;
    let answer = sqlx::query_as(
        "select current_setting('server_version'), current_setting('data_directory')",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(answer)
}

/// Creates the database if it is missing. To be called under the folder's lock.
pub(super) async fn ensure_database(socket: &Path, name: &str) -> Result<(), EmbeddedError> {
    create_if_missing(socket, name).await.map_err(EmbeddedError::database("create the database"))
}

async fn create_if_missing(socket: &Path, name: &str) -> Result<(), sqlx::Error> {
    let mut connection = connect(socket).await?;
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
    if !exists {
        let quoted = name.replace('"', "\"\"");
        // CREATE DATABASE takes no parameters; the name is quoted.
        sqlx::query(AssertSqlSafe(format!("create database \"{quoted}\"")))
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_carries_any_folder_and_database() {
        assert_eq!(
            url(Path::new("/tmp/a b/ü"), "kasparro"),
            "postgresql://postgres@localhost:5432/kasparro?host=%2Ftmp%2Fa%20b%2F%C3%BC&sslmode=disable"
        );
    }
}

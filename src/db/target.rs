//! Owns reading a database URL: what it names, and which mistake is in one that names nothing.
//!
//! Nothing here shows a password, nor a part of an address that may be one: an address that is split
//! in an unexpected place shows no piece of itself.

use std::fmt;

use sqlx::postgres::PgConnectOptions;

use crate::domain::address;

/// What a URL looks like.
const FORM: &str = "postgresql://user:password@host:5432/name";
/// Beginnings of addresses of other databases that people have at hand.
const OTHERS: [&str; 9] =
    ["mysql", "mariadb", "sqlite", "sqlserver", "mssql", "mongodb", "redis", "http", "https"];

/// What is wrong with a database URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It names something else.
    #[error("it begins with `{0}:`, and kasparro needs PostgreSQL: {FORM}")]
    OtherDatabase(&'static str),
    /// As JDBC and SQLAlchemy write it.
    #[error("it is written for another program: leave out `{0}`, so that it reads {FORM}")]
    OtherProgram(String),
    /// As libpq also takes it.
    #[error("it is a list of keywords (host=… dbname=…); write it as an address: {FORM}")]
    Keywords,
    /// One slash, or none.
    #[error("two slashes have to follow `{0}:`, as in {FORM}")]
    Slashes(&'static str),
    /// Anything else.
    #[error("it does not begin with postgresql://; expected {FORM}")]
    Scheme,
    /// A sign that means something else in an address.
    #[error(
        "user or password hold a sign that ends them: write %23 for `#`, %2F for `/`, %3F for `?`, \
         %40 for `@`, %3A for `:` and %25 for `%`"
    )]
    Unescaped,
    /// What follows the beginning cannot be understood.
    #[error("{0}; expected {FORM}")]
    Other(String),
}

/// What a database URL says. `PGHOST` and the like say what it leaves out.
pub(super) fn read(url: &str) -> Result<PgConnectOptions, UrlError> {
    let url = url.trim();
    let rest = after_scheme(url)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = path.split('?').next().unwrap_or_default();
    let cut_short = !authority.contains('@') && path.contains('@');
    if rest.contains('#') || cut_short {
        return Err(UrlError::Unescaped);
    }
    url.parse().map_err(|error: sqlx::Error| {
        if !authority.contains('@') && rest.contains('@') {
            return UrlError::Unescaped;
        }
        let text = error.to_string();
        let said = text.trim_start_matches("error with configuration: ");
        UrlError::Other(address::fault(said).to_owned())
    })
}

fn after_scheme(url: &str) -> Result<&str, UrlError> {
    let lower = url.to_ascii_lowercase();
    if lower.starts_with("jdbc:") {
        return Err(UrlError::OtherProgram("jdbc:".to_owned()));
    }
    for scheme in ["postgresql", "postgres"] {
        let Some(rest) = lower.strip_prefix(scheme) else { continue };
        if let Some(after) = rest.strip_prefix("://") {
            return Ok(&url[url.len() - after.len()..]);
        }
        if rest.starts_with(':') {
            return Err(UrlError::Slashes(scheme));
        }
        let driver = rest.split("://").next().filter(|driver| driver.len() < rest.len());
        if let Some(driver) = driver.filter(|driver| driver.starts_with('+')) {
            return Err(UrlError::OtherProgram(driver.to_owned()));
        }
    }
    let scheme = lower.split([':', '+']).next().unwrap_or_default();
    if let Some(other) = OTHERS.iter().find(|other| **other == scheme && lower.contains("://")) {
        return Err(UrlError::OtherDatabase(other));
    }
    let words = ["host=", "hostaddr=", "dbname=", "user=", "port=", "service="];
    if words.iter().any(|word| lower.contains(word)) && !lower.contains("://") {
        return Err(UrlError::Keywords);
    }
    Err(UrlError::Scheme)
}

/// Where a connection goes, for messages: everything but the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and port, or the socket's folder.
    pub server: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
}

impl Target {
    pub(super) fn of(options: &PgConnectOptions) -> Self {
        let port = options.get_port();
        let server = match options.get_socket() {
            Some(folder) => format!("the socket in {} (port {port})", folder.display()),
            None => format!("{}:{port}", options.get_host()),
        };
        let user = options.get_username().to_owned();
        // As the server does.
        let database = options.get_database().unwrap_or(&user).to_owned();
        Self { server, database, user }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, database `{}`, user `{}`", self.server, self.database, self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_mistake_is_recognised_and_shows_no_password() {
        use UrlError::{Keywords, OtherDatabase, OtherProgram, Scheme, Slashes, Unescaped};
        let program = |text: &str| OtherProgram(text.to_owned());
        for (url, expected) in [
            ("mysql://me:c4nary@db/x", OtherDatabase("mysql")),
            ("MySQL://me:c4nary@db/x", OtherDatabase("mysql")),
            ("mysql+pymysql://me:c4nary@db/x", OtherDatabase("mysql")),
            ("http://db:5432/x", OtherDatabase("http")),
            ("jdbc:postgresql://db/x?password=c4nary", program("jdbc:")),
            ("postgresql+psycopg2://me:c4nary@db/x", program("+psycopg2")),
            ("postgres:/me:c4nary@db/x", Slashes("postgres")),
            ("postgresql:me:c4nary@db/x", Slashes("postgresql")),
            ("host=db dbname=x password=c4nary", Keywords),
            ("me:c4nary@db:5432/x", Scheme),
            ("db.example:5432/x", Scheme),
            ("c4nary://me@db/x", Scheme),
            ("postgresql://me:c4#nary@db/x", Unescaped),
            ("postgresql://me:c4/nary@db/x", Unescaped),
            ("postgresql://me:c4?nary@db/x", Unescaped),
            ("postgresql://me:12/c4nary@db/x", Unescaped),
            ("postgresql://me:c4nary@db/x#fragment", Unescaped),
        ] {
            let error = read(url).unwrap_err();
            assert_eq!(error, expected, "{url}");
            let text = error.to_string();
            assert!(!text.contains("nary") && !text.contains("c4"), "{url}: {text}");
        }
        for url in ["postgresql://me:c4nary@db:port/x", "postgresql://me:c4nary@db/x?sslmode=often"]
        {
            let error = read(url).unwrap_err();
            assert!(matches!(error, UrlError::Other(_)), "{error}");
            assert!(!error.to_string().contains("c4nary"), "{error}");
        }
    }

    #[test]
    fn a_good_address_is_read_and_told_without_its_password() {
        for (url, expected) in [
            ("postgresql://me:c4nary@db:6000/things", "db:6000, database `things`, user `me`"),
            (" postgres://me@db/\n", "db:5432, database `me`, user `me`"),
            ("POSTGRESQL://me:p@ss@db:5432/x", "db:5432, database `x`, user `me`"),
            ("postgresql://me@[::1]:1/x", "[::1]:1, database `x`, user `me`"),
            (
                "postgresql://me@localhost:1/x?host=%2Frun%2Fpg",
                "the socket in /run/pg (port 1), database `x`, user `me`",
            ),
            ("postgresql://m%40e:a%23b%2Fc@db:1/x", "db:1, database `x`, user `m@e`"),
        ] {
            assert_eq!(Target::of(&read(url).unwrap()).to_string(), expected, "{url}");
        }
    }
}

//! Owns reading a database URL: what it names, and which mistake is in one that names nothing.
//!
//! Nothing here shows a password, nor a part of an address that may be one: an address that is split
//! in an unexpected place shows no piece of itself.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;

use crate::domain::{address, suggest};

/// What a URL looks like.
pub(super) const FORM: &str = "postgresql://user:password@host:5432/name";
/// Beginnings of addresses of other databases that people use.
const OTHERS: [&str; 9] =
    ["mysql", "mariadb", "sqlite", "sqlserver", "mssql", "mongodb", "redis", "http", "https"];

/// What may follow `?`, besides `options[…]`.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];
/// What others understand, libpq above all: addresses that are used for several programs have it.
const OF_OTHERS: [&str; 43] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "passfile",
    "pgbouncer",
    "pool_timeout",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "schema",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "target_session_attrs",
];

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
    /// An unknown parameter after `?`.
    #[error("`{name}`, behind `?` in it, is no parameter of a database URL{hint}")]
    Parameter {
        /// Its name.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// What follows the beginning cannot be understood.
    #[error("{0}; expected {FORM}")]
    Other(String),
}

/// What a database URL says.
#[derive(Debug)]
pub(super) struct Address {
    /// `PGHOST` and the like say what it leaves out.
    pub(super) options: PgConnectOptions,
    /// Whether the server is named, here or there.
    pub(super) names_server: bool,
    /// Parameters that only others understand.
    pub(super) left_out: Vec<&'static str>,
    /// Whether a `%` means itself. Libraries leave it so in the addresses that they write.
    pub(super) bare_percent: bool,
}

impl Address {
    /// The folder of the socket, if it is one and is not there.
    pub(super) fn missing_folder(&self) -> Option<PathBuf> {
        socket_folder(&self.options).filter(|folder| !folder.is_dir())
    }
}

fn socket_folder(options: &PgConnectOptions) -> Option<PathBuf> {
    let host = Some(options.get_host()).filter(|host| host.starts_with('/')).map(PathBuf::from);
    options.get_socket().cloned().or(host)
}

/// Reads a database URL.
pub(super) fn read(url: &str) -> Result<Address, UrlError> {
    let url = url.trim();
    let rest = after_scheme(url)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = path.split('?').next().unwrap_or_default();
    let cut_short = !authority.contains('@') && path.contains('@');
    if rest.contains('#') || cut_short {
        return Err(UrlError::Unescaped);
    }
    let (plain, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    let of_others = |pair: &str| OF_OTHERS.iter().copied().find(|other| *other == name_of(pair));
    let understood: Vec<&str> = pairs().filter(|pair| of_others(pair).is_none()).collect();
    let parsed = format!("{plain}?{}", understood.join("&")).parse();
    let mut options: PgConnectOptions = parsed.map_err(|error: sqlx::Error| {
        if !authority.contains('@') && rest.contains('@') {
            return UrlError::Unescaped;
        }
        let text = error.to_string();
        let said = text.trim_start_matches("error with configuration: ");
        UrlError::Other(address::fault(said).to_owned())
    })?;
    if let Some(strange) = understood.iter().map(|pair| name_of(pair)).find(|name| !is_known(name))
    {
        // Behind a sign that ended the password, say.
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if query.contains('@') || !strange.chars().all(is_word) {
            return Err(UrlError::Unescaped);
        }
        let hint = suggest::hint(&strange, "parameters", &PARAMETERS);
        return Err(UrlError::Parameter { name: strange.into_owned(), hint });
    }
    if options.get_port() == 0 {
        return Err(UrlError::Other(address::fault("invalid port number").to_owned()));
    }
    // Only in a URL is an IPv6 address in brackets.
    let host = options.get_host();
    if let Some(ip) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let ip = ip.to_owned();
        options = options.host(&ip);
    }
    let host = authority.rsplit('@').next().is_some_and(|host| !host.is_empty());
    let parameter = pairs().any(|pair| ["host", "hostaddr"].contains(&&*name_of(pair)));
    let variable = ["PGHOST", "PGHOSTADDR"].iter().any(|name| std::env::var_os(name).is_some());
    let left_out = pairs().filter_map(of_others).collect();
    let bare_percent = rest.split('%').skip(1).any(|after| !is_escape(after));
    Ok(Address { options, names_server: host || parameter || variable, left_out, bare_percent })
}

/// The name of a parameter, `sslmode=disable` say.
fn name_of(pair: &str) -> Cow<'_, str> {
    percent_decode_str(pair.split('=').next().unwrap_or_default()).decode_utf8_lossy()
}

fn is_known(name: &str) -> bool {
    PARAMETERS.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

/// Whether what follows a `%` begins with two hexadecimal digits.
fn is_escape(after: &str) -> bool {
    after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
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
        let host = options.get_host();
        let server = match socket_folder(options) {
            Some(folder) => format!("the socket in {} (port {port})", folder.display()),
            None if host.contains(':') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
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
            ("postgresql://me:12?c4nary@db/x", Unescaped),
            ("postgresql://me:12?c4=nary@db/x", Unescaped),
            ("postgresql://me:12?c4=n&ary=1@db/x", Unescaped),
        ] {
            let error = read(url).unwrap_err();
            assert_eq!(error, expected, "{url}");
            let text = error.to_string();
            assert!(!text.contains("nary") && !text.contains("c4"), "{url}: {text}");
        }
        for url in [
            "postgresql://me:c4nary@db:port/x",
            "postgresql://me:c4nary@db:0/x",
            "postgresql://me:c4nary@db/x?sslmode=often",
        ] {
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
            ("postgresql://me@[2001:DB8::1]/x", "[2001:db8::1]:5432, database `x`, user `me`"),
            (
                "postgresql://me@localhost:1/x?host=%2Frun%2Fpg",
                "the socket in /run/pg (port 1), database `x`, user `me`",
            ),
            ("postgresql://m%40e:a%23b%2Fc@db:1/x", "db:1, database `x`, user `m@e`"),
        ] {
            assert_eq!(Target::of(&read(url).unwrap().options).to_string(), expected, "{url}");
        }
    }

    #[test]
    fn an_ipv6_address_is_connected_to_without_its_brackets() {
        for url in ["postgresql://me@[::1]/x", "postgresql:///x?user=me&host=[::1]"] {
            assert_eq!(read(url).unwrap().options.get_host(), "::1", "{url}");
        }
    }

    #[test]
    fn parameters_of_other_programs_are_left_out_by_name_and_strange_ones_refused() {
        let url = "postgresql://me@db/x?connect_timeout=2&sslmode=disable&channel_binding=require";
        assert_eq!(read(url).unwrap().left_out, ["connect_timeout", "channel_binding"]);
        let fine =
            "postgresql://me@db/x?options[search_path]=a&options=-c%20b=c&application_name=d";
        assert_eq!(read(fine).unwrap().left_out, [""; 0]);
        let refused = |url: &str| read(url).unwrap_err().to_string();
        let said = refused("postgresql://me@db/x?sslmod=c4nary");
        assert!(said.contains("`sslmod`") && said.contains("did you mean `sslmode`?"), "{said}");
        assert!(!said.contains("c4nary"), "{said}");
    }

    #[test]
    fn a_socket_in_a_folder_that_is_not_there_is_noticed() {
        let missing = |url: &str| read(url).unwrap().missing_folder();
        assert_eq!(missing("postgresql:///x?user=me&host=/no/such"), Some("/no/such".into()));
        assert_eq!(missing("postgresql://me@%2Fno%2Fsuch/x"), Some("/no/such".into()));
        assert_eq!(missing("postgresql:///x?user=me&host=/"), None);
        assert_eq!(missing("postgresql://me@db/x"), None);
    }
}

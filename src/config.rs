//! Floor 2: kasparro's own settings, one list. A flag wins over the environment, that over
//! `kasparro.toml`, that over the default.
//!
//! Must not know: what the settings are used for.

mod root;
mod upload_place;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use serde::Deserialize;

use url::Url;

use crate::domain::fault::Fault;
use crate::domain::host::Host;
use crate::domain::number::whole;
use crate::domain::secret_url::SecretUrl;
use crate::files;
use crate::job_file::setting::SecretText;
pub use root::DEFAULT_FILE;
pub use upload_place::UploadPlace;

/// Where the API listens: nobody but this machine reaches it.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// More than a person and a few programs need, less than hurts.
const DEFAULT_RATE: u32 = 100;
/// All streams of events and as many other requests; a quarter of what the API has room for.
const DEFAULT_CONNECTIONS: u32 = 128;
/// 1 GiB: more than most files, less than most disks.
const DEFAULT_UPLOAD: u64 = 1 << 30;

/// One layer of settings: what the command line and the environment say, or what the file says.
/// This list, with its comments, is the documentation of the settings.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsLayer {
    /// PostgreSQL to use; without it kasparro finds or starts a private one
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, value_name = "URL")]
    pub database_url: Option<SecretUrl>,

    /// Folder with the job files, one per source [default: jobs in the project's folder]
    #[arg(long, env = "KASPARRO_JOBS_DIR", global = true, value_name = "DIR")]
    pub jobs_dir: Option<PathBuf>,

    /// Folders whose files job files may read, besides those below the jobs folder; separated by `:`
    #[arg(
        long,
        env = "KASPARRO_DATA_ROOTS",
        global = true,
        value_name = "DIR:DIR",
        value_delimiter = ':'
    )]
    pub data_roots: Option<Vec<PathBuf>>,

    /// Folder, or address of a bucket (`s3://bucket/folder`, `gs://…`, `az://…`), below which uploaded files are kept, in
    /// a folder per source; job files may read it. Without it nothing can be uploaded
    #[arg(long, env = "KASPARRO_UPLOAD_DIR", global = true, value_name = "DIR")]
    pub upload_dir: Option<UploadPlace>,

    /// The largest file that may be uploaded, in bytes; 0 is any size [default: 1 GiB]
    #[arg(long, env = "KASPARRO_UPLOAD_MAX_BYTES", global = true, value_name = "BYTES",
        value_parser = |text: &str| whole(text, 0..=u64::MAX, DEFAULT_UPLOAD))]
    pub upload_max_bytes: Option<u64>,

    /// Folder of the private PostgreSQL [default: the system's folder for application data]
    #[arg(long, env = "KASPARRO_DATA_DIR", global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address and port of the HTTP API [default: 127.0.0.1:8080]
    #[arg(long, env = "KASPARRO_LISTEN", global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,

    /// Answer requests without a token on other addresses than loopback, while there is no token
    #[arg(
        long, env = "KASPARRO_ALLOW_ANONYMOUS", global = true, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = FalseyValueParser::new()
    )]
    pub allow_anonymous: Option<bool>,

    /// Names that the HTTP API answers without a token, besides those of this machine, such as
    /// `kasparro.example`; separated by commas
    #[arg(
        long,
        env = "KASPARRO_ALLOWED_HOSTS",
        global = true,
        value_name = "HOST,HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Option<Vec<String>>,

    /// Where people reach the HTTP API and the console, such as `https://kasparro.example`; with https, browsers keep
    /// the console's cookie for https only
    #[arg(long, env = "KASPARRO_PUBLIC_URL", global = true, value_name = "URL")]
    pub public_url: Option<String>,

    /// Requests a second that one client of the HTTP API may make; 0 is any number [default: 100]
    #[arg(long, env = "KASPARRO_RATE_LIMIT", global = true, value_name = "N",
        value_parser = |text: &str| whole(text, 0..=u32::MAX, DEFAULT_RATE))]
    pub rate_limit: Option<u32>,

    /// Connections to the HTTP API of one address at once; 0 is any number [default: 128]
    #[arg(long, env = "KASPARRO_CONNECTIONS_PER_ADDRESS", global = true, value_name = "N",
        value_parser = |text: &str| whole(text, 0..=u32::MAX, DEFAULT_CONNECTIONS))]
    pub connections_per_address: Option<u32>,

    /// Computing tasks worked on at once in this process [default: the number of processors]
    #[arg(long, env = "KASPARRO_WORKERS", global = true, value_name = "N",
        value_parser = |text: &str| whole(text, 0_usize.., 4))]
    pub workers: Option<usize>,

    /// Seconds to wait for a database that does not answer at start [default: 30]
    #[arg(long, env = "KASPARRO_DATABASE_WAIT", global = true, value_name = "SECONDS",
        value_parser = |text: &str| whole(text, 0_u64.., 30))]
    pub database_wait: Option<u64>,

    /// Seconds that tasks under way may take when kasparro is stopped [default: 30]
    #[arg(long, env = "KASPARRO_GRACE", global = true, value_name = "SECONDS",
        value_parser = |text: &str| whole(text, 0_u64.., 30))]
    pub grace: Option<u64>,

    /// Attempts of a task before it fails, crashes of its worker included; for requests of API pages it is
    /// `rest_api.retry.max_attempts` of the job file [default: 8]
    #[arg(long, env = "KASPARRO_TASK_ATTEMPTS", global = true, value_name = "N",
        value_parser = |text: &str| whole(text, 0..=u16::MAX, 8))]
    pub task_attempts: Option<u16>,

    /// Seconds after which an attempt of a task has failed [default: 900]
    #[arg(long, env = "KASPARRO_TASK_TIME_LIMIT", global = true, value_name = "SECONDS",
        value_parser = |text: &str| whole(text, 0_u64.., 900))]
    pub task_time_limit: Option<u64>,

    /// Text that stored tokens of login servers are sealed with, of 32 characters or more; best set by its
    /// variable, since the command line is seen by others
    #[arg(
        long,
        env = "KASPARRO_SECRET_KEY",
        hide_env_values = true,
        global = true,
        value_name = "TEXT"
    )]
    #[serde(skip)]
    pub secret_key: Option<SecretText>,

    /// File with that text
    #[arg(long, env = "KASPARRO_SECRET_KEY_FILE", global = true, value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,

    /// Where PostgreSQL's programs are, when they are not found by themselves
    #[arg(long, env = "KASPARRO_PG_BIN", global = true, value_name = "DIR")]
    pub pg_bin: Option<PathBuf>,

    /// Mirror to download PostgreSQL from, when the machine has none; `none` never downloads
    #[arg(long, env = "KASPARRO_PG_DOWNLOAD_URL", global = true, value_name = "URL")]
    pub pg_download_url: Option<SecretUrl>,

    /// What to log, such as `info` or `kasparro=debug` [default: info for services, warn for
    /// commands that answer and for `up` on a terminal]
    #[arg(long, env = "KASPARRO_LOG", global = true, value_name = "FILTER")]
    pub log: Option<String>,

    /// How to log [default: text]
    #[arg(long, env = "KASPARRO_LOG_FORMAT", global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// See [`SettingsLayer::database_url`].
    pub database_url: Option<SecretUrl>,
    /// See [`SettingsLayer::jobs_dir`].
    pub jobs_dir: PathBuf,
    /// See [`SettingsLayer::data_roots`].
    pub data_roots: Vec<PathBuf>,
    /// See [`SettingsLayer::upload_dir`].
    pub upload_dir: Option<UploadPlace>,
    /// See [`SettingsLayer::upload_max_bytes`]; `None` is any size.
    pub upload_max_bytes: Option<NonZeroU64>,
    /// See [`SettingsLayer::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// See [`SettingsLayer::listen`].
    pub listen: SocketAddr,
    /// See [`SettingsLayer::allow_anonymous`].
    pub allow_anonymous: bool,
    /// See [`SettingsLayer::allowed_hosts`].
    pub allowed_hosts: Vec<Host>,
    /// See [`SettingsLayer::public_url`].
    pub public_url: Option<Url>,
    /// See [`SettingsLayer::rate_limit`]; `None` is any number.
    pub rate_limit: Option<NonZeroU32>,
    /// See [`SettingsLayer::connections_per_address`]; `None` is any number.
    pub connections_per_address: Option<NonZeroU32>,
    /// See [`SettingsLayer::workers`].
    pub workers: usize,
    /// See [`SettingsLayer::database_wait`].
    pub database_wait: Duration,
    /// See [`SettingsLayer::grace`].
    pub grace: Duration,
    /// See [`SettingsLayer::task_attempts`]; at least 1.
    pub task_attempts: u16,
    /// See [`SettingsLayer::task_time_limit`]; at least a second.
    pub task_time_limit: Duration,
    /// See [`SettingsLayer::secret_key`].
    pub secret_key: Option<SecretText>,
    /// See [`SettingsLayer::pg_bin`].
    pub pg_bin: Option<PathBuf>,
    /// See [`SettingsLayer::pg_download_url`].
    pub pg_download_url: Option<SecretUrl>,
    /// See [`SettingsLayer::log`].
    pub log: Option<String>,
    /// See [`SettingsLayer::log_format`].
    pub log_format: LogFormat,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file was named but cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings file is not what it should be. The line itself is not repeated, nor is toml's
    /// error kept: it holds the whole file, and a password may be in it.
    #[error("{}:{line}: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Key and reason.
        message: String,
    },
    /// The address is none.
    #[error("listen = {0:?} is not an address and port; expected for example 127.0.0.1:8080")]
    Listen(String),
    /// A mirror is no address. It is not repeated: a password may be in it.
    #[error(
        "pg_download_url is no address; expected one that begins with https:// or http://, such as \
         https://mirror.example/postgresql, or `none`"
    )]
    Mirror,
    /// A name to answer is none.
    #[error(
        "allowed_hosts: {0:?} is not a host; expected for example kasparro.example or \
         kasparro.example:8443"
    )]
    Host(String),
    /// Where people reach the server is no address.
    #[error("public_url = {0:?} is no address; expected for example https://kasparro.example")]
    PublicUrl(String),
    /// The key can be guessed. It is not repeated.
    #[error(
        "KASPARRO_SECRET_KEY has {0} characters, and 32 are the fewest; `openssl rand -base64 32` makes a key"
    )]
    ShortKey(usize),
    /// There are two keys, and nobody knows which one counts.
    #[error("KASPARRO_SECRET_KEY and KASPARRO_SECRET_KEY_FILE are both set: unset one of them")]
    TwoKeys,
    /// With none of it nothing would be done.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl Settings {
    /// Resolves the settings. `file` is the settings file if one was named; otherwise `kasparro.toml` of
    /// the project's root is read when it exists. What a settings file names is relative to the root,
    /// as is the default of `jobs_dir`; what is given otherwise is relative to the current folder.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file and line, or the setting.
    pub fn resolve(given: SettingsLayer, file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::resolve_in(&std::env::current_dir().unwrap_or_default(), given, file)
    }

    fn resolve_in(
        here: &Path,
        given: SettingsLayer,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let root = root::from(here);
        let layer = given.over(read_file(file, &root)?.seen_from(&root));
        let listen = layer.listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let listen = listen.parse().map_err(|_| ConfigError::Listen(listen))?;
        let hosts = layer.allowed_hosts.unwrap_or_default().into_iter();
        // A comma at the end, or nothing between two, says nothing.
        let hosts = hosts.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
        let allowed_hosts = hosts
            .map(|host| host.parse().map_err(|_| ConfigError::Host(host)))
            .collect::<Result<_, _>>()?;
        let public_url = layer.public_url.map(public_url).transpose()?;
        let mirror = layer.pg_download_url.as_ref().map(SecretUrl::expose);
        if mirror.is_some_and(|mirror| mirror != "none" && !mirror.starts_with("http")) {
            return Err(ConfigError::Mirror);
        }
        let secret_key = secret_key(layer.secret_key, layer.secret_key_file)?;
        let workers = layer.workers.unwrap_or_else(processors);
        let task_attempts = layer.task_attempts.unwrap_or(8);
        let task_time_limit = layer.task_time_limit.unwrap_or(900);
        for (setting, value) in [
            ("workers", workers as u64),
            ("task_attempts", task_attempts.into()),
            ("task_time_limit", task_time_limit),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(setting));
            }
        }
        Ok(Self {
            database_url: layer.database_url.filter(|url| !url.expose().is_empty()),
            jobs_dir: layer.jobs_dir.unwrap_or_else(|| root.join(root::JOBS)),
            data_roots: layer.data_roots.unwrap_or_default(),
            upload_dir: layer.upload_dir,
            upload_max_bytes: NonZeroU64::new(layer.upload_max_bytes.unwrap_or(DEFAULT_UPLOAD)),
            data_dir: layer.data_dir,
            listen,
            allow_anonymous: layer.allow_anonymous.unwrap_or(false),
            allowed_hosts,
            public_url,
            rate_limit: NonZeroU32::new(layer.rate_limit.unwrap_or(DEFAULT_RATE)),
            connections_per_address: NonZeroU32::new(
                layer.connections_per_address.unwrap_or(DEFAULT_CONNECTIONS),
            ),
            workers,
            database_wait: Duration::from_secs(layer.database_wait.unwrap_or(30)),
            grace: Duration::from_secs(layer.grace.unwrap_or(30)),
            task_attempts,
            task_time_limit: Duration::from_secs(task_time_limit),
            secret_key,
            pg_bin: layer.pg_bin,
            pg_download_url: layer.pg_download_url,
            log: layer.log,
            log_format: layer.log_format.unwrap_or_default(),
        })
    }
}

impl SettingsLayer {
    /// With its relative paths below the project's root.
    fn seen_from(self, root: &Path) -> Self {
        let below = |path: PathBuf| root.join(path);
        Self {
            jobs_dir: self.jobs_dir.map(below),
            data_roots: self.data_roots.map(|roots| roots.into_iter().map(below).collect()),
            upload_dir: self.upload_dir.map(|place| place.seen_from(root)),
            data_dir: self.data_dir.map(below),
            secret_key_file: self.secret_key_file.map(below),
            pg_bin: self.pg_bin.map(below),
            ..self
        }
    }

    fn over(self, below: Self) -> Self {
        Self {
            database_url: self.database_url.or(below.database_url),
            jobs_dir: self.jobs_dir.or(below.jobs_dir),
            data_roots: self.data_roots.or(below.data_roots),
            upload_dir: self.upload_dir.or(below.upload_dir),
            upload_max_bytes: self.upload_max_bytes.or(below.upload_max_bytes),
            data_dir: self.data_dir.or(below.data_dir),
            listen: self.listen.or(below.listen),
            allow_anonymous: self.allow_anonymous.or(below.allow_anonymous),
            allowed_hosts: self.allowed_hosts.or(below.allowed_hosts),
            public_url: self.public_url.or(below.public_url),
            rate_limit: self.rate_limit.or(below.rate_limit),
            connections_per_address: self.connections_per_address.or(below.connections_per_address),
            workers: self.workers.or(below.workers),
            database_wait: self.database_wait.or(below.database_wait),
            grace: self.grace.or(below.grace),
            task_attempts: self.task_attempts.or(below.task_attempts),
            task_time_limit: self.task_time_limit.or(below.task_time_limit),
            secret_key: self.secret_key.or(below.secret_key),
            secret_key_file: self.secret_key_file.or(below.secret_key_file),
            pg_bin: self.pg_bin.or(below.pg_bin),
            pg_download_url: self.pg_download_url.or(below.pg_download_url),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
        }
    }
}

fn read_file(named: Option<&Path>, root: &Path) -> Result<SettingsLayer, ConfigError> {
    let path = named.map_or_else(|| root.join(DEFAULT_FILE), Path::to_owned);
    let text = match files::read_text(&path, files::MAX_SETTINGS_FILE) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(SettingsLayer::default());
        }
        Err(source) => return Err(ConfigError::Unreadable { path, source }),
    };
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let key = text.lines().nth(line - 1).and_then(|line| line.split_once('='));
        let key = key.map(|(key, _)| key.trim());
        ConfigError::File { path: path.clone(), line, message: in_words(error.message(), key) }
    })
}

/// What toml says of a settings file, in words for people. `key` is what its line begins with.
fn in_words(message: &str, key: Option<&str>) -> String {
    match Fault::of(message) {
        Fault::Other(message) => format!("not TOML: {message}"),
        fault @ Fault::UnknownKey { .. } => match key {
            Some(key) => format!("{key}: {}", fault.describe(&[])),
            None => fault.describe(&[]),
        },
        fault => format!("{}: {}", key.unwrap_or("value"), fault.describe(&[])),
    }
}

/// The fewest characters of a key: those of 24 random bytes in base64.
const SHORTEST_KEY: usize = 32;

/// An address that browsers reach: http or https, with a host and nothing that is secret.
fn public_url(text: String) -> Result<Url, ConfigError> {
    let url = Url::parse(&text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    url.ok_or(ConfigError::PublicUrl(text))
}

fn secret_key(
    text: Option<SecretText>,
    file: Option<PathBuf>,
) -> Result<Option<SecretText>, ConfigError> {
    let key = match (text, file) {
        (Some(_), Some(_)) => return Err(ConfigError::TwoKeys),
        (Some(text), None) => text,
        (None, Some(path)) => match files::read_text(&path, files::MAX_SECRET_FILE) {
            Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned().into(),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        },
        (None, None) => return Ok(None),
    };
    match key.expose().chars().count() {
        length if length < SHORTEST_KEY => Err(ConfigError::ShortKey(length)),
        _ => Ok(Some(key)),
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = file("listen = \"127.0.0.1:9000\"\nworkers = 7\n");
        let given = SettingsLayer { workers: Some(3), ..SettingsLayer::default() };
        let settings = Settings::resolve(given, Some(file.path())).unwrap();
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.listen.port(), 9000);
        assert_eq!(settings.jobs_dir, Path::new("jobs"));
    }

    #[test]
    fn from_a_folder_within_the_project_its_settings_and_jobs_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let within = root.join("jobs/data");
        std::fs::create_dir_all(&within).unwrap();
        let text = "data_dir = \"database\"\ndata_roots = [\"/srv\", \"more\"]\nworkers = 3\n";
        std::fs::write(root.join(DEFAULT_FILE), text).unwrap();
        let given = SettingsLayer { pg_bin: Some("bin".into()), ..SettingsLayer::default() };
        let settings = Settings::resolve_in(&within, given.clone(), None).unwrap();
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.jobs_dir, root.join("jobs"));
        assert_eq!(settings.data_dir, Some(root.join("database")));
        assert_eq!(settings.data_roots, [PathBuf::from("/srv"), root.join("more")]);
        assert_eq!(settings.pg_bin, Some("bin".into()), "what is typed is relative to where it is");
        // Tests may run anywhere; from here the names are as short as ever.
        let named = Some(root.join(DEFAULT_FILE));
        let settings = Settings::resolve_in(&root, given, named.as_deref()).unwrap();
        assert_eq!(settings.jobs_dir, Path::new("jobs"));
        assert_eq!(settings.data_dir, Some("database".into()));
    }

    #[test]
    fn an_unknown_setting_is_refused_with_its_file_and_line() {
        let file = file("workers = 2\nlisen = \"x\"\n");
        let error = Settings::resolve(SettingsLayer::default(), Some(file.path())).unwrap_err();
        let text = error.to_string();
        let place =
            format!("{}:2: lisen: unknown key; did you mean `listen`?", file.path().display());
        assert_eq!(text, place);
    }

    #[test]
    fn a_value_of_another_type_is_told_what_was_expected() {
        for (line, said) in [
            (
                "workers = \"many\"",
                "workers: expected a whole number from 0 on, found the text \"many\"",
            ),
            ("data_roots = 7", "data_roots: expected a list, found the number 7"),
            (
                "allow_anonymous = \"no\"",
                "allow_anonymous: expected true or false, found the text \"no\"",
            ),
            ("log_format = \"xml\"", "log_format: unknown word \"xml\"; known words: text, json"),
        ] {
            let file = file(line);
            let error = Settings::resolve(SettingsLayer::default(), Some(file.path())).unwrap_err();
            assert_eq!(error.to_string(), format!("{}:1: {said}", file.path().display()));
        }
        let mirror = SettingsLayer {
            pg_download_url: Some("mirror".to_owned().into()),
            ..SettingsLayer::default()
        };
        assert!(matches!(Settings::resolve(mirror, None), Err(ConfigError::Mirror)));
    }

    #[test]
    fn a_password_is_shown_neither_by_settings_nor_by_what_is_wrong_with_them() {
        const URL: &str = "postgresql://me:c4nary@db.example/things";
        let good = file(&format!(
            "database_url = '{URL}'\npg_download_url = 'https://me:c4nary@db.example/'"
        ));
        let settings = Settings::resolve(SettingsLayer::default(), Some(good.path())).unwrap();
        assert_eq!(settings.database_url.as_ref().map(SecretUrl::expose), Some(URL));
        assert!(!format!("{settings:?}").contains("c4nary"));
        let given = SettingsLayer {
            database_url: Some(URL.to_owned().into()),
            pg_download_url: Some(URL.to_owned().into()),
            ..SettingsLayer::default()
        };
        assert!(!format!("{given:?}").contains("c4nary"));
        for line in [
            format!("database_url = '{URL}"),
            format!("database_url = {URL}"),
            format!("database_url = ['{URL}']"),
            format!("database_url = '{URL}' workers = 3"),
            format!("databaseurl = '{URL}'"),
        ] {
            let file = file(&line);
            let error = Settings::resolve(SettingsLayer::default(), Some(file.path())).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("c4nary"), "{line}: {text}");
        }
    }

    #[test]
    fn a_settings_file_that_is_a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("kasparro.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = Settings::resolve(SettingsLayer::default(), Some(&pipe)).unwrap_err();
        let said = crate::domain::failure::chain(&error);
        assert!(said.ends_with("kasparro.toml cannot be read: it is a named pipe, not a file"));
    }

    #[test]
    fn a_secret_key_is_a_long_text_or_in_a_file_and_never_shown() {
        const KEY: &str = "c4nary-c4nary-c4nary-c4nary-c4nary";
        let text = file(&format!("{KEY}\n"));
        let by_text =
            SettingsLayer { secret_key: Some(KEY.to_owned().into()), ..SettingsLayer::default() };
        let by_file =
            SettingsLayer { secret_key_file: Some(text.path().into()), ..SettingsLayer::default() };
        for given in [by_text.clone(), by_file.clone()] {
            let settings = Settings::resolve(given, None).unwrap();
            assert!(!format!("{settings:?}").contains("c4nary"));
            assert_eq!(settings.secret_key.unwrap().expose(), KEY);
        }
        let both = SettingsLayer { secret_key_file: by_file.secret_key_file, ..by_text };
        let short = SettingsLayer {
            secret_key: Some("c4nary".to_owned().into()),
            ..SettingsLayer::default()
        };
        for (given, says) in [(both, "unset one"), (short, "has 6 characters")] {
            let error = Settings::resolve(given, None).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("c4nary"), "{error}");
        }
        let error = Settings::resolve(
            SettingsLayer::default(),
            Some(file(&format!("secret_key = '{KEY}'")).path()),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("unknown key") && !error.contains("c4nary"), "{error}");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let listen = SettingsLayer { listen: Some("here".into()), ..SettingsLayer::default() };
        let error = Settings::resolve(listen, None).unwrap_err();
        assert!(error.to_string().contains("listen"), "{error}");
        let hosts = |hosts: &[&str]| SettingsLayer {
            allowed_hosts: Some(hosts.iter().map(|host| (*host).to_owned()).collect()),
            ..SettingsLayer::default()
        };
        let error = Settings::resolve(hosts(&["api", "http://api"]), None).unwrap_err();
        assert!(error.to_string().contains("allowed_hosts: \"http://api\""), "{error}");
        let settings = Settings::resolve(hosts(&["api", " kasparro.example:8443", ""]), None);
        assert_eq!(settings.unwrap().allowed_hosts.len(), 2);
        let workers = SettingsLayer { workers: Some(0), ..SettingsLayer::default() };
        assert!(Settings::resolve(workers, None).is_err());
    }
}

//! Owns speaking with a server: only one whose host key is known is told anything, and then who we are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{
    HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate,
    decode_secret_key,
};
use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::StatusCode;

use crate::domain::text;
use crate::job_file::setting::SecretText;
use crate::sources::files::places::params::SftpParams;
use crate::sources::{SourceError, SourceErrorKind};

/// So many requests to read are on their way at once.
const READS: usize = 16;
/// The most questions of a server that asks for the password in its own words.
const MOST_ROUNDS: usize = 5;

/// Who we are, and which servers are told.
pub struct Login {
    user: String,
    password: Option<SecretText>,
    key: Option<Arc<PrivateKey>>,
    host_keys: Vec<String>,
    known_hosts: Option<PathBuf>,
    timeout: Duration,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A connection.
pub struct Connection {
    /// In messages.
    pub server: String,
    pub sftp: SftpSession,
    pub timeout: Duration,
    ssh: Handle<HostKey>,
    given_up: AtomicBool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.server).finish()
    }
}

impl Connection {
    /// Whether it can be used.
    pub fn is_open(&self) -> bool {
        !self.ssh.is_closed() && !self.given_up.load(Ordering::Relaxed)
    }

    /// The next one who needs a connection makes another.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// What an error means that came up with this file or folder.
    pub fn failed(&self, name: &str, error: &SftpError) -> SourceError {
        let of = |kind, what: String| SourceError::new(kind, format!("{name} {what}"));
        match error {
            SftpError::Status(status) => {
                let words = text::beginning(&status.error_message);
                let said = if words.is_empty() { status.status_code.to_string() } else { words };
                match status.status_code {
                    StatusCode::NoSuchFile => {
                        of(SourceErrorKind::NotFound, "is not there".to_owned())
                    }
                    StatusCode::PermissionDenied => {
                        of(SourceErrorKind::Forbidden, format!("may not be read: {said}"))
                            .advise("let the user of `files.sftp` read it")
                    }
                    StatusCode::NoConnection | StatusCode::ConnectionLost => {
                        of(SourceErrorKind::BrokenOff, format!("broke off: {said}"))
                    }
                    StatusCode::OpUnsupported | StatusCode::BadMessage => {
                        of(SourceErrorKind::Rejected, format!("cannot be read: {said}"))
                    }
                    _ => of(SourceErrorKind::ServerError, format!("cannot be read: {said}")),
                }
            }
            SftpError::Timeout => {
                let timeout = format_duration(self.timeout);
                of(
                    SourceErrorKind::TimedOut,
                    format!("took longer than `files.sftp.timeout` = \"{timeout}\""),
                )
            }
            other => of(
                SourceErrorKind::BrokenOff,
                format!("broke off: {}", text::beginning(&other.to_string())),
            ),
        }
    }
}

impl Login {
    /// As the job file says.
    ///
    /// # Errors
    /// When a secret cannot be had, or the key cannot be read.
    pub fn new(params: &SftpParams, base_dir: &Path) -> Result<Self, SourceError> {
        let password = params.password.as_ref();
        let password =
            password.map(|secret| secret.resolve("files.sftp.password", base_dir)).transpose()?;
        let passphrase = params.passphrase.as_ref();
        let passphrase = passphrase
            .map(|secret| secret.resolve("files.sftp.passphrase", base_dir))
            .transpose()?;
        let key = match &params.key {
            None => None,
            Some(secret) => {
                let text = secret.resolve("files.sftp.key", base_dir)?;
                let passphrase = passphrase.as_ref().map(SecretText::expose);
                // What the library says is not repeated: it may have something of the key.
                let key = decode_secret_key(text.expose(), passphrase).map_err(|_| {
                    let message = format!("`files.sftp.key`: {secret} holds no private key that can be read");
                    let is_packed = text.expose().contains("ENCRYPTED") || text.expose().contains("OPENSSH");
                    SourceError::new(SourceErrorKind::MissingValue, message).advise(match (is_packed, passphrase) {
                        (true, None) => "if it has a passphrase, name it: passphrase = { env = \"NAME_OF_VARIABLE\" }",
                        (_, Some(_)) => "is `files.sftp.passphrase` right?",
                        (false, None) => "it is a file as `ssh-keygen` writes it, and no public key",
                    })
                })?;
                Some(Arc::new(key))
            }
        };
        Ok(Self {
            user: params.user.clone(),
            password,
            key,
            host_keys: params.host_key.0.clone(),
            known_hosts: params.known_hosts.as_ref().map(|path| base_dir.join(path)),
            timeout: params.timeout,
        })
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// When it cannot be reached, is not the one that the job file knows, or does not let us in.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Connection, SourceError> {
        let server = if port == 22 { host.to_owned() } else { format!("{host}:{port}") };
        let connecting = self.speak(host, port, &server);
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => {
                let timeout = format_duration(self.timeout);
                let message = format!(
                    "{server} did not let us in within `files.sftp.timeout` = \"{timeout}\""
                );
                Err(SourceError::new(SourceErrorKind::TimedOut, message))
            }
        }
    }

    async fn speak(&self, host: &str, port: u16, server: &str) -> Result<Connection, SourceError> {
        let recorded = self.recorded(host, port)?;
        let seen = Seen::default();
        let handler =
            HostKey { expected: self.host_keys.clone(), recorded, seen: Arc::clone(&seen) };
        let config = client::Config {
            keepalive_interval: Some(self.timeout),
            nodelay: true,
            ..client::Config::default()
        };
        let broken = |what: &str, error: &russh::Error| self.broken(server, what, error);
        let socket = tokio::net::TcpStream::connect((host, port)).await.map_err(|error| {
            SourceError::new(
                SourceErrorKind::Unreachable,
                format!("{server} cannot be reached: {error}"),
            )
        })?;
        let connected = client::connect_stream(Arc::new(config), socket, handler).await;
        let mut ssh = connected.map_err(|error| {
            let shown = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            shown.map_or_else(
                || broken("does not speak SSH as we do", &error),
                |key| self.unknown(server, &key),
            )
        })?;
        self.authenticate(&mut ssh, server).await?;
        let channel =
            ssh.channel_open_session().await.map_err(|error| broken("gives no session", &error))?;
        let asked = channel.request_subsystem(true, "sftp").await;
        asked.map_err(|error| broken("gives no SFTP", &error))?;
        let config = russh_sftp::client::Config {
            max_concurrent_reads: READS,
            request_timeout_secs: self.timeout.as_secs().max(1),
            ..russh_sftp::client::Config::default()
        };
        let sftp =
            SftpSession::new_with_config(channel.into_stream(), config).await.map_err(|error| {
                let message =
                    format!("{server} gives no SFTP: {}", text::beginning(&error.to_string()));
                SourceError::new(SourceErrorKind::BrokenOff, message)
            })?;
        let (timeout, given_up) = (self.timeout, AtomicBool::new(false));
        Ok(Connection { server: server.to_owned(), sftp, timeout, ssh, given_up })
    }

    /// The keys that `known_hosts` has of a server.
    fn recorded(&self, host: &str, port: u16) -> Result<Vec<PublicKey>, SourceError> {
        let Some(path) = &self.known_hosts else { return Ok(Vec::new()) };
        let failed = |error: String| {
            let message =
                format!("`files.sftp.known_hosts`: {} cannot be read: {error}", path.display());
            SourceError::new(SourceErrorKind::MissingValue, message)
        };
        crate::files::open(path).map_err(|error| failed(error.to_string()))?;
        let keys =
            known_host_keys_path(host, port, path).map_err(|error| failed(error.to_string()))?;
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }

    async fn authenticate(
        &self,
        ssh: &mut Handle<HostKey>,
        server: &str,
    ) -> Result<(), SourceError> {
        let failed = |error: russh::Error| {
            self.broken(server, "broke off while it was told who we are", &error)
        };
        let mut takes = None;
        if let Some(key) = &self.key {
            let hash = ssh.best_supported_rsa_hash().await.map_err(failed)?.flatten();
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            match ssh.authenticate_publickey(&self.user, key).await.map_err(failed)? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, .. } => takes = Some(remaining_methods),
            }
        }
        if let Some(password) = &self.password {
            match ssh.authenticate_password(&self.user, password.expose()).await.map_err(failed)? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, .. } => takes = Some(remaining_methods),
            }
            if self.answers(ssh, password).await.map_err(failed)? {
                return Ok(());
            }
        }
        let takes: Vec<&str> =
            takes.iter().flat_map(|methods| methods.iter().map(Into::into)).collect();
        let message = format!("{server} does not let `{}` in", self.user);
        let advice = match takes.is_empty() {
            true => "see `user`, `key` and `password` in `sftp` of [files]".to_owned(),
            false => format!(
                "see `user`, `key` and `password` in `sftp` of [files]: the server takes {}",
                takes.join(", ")
            ),
        };
        Err(SourceError::new(SourceErrorKind::Unauthorized, message).advise(advice))
    }

    /// Answers a server that asks for the password in its own words.
    async fn answers(
        &self,
        ssh: &mut Handle<HostKey>,
        password: &SecretText,
    ) -> Result<bool, russh::Error> {
        let mut said = ssh.authenticate_keyboard_interactive_start(&self.user, None).await?;
        for _ in 0..MOST_ROUNDS {
            said = match said {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    let answers = prompts.iter().map(|_| password.expose().to_owned()).collect();
                    ssh.authenticate_keyboard_interactive_respond(answers).await?
                }
            };
        }
        Ok(false)
    }

    fn broken(&self, server: &str, what: &str, error: &russh::Error) -> SourceError {
        let message = format!("{server} {what}: {}", text::beginning(&error.to_string()));
        SourceError::new(SourceErrorKind::BrokenOff, message)
    }

    /// The error of a server that has another key than it should have.
    fn unknown(&self, server: &str, key: &ShownKey) -> SourceError {
        let ShownKey { algorithm, fingerprint } = key;
        let known = match (&self.known_hosts, self.host_keys.is_empty()) {
            (Some(path), true) => format!("{} has no such key of it", path.display()),
            _ => "`files.sftp.host_key` names another".to_owned(),
        };
        let message = format!(
            "{server} has the host key {fingerprint} ({algorithm}), and {known}: it was told nothing"
        );
        SourceError::new(SourceErrorKind::Rejected, message).advise(format!(
            "ask whoever runs it whether that is its key; if it is, write host_key = \"{fingerprint}\" into `sftp` of [files]"
        ))
    }
}

type Seen = Arc<Mutex<Option<ShownKey>>>;

/// The key of a server that was refused.
#[derive(Debug)]
struct ShownKey {
    algorithm: String,
    fingerprint: String,
}

/// Knows servers by their keys.
pub struct HostKey {
    expected: Vec<String>,
    recorded: Vec<PublicKey>,
    seen: Seen,
}

impl client::Handler for HostKey {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let is_known = self.expected.contains(&fingerprint)
            || self.recorded.iter().any(|recorded| recorded.key_data() == key.key_data());
        if !is_known {
            let algorithm = key.algorithm().to_string();
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(ShownKey { algorithm, fingerprint });
        }
        Ok(is_known)
    }
}

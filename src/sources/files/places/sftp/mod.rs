//! Files of SFTP servers.
//!
//! `connect` speaks with a server whose host key is the one that the job file names, `find` lists its folders, `read` reads
//! a file and sees that it stays the same.

mod connect;
mod find;
mod read;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use self::connect::{Connection, Login};
use super::glob::{Exclude, Pattern, no_pattern};
use super::params::SftpParams;
use super::sftp_address::SftpAddress;
use super::{Listed, OpenedFile, Place};
use crate::sources::{SourceError, SourceErrorKind};

/// A file that was so young when it was read may have changed within the same second of its clock.
const YOUNG: Duration = Duration::from_secs(2);

/// SFTP servers.
#[derive(Debug)]
pub(super) struct Sftp {
    login: Arc<Login>,
    exclude: Exclude,
    /// One to each server: many let nobody in more often than ten times.
    connections: Mutex<HashMap<(String, u16), Arc<Connection>>>,
}

impl Sftp {
    /// As the job file says. Reads its secrets, and connects nowhere.
    ///
    /// # Errors
    /// When a secret cannot be had, or a key cannot be read.
    pub fn new(
        params: &SftpParams,
        base_dir: &Path,
        exclude: Exclude,
    ) -> Result<Self, SourceError> {
        let login = Arc::new(Login::new(params, base_dir)?);
        Ok(Self { login, exclude, connections: Mutex::default() })
    }

    /// A connection to a server: the one that there is, or a new one.
    async fn connection(&self, address: &SftpAddress<'_>) -> Result<Arc<Connection>, SourceError> {
        let mut connections = self.connections.lock().await;
        let key = (address.host.to_owned(), address.port);
        if let Some(connection) = connections.get(&key).filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(self.login.connect(address.host, address.port).await?);
        connections.insert(key, Arc::clone(&connection));
        Ok(connection)
    }
}

/// Gives a connection up that does not answer any more.
fn noted<T>(connection: &Connection, done: Result<T, SourceError>) -> Result<T, SourceError> {
    if let Err(error) = &done
        && matches!(error.kind, SourceErrorKind::BrokenOff | SourceErrorKind::TimedOut)
    {
        connection.give_up();
    }
    done
}

impl Place for Sftp {
    fn list<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SourceError>> {
        async move {
            let address = address(entry)?;
            let pattern = Pattern::new(address.path).map_err(|why| no_pattern(entry, &why))?;
            let connection = self.connection(&address).await?;
            let found = find::all(&connection, &address, &pattern, &self.exclude).await;
            noted(&connection, found)
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        file: &'a Listed,
        _known: Option<&'a Listed>,
        from: u64,
    ) -> BoxFuture<'a, Result<OpenedFile, SourceError>> {
        async move {
            let address = address(&file.name)?;
            let connection = self.connection(&address).await?;
            let opened = read::open(Arc::clone(&connection), address.path, file, from).await;
            noted(&connection, opened).map(OpenedFile::Body)
        }
        .boxed()
    }

    /// Whatever takes the place of one that was old when it was listed has another time.
    fn identifies(&self, file: &Listed, at: DateTime<Utc>) -> bool {
        let age = |time| at.signed_duration_since(DateTime::<Utc>::from(time)).to_std();
        let was_old = file.modified.is_some_and(|time| age(time).is_ok_and(|age| age > YOUNG));
        was_old && file.size.is_some()
    }

    fn proves_unchanged(&self, known: &Listed, listed: &Listed, read_at: DateTime<Utc>) -> bool {
        let same_look = (known.size, known.modified) == (listed.size, listed.modified);
        same_look && self.identifies(listed, read_at)
    }
}

fn address(entry: &str) -> Result<SftpAddress<'_>, SourceError> {
    SftpAddress::parse(entry).map_err(|why| {
        SourceError::new(
            SourceErrorKind::InvalidConfig,
            format!("files.paths: an sftp:// address {why}"),
        )
    })
}

//! Places against servers of this process.

mod buckets;
mod going_on;
mod http;
mod server;
#[cfg(feature = "sftp")]
mod sftp;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::all::Places;
use super::going_on::{Asker, open as open_going_on};
use super::{Body, Listed, OpenedFile};
use chrono::Utc;

use crate::domain::failure::chain;
use crate::sources::files::location::{Location, Setting};
use crate::sources::files::params::FilesParams;
use crate::sources::{Access, AllowedRoots, SourceError};

/// The places of a table `[files]` with these keys, whose only entry this is.
fn places(keys: &str, entry: &str) -> Arc<Places> {
    Arc::new(opened_places(keys, entry).unwrap())
}

fn opened_places(keys: &str, entry: &str) -> Result<Places, SourceError> {
    let params: FilesParams = toml::from_str(keys).unwrap();
    let setting = Setting { table: "files", extension: "csv" };
    let location = Location { setting, entries: vec![entry.to_owned()] };
    Places::new(&params, &location, Path::new("."), &AllowedRoots::default(), Access::Network)
}

async fn open(
    places: &Arc<Places>,
    file: &Listed,
    known: Option<&Listed>,
    from: u64,
) -> Result<OpenedFile, SourceError> {
    let (places, ended) = (Arc::clone(places), Arc::default());
    open_going_on(Asker { places, listed_at: Utc::now(), ended }, file, known, from).await
}

/// What a file is opened as, which must not be unchanged.
async fn body(places: &Arc<Places>, file: &Listed, from: u64) -> Result<Body, SourceError> {
    match open(places, file, None, from).await? {
        OpenedFile::Body(body) => Ok(body),
        OpenedFile::Unchanged => panic!("nothing was known of it"),
    }
}

/// Reads a body to its end, as threads do.
async fn read(body: Body) -> Result<String, SourceError> {
    let Body { mut bytes, .. } = body;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        bytes.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    read.await.unwrap().map_err(|error| error.downcast().unwrap())
}

/// An error that must be there, and hold nothing of these secrets.
fn told<T>(result: Result<T, SourceError>, secrets: &[&str]) -> SourceError {
    let Err(error) = result else { panic!("it was no error") };
    let text = format!("{} {error:?}", chain(&error));
    for secret in secrets {
        assert!(!text.contains(secret), "{text}");
    }
    error
}

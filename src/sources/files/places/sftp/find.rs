//! Owns finding the files that a pattern means: folder by folder, all of them or an error.

use std::collections::HashSet;

use russh_sftp::client::fs::Metadata;
use russh_sftp::protocol::FileType;

use super::connect::Connection;
use crate::sources::files::places::Listed;
use crate::sources::files::places::glob::{Exclude, Pattern};
use crate::sources::files::places::sftp_address::SftpAddress;
use crate::sources::{SourceError, SourceErrorKind};

/// All files that a pattern means.
///
/// # Errors
/// When a folder cannot be looked into.
pub async fn all(
    connection: &Connection,
    address: &SftpAddress<'_>,
    pattern: &Pattern,
    exclude: &Exclude,
) -> Result<Vec<Listed>, SourceError> {
    let named = |path: &str| format!("{}{path}", address.front);
    if let Some(path) = pattern.name() {
        let found = connection.sftp.metadata(path).await;
        let metadata = found.map_err(|error| connection.failed(&named(path), &error))?;
        refuse_no_file(&named(path), &metadata)?;
        return Ok(vec![listed(named(path), &metadata)]);
    }
    let mut files = Vec::new();
    // Links may lead in circles.
    let mut seen = HashSet::new();
    let mut folders = vec![folder_of(pattern.prefix()).to_owned()];
    while let Some(folder) = folders.pop() {
        let at = if folder.is_empty() { "." } else { &folder };
        let read = connection.sftp.read_dir(at).await;
        let entries = read.map_err(|error| connection.failed(&named(&folder), &error))?;
        for entry in entries {
            let path = format!("{folder}{}", entry.file_name());
            let below = format!("{path}/");
            let may_be_file = pattern.matches(&path) && !exclude.leaves_out(&path);
            let may_be_folder = pattern.may_be_below(&below);
            if !may_be_file && !may_be_folder {
                continue;
            }
            let mut metadata = entry.metadata();
            let is_link = metadata.file_type() == FileType::Symlink;
            if is_link || metadata.permissions.is_none() {
                let found = connection.sftp.metadata(&path).await;
                metadata = found.map_err(|error| connection.failed(&named(&path), &error))?;
            }
            if metadata.file_type() == FileType::Dir {
                if may_be_folder && is_new(connection, &path, is_link, &mut seen).await {
                    folders.push(below);
                }
            } else if may_be_file {
                refuse_no_file(&named(&path), &metadata)?;
                files.push(listed(named(&path), &metadata));
            }
        }
    }
    // Servers list in any order.
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// Whether a folder was not looked into yet: a link may lead to one that was.
async fn is_new(
    connection: &Connection,
    path: &str,
    is_link: bool,
    seen: &mut HashSet<String>,
) -> bool {
    if !is_link && seen.is_empty() {
        return true;
    }
    match connection.sftp.canonicalize(path).await {
        Ok(real) => seen.insert(real),
        Err(_) => !is_link,
    }
}

fn refuse_no_file(name: &str, metadata: &Metadata) -> Result<(), SourceError> {
    let what = match metadata.file_type() {
        FileType::File => return Ok(()),
        // Some servers do not say what it is.
        FileType::Other if metadata.permissions.is_none_or(|mode| mode & 0o170_000 == 0) => {
            return Ok(());
        }
        FileType::Dir => "is a folder; its files are `/*` behind it",
        FileType::Symlink | FileType::Other => "is no file",
    };
    Err(SourceError::new(SourceErrorKind::FileUnreadable, format!("{name} {what}")))
}

/// What a file is, by what the server says of it.
pub fn listed(name: String, metadata: &Metadata) -> Listed {
    let modified = metadata.mtime.map(|time| {
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time.into())
    });
    Listed { name, size: metadata.size, modified, etag: None, version: None }
}

/// The folder in which the names are that begin so, with the slash behind it.
fn folder_of(prefix: &str) -> &str {
    &prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)]
}

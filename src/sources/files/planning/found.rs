//! Owns which files the entries of `paths` lead to, wherever they are.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::setup::Setup;
use crate::domain::number::grouped;
use crate::sources::files::landing::Lands;
use crate::sources::files::off_thread::off_thread;
use crate::sources::files::params::FileOrder;
use crate::sources::files::places::Listed;
use crate::sources::files::places::all::is_remote;
use crate::sources::files::store::stored_name;
use crate::sources::{Access, FoundPaths, LeftOut, SourceError, SourceErrorKind};

/// A file that was found.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// On this machine.
    Here(PathBuf),
    /// Elsewhere.
    There(Listed),
}

/// What the entries lead to.
#[derive(Debug, Default)]
pub(super) struct AllFound {
    /// The files, in the order in which their rows count.
    pub files: Vec<Found>,
    /// What a pattern leads to besides, and is not read.
    pub left_out: Vec<LeftOut>,
    /// What the entries are about that lead to no file.
    pub missing: Vec<SourceError>,
}

/// Finds them: all, or an error.
pub(super) async fn find(
    setup: &Arc<Setup>,
    access: Access,
    stopped: &Arc<AtomicBool>,
) -> Result<AllFound, SourceError> {
    let mut found = look(setup, access, stopped, setup.params.allow_empty).await?;
    match setup.params.allow_empty || found.missing.is_empty() {
        true => Ok(found),
        false => Err(found.missing.swap_remove(0)),
    }
}

/// Finds those that are there. Where none is, and there have to be some, it is an error: whoever watches waits for one.
/// Where there are some, a run is to say which entry has none.
pub(super) async fn find_some(
    setup: &Arc<Setup>,
    access: Access,
    stopped: &Arc<AtomicBool>,
) -> Result<AllFound, SourceError> {
    let mut found = look(setup, access, stopped, true).await?;
    if setup.params.allow_empty {
        found.missing.clear();
    }
    match found.files.is_empty() && !found.missing.is_empty() {
        true => Err(found.missing.swap_remove(0)),
        false => Ok(found),
    }
}

/// What all entries lead to, and which lead nowhere if they are asked `one_by_one`; otherwise that is an error.
async fn look(
    setup: &Arc<Setup>,
    access: Access,
    stopped: &Arc<AtomicBool>,
    one_by_one: bool,
) -> Result<AllFound, SourceError> {
    let mut found = AllFound::default();
    let entries = &setup.files.location().entries;
    for entries in entries.chunk_by(|one, other| is_remote(one) == is_remote(other)) {
        match entries.first().is_some_and(|entry| is_remote(entry)) {
            true => {
                let places = setup.places(access)?;
                for entry in entries {
                    let listed = places.of(entry).list(entry).await;
                    match listed.and_then(|listed| some_of(setup, entry, listed)) {
                        Ok(listed) => found.files.extend(listed.into_iter().map(Found::There)),
                        Err(error) if one_by_one && error.kind == SourceErrorKind::FileMissing => {
                            found.missing.push(error);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            false => {
                let (files, stopped) = (Arc::clone(&setup.files), Arc::clone(stopped));
                let entries = entries.to_vec();
                let here = move || all_of(&*files, &entries, one_by_one, &stopped);
                let (FoundPaths { files, left_out }, missing) = off_thread(here).await?;
                found.missing.extend(missing);
                found.files.extend(files.into_iter().map(Found::Here));
                found.left_out.extend(left_out);
            }
        }
    }
    let base = setup.definition.base_dir();
    let name = |file: &Found| match file {
        Found::Here(path) => stored_name(base, path),
        Found::There(listed) => listed.name.clone(),
    };
    let (mut names, before) = (HashSet::new(), found.files.len());
    found.files.retain(|file| {
        let name = name(file);
        let excluded = matches!(file, Found::Here(_)) && setup.params.excludes(&name);
        !excluded && names.insert(name)
    });
    if found.files.is_empty() && before > 0 {
        let (setting, before) = (setup.files.setting(), grouped(before as u64));
        let message =
            format!("files.exclude leaves out all files that {setting} leads to: {before}");
        let error = SourceError::new(SourceErrorKind::FileMissing, message)
            .advise("correct it; if there may be none, write allow_empty = true under [files]");
        found.missing.push(error);
    }
    if setup.params.order == FileOrder::Modified {
        found.files.sort_by_cached_key(|file| (modified(file), name(file)));
    }
    Ok(found)
}

/// The files of an entry, of which there has to be one.
///
/// # Errors
/// When there is none.
fn some_of(setup: &Setup, entry: &str, listed: Vec<Listed>) -> Result<Vec<Listed>, SourceError> {
    if !listed.is_empty() {
        return Ok(listed);
    }
    let setting = setup.files.setting();
    let left_out = match setup.params.exclude {
        Some(_) => ", or `files.exclude` leaves them all out",
        None => "",
    };
    let message = format!("{setting}: there is no file {entry}{left_out}");
    Err(SourceError::new(SourceErrorKind::FileMissing, message)
        .advise("correct it; if there may be none, write allow_empty = true under [files]"))
}

/// What the entries lead to, and which lead nowhere: asked one by one, that costs the others nothing.
fn all_of(
    files: &dyn Lands,
    entries: &[String],
    one_by_one: bool,
    stopped: &AtomicBool,
) -> Result<(FoundPaths, Vec<SourceError>), SourceError> {
    if !one_by_one {
        return Ok((files.files(entries, stopped)?, Vec::new()));
    }
    let (mut all, mut missing) = (FoundPaths::default(), Vec::new());
    for entry in entries {
        match files.files(std::slice::from_ref(entry), stopped) {
            Ok(found) => {
                all.files.extend(found.files);
                all.left_out.extend(found.left_out);
            }
            Err(error) if error.kind == SourceErrorKind::FileMissing => missing.push(error),
            Err(error) => return Err(error),
        }
    }
    // Another entry may lead to what this one leaves out.
    let read: HashSet<_> = all.files.iter().cloned().collect();
    all.left_out.retain(|left| !read.contains(&left.path));
    Ok((all, missing))
}

/// When a file was modified; `None` where nobody can tell.
pub(super) fn modified(file: &Found) -> Option<SystemTime> {
    match file {
        Found::Here(path) => path.metadata().ok()?.modified().ok(),
        Found::There(listed) => listed.modified,
    }
}

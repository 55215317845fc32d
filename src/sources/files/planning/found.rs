//! Owns which files the entries of `paths` lead to, wherever they are.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::setup::Setup;
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
}

/// Finds them: all, or an error.
pub(super) async fn find(
    setup: &Arc<Setup>,
    access: Access,
    stopped: &Arc<AtomicBool>,
) -> Result<AllFound, SourceError> {
    let mut found = AllFound::default();
    let entries = &setup.files.location().entries;
    for entries in entries.chunk_by(|one, other| is_remote(one) == is_remote(other)) {
        match entries.first().is_some_and(|entry| is_remote(entry)) {
            true => {
                let places = setup.places(access)?;
                for entry in entries {
                    let listed = places.of(entry).list(entry).await?;
                    found.files.extend(listed.into_iter().map(Found::There));
                }
            }
            false => {
                let (files, stopped) = (Arc::clone(&setup.files), Arc::clone(stopped));
                let entries = entries.to_vec();
                let may_be_none = setup.params.allow_empty;
                let here = move || all_of(&*files, &entries, may_be_none, &stopped);
                let FoundPaths { files, left_out } = off_thread(here).await?;
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
    let mut names = HashSet::new();
    found.files.retain(|file| {
        let name = name(file);
        let excluded = matches!(file, Found::Here(_)) && setup.params.excludes(&name);
        !excluded && names.insert(name)
    });
    if setup.params.order == FileOrder::Modified {
        found.files.sort_by_cached_key(|file| (modified(file), name(file)));
    }
    Ok(found)
}

/// What the entries lead to. Where there may be none, an entry that leads nowhere costs the others nothing.
fn all_of(
    files: &dyn Lands,
    entries: &[String],
    may_be_none: bool,
    stopped: &AtomicBool,
) -> Result<FoundPaths, SourceError> {
    if !may_be_none {
        return files.files(entries, stopped);
    }
    let mut all = FoundPaths::default();
    for entry in entries {
        match files.files(std::slice::from_ref(entry), stopped) {
            Ok(found) => {
                all.files.extend(found.files);
                all.left_out.extend(found.left_out);
            }
            Err(error) if error.kind == SourceErrorKind::FileMissing => {}
            Err(error) => return Err(error),
        }
    }
    // Another entry may lead to what this one leaves out.
    let read: HashSet<_> = all.files.iter().cloned().collect();
    all.left_out.retain(|left| !read.contains(&left.path));
    Ok(all)
}

/// When a file was modified; `None` where nobody can tell.
pub(super) fn modified(file: &Found) -> Option<SystemTime> {
    match file {
        Found::Here(path) => path.metadata().ok()?.modified().ok(),
        Found::There(listed) => listed.modified,
    }
}

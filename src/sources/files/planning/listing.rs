//! Owns what tells whether files have changed, without a look into them: their names, sizes and times.

use std::time::{Duration, SystemTime};

use super::found::{AllFound, Found};
use super::plan_files::is_young;
use super::setup::Setup;
use crate::domain::hash::ContentHasher;
use crate::sources::Listing;
use crate::sources::files::places::Listed;

/// How often files of this machine may be looked at.
pub(super) const HERE: Duration = Duration::from_secs(2);
/// How often other places may be asked.
pub(super) const ELSEWHERE: Duration = Duration::from_secs(60);

/// By how much the clocks of machines may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(30);

/// What there is of the files that were found. Those that are too young to be read are not there yet. Blocking.
pub(super) fn of(setup: &Setup, found: &AllFound) -> Listing {
    let mut hasher = ContentHasher::default();
    // Whoever plans may have a clock that is behind.
    let now = SystemTime::now() - CLOCKS_DIFFER;
    for file in &found.files {
        let (name, state) = match file {
            Found::Here(path) => {
                // One that is gone again, or cannot be looked at, is told from one that is there.
                let state = setup.files.state(path).unwrap_or_else(|error| error.text());
                (path.as_os_str().as_encoded_bytes(), state)
            }
            Found::There(Listed { name, size, modified, etag, version }) => {
                (name.as_bytes(), format!("{size:?} {modified:?} {etag:?} {version:?}"))
            }
        };
        if is_young(setup, file, now) {
            continue;
        }
        for part in [name, state.as_bytes()] {
            add(&mut hasher, part);
        }
    }
    // Once there is one, the run that has said so is followed by another.
    for missing in &found.missing {
        add(&mut hasher, missing.message.as_bytes());
    }
    Listing { hash: hasher.take() }
}

fn add(hasher: &mut ContentHasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

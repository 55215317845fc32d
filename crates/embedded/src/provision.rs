//! Finding or downloading Postgres programs: those of the machine, those of an earlier download, a new download.
//!
//! Owns that order and the folder of a download, `postgres-VERSION` in the data folder. It must not
//! know what the programs are for.

use std::fs;
use std::path::{Path, PathBuf};

use super::binaries::{self, Binaries, Demand};
use super::download::{DownloadError, DownloadSource, download};
use super::error::EmbeddedError;
use super::folder::DataFolder;
use super::options::Options;
use super::planted;
use super::rejected::Rejected;

const FOLDER_PREFIX: &str = "postgres-";
const UNFINISHED_SUFFIX: &str = ".new";

/// Usable programs, downloaded if need be. To be called under the folder's lock.
pub(super) async fn programs(
    folder: &DataFolder,
    options: &Options,
) -> Result<Binaries, EmbeddedError> {
    let demand = Demand { account: folder.account(), cluster_major: folder.cluster_major() };
    let earlier = earlier_downloads(folder.root());
    let mut rejected = match binaries::find(options.binaries.as_deref(), earlier, &demand).await {
        Ok(found) => return Ok(found),
        Err(rejected) if options.binaries.is_some() => {
            return Err(EmbeddedError::NoBinaries { rejected });
        }
        Err(rejected) => rejected,
    };
    let Some(source) = &options.download else {
        let reason = "is switched off, or there is no archive for this system".to_owned();
        rejected.push(Rejected { place: "download".to_owned(), reason });
        return Err(EmbeddedError::NoBinaries { rejected });
    };
    match fetch_programs(source, folder, &demand).await {
        Ok(found) => Ok(found),
        Err(rejection) => {
            rejected.push(rejection);
            Err(EmbeddedError::NoBinaries { rejected })
        }
    }
}

/// Several versions may lie there: a cluster keeps the one it was made with.
fn earlier_downloads(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(FOLDER_PREFIX) && !name.ends_with(UNFINISHED_SUFFIX)
        })
        .map(|entry| entry.path().join("bin"))
        .filter(|programs| programs.is_dir())
        .collect();
    found.sort();
    found.reverse();
    found
}

async fn fetch_programs(
    source: &DownloadSource,
    folder: &DataFolder,
    demand: &Demand<'_>,
) -> Result<Binaries, Rejected> {
    let major = source.version.split('.').next().and_then(|major| major.parse().ok());
    if let Some(wanted) = demand.cluster_major
        && major != Some(wanted)
    {
        let offered = &source.version;
        let reason = format!(
            "offers PostgreSQL {offered}; the existing cluster was made by PostgreSQL {wanted}"
        );
        return Err(Rejected { place: "download".to_owned(), reason });
    }
    Ok(install(source, folder, demand).await?)
}

/// Installs beside the final name first. What an attempt leaves, failed or killed, is removed.
async fn install(
    source: &DownloadSource,
    folder: &DataFolder,
    demand: &Demand<'_>,
) -> Result<Binaries, DownloadError> {
    let name = format!("{FOLDER_PREFIX}{}", source.version);
    let ready = folder.root().join(&name);
    let unfinished = folder.root().join(format!("{name}{UNFINISHED_SUFFIX}"));
    for old in [&unfinished, &ready] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(write_error(old))?;
        }
    }
    fs::create_dir(&unfinished).map_err(write_error(&unfinished))?;
    let installed = unpack_and_try(source, folder, demand, &unfinished, &ready).await;
    let removed = fs::remove_dir_all(&unfinished).map_err(write_error(&unfinished));
    installed.and_then(|binaries| removed.map(|()| binaries))
}

/// The programs get their final name only once they have been seen working, so that a folder of
/// that name is always whole.
async fn unpack_and_try(
    source: &DownloadSource,
    folder: &DataFolder,
    demand: &Demand<'_>,
    unfinished: &Path,
    ready: &Path,
) -> Result<Binaries, DownloadError> {
    let unusable = |reason| DownloadError::Unusable { url: source.shown_url(), reason };
    let unpacked = unfinished.join("unpacked");
    download(source, &unpacked, &|line| folder.announce(line)).await?;
    planted::open_up_tree(unfinished, folder.account()).map_err(write_error(unfinished))?;
    binaries::examine(&unpacked.join("bin"), demand).await.map_err(unusable)?;
    fs::rename(&unpacked, ready).map_err(write_error(ready))?;
    // Programs find their library and siblings by their own place, so they are looked at again.
    binaries::examine(&ready.join("bin"), demand).await.map_err(unusable)
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::Write { path, source }
}

//! Making the cluster's folder, all or nothing.
//!
//! Owns initdb. It must not know how the server is started.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::binaries::Binaries;
use super::error::EmbeddedError;
use super::folder::DataFolder;
use super::planted;

const UNFINISHED_PREFIX: &str = "data.new.";

/// Creates the cluster unless there is one. To be called under the folder's lock.
///
/// initdb works in a folder of its own name: one left running by a killed kasparro must not write
/// into ours. `durable` is off for throw-away clusters.
pub(super) async fn ensure(
    folder: &DataFolder,
    binaries: &Binaries,
    durable: bool,
) -> Result<(), EmbeddedError> {
    let cluster = folder.cluster();
    sweep(folder.root());
    if folder.cluster_major().is_some() {
        return Ok(());
    }
    // Only an empty folder can be removed like this.
    if cluster.exists() && fs::remove_dir(&cluster).is_err() {
        return Err(EmbeddedError::NotACluster(cluster));
    }
    let unfinished = folder.root().join(format!("{UNFINISHED_PREFIX}{}", std::process::id()));
    planted::make_private_folder(&unfinished, folder.account())?;
    initdb(folder, binaries, &unfinished, durable).await?;
    fs::rename(&unfinished, &cluster).map_err(EmbeddedError::folder("create", &cluster))?;
    // The rename itself has to outlive a power failure, too.
    fs::File::open(folder.root())
        .and_then(|root| root.sync_all())
        .map_err(EmbeddedError::folder("write", folder.root()))
}

/// Locale C: text sorts by its bytes on every machine, so a cluster can move, and no system update
/// can change an index's order beneath it.
async fn initdb(
    folder: &DataFolder,
    binaries: &Binaries,
    into: &Path,
    durable: bool,
) -> Result<(), EmbeddedError> {
    folder.announce(&format!(
        "making a private PostgreSQL {} in {}, once and for all",
        binaries.version(),
        folder.root().display()
    ));
    let program = binaries.program("initdb");
    let command = folder.account().command(&program, Path::new("/"));
    let cannot_run = |source| EmbeddedError::CannotRun { program: program.clone(), source };
    let mut command = command.map_err(cannot_run)?;
    command
        .arg("-D")
        .arg(into)
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if !durable {
        command.arg("--no-sync");
    }
    let output = command.output().await.map_err(cannot_run)?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(EmbeddedError::Initdb { folder: into.to_owned(), output: said.trim_end().to_owned() })
}

/// Best effort: an initdb that outlived its kasparro may still be writing; what cannot be removed now
/// is removed at the next start.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

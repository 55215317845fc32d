//! Owns copies of the whole database, to which it is put back.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::own_server::OwnServer;
use crate::world::Records;

/// The database at a moment, and the records that it held.
pub struct Snapshot {
    copy: PathBuf,
    expected: Records,
}

impl Snapshot {
    /// Copies the database. Its server is taken down for that, whoever works with it.
    pub async fn take(
        server: &mut OwnServer,
        folder: &Path,
        expected: &Records,
    ) -> anyhow::Result<Self> {
        let copy = folder.join("snapshot");
        server.crash().await;
        replace(&server.folder.join("data"), &copy)?;
        server.bring_up().await;
        Ok(Self { copy, expected: expected.clone() })
    }

    /// Puts the database back to what it was then; answers the records that it holds. Nobody may work
    /// with it meanwhile.
    pub async fn put_back(&self, server: &mut OwnServer) -> anyhow::Result<Records> {
        server.crash().await;
        replace(&self.copy, &server.folder.join("data"))?;
        server.bring_up().await;
        Ok(self.expected.clone())
    }
}

/// Owners and rights stay as they are.
fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to).with_context(|| format!("{}", to.display()))?;
    }
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().context("cp")?;
    ensure!(copied.success(), "cp -a {} {}: {copied}", from.display(), to.display());
    Ok(())
}

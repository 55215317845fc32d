//! Owns which place a file is read from.

use std::path::Path;

use super::local::Local;
use super::{Listed, Place};
use crate::sources::files::location::Setting;
use crate::sources::files::params::FilesParams;
use crate::sources::{Access, AllowedRoots, SourceError};

/// The places where the files of a source may be.
#[derive(Debug)]
pub struct Places {
    local: Local,
}

/// Whether an entry leads to another machine.
pub fn is_remote(entry: &str) -> bool {
    entry.contains("://")
}

impl Places {
    /// Those of a job file in this folder. Reads the secrets that they need.
    ///
    /// # Errors
    /// When a place cannot be used as the job file says.
    pub fn new(
        params: &FilesParams,
        base_dir: &Path,
        allowed_roots: &AllowedRoots,
        setting: Setting,
        access: Access,
    ) -> Result<Self, SourceError> {
        let _ = (params, access);
        let local = Local::new(base_dir.to_owned(), allowed_roots.clone(), setting);
        Ok(Self { local })
    }

    /// A file of this machine as it is listed, by its name. Blocking.
    ///
    /// # Errors
    /// When it is not there, or is no file.
    pub fn look(&self, name: &str) -> Result<Listed, SourceError> {
        self.local.look(name)
    }

    /// The place of an entry of `paths`, or of a file that was listed, by its scheme.
    pub fn of(&self, entry: &str) -> &dyn Place {
        let _ = entry;
        &self.local
    }
}

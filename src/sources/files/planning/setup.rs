//! Owns what a source of files is read by: its format, its job file, and the places where its files are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::job_file::Definition;
use crate::sources::files::landing::Lands;
use crate::sources::files::params::FilesParams;
use crate::sources::files::places::all::Places;
use crate::sources::{Access, AllowedRoots, SourceError};

/// What a source of files is read by.
pub(super) struct Setup {
    /// Its format.
    pub files: Arc<dyn Lands>,
    /// The job file.
    pub definition: Arc<Definition>,
    /// Its table `[files]`.
    pub params: FilesParams,
    /// The files that it may lead to.
    pub allowed_roots: AllowedRoots,
    /// The places that were used last.
    places: Mutex<Option<(Access, Arc<Places>)>>,
}

impl Setup {
    /// Of a job file.
    pub fn new(
        files: Arc<dyn Lands>,
        definition: &Definition,
        params: FilesParams,
        allowed_roots: AllowedRoots,
    ) -> Self {
        let definition = Arc::new(definition.clone());
        Self { files, definition, params, allowed_roots, places: Mutex::new(None) }
    }

    /// The places where the files are.
    ///
    /// # Errors
    /// When one cannot be used as the job file says.
    pub fn places(&self, access: Access) -> Result<Arc<Places>, SourceError> {
        let mut used = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, places)) = used.as_ref().filter(|(of, _)| *of == access) {
            return Ok(Arc::clone(places));
        }
        let (base, location) = (self.definition.base_dir(), self.files.location());
        let places = Places::new(&self.params, location, base, &self.allowed_roots, access)?;
        let places = Arc::new(places);
        *used = Some((access, Arc::clone(&places)));
        Ok(places)
    }
}

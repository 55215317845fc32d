//! Owns the sources that this process has opened, by the hash of their stored definition.
//!
//! Workers open what the run stored, not what lies in the jobs folder now: a run keeps its
//! definition to the end, and a worker needs no jobs folder but to see which runs follow it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::PgPool;

use super::error::TaskError;
use crate::db;
use crate::domain::hash::StoredHash;
use crate::job_file::{Definition, JobsFolder};
use crate::sources::{self, AllowedRoots, Kind, Source, kind_names};

/// A definition and the source it opens.
pub struct SourceInUse {
    /// The job file.
    pub definition: Definition,
    /// The opened source.
    pub source: Arc<dyn Source>,
    /// The folder of all job files, where there is one.
    pub jobs: Option<JobsFolder>,
    /// Whether the engine guards its fields: asked for each slice.
    pub is_guarded: bool,
}

/// Opened sources; cheap to clone.
#[derive(Clone)]
pub struct SourcesInUse {
    kinds: &'static [Kind],
    allowed_roots: AllowedRoots,
    jobs: Option<JobsFolder>,
    opened: Arc<Mutex<HashMap<StoredHash, Arc<SourceInUse>>>>,
}

impl Default for SourcesInUse {
    fn default() -> Self {
        Self::new(AllowedRoots::default())
    }
}

/// More definitions than this in one process means that job files are being edited all day.
const MOST_KEPT: usize = 256;

impl SourcesInUse {
    /// No source yet; those to come may read the files below the allowed roots.
    pub fn new(allowed_roots: AllowedRoots) -> Self {
        Self::of_kinds(sources::KINDS, allowed_roots)
    }

    /// The same with other kinds of sources.
    pub fn of_kinds(kinds: &'static [Kind], allowed_roots: AllowedRoots) -> Self {
        Self { kinds, allowed_roots, jobs: None, opened: Arc::default() }
    }

    /// The same, and the folder that tells which runs follow others. Nothing else is read there.
    #[must_use]
    pub fn with_jobs(self, jobs: Option<JobsFolder>) -> Self {
        Self { jobs, ..self }
    }

    /// The source of a stored definition, opened once per process.
    ///
    /// # Errors
    /// When the definition is not stored, or cannot be used.
    pub async fn get(
        &self,
        pool: &PgPool,
        config_hash: StoredHash,
    ) -> Result<Arc<SourceInUse>, TaskError> {
        if let Some(known) = self.lock().get(&config_hash) {
            return Ok(known.clone());
        }
        let stored = db::definitions::load(pool, config_hash).await?;
        let name = stored.source.parse().map_err(|error| {
            TaskError::Inconsistent(format!("stored definition {config_hash}: {error}"))
        })?;
        let path = Path::new(&stored.path);
        let definition = Definition::parse(name, path, stored.toml, &kind_names(self.kinds))?;
        let source = sources::open_of(self.kinds, &definition, &self.allowed_roots)?;
        let is_guarded = definition.contract.guards() && !source.profile().guards_itself;
        let jobs = self.jobs.clone();
        let opened = Arc::new(SourceInUse { definition, source, jobs, is_guarded });
        let mut cache = self.lock();
        if cache.len() >= MOST_KEPT {
            cache.clear();
        }
        cache.insert(config_hash, opened.clone());
        Ok(opened)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<StoredHash, Arc<SourceInUse>>> {
        // A map of finished values is whole even if a holder of the lock panicked.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

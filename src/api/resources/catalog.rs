//! Owns the jobs folder as requests see it: read anew for each, good and broken files by name.

use std::collections::BTreeMap;
use std::path::Path;

use crate::api::http::problem::{Kind, Problem};
use crate::domain::failure::chain;
use crate::job_file::{Definition, DefinitionError, JobsFolder};
use crate::sources;

/// Every job file, by source name; a broken one with what is wrong with it.
pub(crate) struct Catalog {
    jobs: BTreeMap<String, Result<Definition, String>>,
}

impl Catalog {
    /// Reads the folder.
    ///
    /// # Errors
    /// A problem when the folder cannot be read.
    pub(crate) async fn load(folder: &JobsFolder) -> Result<Self, Problem> {
        let folder = folder.clone();
        let load = move || folder.load(sources::kinds());
        let loaded = tokio::task::spawn_blocking(load).await.map_err(|error| {
            tracing::error!(error = %error, "reading the job files panicked");
            Problem::internal()
        })?;
        let loaded = loaded.map_err(|error| Problem::new(Kind::Internal, chain(&error)))?;
        Ok(Self { jobs: loaded.into_iter().map(by_name).collect() })
    }

    /// Every job file, in the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Result<&Definition, &str>)> {
        self.jobs.iter().map(|(name, job)| (name.as_str(), job.as_ref().map_err(String::as_str)))
    }

    /// Whether there is a job file of that name, good or broken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.jobs.contains_key(name)
    }

    /// The definition of a source.
    ///
    /// # Errors
    /// A problem when there is no such job file, or when it cannot be used.
    pub(crate) fn require(&self, name: &str) -> Result<&Definition, Problem> {
        match self.jobs.get(name) {
            Some(Ok(definition)) => Ok(definition),
            Some(Err(text)) => Err(Problem::new(Kind::InvalidJobFile, text)),
            None => Err(self.unknown(name)),
        }
    }

    /// The problem that there is no such source.
    pub(crate) fn unknown(&self, name: &str) -> Problem {
        Problem::unknown_source(name, self.jobs.keys().cloned().collect())
    }
}

/// Errors of job files contain no secrets, not even one that somebody wrote into them.
fn by_name(job: Result<Definition, DefinitionError>) -> (String, Result<Definition, String>) {
    match job {
        Ok(definition) => {
            let checked = sources::check(&definition).map_err(|error| chain(&error));
            (definition.source.to_string(), checked.map(|()| definition))
        }
        Err(error) => {
            let stem = error.path().and_then(Path::file_stem).unwrap_or_default();
            (stem.to_string_lossy().into_owned(), Err(chain(&error)))
        }
    }
}

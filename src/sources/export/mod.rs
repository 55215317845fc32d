//! Files that an API makes when it is asked for them: a job is created, looked at until it is done, and what it
//! made is downloaded and read as files are.
//!
//! `params` is what the job file says and `inspect` what is wrong with it; `position` where a task stands; `job` asks
//! the API and understands what it says of a job; `incoming` turns what comes over the network into bytes to be read;
//! `exported` is what an export is, `reader` reads one job of it, and `source` is the source that the engine sees.
//!
//! It is above `rest_api`, by which it asks, and `files`, which knows rows: neither knows of it.
//! Must not know: the database, the queue, what stands in a file.

mod aside;
mod exported;
mod inspect;
mod job;
mod open;
mod params;
mod position;
mod reader;
mod source;

use std::sync::Arc;

use self::exported::Export;
use self::params::TABLE;
pub use self::params::{Create, Download, ExportParams, Poll};
use super::files::format::RowFormat;
use super::{AllowedRoots, Kind, Opened, SourceError, SourceErrorKind, files};
use crate::job_file::{Definition, Inspection};

/// The kind of source that reads files of a format, which are there, or which an API makes.
pub(super) const fn kind<F: RowFormat>() -> Kind {
    Kind {
        inspect: inspect::<F>,
        look: look::<F>,
        check: check::<F>,
        open: open::<F>,
        ..files::kind::<F>()
    }
}

/// What a job file says of exports; `None` where it says nothing.
fn params_of(definition: &Definition) -> Result<Option<ExportParams>, SourceError> {
    definition
        .table(TABLE)
        .map_err(|error| SourceError::new(SourceErrorKind::InvalidConfig, error.to_string()))
}

fn inspect<F: RowFormat>(job: &mut Inspection<'_>) {
    match job.has(&[TABLE]) {
        true => inspect::inspect::<F>(job),
        false => (files::kind::<F>().inspect)(job),
    }
}

fn look<F: RowFormat>(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
    job: &mut Inspection<'_>,
) {
    match params_of(definition) {
        Ok(Some(params)) => inspect::look(definition, &params, job),
        Ok(None) => (files::kind::<F>().look)(definition, allowed_roots, job),
        // It was said when the job file was read.
        Err(_) => {}
    }
}

fn check<F: RowFormat>(definition: &Definition) -> Result<(), SourceError> {
    match params_of(definition)? {
        Some(params) => Export::<F>::new(definition, params).map(drop),
        None => (files::kind::<F>().check)(definition),
    }
}

fn open<F: RowFormat>(definition: &Definition, allowed_roots: &AllowedRoots) -> Opened {
    match params_of(definition)? {
        Some(params) => Ok(Arc::new(Export::<F>::new(definition, params)?)),
        None => (files::kind::<F>().open)(definition, allowed_roots),
    }
}

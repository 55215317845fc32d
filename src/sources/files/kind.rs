//! Owns how a format becomes a kind of source.

use std::sync::Arc;

use super::format::RowFormat;
use super::inspect;
use super::source::Files;
use crate::job_file::Definition;
use crate::sources::{AllowedRoots, Kind, Opened, SlicedFiles, SourceError};

/// The kind of source that reads files of a format.
pub const fn kind<F: RowFormat>() -> Kind {
    Kind {
        name: F::NAME,
        recordable: false,
        reads_files: true,
        inspect: inspect::inspect::<F>,
        check: check::<F>,
        look: inspect::look::<F>,
        open: open::<F>,
        schema: || schemars::schema_for!(F::Params),
    }
}

fn check<F: RowFormat>(definition: &Definition) -> Result<(), SourceError> {
    Files::<F>::of(definition, &AllowedRoots::default()).map(drop)
}

fn open<F: RowFormat>(definition: &Definition, allowed_roots: &AllowedRoots) -> Opened {
    let source = Files::<F>::of(definition, allowed_roots)?;
    source.check_named()?;
    Ok(Arc::new(SlicedFiles::new(source, definition, allowed_roots)?))
}

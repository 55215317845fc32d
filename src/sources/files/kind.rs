//! Owns how a format becomes a kind of source.

use super::columns::Wanted;
use super::format::RowFormat;
use super::inspect;
use super::location::PATHS;
use super::params::{self, FilesParams};
use super::source::Files;
use crate::job_file::{Definition, DefinitionError};
use crate::sources::{AllowedRoots, Kind, Source, SourceError, SourceErrorKind};

/// The kind of source that reads files of a format.
pub const fn kind<F: RowFormat>() -> Kind {
    Kind {
        name: F::NAME,
        has_pages: false,
        reads_files: true,
        inspect: inspect::inspect::<F>,
        check: check::<F>,
        look: inspect::look::<F>,
        open: open::<F>,
        schema: || schemars::schema_for!(F::Params),
    }
}

/// The source of a definition. What it may read is not checked yet.
pub(super) fn source_of<F: RowFormat>(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
) -> Result<Files<F>, SourceError> {
    let unusable = |error: DefinitionError| {
        SourceError::new(SourceErrorKind::InvalidConfig, error.to_string())
    };
    let files: FilesParams = definition.table(params::TABLE).map_err(unusable)?;
    let params = definition.table(F::NAME).map_err(unusable)?;
    let location = files.location::<F>(&params).map_err(|unlocated| {
        let message = unlocated.message::<F>();
        SourceError::new(
            SourceErrorKind::InvalidConfig,
            format!("{}.{PATHS}: {message}", params::TABLE),
        )
    })?;
    let format = F::new(params, Wanted::of(definition))?;
    Files::new(format, location, definition.base_dir().to_owned(), allowed_roots.clone())
}

fn check<F: RowFormat>(definition: &Definition) -> Result<(), SourceError> {
    source_of::<F>(definition, &AllowedRoots::default()).map(drop)
}

fn open<F: RowFormat>(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
) -> Result<Source, SourceError> {
    let source = source_of::<F>(definition, allowed_roots)?;
    source.check_named()?;
    Ok(Source::Files(Box::new(source)))
}

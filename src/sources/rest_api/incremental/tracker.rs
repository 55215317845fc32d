//! Owns `incremental` of a job file, compiled, and how requests say what is asked for.

use super::identities::Identities;
use crate::sources::rest_api::bound::Side;
use crate::sources::rest_api::incremental_params::{Incremental, Sorted};
use crate::sources::rest_api::mark::Clockwork;
use crate::sources::rest_api::params::RestApiParams;
use crate::sources::rest_api::position::Window;
use crate::sources::rest_api::template::{END, START, Supplied};
use crate::sources::rows::path::Path;
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::field::Locator;

/// `incremental` of a job file, compiled.
#[derive(Debug)]
pub(in crate::sources::rest_api) struct Tracker {
    pub(super) params: Incremental,
    pub(super) clockwork: Clockwork,
    pub(super) cursor: Option<Path>,
    /// Whether the request says up to where to read.
    pub(super) ends: bool,
    /// What tells records from others, where it is known.
    pub(super) identities: Option<Identities>,
}

impl Tracker {
    /// Compiles it; `None` where the job file has no `incremental`.
    ///
    /// # Errors
    /// When it has something that `check` refuses.
    pub fn new(params: &RestApiParams) -> Result<Option<Self>, SourceError> {
        let invalid = |key: &str, why: &str| {
            let message = format!("`rest_api.incremental.{key}` {why}");
            SourceError::new(SourceErrorKind::InvalidConfig, message)
        };
        let Some(incremental) = params.incremental.clone() else { return Ok(None) };
        let clockwork = incremental.clockwork().map_err(|(key, why)| invalid(key, &why))?;
        let cursor = incremental.cursor_path.as_deref().map(Path::parse).transpose();
        let cursor = cursor.map_err(|why| invalid("cursor_path", &why))?;
        let ends = incremental.end_param.is_some() || params.names_any(END);
        Ok(Some(Self { params: incremental, clockwork, cursor, ends, identities: None }))
    }

    /// The same, of records that have this key.
    ///
    /// # Errors
    /// When a part of it is no JSONPath.
    pub fn identified_by(
        &mut self,
        params: &RestApiParams,
        key: &[Locator],
    ) -> Result<(), SourceError> {
        self.identities = Identities::new(params, key)?;
        Ok(())
    }

    /// Whether the job file says that the lowest records come first.
    pub fn is_sorted(&self) -> bool {
        self.params.sorted == Some(Sorted::Asc)
    }

    /// The value of a name.
    pub fn supply(&self, window: &Window, name: &str) -> Option<Supplied> {
        match name {
            START => {
                let start = window.from.as_deref().or(window.start.as_deref());
                let start = self.clockwork.of_stored(start?)?;
                let side = if self.params.inclusive { Side::Start } else { Side::Behind };
                Some(self.clockwork.supplied(&start, side))
            }
            END => {
                let end = self.clockwork.of_stored(window.end.as_deref()?)?;
                Some(self.clockwork.supplied(&end, Side::End))
            }
            _ => None,
        }
    }

    /// The query parameters that take the bounds, with the names of their values.
    pub fn bounds(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let Incremental { start_param, end_param, .. } = &self.params;
        [(start_param, START), (end_param, END)]
            .into_iter()
            .filter_map(|(param, name)| Some((param.as_deref()?, name)))
    }
}

//! The source kind `rest_api`: JSON over HTTP, page by page.
//!
//! `params` is what the job file says, and `inspect` what is wrong with it; `request` the parts of a
//! request, `asking` how they come out of the job file, `body` what they carry (`exact_path`: where in
//! it, `graphql_query`: which variables a query has), `template` the names in the job file's texts, `position` where a page is; `auth` how a request is authenticated, `http` how it is
//! sent; `recording` pages without a network.
//! `incremental` says what of it is new, and how far the watermark moves (`mark`: what cursors are, `bound`: how
//! requests can say them).
//! `page_reader` makes a page of a response, `along` leads on from it within the bounds of the run: `data_selector` says which values of it are records
//! (`explode`: which within those),
//! `for_each` for which parents it is asked, `children` how their chains follow each other,
//! `paginator` where the next page is, `more_pages` whether there is one that no request fetches (`signs`: by which keys),
//! `conditional` asks only for what has changed (`credentials`: since whoever asks now asked), `doctor` says what there is to see of a page, `complaint` what the answer says is wrong with it, `responses` what the job file says that it means, `answers`
//! what it means in the end. `source` knows them all; `jobs` asks by single requests that are no pages, `file_request` for files that the job file names.
//!
//! Must not know: the database, the queue, runs, and how values become columns.

mod along;
mod answers;
mod around;
mod asking;
mod auth;
mod body;
mod body_params;
mod body_path;
mod bound;
mod children;
mod complaint;
mod conditional;
mod credentials;
mod data_selector;
mod deleted;
mod doctor;
mod error_words;
mod exact_path;
mod explode;
pub(in crate::sources) mod file_request;
mod for_each;
mod full_page;
mod graphql_query;
mod http;
mod incremental;
mod incremental_params;
pub(in crate::sources) mod inspect;
pub(in crate::sources) mod jobs;
mod mark;
mod more_pages;
mod odd_text;
mod page;
mod page_reader;
mod paginator;
mod param_value;
pub(in crate::sources) mod params;
mod position;
mod record_keys;
mod recording;
mod redacted_keys;
mod request;
mod responses;
mod side_by_side;
mod signs;
mod source;
mod state;
pub(in crate::sources) mod template;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::auth::{Auth, AuthList};
pub use self::body_params::{GraphQlParams, Method};
pub use self::for_each::{ForEach, Only};
pub use self::http::redirects::AllowedHost;
pub use self::http::response::Response;
pub use self::http::said::{Refused, Said};
pub use self::http::tls::Tls;
pub use self::incremental_params::{Bound, Incremental, Sorted};
pub use self::mark::{Lookback, MarkKind};
pub use self::page::Page;
pub use self::paginator::Paginator;
pub use self::param_value::{ParamValue, Scalar};
pub use self::params::{Empty, RateLimitParams, RestApiParams, Retry};
pub use self::responses::{ResponseAction, ResponseRule};
pub use self::source::RestApiSource;
use super::{AllowedRoots, Kind, Opened, SourceError, SourceErrorKind};
use crate::domain::hash::ContentHash;
use crate::job_file::Definition;

/// The kind, for [`super::KINDS`].
pub(super) const KIND: Kind = Kind {
    name: "rest_api",
    recordable: true,
    reads_files: false,
    inspect: inspect::inspect,
    check,
    look: inspect::look,
    open,
    schema: || schemars::schema_for!(RestApiParams),
};

fn source_of(definition: &Definition) -> Result<RestApiSource, SourceError> {
    let params = definition
        .params()
        .map_err(|error| SourceError::new(SourceErrorKind::InvalidConfig, error.to_string()))?;
    let source =
        RestApiSource::new(params, definition.base_dir().to_owned(), definition.locators())?;
    source.mapped_by(mapping_of(&definition.text, &[])).keyed_by(&definition.external_id.parts)
}

/// Fingerprint of how rows become records: of all of the job file that says neither what is asked for nor when
/// nor what of it is kept.
pub(in crate::sources) fn mapping_of(job_file: &str, others: &[&str]) -> Option<ContentHash> {
    const OTHER: &[&str] = &[
        "kind",
        "rest_api",
        "description",
        "schedule",
        "time_zone",
        "retention",
        "checks",
        "after",
    ];
    let mut table: toml::Table = toml::from_str(job_file).ok()?;
    OTHER.iter().chain(others).for_each(|key| drop(table.remove(*key)));
    let text = serde_json::to_string(&table).ok()?;
    Some(ContentHash::of(text.as_bytes()))
}

fn check(definition: &Definition) -> Result<(), SourceError> {
    source_of(definition).map(drop)
}

fn open(definition: &Definition, allowed_roots: &AllowedRoots) -> Opened {
    let source = source_of(definition)?;
    source.check_roots(allowed_roots)?;
    Ok(Arc::new(source))
}

//! Owns the job files as runs used them.

use std::str::FromStr;

use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::definitions;
use crate::domain::hash::StoredHash;

/// A job file as runs used it.
#[derive(Debug, Object)]
struct JobFile {
    /// What runs name it by.
    config_hash: String,
    /// Name of the source.
    source: String,
    /// Where the file was.
    path: String,
    /// The file. It names secrets, and holds none.
    toml: String,
}

/// `GET /definitions/{hash}`
struct GetDefinition;
impl Declares for GetDefinition {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownDefinition];
}

/// The operation on job files of runs.
pub(crate) struct DefinitionsApi;

#[OpenApi(tag = "Tag::Sources")]
impl DefinitionsApi {
    /// Show the job file of a run
    #[oai(path = "/definitions/:hash", method = "get", operation_id = "get_definition")]
    async fn get(
        &self,
        state: Data<&ApiState>,
        /// The run's `config_hash`.
        hash: Path<String>,
    ) -> Result<Json<JobFile>, Refusal<GetDefinition>> {
        let unknown = || {
            let detail = format!("no run had a job file {:?}", *hash);
            Problem::new(Kind::UnknownDefinition, detail)
        };
        let known = StoredHash::from_str(&hash).map_err(|_| unknown())?;
        let mut connection = state.connection().await?;
        let stored = match definitions::load(&mut *connection, known).await {
            Err(sqlx::Error::RowNotFound) => return Err(unknown().into()),
            stored => stored?,
        };
        let (source, path, toml) = (stored.source, stored.path, stored.toml);
        Ok(Json(JobFile { config_hash: hash.0, source, path, toml }))
    }
}

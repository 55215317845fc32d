//! Owns `source_definitions`: the job files as runs used them.

use sqlx::PgExecutor;

use crate::domain::hash::{ContentHash, StoredHash};

/// A stored job file.
#[derive(Debug, Clone)]
pub struct StoredDefinition {
    /// Name of the source.
    pub source: String,
    /// Where the file was; relative paths in it start from its folder.
    pub path: String,
    /// The file.
    pub toml: String,
}

/// Keeps a job file; one that is known already stays as it is.
///
/// # Errors
/// Database errors.
pub async fn store(
    executor: impl PgExecutor<'_>,
    hash: ContentHash,
    definition: &StoredDefinition,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into source_definitions (hash, source, path, toml) values ($1, $2, $3, $4)
         on conflict (hash) do nothing",
        hash.as_bytes(),
        definition.source,
        definition.path,
        definition.toml,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// The job file with that hash.
///
/// # Errors
/// Database errors; `RowNotFound` when there is none.
pub async fn load(
    executor: impl PgExecutor<'_>,
    hash: StoredHash,
) -> Result<StoredDefinition, sqlx::Error> {
    sqlx::query_as!(
        StoredDefinition,
        "select source, path, toml from source_definitions where hash = $1",
        hash.as_bytes(),
    )
    .fetch_one(executor)
    .await
}

//! Owns which rights the database's user needs, and the statements that give those it lacks. Asked
//! before anything is begun, so that no migration fails in the middle and no task later on.
//!
//! Must not know what the tables are for.

use sqlx::PgPool;

use super::{MIGRATIONS, OpenError};

/// What lacks, as statements that somebody else can paste.
#[derive(Debug, PartialEq, Eq)]
pub struct Lacking(Vec<String>);

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|statement| write!(f, "\n  {statement}"))
    }
}

/// Whether the user may create and alter kasparro's tables and those in the schema `queue`.
///
/// # Errors
/// [`OpenError::Rights`] with what lacks.
pub async fn check_migrate(pool: &PgPool, queue: &str) -> Result<(), OpenError> {
    check(pool, queue, include_str!("rights_to_migrate.sql")).await
}

/// Whether the user may read and write them.
///
/// # Errors
/// [`OpenError::Rights`] with what lacks.
pub async fn check_use(pool: &PgPool, queue: &str) -> Result<(), OpenError> {
    check(pool, queue, include_str!("rights_to_use.sql")).await
}

async fn check(pool: &PgPool, queue: &str, sql: &'static str) -> Result<(), OpenError> {
    let lacking: Vec<String> = sqlx::query_scalar(sql)
        .bind(queue)
        .bind(own_names())
        .fetch_all(pool)
        .await
        .map_err(OpenError::Database)?;
    if lacking.is_empty() {
        return Ok(());
    }
    let user = pool.connect_options().get_username().to_owned();
    Err(OpenError::Rights { user, lacking: Lacking(lacking) })
}

/// The names of our tables, views and functions, from the migrations that make them.
fn own_names() -> Vec<String> {
    let lines = MIGRATIONS.iter().flat_map(|migration| migration.sql.as_str().lines());
    let mut names: Vec<String> = lines.filter_map(created).map(str::to_owned).collect();
    // sqlx's, in which it notes what was done.
    names.push("_sqlx_migrations".to_owned());
    names.sort();
    names.dedup();
    names
}

/// `create or replace view runs_now as` → `runs_now`.
fn created(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("create ")?;
    let rest = rest.strip_prefix("or replace ").unwrap_or(rest);
    let name = ["table ", "view ", "function "].iter().find_map(|kind| rest.strip_prefix(kind))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_tables_are_known_from_the_migrations() {
        let names = own_names();
        for name in ["etl_runs", "unified_records", "run_tasks", "raw_csv_row", "runs_now"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
    }
}

//! Owns which rights the database's user needs, and the statements that give those it lacks. Asked
//! before anything is begun, so that no migration fails in the middle and no task later on.
//!
//! Must not know what the tables are for.

use sqlx::PgPool;

use super::connect::quoted;
use super::migrate::MIGRATIONS;
use super::open_error::{Lacking, OpenError};
use super::target::Target;

/// Whether the user may create and alter kasparro's tables and those in the schema `queue`.
///
/// # Errors
/// [`OpenError::Rights`] with what is missing, [`OpenError::ReadOnly`] when nobody may write.
pub async fn check_migrate(pool: &PgPool, queue: &str) -> Result<(), OpenError> {
    check_writable(pool).await?;
    check(pool, queue, include_str!("rights_to_migrate.sql")).await
}

/// Whether the user may read and write them.
///
/// # Errors
/// [`OpenError::Rights`] with what lacks.
pub async fn check_use(pool: &PgPool, queue: &str) -> Result<(), OpenError> {
    check(pool, queue, include_str!("rights_to_use.sql")).await
}

/// Fails when transactions are read-only, with where that is set.
async fn check_writable(pool: &PgPool) -> Result<(), OpenError> {
    let asking = sqlx::query_as(
        "select pg_is_in_recovery(), source from pg_settings
         where name = 'default_transaction_read_only'
            and current_setting('transaction_read_only') = 'on'",
    );
    let found: Option<(bool, String)> =
        asking.fetch_optional(pool).await.map_err(OpenError::Database)?;
    let Some((is_standby, set_by)) = found else { return Ok(()) };
    let target = Target::of(&pool.connect_options());
    let advice = if is_standby {
        "it is a standby, which follows another server; let DATABASE_URL lead to that one"
            .to_owned()
    } else {
        let (database, user) = (quoted(&target.database), quoted(&target.user));
        let ends = match &*set_by {
            "database" => format!("alter database {database} reset default_transaction_read_only;"),
            "user" => format!("alter role {user} reset default_transaction_read_only;"),
            "database user" => format!(
                "alter role {user} in database {database} reset default_transaction_read_only;"
            ),
            _ => "alter system set default_transaction_read_only = off; select pg_reload_conf();"
                .to_owned(),
        };
        let why = "default_transaction_read_only is on";
        if set_by == "client" {
            format!("{why}; take it out of DATABASE_URL and PGOPTIONS")
        } else {
            format!(
                "{why}, set by a person, or by a hoster whose disk is full. When that is fixed, run in \
                 `kasparro exec psql`, line by line:\n  set default_transaction_read_only = off;\n  {ends}"
            )
        }
    };
    Err(OpenError::ReadOnly { target: target.into(), advice })
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

/// `create or replace view runs_live as` → `runs_live`.
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
        for name in ["etl_runs", "unified_records", "run_tasks", "raw_csv_row", "runs_live"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
    }
}

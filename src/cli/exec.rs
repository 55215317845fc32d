//! Owns `exec`: another program with kasparro's database in its environment.

use std::process::ExitCode;

use anyhow::Context;

use super::database::{Database, Schema};
use crate::config::Settings;

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro exec psql                       a prompt on kasparro's database, private or not
  kasparro exec -- psql -c 'select source, count(*) from unified_records group by 1'
  kasparro exec -- pg_dump -Fc -f backup.dump";

#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

pub(super) async fn exec(settings: &Settings, args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 1, Schema::Migrate).await?;
    let (program, arguments) = args.command.split_first().context("no command was given")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("DATABASE_URL", database.url());
    for (name, value) in libpq_environment(&database.pool.connect_options()) {
        command.env(name, value);
    }
    let status = command.status().await.with_context(|| format!("{program} cannot be started"));
    database.close().await?;
    let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// What psql, pg_dump and other programs of PostgreSQL read.
fn libpq_environment(options: &sqlx::postgres::PgConnectOptions) -> Vec<(&'static str, String)> {
    let host = match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => options.get_host().to_owned(),
    };
    vec![
        ("PGHOST", host),
        ("PGPORT", options.get_port().to_string()),
        ("PGUSER", options.get_username().to_owned()),
        ("PGDATABASE", options.get_database().unwrap_or("postgres").to_owned()),
    ]
}

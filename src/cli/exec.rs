//! Owns `exec`: another program with kasparro's database in its environment.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use sqlx::postgres::PgConnectOptions;

use super::database::Database;
use super::signals::Signals;
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
    let database = Database::open_for_others(settings).await?;
    let (program, arguments) = args.command.split_first().context("no command was given")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("DATABASE_URL", database.url());
    let options = database.pool.connect_options();
    for (name, value) in libpq_environment(&options, database.url()) {
        command.env(name, value);
    }
    // Signals are for the program: psql ends a query with Ctrl-C. We stay, to close the database.
    let mut signals = Signals::catch()?;
    let status = match command.spawn().with_context(|| format!("{program} cannot be started")) {
        Ok(mut child) => loop {
            tokio::select! {
                status = child.wait() => break status.context("the program cannot be waited for"),
                signal = signals.next() => pass_on(signal, &child),
            }
        },
        Err(error) => Err(error),
    };
    database.close().await?;
    Ok(exit_code(status?))
}

/// Gives a signal to the program. Ctrl-C on a terminal has reached it already: the terminal gives it
/// to everybody in the foreground.
fn pass_on(signal: Signal, child: &tokio::process::Child) {
    let foreground = std::fs::File::open("/dev/tty").ok().and_then(|tty| tcgetpgrp(tty).ok());
    if signal == Signal::SIGINT && foreground == Some(getpgrp()) {
        return;
    }
    // A program that has just ended is waited for next.
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(id), signal);
    }
}

/// The program's own code; for one that a signal ended, what shells say.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// What psql, pg_dump and other programs of PostgreSQL read.
fn libpq_environment(options: &PgConnectOptions, url: &str) -> Vec<(&'static str, String)> {
    let host = match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let mut variables = vec![
        ("PGHOST", host),
        ("PGPORT", options.get_port().to_string()),
        ("PGUSER", options.get_username().to_owned()),
        ("PGDATABASE", options.get_database().unwrap_or("postgres").to_owned()),
    ];
    // sqlx does not give these back.
    if let Ok(url) = reqwest::Url::parse(url) {
        let query = |name: &str| {
            url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let password = url.password().map(|password| {
            percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned()
        });
        variables.extend(password.or_else(|| query("password")).map(|value| ("PGPASSWORD", value)));
        variables.extend(query("sslmode").map(|value| ("PGSSLMODE", value)));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_postgresql_get_everything_that_the_url_says() {
        let url = "postgresql://me:p%40ss@db.example:6000/things?sslmode=require";
        let variables = libpq_environment(&url.parse().unwrap(), url);
        let expected = [
            ("PGHOST", "db.example"),
            ("PGPORT", "6000"),
            ("PGUSER", "me"),
            ("PGDATABASE", "things"),
            ("PGPASSWORD", "p@ss"),
            ("PGSSLMODE", "require"),
        ];
        assert_eq!(variables, expected.map(|(name, value)| (name, value.to_owned())));
    }
}

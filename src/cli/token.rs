//! Owns `token`: who may ask the HTTP API for what.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use humantime_serde::re::humantime;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::{Value, json};

use super::args::{self, OutputArgs};
use super::database::{Database, Schema};
use super::table::{Cell, Table, Tone};
use super::{out, times};
use crate::config::Settings;
use crate::db::api_tokens::{self, ApiToken};
use crate::domain::token::{Scope, Token, TokenId};

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro token create --scope run --name airflow --expires 90d
  kasparro token list
  kasparro token revoke 3f9a1c2b

As soon as there is a token, every request but those on health needs one.";

/// Longer is meant to be forever: leave it out.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, this once
    Create(CreateArgs),
    /// List the tokens, without their secrets
    List(OutputArgs),
    /// Refuse a token from now on
    Revoke {
        /// Its id: the first part of the token after `kas_`
        id: TokenId,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// What it allows: `read` looks, `run` also starts and cancels runs, `admin` does everything
    #[arg(long, value_parser = args::word::<Scope>(Scope::ALL.iter().map(|word| word.as_str())))]
    scope: Scope,

    /// Who has it, for the list
    #[arg(long, value_parser = name)]
    name: Option<String>,

    /// How long it is good for, such as 12h or 90d [default: until it is revoked]
    #[arg(long, value_parser = lifetime, value_name = "TIME")]
    expires: Option<Duration>,
}

fn name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=100 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("a name has 1 to 100 characters, none of them control characters".to_owned()),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|_| "expected a time with its unit, such as 12h or 90d".to_owned())?;
    match time {
        Duration::ZERO => Err("it would be over at once".to_owned()),
        time if time > LONGEST => Err("10y is the longest; leave it out for ever".to_owned()),
        time => Ok(time),
    }
}

pub(super) async fn token(settings: &Settings, command: &TokenCommand) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match command {
        TokenCommand::Create(args) => create(&database, args).await,
        TokenCommand::List(args) => list(&database, args).await,
        TokenCommand::Revoke { id } => revoke(&database, id).await,
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn create(database: &Database, args: &CreateArgs) -> anyhow::Result<()> {
    // Ids are short, so one may be taken.
    for _ in 0..10 {
        let mut random = [0; Token::RANDOM_BYTES];
        OsRng.try_fill_bytes(&mut random).context("the system gives no random numbers")?;
        let token = Token::from_random(&random);
        let (id, hash, name) = (token.id(), token.hash(), args.name.as_deref());
        let pool = &database.pool;
        if api_tokens::insert(pool, id, &hash, args.scope, name, args.expires).await? {
            out::verbatim(token.reveal());
            out::remark(format!("token {id} made; keep it now: it is not shown again"));
            return Ok(());
        }
    }
    bail!("no free id for a token was found")
}

async fn list(database: &Database, args: &OutputArgs) -> anyhow::Result<()> {
    let tokens = api_tokens::list(&database.pool).await?;
    if args.json {
        let items: Vec<Value> = tokens.iter().map(token_json).collect();
        return out::json(&args::list(items, None, "tokens"));
    }
    out::table(&table(&tokens));
    Ok(())
}

async fn revoke(database: &Database, id: &TokenId) -> anyhow::Result<()> {
    if !api_tokens::revoke(&database.pool, id).await? {
        bail!("there is no token {id}; `kasparro token list` shows those there are");
    }
    out::line(format!("token {id} is revoked"));
    if api_tokens::held(&database.pool).await?.is_empty() {
        out::remark(
            "warning: it was the last one. An API on loopback, or with --allow-anonymous, answers \
             everybody now; any other answers nobody",
        );
    }
    Ok(())
}

fn state(token: &ApiToken) -> &'static str {
    match (token.revoked_at, token.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= Utc::now() => "expired",
        _ => "good",
    }
}

fn table(tokens: &[ApiToken]) -> Table {
    let minute = |at: Option<DateTime<Utc>>| Cell::from(at.map(times::minute).unwrap_or_default());
    let mut table = Table::new("no tokens: the API answers this machine without one")
        .word("id")
        .name("name")
        .word("scope")
        .word("state")
        .word("expires (UTC)")
        .word("last used (UTC)")
        .word("created (UTC)");
    for token in tokens {
        let state = state(token);
        let tone = if state == "good" { Tone::Plain } else { Tone::Warning };
        table.row([
            Cell::from(&token.id),
            Cell::from(token.name.as_deref().unwrap_or_default()),
            Cell::from(&token.scope),
            Cell::new(state, tone),
            minute(token.expires_at),
            minute(token.last_used_at),
            minute(Some(token.created_at)),
        ]);
    }
    table
}

fn token_json(token: &ApiToken) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "state": state(token),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "last_used_at": token.last_used_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_time_that_is_neither_over_at_once_nor_without_end() {
        assert_eq!(lifetime("90d"), Ok(Duration::from_secs(90 * 24 * 60 * 60)));
        for bad in ["0s", "90", "soon", "200y"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}

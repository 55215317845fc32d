//! Owns `auth`: the tokens with which sources log in at their APIs, and how one is stored by hand.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::args::{self, OutputArgs};
use super::database::{Database, Schema};
use super::processes::allowed_roots;
use super::table::{Cell, Table};
use super::{out, times};
use crate::config::Settings;
use crate::db::oauth_tokens::{self, ListedToken};
use crate::job_file::JobsFolder;
use crate::sources::token_store::TokenKey;
use crate::sources::{self, kinds};
use crate::tasks::tokens::{self, Sealing};

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro auth set ads_report < refresh_token.txt
  kasparro auth set ads_report          asks for the token, and shows nothing of it
  kasparro auth status";

#[derive(Debug, clap::Subcommand)]
pub(super) enum AuthCommand {
    /// Store a refresh token, sealed with KASPARRO_SECRET_KEY; it is read from standard input
    Set {
        /// The source that logs in with it
        source: String,
    },
    /// List the tokens that are stored for sources, without their secrets
    Status(OutputArgs),
}

/// The most of a token that is read.
const MOST: u64 = 64 * 1024;

pub(super) async fn auth(
    settings: &Settings,
    jobs: &JobsFolder,
    command: &AuthCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        AuthCommand::Set { source } => set(settings, jobs, source).await,
        AuthCommand::Status(args) => status(settings, jobs, args).await,
    }
}

/// The tokens of a source that are kept between runs, with their keys in its job file.
fn kept_tokens(
    settings: &Settings,
    jobs: &JobsFolder,
    source: &str,
) -> anyhow::Result<Vec<(String, TokenKey)>> {
    let definition = jobs.get(source, kinds())?;
    Ok(sources::open(&definition, &allowed_roots(settings)?)?.profile().kept_tokens)
}

async fn set(settings: &Settings, jobs: &JobsFolder, source: &str) -> anyhow::Result<ExitCode> {
    let kept = kept_tokens(settings, jobs, source)?;
    let (at, key) = match &kept[..] {
        [(at, key)] => (at, key),
        [] => bail!(
            "{source} keeps no token, so there is none to set: only one with type = \"oauth2\" and grant = \
             \"refresh_token\" that is replaced each time (`rotating`) is kept. Put a new secret where `auth` of \
             the job file reads it"
        ),
        several => {
            let places: Vec<_> = several.iter().map(|(at, _)| format!("`{at}`")).collect();
            bail!(
                "{source} keeps {} tokens, at {}, and nobody can tell which one is meant: put the new one where \
                 `refresh_token` of its table reads it, which takes the stored one's place",
                several.len(),
                places.join(" and ")
            )
        }
    };
    let Some(secret_key) = &settings.secret_key else { bail!(no_key(at)) };
    let token = read_token(at)?;
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let sealing = Sealing::new(secret_key.expose());
    let stored = tokens::set_by_hand(&database.pool, &sealing, key, source, token.into()).await;
    database.close().await?;
    stored?;
    out::line(format!("the refresh token of {source} is stored"));
    Ok(ExitCode::SUCCESS)
}

/// What is wrong without a key to seal with.
pub(super) fn no_key(at: &str) -> String {
    format!(
        "`{at}` has refresh tokens that the login server takes once only: the next one is stored, sealed \
         with KASPARRO_SECRET_KEY, which is not set: set it, or KASPARRO_SECRET_KEY_FILE, for every process \
         of kasparro (`openssl rand -base64 32` makes a key); if the server never replaces the token, write \
         rotating = false"
    )
}

/// The token from standard input. A terminal shows nothing of it.
fn read_token(at: &str) -> anyhow::Result<String> {
    let input = std::io::stdin();
    let text = if input.is_terminal() {
        out::remark(format!("the refresh token for `{at}`, which is not shown:"));
        let term = console::Term::stderr();
        term.read_secure_line().context("the terminal cannot be read")?
    } else {
        let mut text = String::new();
        input
            .lock()
            .take(MOST)
            .read_to_string(&mut text)
            .context("standard input cannot be read")?;
        text
    };
    match text.trim() {
        "" => bail!("there is no token on standard input"),
        text if text.contains(char::is_whitespace) => {
            bail!("what came is no token: there is white space within it")
        }
        text => Ok(text.to_owned()),
    }
}

/// A token of a source, and what is stored of it.
struct Listed {
    source: String,
    at: String,
    stored: Option<ListedToken>,
}

async fn status(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &OutputArgs,
) -> anyhow::Result<ExitCode> {
    let allowed_roots = allowed_roots(settings)?;
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let mut listed = Vec::new();
    // What is wrong with other job files, `check` says.
    for definition in jobs.load(kinds())?.into_iter().flatten() {
        let Ok(opened) = sources::open(&definition, &allowed_roots) else { continue };
        for (at, key) in opened.profile().kept_tokens {
            let stored = oauth_tokens::get(&database.pool, key.as_bytes()).await?;
            listed.push(Listed { source: definition.source.to_string(), at, stored });
        }
    }
    database.close().await?;
    if args.json {
        let items: Vec<Value> = listed.iter().map(listed_json).collect();
        out::json(&args::list(items, None, "tokens"))?;
    } else {
        out::table(&table(&listed));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(listed: &[Listed]) -> Table {
    let mut table = Table::new("no source has a token that is stored")
        .name("source")
        .word("key")
        .word("stored (UTC)")
        .word("good until (UTC)")
        .word("number");
    for Listed { source, at, stored } in listed {
        let minute = |time: Option<_>| time.map(times::minute).unwrap_or_default();
        let (had, until) = match stored {
            Some(token) => (minute(token.renewed_at), minute(token.expires_at)),
            None => ("not yet".to_owned(), String::new()),
        };
        let number = stored.as_ref().map(|token| token.generation.to_string());
        table.row([
            Cell::from(source),
            Cell::from(at),
            Cell::from(had),
            Cell::from(until),
            Cell::from(number.unwrap_or_default()),
        ]);
    }
    table
}

fn listed_json(listed: &Listed) -> Value {
    let Listed { source, at, stored } = listed;
    json!({
        "source": source,
        "key": at,
        "stored": stored.is_some(),
        "number": stored.as_ref().map(|token| token.generation),
        "renewed_at": stored.as_ref().and_then(|token| token.renewed_at),
        "expires_at": stored.as_ref().and_then(|token| token.expires_at),
    })
}

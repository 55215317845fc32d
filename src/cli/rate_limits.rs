//! Owns `rate-limits`: how often APIs may be asked, what they said, and changing a limit while runs are under way.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use humantime_serde::re::humantime::{format_duration, parse_duration};
use poem_openapi::types::ToJSON;
use serde_json::Value;

use super::args::{self, OutputArgs};
use super::database::{Database, Schema};
use super::table::{Cell, Table, Tone};
use super::{actor, out, times};
use crate::api::resources::rate_limits::RateLimit;
use crate::config::Settings;
use crate::db::rate_limits::{self, Bucket, Change, Limit};

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro rate-limits
  kasparro rate-limits set github --requests 10 --per 1m --for 2h
  kasparro rate-limits reset github
  kasparro rate-limits unblock source:shop

A change holds for all workers, from their next request on. Job files stay as they are.";

/// As many as job files have keys.
const MOST: i64 = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct RateLimitsArgs {
    #[command(subcommand)]
    command: Option<RateLimitsCommand>,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Subcommand)]
enum RateLimitsCommand {
    /// Put another limit in force
    Set {
        /// Its key: `rate_limit.key` of the job files, or source:NAME
        key: String,
        /// Requests per period
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2_147_483_647))]
        requests: u32,
        /// The period, such as 60s
        #[arg(long, value_parser = time, value_name = "TIME")]
        per: Duration,
        /// For how long, such as 2h [default: until it is taken back]
        #[arg(long = "for", value_parser = time, value_name = "TIME")]
        lasting: Option<Duration>,
    },
    /// Let the job file decide again
    Reset {
        /// Its key
        key: String,
    },
    /// Let requests go out again although the API asked to wait
    Unblock {
        /// Its key
        key: String,
    },
}

fn time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time >= Duration::from_millis(1) && time <= Duration::from_secs(31_536_000) => {
            Ok(time)
        }
        Ok(_) => Err("expected a time from 1ms to 365days".to_owned()),
        Err(_) => Err("expected a time with its unit, such as 60s or 2h".to_owned()),
    }
}

pub(super) async fn rate_limits(
    settings: &Settings,
    args: &RateLimitsArgs,
) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match &args.command {
        None => list(&database, &args.output).await,
        Some(command) => change(&database, command).await,
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(database: &Database, output: &OutputArgs) -> anyhow::Result<()> {
    let buckets = rate_limits::list(&database.pool, None, None, MOST).await?;
    if output.json {
        let view = |bucket: Bucket| RateLimit::from(bucket).to_json().unwrap_or_default();
        let items: Vec<Value> = buckets.into_iter().map(view).collect();
        return out::json(&args::list(items, None, "rate_limits"));
    }
    out::table(&table(&buckets));
    Ok(())
}

async fn change(database: &Database, command: &RateLimitsCommand) -> anyhow::Result<()> {
    let (key, change, done) = match command {
        RateLimitsCommand::Set { key, requests, per, lasting } => {
            let until = lasting.map(|time| {
                Ok::<DateTime<Utc>, anyhow::Error>(Utc::now() + TimeDelta::from_std(time)?)
            });
            let limit = Limit { requests: *requests, per: *per };
            let overridden = Some(Some((limit, until.transpose()?)));
            let done = format!("is {} now", words(limit));
            (key, Change { overridden, unblock: false }, done)
        }
        RateLimitsCommand::Reset { key } => {
            let change = Change { overridden: Some(None), unblock: false };
            (key, change, "is what the job file says again".to_owned())
        }
        RateLimitsCommand::Unblock { key } => {
            let change = Change { overridden: None, unblock: true };
            (key, change, "lets requests go out again".to_owned())
        }
    };
    if !rate_limits::change(&database.pool, key, &change, &actor::actor()).await? {
        bail!("no request has drawn from a rate limit {key:?}; `kasparro rate-limits` lists them");
    }
    out::line(format!("the rate limit {key:?} {done}"));
    Ok(())
}

fn words(limit: Limit) -> String {
    let requests = if limit.requests == 1 { "request" } else { "requests" };
    format!("{} {requests} per {}", limit.requests, format_duration(limit.per))
}

fn table(buckets: &[Bucket]) -> Table {
    let at = |at: Option<DateTime<Utc>>| at.map(times::second).unwrap_or_default();
    let mut table = Table::new("no rate limits: no request has drawn from one yet")
        .name("key")
        .word("limit")
        .count("left")
        .count("left by the API")
        .word("reset (UTC)")
        .word("blocked until (UTC)")
        .text("changed");
    for bucket in buckets {
        let limit = bucket.overridden.as_ref().map(|changed| changed.limit).or(bucket.declared);
        let changed = bucket.overridden.as_ref().map(|changed| {
            let until = changed.until.map(|until| format!(" until {}", times::minute(until)));
            let by = &changed.by;
            format!("by {by} at {}{}", times::minute(changed.at), until.unwrap_or_default())
        });
        let tokens = bucket.tokens.map(|tokens| tokens.floor().to_string());
        table.row([
            Cell::from(&bucket.key),
            Cell::from(limit.map(words).unwrap_or_else(|| "none".to_owned())),
            Cell::from(tokens.unwrap_or_default()),
            Cell::from(bucket.remaining.map(|left| left.to_string()).unwrap_or_default()),
            Cell::from(at(bucket.reset_at)),
            Cell::new(at(bucket.blocked_until), Tone::Warning),
            Cell::from(changed.unwrap_or_default()),
        ]);
    }
    table
}

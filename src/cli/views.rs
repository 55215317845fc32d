//! Owns `views`: a view for each source, with its fields as typed columns.

use std::process::ExitCode;

use clap_complete::ArgValueCompleter;

use super::args::{self, must_be_known};
use super::database::{Database, Schema};
use super::table::{Cell, Table};
use super::{completions, out};
use crate::config::Settings;
use crate::db::Transaction;
use crate::db::source_views::{self, Made, Obstacle, SCHEMA};
use crate::domain::source_name::SourceName;
use crate::job_file::{Definition, JobsFolder};

pub(super) const EXAMPLES: &str = "\
A run makes the view of its source as well, and renews it when the job file names other fields.

Examples:
  kasparro views                                  the views of all sources
  kasparro exec psql -c 'select * from sources.shop limit 5'";

#[derive(Debug, clap::Args)]
pub(super) struct ViewsArgs {
    /// Only those of these sources
    #[arg(
        value_name = "SOURCE",
        value_parser = args::source,
        add = ArgValueCompleter::new(completions::sources)
    )]
    sources: Vec<SourceName>,
}

pub(super) async fn views(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &ViewsArgs,
) -> anyhow::Result<ExitCode> {
    let kinds = crate::sources::kinds();
    let definitions: Vec<Definition> = match args.sources.as_slice() {
        [] => jobs.load(kinds)?.into_iter().collect::<Result<_, _>>()?,
        named => {
            let get = |source: &SourceName| {
                must_be_known(jobs, source)?;
                anyhow::Ok(jobs.get(source.as_str(), kinds)?)
            };
            named.iter().map(get).collect::<Result<_, _>>()?
        }
    };
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let made = make(&database, &definitions).await;
    database.close().await?;
    made
}

async fn make(database: &Database, definitions: &[Definition]) -> anyhow::Result<ExitCode> {
    let mut table = Table::new("no sources").name("view").text("");
    let mut ended = ExitCode::SUCCESS;
    for definition in definitions {
        let source = definition.source.as_str();
        let mut transaction = Transaction::begin(&database.pool).await?;
        let made = source_views::make(&mut transaction, source, &definition.fields).await?;
        transaction.commit().await?;
        let text = match &made {
            Made::Made => "made".to_owned(),
            Made::AsItWas => "is as it was".to_owned(),
            Made::Not(obstacle) => {
                ended = ExitCode::FAILURE;
                format!("not made: {obstacle}{}", advice(obstacle))
            }
        };
        table.row([Cell::from(format!("{SCHEMA}.{source}")), Cell::from(text)]);
    }
    out::table(&table);
    Ok(ended)
}

/// What to do.
fn advice(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::NoRight(_) => {
            "; let one who may run: create schema if not exists sources; grant usage, create on schema sources to \
             that user"
        }
        Obstacle::NotOwner(_) => "; let its owner drop it, and run this again",
        Obstacle::InUse => "; try again",
        Obstacle::NotOurs | Obstacle::Other(_) => "",
        Obstacle::BuiltUpon(_) => "; drop these, run this again, and make them again",
    }
}

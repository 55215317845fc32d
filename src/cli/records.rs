//! Owns `records`: the clean table, a part of it or one record.

use std::process::ExitCode;

use anyhow::bail;
use clap_complete::ArgValueCompleter;
use poem_openapi::types::ToJSON;
use serde_json::Value;

use super::args::{self, OutputArgs, PartArgs};
use super::database::{Database, Schema};
use super::table::{Cell, Table};
use super::{completions, out, times};
use crate::api::http::pagination;
use crate::api::resources::records::{Record, read_page};
use crate::config::Settings;
use crate::db::unified_records::{self, After, Which};
use crate::domain::source_name::SourceName;
use crate::job_file::JobsFolder;

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro records shop                    the first records, by key
  kasparro records show shop 007           one record, with where it came from";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RecordsArgs {
    #[command(subcommand)]
    command: Option<RecordsCommand>,

    /// Only those of this source
    #[arg(
        value_name = "SOURCE",
        value_parser = args::source,
        conflicts_with = "source",
        add = ArgValueCompleter::new(completions::sources)
    )]
    named: Option<SourceName>,

    /// Only records of this source
    #[arg(
        long,
        value_parser = args::source,
        add = ArgValueCompleter::new(completions::sources)
    )]
    source: Option<SourceName>,

    /// Only records whose keys begin so; with a source
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// Also records that are marked as deleted
    #[arg(long)]
    deleted: bool,

    #[command(flatten)]
    part: PartArgs,
}

impl RecordsArgs {
    /// The source that is asked for, in either way.
    fn of_source(&self) -> Option<&SourceName> {
        self.named.as_ref().or(self.source.as_ref())
    }
}

#[derive(Debug, clap::Subcommand)]
enum RecordsCommand {
    /// Show one record: every column, every attribute, and the raw row that it came from
    #[command(visible_alias = "find")]
    Show {
        /// The source's name
        #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
        source: SourceName,

        /// The record's key, `external_id`
        key: String,

        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(super) async fn records(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &RecordsArgs,
) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match &args.command {
        None => list(&database, jobs, args).await,
        Some(RecordsCommand::Show { source, key, output }) => {
            show(&database, jobs, source, key, *output).await
        }
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(database: &Database, jobs: &JobsFolder, args: &RecordsArgs) -> anyhow::Result<()> {
    let PartArgs { limit, cursor, output } = &args.part;
    let after = match cursor {
        Some(cursor) => pagination::decode("records", cursor)
            .map(|[source, external_id]| After { source, external_id })?,
        None => After::default(),
    };
    let source = args.of_source().map(SourceName::as_str);
    let mut connection = database.pool.acquire().await?;
    if args.prefix.is_some() && source.is_none() {
        anyhow::bail!("--prefix goes with a source: keys are those of one");
    }
    let which = Which { source, prefix: args.prefix.as_deref(), deleted: args.deleted };
    let page = read_page(&mut connection, which, &after, *limit).await?;
    drop(connection);
    if page.items.is_empty()
        && let Some(source) = args.of_source()
    {
        args::must_be_known_behind(jobs, source, "records", &["show", "find"])?;
    }
    if output.json {
        return out::json(&page.to_json());
    }
    let mut table = Table::new("no records")
        .name("source")
        .name("external_id")
        .name("name")
        .id("price")
        .word("currency")
        .id("quantity")
        .word("updated (UTC)");
    for record in &page.items {
        let text = |value: &Option<String>| Cell::from(value.as_deref().unwrap_or_default());
        table.row([
            Cell::from(&record.source),
            Cell::from(&record.external_id),
            text(&record.name),
            text(&record.price),
            text(&record.currency),
            text(&record.quantity),
            Cell::from(times::minute(record.updated_at)),
        ]);
    }
    out::table(&table);
    args::say_more(page.next_cursor.as_deref());
    Ok(())
}

async fn show(
    database: &Database,
    jobs: &JobsFolder,
    source: &SourceName,
    key: &str,
    args: OutputArgs,
) -> anyhow::Result<()> {
    let Some(row) = unified_records::get(&database.pool, source.as_str(), key).await? else {
        args::must_be_known(jobs, source)?;
        bail!(
            "source {source} has no record {key:?}; `kasparro records --source {source}` lists those \
             there are"
        );
    };
    let document = Record::from(row).to_json().unwrap_or_default();
    if args.json {
        return out::json(&document);
    }
    let mut table = Table::new("").word("column").text("value");
    for (column, value) in document.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Array(left_out) if left_out.is_empty() => {}
            Value::Object(attributes) if column == "attributes" => {
                for (name, value) in attributes {
                    let column = format!("attributes.{name}");
                    table.row([Cell::from(column), Cell::from(args::plain(value))]);
                }
            }
            value => table.row([Cell::from(column), Cell::from(args::plain(value))]),
        }
    }
    out::table(&table);
    Ok(())
}

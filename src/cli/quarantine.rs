//! Owns `quarantine`: the rows that were set aside, by what is wrong with them or one by one.

use std::collections::HashMap;
use std::process::ExitCode;

use clap_complete::ArgValueCompleter;
use poem_openapi::types::ToJSON;

use super::args::{self, PartArgs};
use super::database::{Database, Schema};
use super::table::{Cell, Table};
use super::{completions, out};
use crate::api::resources::quarantine::{self, Group, Groups, QuarantinedRow, RowStatus};
use crate::config::Settings;
use crate::db::quarantined_rows::{self, RowFilter};
use crate::db::source_files;
use crate::domain::raw::{self, RawRef};
use crate::domain::reject::{Fingerprint, ReasonCode, what_to_do};
use crate::domain::source_name::SourceName;
use crate::job_file::JobsFolder;

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro quarantine shop                 what is wrong with the rows of a source, with an example
  kasparro quarantine shop --rows          row by row
  kasparro run shop --redrive              put them through again after the job file was fixed";

#[derive(Debug, clap::Args)]
pub(super) struct QuarantineArgs {
    /// Only rows of this source
    #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
    source: Option<SourceName>,

    /// Row by row, resolved ones too, instead of groups of open rows that fail alike
    #[arg(long)]
    rows: bool,

    /// Only rows with this reason code
    #[arg(long, value_parser = args::word::<ReasonCode>(ReasonCode::ALL.iter().map(|word| word.as_str())))]
    reason: Option<ReasonCode>,

    /// Only rows that fail alike
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<Fingerprint>,

    /// Only rows with this status
    #[arg(long, requires = "rows", value_parser = args::word::<RowStatus>(RowStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<RowStatus>,

    #[command(flatten)]
    part: PartArgs,
}

impl QuarantineArgs {
    fn filter(&self) -> RowFilter<'_> {
        RowFilter {
            source: self.source.as_ref().map(SourceName::as_str),
            reason: self.reason.map(ReasonCode::as_str),
            status: self.status.map(RowStatus::as_str),
        }
    }
}

pub(super) async fn quarantine(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &QuarantineArgs,
) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match args.rows {
        true => rows(&database, jobs, args).await,
        false => groups(&database, jobs, args).await,
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn groups(
    database: &Database,
    jobs: &JobsFolder,
    args: &QuarantineArgs,
) -> anyhow::Result<()> {
    let mut connection = database.pool.acquire().await?;
    let limit = args.part.limit;
    let groups =
        quarantine::groups(&mut connection, args.filter(), args.fingerprint, limit).await?;
    drop(connection);
    let examples = quarantined_rows::examples(&database.pool, &groups).await?;
    let files = files(database, examples.iter().map(|row| row.raw_ref.as_str())).await?;
    let items: Vec<Group> = groups.into_iter().map(Group::from).collect();
    if items.is_empty() {
        known(jobs, args)?;
    }
    let groups = Groups { items };
    if args.part.output.json {
        return out::json(&groups.to_json());
    }
    let mut table = Table::new("no row is set aside")
        .id("rows")
        .name("source")
        .name("field")
        .word("reason")
        .word("fingerprint")
        .text("example")
        .text("raw");
    for group in &groups.items {
        let example = examples.iter().find(|row| {
            row.source == group.source && quarantine::hex(&row.fingerprint) == group.fingerprint
        });
        let example = example.cloned().map(QuarantinedRow::from);
        let place = example.as_ref().map(|row| place(row, &files)).unwrap_or_default();
        table.row([
            Cell::from(group.rows),
            Cell::from(&group.source),
            Cell::from(group.field.as_deref().unwrap_or("(row)")),
            Cell::from(&group.reason),
            Cell::from(&group.fingerprint),
            Cell::from(match &example {
                Some(row) => format!("{place}: {}", row.message),
                None => group.example.clone(),
            }),
            Cell::from(example.as_ref().map(row_as_it_came).unwrap_or_default()),
        ]);
    }
    out::table(&table);
    if !groups.items.is_empty() {
        let reasons = groups.items.iter().filter_map(|group| group.reason.parse().ok());
        out::remark(what_to_do(reasons));
    }
    Ok(())
}

async fn rows(database: &Database, jobs: &JobsFolder, args: &QuarantineArgs) -> anyhow::Result<()> {
    let part = &args.part;
    let mut connection = database.pool.acquire().await?;
    let cursor = part.cursor.as_deref();
    let page =
        quarantine::page(&mut connection, args.filter(), args.fingerprint, cursor, part.limit)
            .await?;
    drop(connection);
    if page.items.is_empty() {
        known(jobs, args)?;
    }
    let files = files(database, page.items.iter().map(|row| row.raw_ref.as_str())).await?;
    if part.output.json {
        return out::json(&page.to_json());
    }
    let mut table = Table::new("no row is set aside")
        .id("run")
        .name("source")
        .name("place")
        .name("field")
        .word("reason")
        .word("status")
        .text("message")
        .text("raw");
    for row in &page.items {
        table.row([
            Cell::from(row.run_id),
            Cell::from(&row.source),
            Cell::from(place(row, &files)),
            Cell::from(row.field.as_deref().unwrap_or("(row)")),
            Cell::from(&row.reason),
            Cell::from(&row.status),
            Cell::from(&row.message),
            Cell::from(row_as_it_came(row)),
        ]);
    }
    out::table(&table);
    args::say_more(page.next_cursor.as_deref());
    Ok(())
}

fn known(jobs: &JobsFolder, args: &QuarantineArgs) -> anyhow::Result<()> {
    args.source.as_ref().map_or(Ok(()), |source| args::must_be_known(jobs, source))
}

/// The names of the files that rows are in, by their numbers.
async fn files(
    database: &Database,
    raw_refs: impl Iterator<Item = &str>,
) -> anyhow::Result<HashMap<i64, String>> {
    let ids: Vec<i64> = raw_refs.filter_map(file_id).collect();
    Ok(source_files::urls(&database.pool, &ids).await?)
}

fn file_id(raw_ref: &str) -> Option<i64> {
    match raw_ref.parse() {
        Ok(RawRef::File(id)) => Some(id),
        _ => None,
    }
}

fn place(row: &QuarantinedRow, files: &HashMap<i64, String>) -> String {
    let file = file_id(&row.raw_ref).and_then(|id| files.get(&id));
    let name = file.and_then(|url| url.rsplit('/').next());
    raw::place(name.unwrap_or(&row.raw_ref), row.line, row.raw_row)
}

/// The beginning of a row as it came.
fn row_as_it_came(row: &QuarantinedRow) -> String {
    const SHOWN: usize = 300;
    let text = match (&row.raw_text, &row.raw_base64) {
        (Some(text), _) => text.trim_end_matches(['\r', '\n']).to_owned(),
        (None, Some(bytes)) => String::from_utf8_lossy(&bytes.0).into_owned(),
        (None, None) => String::new(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text,
    }
}

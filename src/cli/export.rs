//! Owns `export`: all rows of a source, as CSV, JSON Lines or Parquet, into a file or standard output.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap_complete::ArgValueCompleter;

use super::args::{self, must_be_known};
use super::database::{Database, Schema};
use super::{completions, out};
use crate::api::resources::export::{Export, ExportFormat, missing, too_wide};
use crate::config::Settings;
use crate::db::exported_rows::{Form, Wanted, Which};
use crate::db::typed_columns::TypedColumn;
use crate::domain::number::grouped;
use crate::domain::source_name::SourceName;
use crate::job_file::JobsFolder;

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro export shop > shop.csv                 all records, with the fields of the job file as columns
  kasparro export shop --output shop.jsonl        the same as JSON Lines: numbers keep all digits, as texts
  kasparro export shop --output shop.parquet      the same with typed columns, if kasparro was built with Parquet
  kasparro export shop --rows quarantine          the rows that were set aside, with what is wrong with them
  kasparro export shop --rows all                 both, in the order in which they came";

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The source's name
    #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
    source: SourceName,

    /// What the rows are written as; where nothing is said, as the name of the file ends, or csv
    #[arg(long, value_parser = args::word::<ExportFormat>(ExportFormat::ALL.iter().map(|word| word.as_str())))]
    format: Option<ExportFormat>,

    /// Which rows
    #[arg(
        long,
        default_value = "records",
        value_parser = args::word::<Which>(Which::ALL.iter().map(|word| word.as_str()))
    )]
    rows: Which,

    /// The file to write, in place of standard output; it is there when it is whole
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Also records that are marked as deleted
    #[arg(long)]
    deleted: bool,

    /// Also where each record comes from, and when it was written
    #[arg(long)]
    lineage: bool,
}

impl ExportArgs {
    fn format(&self) -> ExportFormat {
        let extension = self.output.as_deref().and_then(Path::extension);
        let by_name = extension.and_then(|end| match end.to_str()? {
            "jsonl" | "ndjson" => Some(ExportFormat::Jsonl),
            "parquet" => Some(ExportFormat::Parquet),
            _ => None,
        });
        self.format.or(by_name).unwrap_or(ExportFormat::Csv)
    }
}

pub(super) async fn export(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &ExportArgs,
) -> anyhow::Result<ExitCode> {
    if let Some(missing) = missing(args.format()) {
        bail!("{missing}");
    }
    must_be_known(jobs, &args.source)?;
    let definition = jobs.get(args.source.as_str(), crate::sources::kinds())?;
    let wanted = Wanted {
        source: args.source.to_string(),
        columns: TypedColumn::of(&definition.fields),
        which: args.rows,
        deleted: args.deleted,
        lineage: args.lineage,
        form: Form::Text,
    };
    if let Some(wide) = too_wide(&wanted) {
        bail!("{}: {wide}", definition.path.display());
    }
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let exported = match &args.output {
        Some(file) => to_file(&database, wanted, args.format(), file).await,
        None => to_standard_output(&database, wanted, args.format()).await,
    };
    database.close().await?;
    exported.map(|()| ExitCode::SUCCESS)
}

async fn to_standard_output(
    database: &Database,
    wanted: Wanted,
    format: ExportFormat,
) -> anyhow::Result<()> {
    let mut export = Export::open(&database.pool, wanted, format).await?;
    while let Some((part, _)) = export.next().await? {
        if !out::bytes(&part) {
            break;
        }
    }
    Ok(())
}

/// Writes beside the file, and puts it in its place once it is whole. What is there and is no file, such as a pipe, is
/// written to as it is.
async fn to_file(
    database: &Database,
    wanted: Wanted,
    format: ExportFormat,
    file: &Path,
) -> anyhow::Result<()> {
    let shown = file.display();
    let cannot = || format!("{shown} cannot be written");
    // A link stays one.
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let Some(name) = real.file_name().filter(|_| !real.is_dir()) else {
        let inside = file.join("records.csv");
        bail!("{shown} is a folder: name a file in it, such as {}", inside.display());
    };
    let before = fs::metadata(&real).ok();
    let rows = if before.as_ref().is_some_and(|before| !before.is_file()) {
        let mut to = fs::OpenOptions::new().write(true).open(&real).with_context(cannot)?;
        write(database, wanted, format, &mut to).await.with_context(cannot)?
    } else {
        let mut beside = name.to_owned();
        beside.push(format!(".{}.part", std::process::id()));
        let beside = real.with_file_name(beside);
        let written = async {
            let mut to = fs::File::create(&beside)?;
            if let Some(before) = &before {
                to.set_permissions(before.permissions())?;
            }
            let rows = write(database, wanted, format, &mut to).await?;
            to.sync_all()?;
            fs::rename(&beside, &real)?;
            anyhow::Ok(rows)
        };
        match written.await {
            Ok(rows) => rows,
            Err(error) => {
                // It may not even be there.
                let _ = fs::remove_file(&beside);
                return Err(error.context(cannot()));
            }
        }
    };
    let word = if rows == 1 { "row" } else { "rows" };
    out::remark(format!("{} {word} in {shown}", grouped(rows as u64)));
    Ok(())
}

/// Writes all rows; answers how many.
async fn write(
    database: &Database,
    wanted: Wanted,
    format: ExportFormat,
    to: &mut fs::File,
) -> anyhow::Result<usize> {
    let mut export = Export::open(&database.pool, wanted, format).await?;
    let mut rows = 0;
    while let Some((part, count)) = export.next().await? {
        to.write_all(&part)?;
        rows += count;
    }
    Ok(rows)
}

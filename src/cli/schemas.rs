//! Owns `schemas` and `drift`: what a source looks like, and how that changed.

use std::process::ExitCode;

use clap_complete::ArgValueCompleter;
use poem_openapi::types::ToJSON;

use super::args::{self, OutputArgs};
use super::database::{Database, Schema};
use super::table::{Cell, Table, Tone};
use super::{completions, out, times};
use crate::api::http::pagination::{Limit, MAX_BYTES};
use crate::api::resources::drift::{Drift, DriftStatus, Drifts};
use crate::api::resources::schemas::{SchemaVersion, SchemaVersions};
use crate::config::Settings;
use crate::db::schema_drift::{self, DriftFilter};
use crate::db::schemas;
use crate::domain::source_name::SourceName;
use crate::job_file::JobsFolder;

#[derive(Debug, clap::Args)]
pub(super) struct SchemasArgs {
    /// The source's name
    #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
    source: SourceName,

    /// How many versions, newest first, 1 to 1000
    #[arg(long, default_value = "20", value_name = "N")]
    limit: Limit,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct DriftArgs {
    /// Only drift of this source
    #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
    source: Option<SourceName>,

    /// How many changes, newest first, 1 to 1000
    #[arg(long, default_value = "20", value_name = "N")]
    limit: Limit,

    #[command(flatten)]
    output: OutputArgs,

    /// Only changes with this status: `open` or `acknowledged`
    #[arg(long, value_parser = args::word::<DriftStatus>(DriftStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<DriftStatus>,
}

pub(super) async fn schemas(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &SchemasArgs,
) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let source = args.source.as_str();
    let rows = schemas::versions(&database.pool, source, args.limit.items(), MAX_BYTES).await;
    database.close().await?;
    let items: Vec<SchemaVersion> = rows?.into_iter().map(Into::into).collect();
    if items.is_empty() {
        args::must_be_known(jobs, &args.source)?;
    }
    let versions = SchemaVersions { items };
    if args.output.json {
        out::json(&versions.to_json())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new("no version yet: the first complete run makes one")
        .id("version")
        .id("run")
        .word("first seen (UTC)")
        .id("fields")
        .text("types");
    for version in &versions.items {
        let fields = version.schema_signature.as_object();
        let types = fields
            .into_iter()
            .flatten()
            .map(|(field, kind)| format!("{field} {}", args::plain(kind)));
        table.row([
            Cell::from(version.version),
            Cell::from(version.run_id),
            Cell::from(times::second(version.first_seen_at)),
            Cell::from(version.schema_signature.as_object().map_or(0, serde_json::Map::len)),
            Cell::from(types.collect::<Vec<_>>().join(", ")),
        ]);
    }
    out::table(&table);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn drift(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &DriftArgs,
) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let source = args.source.as_ref().map(SourceName::as_str);
    let status = args.status.map(DriftStatus::as_str);
    let filter = DriftFilter { source, status, ..DriftFilter::default() };
    let rows = schema_drift::list(&database.pool, filter, args.limit.items()).await;
    database.close().await?;
    let items: Vec<Drift> = rows?.into_iter().map(Into::into).collect();
    if items.is_empty()
        && let Some(source) = &args.source
    {
        args::must_be_known(jobs, source)?;
    }
    let drifts = Drifts { items };
    if args.output.json {
        out::json(&drifts.to_json())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new("no drift")
        .id("run")
        .name("source")
        .word("version")
        .name("field")
        .word("change")
        .word("policy")
        .text("type");
    for drift in &drifts.items {
        let tone = if drift.change == "added" { Tone::Plain } else { Tone::Warning };
        table.row([
            Cell::from(drift.run_id),
            Cell::from(&drift.source),
            Cell::from(format!("{} to {}", drift.from_version, drift.to_version)),
            Cell::from(&drift.field),
            Cell::new(&drift.change, tone),
            Cell::from(&drift.policy),
            Cell::from(match (&drift.old_type, &drift.new_type) {
                (Some(old), Some(new)) => format!("{old} -> {new}"),
                (old, new) => old.clone().or_else(|| new.clone()).unwrap_or_default(),
            }),
        ]);
    }
    out::table(&table);
    Ok(ExitCode::SUCCESS)
}

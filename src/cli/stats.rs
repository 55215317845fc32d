//! Owns `stats`: the figures of the service.

use std::process::ExitCode;

use poem_openapi::types::ToJSON;

use super::args::OutputArgs;
use super::database::{Database, Schema};
use super::table::{Cell, Table};
use super::{out, run_table};
use crate::api::resources::stats::{Figures, Stats};
use crate::config::Settings;

pub(super) async fn stats(settings: &Settings, args: OutputArgs) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let stats = now(&database).await;
    database.close().await?;
    let stats = stats?;
    if args.json {
        out::json(&stats.to_json())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new("no source has run")
        .name("source")
        .id("records")
        .count("read")
        .count("inserted")
        .count("updated")
        .count("unchanged")
        .count("quarantined");
    let mut row = |name: &str, figures: &Figures| {
        table.row([
            Cell::from(name),
            Cell::from(figures.records),
            Cell::from(figures.rows_read),
            Cell::from(figures.inserted),
            Cell::from(figures.updated),
            Cell::from(figures.unchanged),
            run_table::quarantined(figures.quarantined),
        ]);
    };
    stats.sources.iter().for_each(|source| row(&source.source, &source.figures));
    if stats.sources.len() > 1 {
        row("(all)", &stats.total);
    }
    out::table(&table);
    let by_status = stats.runs.iter().filter(|(_, runs)| **runs > 0);
    let by_status: Vec<_> = by_status.map(|(status, runs)| format!("{runs} {status}")).collect();
    let runs = if by_status.is_empty() { "none".to_owned() } else { by_status.join(", ") };
    out::line(format!("runs   {runs}"));
    let queue = &stats.queue;
    out::line(format!(
        "queue  {} open tasks, {} stalled runs",
        queue.open_tasks, queue.stalled_runs
    ));
    Ok(ExitCode::SUCCESS)
}

async fn now(database: &Database) -> anyhow::Result<Stats> {
    Ok(Stats::now(&mut *database.pool.acquire().await?).await?)
}

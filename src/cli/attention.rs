//! Owns `attention`: what needs somebody.

use std::process::ExitCode;

use poem_openapi::types::ToJSON;

use super::args::OutputArgs;
use super::database::{Database, Schema};
use super::out;
use super::table::{Cell, Table};
use crate::api::resources::attention::{Attention, Attentions};
use crate::api::resources::catalog::Catalog;
use crate::config::Settings;
use crate::job_file::JobsFolder;

pub(super) async fn attention(
    settings: &Settings,
    jobs: &JobsFolder,
    args: OutputArgs,
) -> anyhow::Result<ExitCode> {
    let catalog = Catalog::load(jobs).await?;
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let items = now(&database, &catalog).await;
    database.close().await?;
    let items = items?;
    if args.json {
        out::json(&Attentions { items }.to_json())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new("nothing needs attention").word("what").text("summary").text("detail");
    for item in &items {
        table.row([
            Cell::from(item.need.as_str()),
            Cell::from(&item.summary),
            Cell::from(item.detail.as_deref().unwrap_or_default()),
        ]);
    }
    out::table(&table);
    Ok(ExitCode::SUCCESS)
}

async fn now(database: &Database, catalog: &Catalog) -> anyhow::Result<Vec<Attention>> {
    let mut connection = database.pool.acquire().await?;
    Ok(Attention::now(&mut connection, catalog).await?)
}

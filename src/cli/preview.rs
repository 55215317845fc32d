//! Owns `preview`: what a source gives first, and what there is to say of it, before anything is loaded.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use poem_openapi::types::ToJSON;

use super::args::OutputArgs;
use super::database::{Database, Schema};
use super::out;
use super::processes::allowed_roots;
use super::table::{Cell, Table};
use crate::api::resources::previews::{MOST_SLICES, Preview};
use crate::config::Settings;
use crate::domain::text::printable;
use crate::job_file::JobsFolder;
use crate::sources::token_store::TokensInMemory;
use crate::sources::{self, Access, TokenStore, kinds};
use crate::tasks::in_memory::{self, HowToRead, ReadInMemory};
use crate::tasks::tokens::{ProcessTokens, Sealing};

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro preview github_issues        asks for one page, and a second one if there is one
  kasparro preview vendor_files         looks at the first file
  kasparro preview coingecko_api --offline --json

Nothing is written.";

/// The most records that are shown.
const SHOWN: usize = 3;

#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    /// The source
    source: String,

    /// Read recorded API pages instead of the network
    #[arg(long)]
    offline: bool,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn preview(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &PreviewArgs,
) -> anyhow::Result<ExitCode> {
    let definition = jobs.get(&args.source, kinds())?;
    let source = sources::open(&definition, &allowed_roots(settings)?)?;
    // Only tokens that are kept between runs, and the records of another source, need the database.
    let profile = source.profile();
    let has_parents = profile.parents.is_some_and(|parents| parents.records.is_some());
    let database = match (profile.kept_tokens.is_empty() && !has_parents) || args.offline {
        true => None,
        false => Some(Database::open(settings, 3, Schema::Expect).await?),
    };
    let tokens: Arc<dyn TokenStore> = match &database {
        None => Arc::new(TokensInMemory::default()),
        Some(database) => {
            let sealing = settings.secret_key.as_ref().map(|key| Sealing::new(key.expose()));
            ProcessTokens::new(database.pool.clone(), sealing).of(&args.source)
        }
    };
    let how = HowToRead {
        access: if args.offline { Access::Offline } else { Access::Network },
        tokens,
        most_slices: Some(MOST_SLICES),
        examine: true,
        pool: database.as_ref().map(|database| database.pool.clone()),
    };
    let read = in_memory::read(&definition, &source, &how).await;
    if let Some(database) = database {
        database.close().await?;
    }
    let read = read?;
    let failure = read.failure.clone();
    if args.output.json {
        out::json(&Preview::of(&args.source, read).to_json())?;
    } else {
        show(&read);
    }
    match failure {
        Some(failure) => Err(anyhow::anyhow!(failure)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn show(read: &ReadInMemory) {
    for slice in &read.slices {
        let (from, rows, bytes) = (printable(&slice.from), slice.rows, slice.bytes);
        out::line(format!("read      {from}: {rows} rows, {bytes} bytes"));
    }
    if read.more {
        out::line("          there is more, which a run would read");
    }
    for finding in &read.findings {
        let mark = if finding.suspicious { "warning " } else { "        " };
        out::line(format!("{mark}  {}: {}", finding.topic, printable(&finding.text)));
        if let Some(line) = &finding.suggestion {
            out::line(format!("            write: {line}"));
        }
    }
    for remark in &read.remarks {
        out::line(format!("note      {}", printable(remark)));
    }
    if read.failure.is_some() && read.slices.is_empty() {
        return;
    }
    out::line("");
    let mut table = Table::new("no fields").name("field").name("values");
    for (name, types) in &read.fields {
        let types: Vec<_> = types.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        table.row([Cell::from(name), Cell::from(types.join(", "))]);
    }
    out::table(&table);
    out::line("");
    let (records, set_aside) = (read.records.len(), read.set_aside.len());
    out::line(format!("{records} records, {set_aside} set aside"));
    for record in read.records.iter().take(SHOWN) {
        if let Ok(text) = serde_json::to_string(record) {
            out::line(format!("  {}", printable(&text)));
        }
    }
    let reasons: BTreeSet<&str> =
        read.set_aside.iter().flat_map(|row| row.defects.iter().map(String::as_str)).collect();
    for reason in reasons.into_iter().take(SHOWN) {
        out::line(format!("  set aside: {}", printable(reason)));
    }
}

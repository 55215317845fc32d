//! What loading costs: `cargo bench --bench ingest -- ROWS` loads one file as a floor, by a script
//! in plain SQL, and by kasparro, in turns, and prints the tables of `docs/performance.md`.
//!
//! Owns the command line and the order of things. It must not know how anything is measured.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for developers: it prints, and panics when it cannot go on"
)]

mod bench;
mod contender;
mod cost;
#[path = "../support/cpu.rs"]
mod cpu;
mod files;
mod kasparro_program;
mod lineup;
mod machine;
#[path = "../support/products.rs"]
mod products;
mod report;
#[path = "../support/server.rs"]
mod server;
mod service;
#[allow(dead_code, reason = "the tests use what is not used here")]
#[path = "../../tests/support/shipped.rs"]
mod shipped;
mod statements;
mod tables;

use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;

use bench::Bench;
use files::Files;
use lineup::{Contender, Size};
use report::Measured;
use server::Server;

/// Loads a file in several ways and prints what each costs
#[derive(Debug, Parser)]
#[command(name = "ingest")]
struct Options {
    /// Rows of the file; several numbers add a table of how cost grows
    #[arg(default_value = "100000", value_name = "ROWS")]
    rows: Vec<u64>,

    /// How often everything is measured; the tables show medians
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,

    /// Only contenders whose name begins so: floor, script, kasparro-1, kasparro-2, dirty, coins
    #[arg(long, value_name = "NAME")]
    only: Option<String>,

    /// Columns of text besides the ten; several numbers, separated by commas, add rows to the table
    /// of how cost grows
    #[arg(long, default_value = "0", value_delimiter = ',', value_name = "N")]
    columns: Vec<usize>,

    /// Only the first load of each
    #[arg(long)]
    first: bool,

    /// Given by `cargo bench`, and not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        eprintln!("nothing is measured without --bench, which `cargo bench` gives");
        return Ok(());
    }
    if options.rounds == 0 || options.rows.iter().any(|rows| *rows < 1_000) {
        bail!("at least one round and 1000 rows, or there is nothing to measure");
    }
    let server = Server::start().await?;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-ingest");
    let outcome = tokio::select! {
        outcome = measure_all(&options, &server, &folder) => outcome,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Err(anyhow::anyhow!("interrupted")),
            Err(error) => Err(error.into()),
        },
    };
    server.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    outcome
}

async fn measure_all(options: &Options, server: &Server, folder: &PathBuf) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    println!("{}\n", machine::description(server).await?);
    let only = options.only.as_deref().unwrap_or_default();
    let contenders: Vec<Contender> =
        Contender::ALL.into_iter().filter(|c| c.name().starts_with(only)).collect();
    if contenders.is_empty() {
        bail!("--only {only}: known are {}", Contender::ALL.map(Contender::name).join(", "));
    }
    let mut sizes = Vec::new();
    for columns in &options.columns {
        for rows in &options.rows {
            let size = Size { rows: *rows, columns: *columns };
            let measured = measure(options, server, folder, &contenders, size).await?;
            report::print(&measured);
            sizes.push(measured);
        }
    }
    if sizes.len() > 1 {
        report::print_growth(&sizes);
    }
    Ok(())
}

async fn measure(
    options: &Options,
    server: &Server,
    folder: &PathBuf,
    contenders: &[Contender],
    size: Size,
) -> anyhow::Result<Measured> {
    eprintln!("{} rows: writing the files", size.rows);
    std::fs::create_dir_all(folder)?;
    let files = Files::write(folder, size, options.first, contenders)?;
    let bench = Bench { server, files: &files, first_only: options.first };
    let mut measured = Measured::new(size, files.bytes(), options.rounds);
    for round in 1..=options.rounds {
        for contender in contenders {
            eprintln!("round {round} of {}: {}", options.rounds, contender.name());
            contender.round(&bench, &mut measured).await?;
        }
    }
    std::fs::remove_dir_all(folder)?;
    std::fs::create_dir_all(folder)?;
    Ok(measured)
}

//! Floor 6: the command line: parses what is typed, and starts the process or prints the result.

mod actor;
mod allocator;
mod args;
mod attention;
mod auth;
mod check;
mod completions;
mod database;
mod exec;
mod exit;
mod export;
mod facts;
mod follow;
mod joining;
mod out;
mod patience;
mod preview;
mod processes;
mod progress;
mod quarantine;
mod rate_limits;
mod records;
mod run;
mod run_details;
mod run_table;
mod runs;
mod sample_lines;
mod schemas;
mod signals;
mod sources;
mod stats;
mod table;
mod test;
mod times;
mod token;
mod up;
mod views;
mod wrap;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{LogFormat, Settings, SettingsLayer};
use crate::domain::failure::chain;
use crate::job_file::JobsFolder;
use crate::telemetry;

/// APIs and files into one clean, deduplicated, auditable PostgreSQL table
#[derive(Debug, Parser)]
#[command(name = "kasparro", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten, next_help_heading = GLOBAL)]
    settings: SettingsLayer,

    /// Settings file [default: kasparro.toml in the project's folder, if there is one]
    #[arg(
        long,
        env = "KASPARRO_CONFIG",
        global = true,
        value_name = "FILE",
        help_heading = GLOBAL
    )]
    config: Option<PathBuf>,

    /// Colours in tables and log lines; by itself on terminals, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value_t, help_heading = GLOBAL)]
    color: clap::ColorChoice,
}

/// What every command takes is listed apart from what only one takes.
const GLOBAL: &str = "Global options";

/// The help for somebody who gives no command: it fits a terminal of 80 columns and 24 lines.
const EVERY_DAY: &str = "\
kasparro: APIs and files into one clean, auditable PostgreSQL table

  kasparro up                    start everything and load every source once
  kasparro up --offline          the same without any network
  kasparro check                 what is wrong with the job files
  kasparro run SOURCE            load a source now and wait for it
  kasparro run SOURCE --dry-run  show what that would do
  kasparro run --all             load every source
  kasparro sources               the sources with their last run
  kasparro runs                  the last runs; runs show ID has one of them
  kasparro quarantine            the rows that were set aside, and why
  kasparro records SOURCE        the clean table
  kasparro stats                 records and rows per source, and what waits
  kasparro attention             what needs somebody, the worst first
  kasparro exec psql             a prompt on the database

`kasparro help` lists all commands, `kasparro help run` the flags of one.
";

const EXAMPLES: &str = "\
Examples:
  kasparro up                          start everything and load every source once
  kasparro up --offline                the same from recorded API pages, without any network
  kasparro run products_csv            load one source now and wait for it
  kasparro run --all --full --detach   enqueue a complete reload and return
  kasparro check                       validate every job file
  kasparro runs --json                 the last runs, for a program
  kasparro runs show 7                 one run, with its open and failed tasks
  kasparro quarantine products_csv     what is wrong with the rows that were set aside

Settings are read from flags, then the environment, then kasparro.toml.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything in one process: database, API, workers, scheduler, and a first run
    #[command(after_help = up::EXAMPLES)]
    Up(up::UpArgs),
    /// Serve the HTTP API only
    Serve(args::AccessArgs),
    /// Work on queued tasks only; start as many as you like
    Worker,
    /// Start runs on schedule only; more than one is safe
    Scheduler(args::AccessArgs),
    /// Load sources now
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Validate job files: all, or those that are named
    Check(check::CheckArgs),
    /// Look at the first page or file of a source, and at what may be wrong; nothing is written
    #[command(after_help = preview::EXAMPLES)]
    Preview(preview::PreviewArgs),
    /// Compare the records that recordings become with those that are expected
    #[command(after_help = test::EXAMPLES)]
    Test(test::TestArgs),
    /// Create or update kasparro's tables, then exit
    Migrate,
    /// Print the OpenAPI document of the HTTP API
    Openapi,
    /// Print the JSON Schema of job files, for editors
    JobSchema,
    /// List the sources with their last run; show, pause or resume one
    Sources(sources::SourcesArgs),
    /// List the last runs; show, follow, cancel or retry one
    Runs(runs::RunsArgs),
    /// Show the rows that were set aside, by what is wrong with them
    #[command(after_help = quarantine::EXAMPLES)]
    Quarantine(quarantine::QuarantineArgs),
    /// List records of the clean table, or show one
    #[command(after_help = records::EXAMPLES)]
    Records(records::RecordsArgs),
    /// Write all records of a source, or the rows that were set aside, to a file or to standard output
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Make a view for each source, `sources.NAME`, with its fields as typed columns
    #[command(after_help = views::EXAMPLES)]
    Views(views::ViewsArgs),
    /// List the versions of a source's schema
    Schemas(schemas::SchemasArgs),
    /// List what changed between versions of schemas
    Drift(schemas::DriftArgs),
    /// Show records and rows per source, runs by status, and what waits
    Stats(args::OutputArgs),
    /// Show what needs somebody: failed, stale and degraded sources, new reasons of quarantine, changes of schemas
    Attention(args::OutputArgs),
    /// List how often APIs may be asked, and change a limit while runs are under way
    #[command(after_help = rate_limits::EXAMPLES)]
    RateLimits(rate_limits::RateLimitsArgs),
    /// Make, list and revoke the tokens of the HTTP API
    #[command(subcommand, after_help = token::EXAMPLES)]
    Token(token::TokenCommand),
    /// Store the token of a source that logs in with one; list those that are stored
    #[command(subcommand, after_help = auth::EXAMPLES)]
    Auth(auth::AuthCommand),
    /// Run a command with DATABASE_URL and PG* set to kasparro's database, such as psql
    #[command(after_help = exec::EXAMPLES)]
    Exec(exec::ExecArgs),
    /// Make the private database belong to this folder's job files, after the project was moved
    Claim,
    /// Ask a running API for its health; exits 0 when it is well
    Healthcheck {
        /// Ask whether it can take requests, the database's schema included
        #[arg(long)]
        ready: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a command line that cannot be understood ends. `EX_USAGE` of sysexits.h; clap's own 2 would
/// read as a degraded run.
const USAGE: u8 = 64;

/// Parses the command line, does what it says, and prints what went wrong.
pub fn main() -> ExitCode {
    completions::answer(Cli::command);
    let command = without_empty_variables(Cli::command());
    let is_source =
        || completions::sources("list".as_ref()).iter().any(|s| s.get_value() == "list");
    let words = without_list(&command, std::env::args_os().collect(), is_source);
    let typed = command.try_get_matches_from(words);
    let cli = match typed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(answer) => {
            if answer.use_stderr() {
                out::remark(answer.render().to_string().trim_end());
                return ExitCode::from(USAGE);
            }
            // Help, whose lines clap has broken. A reader that has gone away gets nothing.
            let _ = answer.print();
            return ExitCode::SUCCESS;
        }
    };
    out::set_color(cli.color);
    let Some(command) = cli.command else {
        out::raw(EVERY_DAY);
        return ExitCode::from(USAGE);
    };
    let ended = start(command, cli.settings, cli.config.as_deref());
    let unwritten = out::failure();
    if let Some(error) = &unwritten {
        out::remark(format!("error: standard output cannot be written: {error}"));
    }
    match ended {
        Ok(code) if unwritten.is_none() => code,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            out::remark(format!("error: {}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// The commands that list something by themselves.
const LISTS: [&str; 7] =
    ["sources", "runs", "quarantine", "records", "schemas", "drift", "rate-limits"];

/// `runs list` is understood as `runs`, as `token list` leads one to expect; unless a source is called so.
fn without_list(
    command: &clap::Command,
    mut words: Vec<OsString>,
    is_source: impl FnOnce() -> bool,
) -> Vec<OsString> {
    let is_command = |word: &OsString| command.get_subcommands().any(|c| c.get_name() == word);
    if let Some(at) = words.iter().skip(1).position(is_command).map(|at| at + 1)
        && LISTS.iter().any(|list| words[at] == *list)
        && words.get(at + 1).is_some_and(|word| word == "list")
        && !is_source()
    {
        words.remove(at + 1);
    }
    words
}

/// An environment variable that is empty says nothing: compose files and shells pass them on so.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let empty = |arg: &clap::Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|arg| if empty(&arg) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty_variables)
}

fn start(command: Command, given: SettingsLayer, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    if matches!(command, Command::Up(_) | Command::Run(_) | Command::Worker) {
        allocator::give_buffers_back();
    }
    let settings = Settings::resolve(given, file)?;
    // Library code that makes TLS connections asks for the process's provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let draws = std::io::stdout().is_terminal();
    let is_asked_for = settings.log.is_some() || settings.log_format == LogFormat::Json;
    let notes_replace_log = draws && std::io::stderr().is_terminal() && !is_asked_for;
    let progress = progress::Progress::new(draws, notes_replace_log);
    out::set_drawing(progress.clone());
    let default = match &command {
        Command::Up(_) | Command::Run(_) if progress.draws() => "warn",
        Command::Serve(_) | Command::Worker | Command::Scheduler(_) | Command::Up(_) => "info",
        _ => "warn",
    };
    let filter = settings.log.as_deref().unwrap_or(default);
    telemetry::init(
        filter,
        settings.log_format == LogFormat::Json,
        out::colors_log(),
        Some(Box::new(progress.clone())),
    )
    .map_err(|_| {
        anyhow::anyhow!(
            "the log filter {filter:?} cannot be read; expected a level (error, warn, info, debug or \
             trace), or levels of targets such as kasparro=debug,sqlx=info"
        )
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot start")?;
    let ended = runtime.block_on(dispatch(command, &settings, &progress));
    // Nobody waits any more for what a thread still reads.
    runtime.shutdown_background();
    ended
}

async fn dispatch(
    command: Command,
    settings: &Settings,
    progress: &progress::Progress,
) -> anyhow::Result<ExitCode> {
    let jobs = JobsFolder::new(&settings.jobs_dir);
    match command {
        Command::Up(args) => up::up(settings, &jobs, &args, progress).await,
        Command::Serve(args) => processes::serve(settings, &jobs, args.access()).await,
        Command::Worker => processes::worker(settings).await,
        Command::Scheduler(args) => processes::scheduler(settings, &jobs, args.access()).await,
        Command::Run(args) => run::run(settings, &jobs, &args, progress).await,
        Command::Check(args) => check::check(settings, &jobs, &args),
        Command::Preview(args) => preview::preview(settings, &jobs, &args).await,
        Command::Test(args) => test::test(settings, &jobs, &args).await,
        Command::Migrate => processes::migrate(settings).await,
        Command::Openapi => document(&crate::api::openapi_json()),
        Command::JobSchema => document(&crate::sources::job_schema_json()),
        Command::Sources(args) => sources::sources(settings, &jobs, &args).await,
        Command::Runs(args) => runs::runs(settings, &jobs, &args, progress).await,
        Command::Quarantine(args) => quarantine::quarantine(settings, &jobs, &args).await,
        Command::Records(args) => records::records(settings, &jobs, &args).await,
        Command::Export(args) => export::export(settings, &jobs, &args).await,
        Command::Views(args) => views::views(settings, &jobs, &args).await,
        Command::Schemas(args) => schemas::schemas(settings, &jobs, &args).await,
        Command::Drift(args) => schemas::drift(settings, &jobs, &args).await,
        Command::Stats(args) => stats::stats(settings, args).await,
        Command::Attention(args) => attention::attention(settings, &jobs, args).await,
        Command::RateLimits(args) => rate_limits::rate_limits(settings, &args).await,
        Command::Token(command) => token::token(settings, &command).await,
        Command::Auth(command) => auth::auth(settings, &jobs, &command).await,
        Command::Exec(args) => exec::exec(settings, &args).await,
        Command::Claim => database::claim(settings).await,
        Command::Healthcheck { ready } => processes::healthcheck(settings, ready).await,
        Command::Completions { shell } => completions::script(shell),
    }
}

fn document(text: &str) -> anyhow::Result<ExitCode> {
    out::raw(text);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn list_behind_what_is_a_list_says_nothing_unless_a_source_is_called_so() {
        let understood = |line: &str, is_source: bool| {
            let words = line.split(' ').map(OsString::from).collect();
            let words = without_list(&Cli::command(), words, || is_source);
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        for list in LISTS {
            let (with, without) =
                (format!("kasparro {list} list --json"), format!("kasparro {list} --json"));
            assert_eq!(understood(&with, false), without);
            assert_eq!(understood(&with, true), with);
        }
        assert_eq!(
            understood("kasparro --log warn runs list shop", false),
            "kasparro --log warn runs shop"
        );
        for same in ["kasparro", "kasparro token list", "kasparro exec runs list", "kasparro runs"]
        {
            assert_eq!(understood(same, false), same);
        }
    }

    #[test]
    fn who_says_nothing_is_answered_on_one_screen() {
        assert!(EVERY_DAY.lines().count() <= 24);
        assert!(EVERY_DAY.lines().all(|line| line.len() <= 80));
        for line in EVERY_DAY.lines().filter_map(|line| line.strip_prefix("  kasparro ")) {
            let word = line.split(' ').next().unwrap_or_default();
            assert!(Cli::command().find_subcommand(word).is_some(), "{line}");
        }
    }
}

//! Owns `test`: each source's recording becomes the records that are expected of it, without a network and without
//! a database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::args::OutputArgs;
use super::out;
use super::processes::allowed_roots;
use crate::config::Settings;
use crate::domain::text::printable;
use crate::files;
use crate::job_file::{Definition, JobsFolder};
use crate::sources::token_store::TokensInMemory;
use crate::sources::{self, Access, AllowedRoots, kinds};
use crate::tasks::in_memory::{self, HowToRead, ReadInMemory};

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro run shop --record       record what the API answers, once
  kasparro test shop --accept      write the records that come of it to expected.jsonl beside the recording
  kasparro test                    in CI: fails when a job file makes other records of its recording

Neither a network nor a database is needed.";

/// The file with the expected records.
const EXPECTED: &str = "expected.jsonl";
/// The largest such file.
const MOST_BYTES: u64 = 256 << 20;
/// The most differences of a source that are shown.
const SHOWN: usize = 20;
/// The key of a row that is set aside.
const SET_ASIDE: &str = "set_aside";

#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// The sources; all that have expected records when none is named
    sources: Vec<String>,

    /// Write the records as they are now as the expected ones
    #[arg(long)]
    accept: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// How a source did.
struct Tested {
    source: String,
    outcome: Outcome,
}

enum Outcome {
    /// As expected: so many records.
    Good(usize),
    /// Written.
    Accepted(usize, PathBuf),
    /// Not as expected: what differs.
    Differs(Vec<String>),
    /// It cannot be tested: why.
    Failed(String),
    /// Nothing is expected of it.
    Untested,
}

pub(super) async fn test(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &TestArgs,
) -> anyhow::Result<ExitCode> {
    let allowed_roots = allowed_roots(settings)?;
    let mut all = Vec::new();
    if args.sources.is_empty() {
        for loaded in jobs.load(kinds())? {
            all.push(match loaded {
                Ok(definition) => tested(&definition, &allowed_roots, args.accept, false).await,
                Err(error) => {
                    let source = error.path().map(|path| path.display().to_string());
                    Tested {
                        source: source.unwrap_or_default(),
                        outcome: Outcome::Failed(error.to_string()),
                    }
                }
            });
        }
    }
    for name in &args.sources {
        let definition = jobs.get(name, kinds())?;
        all.push(tested(&definition, &allowed_roots, args.accept, true).await);
    }
    let bad = all.iter().any(|one| matches!(one.outcome, Outcome::Differs(_) | Outcome::Failed(_)));
    let none =
        !all.iter().any(|one| matches!(one.outcome, Outcome::Good(_) | Outcome::Accepted(..)));
    if args.output.json {
        out::json(&json!({ "items": all.iter().map(Tested::json).collect::<Vec<_>>() }))?;
    } else {
        all.iter().for_each(Tested::show);
    }
    if none && !bad {
        out::remark("nothing was tested: `kasparro test SOURCE --accept` writes what is expected");
    }
    Ok(if bad || none { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Tests one source. One that was not named is left out when nothing is expected of it.
async fn tested(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
    accept: bool,
    is_named: bool,
) -> Tested {
    let source = definition.source.to_string();
    let outcome = match compared(definition, allowed_roots, accept, is_named).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(crate::domain::failure::chain(error.as_ref())),
    };
    Tested { source, outcome }
}

async fn compared(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
    accept: bool,
    is_named: bool,
) -> anyhow::Result<Outcome> {
    let source = sources::open(definition, allowed_roots)?;
    let recording = source.profile().recording;
    let folder = recording.unwrap_or_else(|| {
        definition.base_dir().join("recordings").join(definition.source.to_string())
    });
    let file = folder.join(EXPECTED);
    let is_there = file.exists();
    if !is_there && !accept {
        if !is_named {
            return Ok(Outcome::Untested);
        }
        anyhow::bail!(
            "there is no {}: `kasparro test {} --accept` writes it",
            file.display(),
            definition.source
        );
    }
    if accept && !is_named && !is_there {
        return Ok(Outcome::Untested);
    }
    let how = HowToRead {
        access: Access::Offline,
        tokens: Arc::new(TokensInMemory::default()),
        most_slices: None,
        examine: false,
        pool: None,
    };
    let read = in_memory::read(definition, &source, &how).await?;
    let found = lines_of(&read)?;
    if accept {
        write(&file, &found)?;
        return Ok(Outcome::Accepted(found.len(), file));
    }
    let text = files::read_text(&file, MOST_BYTES);
    let text = text.with_context(|| format!("{} cannot be read", file.display()))?;
    let expected = parsed(&text, &file)?;
    let differences = differences(&expected, &found);
    Ok(match differences.is_empty() {
        true => Outcome::Good(found.len()),
        false => Outcome::Differs(differences),
    })
}

type Lines = BTreeMap<String, Map<String, Value>>;

/// The records by their keys, the last of each, and the rows that are set aside by their places.
fn lines_of(read: &ReadInMemory) -> anyhow::Result<Lines> {
    let mut lines = Lines::new();
    for record in &read.records {
        lines.insert(record.external_id.clone(), record.columns.clone());
    }
    for row in &read.set_aside {
        let defects = serde_json::to_value(&row.defects)?;
        let columns = Map::from_iter([(SET_ASIDE.to_owned(), defects)]);
        lines.insert(format!("{} row {}", row.from, row.row), columns);
    }
    Ok(lines)
}

fn write(file: &Path, lines: &Lines) -> anyhow::Result<()> {
    let mut text = String::new();
    for (key, columns) in lines {
        let mut line = Map::from_iter([("external_id".to_owned(), Value::from(key.as_str()))]);
        line.extend(columns.clone());
        text += &serde_json::to_string(&line)?;
        text.push('\n');
    }
    let written = std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))
        .and_then(|()| std::fs::write(file, text));
    written.with_context(|| format!("{} cannot be written", file.display()))
}

fn parsed(text: &str, file: &Path) -> anyhow::Result<Lines> {
    let mut lines = Lines::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let unreadable = || format!("{}:{number} is no record", file.display());
        let mut columns: Map<String, Value> =
            serde_json::from_str(line).with_context(unreadable)?;
        match columns.remove("external_id") {
            Some(Value::String(key)) => drop(lines.insert(key, columns)),
            _ => anyhow::bail!("{}:{number} has no `external_id`", file.display()),
        }
    }
    Ok(lines)
}

/// What differs, a line each.
fn differences(expected: &Lines, found: &Lines) -> Vec<String> {
    let mut differences = Vec::new();
    let keys: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let text = |columns: &Map<String, Value>| Value::Object(columns.clone()).to_string();
    for key in keys {
        match (expected.get(key), found.get(key)) {
            (Some(expected), None) => differences.push(format!("- {key} {}", text(expected))),
            (None, Some(found)) => differences.push(format!("+ {key} {}", text(found))),
            (Some(expected), Some(found)) => {
                let names: std::collections::BTreeSet<&String> =
                    expected.keys().chain(found.keys()).collect();
                let of = |columns: &Map<String, Value>, name: &str| {
                    columns.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string)
                };
                differences.extend(
                    names.into_iter().filter(|name| expected.get(*name) != found.get(*name)).map(
                        |name| {
                            format!("~ {key} {name}: {} -> {}", of(expected, name), of(found, name))
                        },
                    ),
                );
            }
            (None, None) => {}
        }
    }
    differences
}

impl Tested {
    fn show(&self) {
        let source = &self.source;
        match &self.outcome {
            Outcome::Good(records) => out::line(format!("ok        {source}: {records} records")),
            Outcome::Accepted(records, file) => {
                out::line(format!("accepted  {source}: {records} records in {}", file.display()));
            }
            Outcome::Untested => {
                out::line(format!("untested  {source}: nothing is expected of it"))
            }
            Outcome::Failed(why) => out::line(format!("failed    {source}: {}", printable(why))),
            Outcome::Differs(all) => {
                out::line(format!(
                    "differs   {source}: {} differences (- expected, + found, ~ changed)",
                    all.len()
                ));
                for line in all.iter().take(SHOWN) {
                    out::line(format!("  {}", printable(line)));
                }
                if all.len() > SHOWN {
                    out::line(format!("  and {} more", all.len() - SHOWN));
                }
            }
        }
    }

    fn json(&self) -> Value {
        let (outcome, records, differences, error) = match &self.outcome {
            Outcome::Good(records) => ("ok", Some(*records), Vec::new(), None),
            Outcome::Accepted(records, _) => ("accepted", Some(*records), Vec::new(), None),
            Outcome::Untested => ("untested", None, Vec::new(), None),
            Outcome::Differs(all) => ("differs", None, all.clone(), None),
            Outcome::Failed(why) => ("failed", None, Vec::new(), Some(why)),
        };
        json!({
            "source": self.source,
            "outcome": outcome,
            "records": records,
            "differences": differences,
            "error": error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        parsed(text, Path::new("expected.jsonl")).unwrap()
    }

    #[test]
    fn what_is_missing_new_or_changed_is_told_by_key_and_column() {
        let expected =
            lines("{\"external_id\":\"1\",\"a\":1,\"b\":2}\n\n{\"external_id\":\"2\",\"a\":1}\n");
        let found =
            lines("{\"external_id\":\"1\",\"a\":1,\"c\":2}\n{\"external_id\":\"3\",\"a\":1}");
        assert_eq!(
            differences(&expected, &found),
            ["~ 1 b: 2 -> nothing", "~ 1 c: nothing -> 2", "- 2 {\"a\":1}", "+ 3 {\"a\":1}"]
        );
        assert_eq!(differences(&found, &found), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        for text in ["{\"external_id\":\"1\"}\n{", "{\"external_id\":\"1\"}\n{\"a\":1}"] {
            let error = parsed(text, Path::new("expected.jsonl")).unwrap_err();
            assert!(error.to_string().starts_with("expected.jsonl:2 "), "{error}");
        }
    }
}

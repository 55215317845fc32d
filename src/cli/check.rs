//! Owns `check`: everything that is wrong with the job files, each with its file, line and key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{OutputArgs, source_of};
use super::auth;
use super::{out, processes};
use crate::config::Settings;
use crate::domain::failure::chain;
use crate::domain::text::{Shown, printable};
use crate::job_file::after::Order;
use crate::job_file::error::Problem;
use crate::job_file::{Definition, DefinitionError, JobsFolder};
use crate::sources::{self, AllowedRoots, ParentsProfile};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Check only these sources, by their names or job files
    #[arg(value_name = "SOURCE|FILE")]
    only: Vec<String>,

    /// Let warnings fail the check as well
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn check(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &CheckArgs,
) -> anyhow::Result<ExitCode> {
    let mut checked =
        checked(jobs, &processes::allowed_roots(settings)?, settings.secret_key.is_some())?;
    let mut stray: Vec<_> = jobs.strays()?;
    if !args.only.is_empty() {
        let wanted = wanted(&checked, &args.only)?;
        let mut wanted = wanted.into_iter();
        checked.retain(|_| wanted.next().unwrap_or_default());
        stray.clear();
    }
    let bad =
        |file: &Checked| !file.problems.is_empty() || args.strict && !file.warnings.is_empty();
    let good =
        !checked.is_empty() && !checked.iter().any(bad) && (!args.strict || stray.is_empty());
    if args.output.json {
        let files: Vec<_> = checked.iter().map(Checked::json).collect();
        let stray = stray.iter().map(|(file, why)| json!({ "file": file, "message": why }));
        let stray: Vec<_> = stray.collect();
        out::json(&json!({ "files": files, "not_read": stray }))?;
    } else {
        let mut text = String::new();
        checked.iter().for_each(|file| text += &file.lines());
        for (file, why) in &stray {
            text += &format!("warning  {}: {why}\n", Shown(file.display()));
        }
        if checked.is_empty() {
            text += &no_job_file(jobs);
        }
        out::text_hanging(&text, PLACES);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which of the job files are meant by these names of sources or of files.
fn wanted(checked: &[Checked], only: &[String]) -> Result<Vec<bool>, DefinitionError> {
    let mut wanted = vec![false; checked.len()];
    for word in only {
        let (source, mut found) = (source_of(word), false);
        for (file, wanted) in checked.iter().zip(&mut wanted) {
            let is_meant = file.name() == source;
            (*wanted, found) = (*wanted || is_meant, found || is_meant);
        }
        if !found {
            let known = checked.iter().map(|file| file.name().to_owned()).collect();
            return Err(DefinitionError::UnknownSource { source_name: source.to_owned(), known });
        }
    }
    Ok(wanted)
}

/// Where a line's place begins, behind `warning`.
const PLACES: usize = 9;

/// What there is to say where no source is.
pub(super) fn no_job_file(jobs: &JobsFolder) -> String {
    format!(
        "there is no job file in {}: each source has one, such as\n\n{}\n\
         `kasparro job-schema` prints what else they may hold.\n",
        jobs.path().display(),
        sources::EXAMPLE
    )
}

/// A job file and what was found in it.
struct Checked {
    file: PathBuf,
    source: Option<String>,
    /// Lines that name the file, and the parts of those that are about a line of it.
    problems: Vec<(String, Option<Problem>)>,
    warnings: Vec<Problem>,
}

/// `seals` says whether there is a key to seal tokens with.
fn checked(
    jobs: &JobsFolder,
    allowed_roots: &AllowedRoots,
    seals: bool,
) -> Result<Vec<Checked>, DefinitionError> {
    let (loaded, names) = (jobs.load(sources::kinds())?, jobs.names()?);
    let good: Vec<&Definition> = loaded.iter().flatten().collect();
    let order = Order::of(good.iter().copied());
    let mut all = Vec::with_capacity(loaded.len());
    let mut with_parents = Vec::new();
    for (at, loaded) in loaded.iter().enumerate() {
        let Ok(definition) = loaded.as_ref().map_err(|error| all.push(Checked::refused(error)))
        else {
            continue;
        };
        let (mut checked, parents) = Checked::looked_at(definition, allowed_roots, seals);
        checked.add(definition, order.problems(definition, &names));
        all.push(checked);
        with_parents.extend(parents.map(|parents| (at, definition, parents)));
    }
    let asking = with_parents.iter().filter_map(|(_, definition, parents)| {
        let (of, _) = parents.records.as_ref()?;
        Some((definition.source.as_str(), of.clone()))
    });
    let asking: HashMap<&str, String> = asking.collect();
    for (at, definition, parents) in &with_parents {
        let found = sources::parents_problems(definition, parents, &good, &asking, &names);
        all[*at].add(definition, found);
    }
    Ok(all)
}

impl Checked {
    fn add(&mut self, definition: &Definition, found: Vec<Problem>) {
        let found = found.into_iter();
        self.problems.extend(found.map(|found| (found.line_of(&definition.path), Some(found))));
    }

    /// The name of its source: that of its file.
    fn name(&self) -> &str {
        self.file.file_stem().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn refused(error: &DefinitionError) -> Self {
        let file = error.path().map(Path::to_owned).unwrap_or_default();
        let problems = match error {
            DefinitionError::Invalid { path, problems } => {
                let line = |found: &Problem| (found.line_of(path), Some(found.clone()));
                problems.iter().map(line).collect()
            }
            other => vec![(printable(&chain(other)).into_owned(), None)],
        };
        Self { file, source: None, problems, warnings: Vec::new() }
    }

    /// What is wrong with a job file by itself, and its parents, for which others are needed.
    fn looked_at(
        definition: &Definition,
        allowed_roots: &AllowedRoots,
        seals: bool,
    ) -> (Self, Option<ParentsProfile>) {
        let file = definition.path.clone();
        let source = Some(definition.source.to_string());
        let (found, mut warnings) = match sources::look(definition, allowed_roots) {
            Ok(found) => found,
            Err(error) => return (Self::refused(&error), None),
        };
        let mut parents = None;
        let line = |found: Problem| (found.line_of(&file), Some(found));
        let mut problems: Vec<_> = found.into_iter().map(line).collect();
        if problems.is_empty() {
            let opened =
                sources::check(definition).and_then(|()| sources::open(definition, allowed_roots));
            match opened {
                Ok(source) => {
                    let profile = source.profile();
                    parents = profile.parents;
                    let kept = profile.kept_tokens;
                    let unsealed = kept.iter().filter(|_| !seals).map(|(at, _)| at.as_str());
                    let found = definition.inspect(|job| {
                        unsealed.for_each(|at| job.problem(&keys_of(at), auth::no_key(at)));
                    });
                    match found {
                        Ok((found, _)) => problems.extend(found.into_iter().map(line)),
                        Err(error) => return (Self::refused(&error), None),
                    }
                }
                Err(error) => problems.push((chain(&error), None)),
            }
        }
        warnings.extend(definition.warnings.iter().cloned());
        warnings.sort_by_key(|found| (found.line, found.column));
        (Self { file, source, problems, warnings }, parents)
    }

    fn lines(&self) -> String {
        let mut lines = String::new();
        if self.problems.is_empty() {
            lines += &format!("ok       {}\n", Shown(self.file.display()));
        }
        for (line, _) in &self.problems {
            lines += &format!("error    {line}\n");
        }
        for found in &self.warnings {
            lines += &format!("warning  {}\n", found.line_of(&self.file));
        }
        lines
    }

    fn json(&self) -> Value {
        let error: Vec<&str> = self.problems.iter().map(|(line, _)| line.as_str()).collect();
        let problems = self.problems.iter().filter_map(|(_, found)| found.as_ref());
        json!({
            "file": self.file,
            "source": self.source,
            "ok": self.problems.is_empty(),
            "error": (!error.is_empty()).then(|| error.join("\n")),
            "problems": problems.map(found_json).collect::<Vec<_>>(),
            "warnings": self.warnings.iter().map(found_json).collect::<Vec<_>>(),
        })
    }
}

/// `rest_api.auth[1]` as keys.
fn keys_of(at: &str) -> Vec<&str> {
    at.split(['.', '[', ']']).filter(|key| !key.is_empty()).collect()
}

fn found_json(found: &Problem) -> Value {
    json!({
        "line": found.line,
        "column": found.column,
        "key": found.key(),
        "message": found.message,
    })
}

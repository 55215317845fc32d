//! Owns what is wrong with the job file of a source of files: its parameters, where its files are, and
//! files that are not there or lack what the mapping asks for.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::file_source::WhenGone;
use super::format::RowFormat;
use super::location::{PATHS, ParamProblem, Setting};
use super::params::{self, FilesParams};
use super::places::problems;
use super::places::scheme::is_remote;
use super::plan::{self, LocalFile};
use super::source::Files;
use crate::domain::failure::chain;
use crate::domain::text::quoted;
use crate::job_file::schedule::ON_CHANGE;
use crate::job_file::{Definition, Inspection};
use crate::sources::{AllowedRoots, SourceError};
use crate::values::field::FieldDefinition;

/// The most files whose heads are looked at.
const MOST_HEADS: usize = 200;
/// The most files whose missing columns are named one by one.
const MOST_TOLD: usize = 5;

/// What is wrong on every machine.
pub(super) fn inspect<F: RowFormat>(job: &mut Inspection<'_>) {
    if let Some(missing) = F::MISSING {
        job.problem(&["kind"], missing);
    }
    let files = job.table::<FilesParams>(params::TABLE);
    let own = job.table::<F::Params>(F::NAME);
    if let Some(own) = &own {
        tell(job, F::NAME, F::problems(own));
    }
    if let (Some(files), Some(own)) = (&files, &own) {
        match files.location::<F>(own) {
            Ok(location) => {
                let table = location.setting.table;
                refuse_watched_addresses(job, &location.entries);
                tell(job, table, location.problems());
                problems::inspect(job, table, files, &location.entries);
            }
            Err(unlocated) => unlocated.tell::<F>(job),
        }
    }
    if files.as_ref().is_some_and(|files| files.when_gone == WhenGone::Tombstone)
        && !job.has(&["missing"])
    {
        let message = "needs a table [missing] with action = \"tombstone\": without it no record is \
                       ever marked as deleted";
        job.problem(&[params::TABLE, "when_gone"], message);
    }
    if let Some(files) = &files {
        tell(job, params::TABLE, files.problems());
    }
    F::inspect_fields(job);
}

/// A web server does not list its files: whether one has changed only asking for it can tell.
fn refuse_watched_addresses(job: &mut Inspection<'_>, entries: &[String]) {
    let is_address =
        |entry: &&String| entry.starts_with("http://") || entry.starts_with("https://");
    if job.text(&["schedule"]).is_some_and(|text| text.trim() == ON_CHANGE)
        && let Some(address) = entries.iter().find(is_address)
    {
        let message = format!(
            "{address} cannot be watched, since a web server does not say what it has: write when it is to be asked, for \
             example \"0 * * * *\"; an answer that has not changed costs nothing"
        );
        job.problem(&["schedule"], message);
    }
}

pub(in super::super) fn tell(job: &mut Inspection<'_>, table: &str, problems: Vec<ParamProblem>) {
    for problem in problems {
        let at = problem.at.map(|at| at.to_string());
        let keys: Vec<&str> = [table, problem.key].into_iter().chain(at.as_deref()).collect();
        job.problem(&keys, problem.message);
    }
}

/// What is wrong on this machine: files that may not be read are a problem, files that are not there a
/// warning, since others may have them.
pub(super) fn look<F: RowFormat>(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
    job: &mut Inspection<'_>,
) {
    if let Some(files) = job.table::<FilesParams>(params::TABLE) {
        problems::look(job, &files, definition.base_dir());
    }
    let Ok(source) = Files::<F>::of(definition, allowed_roots) else { return };
    let Setting { table, extension } = source.location.setting;
    let prefix = format!("{}: ", source.location.setting);
    let never = AtomicBool::new(false);
    let mut at_hand = Vec::new();
    let plain = |error: SourceError| {
        let text = error.text();
        text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
    };
    let mut loaded = HashSet::new();
    let mut left_out = Vec::new();
    for (at, entry) in source.location.entries.iter().enumerate() {
        let at = at.to_string();
        let keys = [table, PATHS, at.as_str()];
        // What is elsewhere is seen when it is read.
        if is_remote(entry) {
            continue;
        }
        if let Err(error) = source.store.admit(entry) {
            job.problem(&keys, plain(error));
            continue;
        }
        let found = match source.store.list(std::slice::from_ref(entry), &never) {
            Ok(found) => found,
            Err(error) => {
                job.warning(&keys, plain(error));
                continue;
            }
        };
        loaded.extend(found.files.iter().cloned());
        left_out.extend(found.left_out.into_iter().map(|left| (at.clone(), left)));
        for file in found.files {
            if file.is_dir() {
                let message = format!("is a folder; its files are \"{entry}/*.{extension}\"");
                job.warning(&keys, message);
            } else {
                at_hand.push((at.clone(), file));
            }
        }
    }
    // Another entry may lead there.
    left_out.retain(|(_, left)| !loaded.contains(&left.path));
    for (at, left) in left_out.iter().take(MOST_TOLD) {
        job.warning(&[table, PATHS, at], left.why.clone());
    }
    if left_out.len() > MOST_TOLD {
        let message = format!("{} more are not read either", left_out.len() - MOST_TOLD);
        job.warning(&[table, PATHS], message);
    }
    look_at_heads(&source, definition, &at_hand, job);
}

/// Says which columns of the mapping the given files, each with its place in `paths`, lack: that no
/// file has one that may be absent, and that a file lacks one without which it is not read.
fn look_at_heads<F: RowFormat>(
    source: &Files<F>,
    definition: &Definition,
    files: &[(String, PathBuf)],
    job: &mut Inspection<'_>,
) {
    let table = source.location.setting.table;
    let looked_at = &files[..files.len().min(MOST_HEADS)];
    let (mut with_columns, mut told) = (0, 0);
    // The columns by how many files lack each, with the nearest header of one of them.
    let mut lacking: BTreeMap<String, (usize, Option<String>)> = BTreeMap::new();
    let mut tell = |at: &str, error: SourceError| {
        told += 1;
        if told <= MOST_TOLD {
            job.warning(&[table, PATHS, at], chain(&error));
        }
    };
    for (at, file) in looked_at {
        let local =
            LocalFile { store: source.store.as_ref(), path: file, packing: &source.packing };
        let head = match plan::head(&source.format, local) {
            Ok(head) => head,
            Err(error) => {
                tell(at, error);
                continue;
            }
        };
        if let Err(error) = source.format.reader(&file.display().to_string(), &head.layout) {
            tell(at, error);
        }
        let Some(absent) = source.format.absent(&head.layout, None) else { continue };
        with_columns += 1;
        for absent in absent {
            let entry = lacking.entry(absent.column).or_default();
            entry.0 += 1;
            entry.1 = entry.1.take().or(absent.nearest);
        }
    }
    if told > MOST_TOLD {
        let message = format!("{} more files cannot be read either", told - MOST_TOLD);
        job.warning(&[table, PATHS], message);
    }
    let everywhere = lacking.into_iter().filter(|(_, (files, _))| *files == with_columns);
    for (column, (_, nearest)) in everywhere {
        let which = match (with_columns, files.len() > looked_at.len()) {
            (1, false) => "the file has no".to_owned(),
            (_, false) => "none of the files has a".to_owned(),
            (_, true) => format!("none of the first {MOST_HEADS} files has a"),
        };
        let meant = match nearest {
            Some(nearest) => format!("; did you mean {}?", quoted(&nearest)),
            None => String::new(),
        };
        let message = format!("{which} column {}{meant}", quoted(&column));
        // Without a column that is needed no file is read, which was said of each.
        let optional = |field: &&FieldDefinition| !field.required || field.default.is_some();
        for field in &definition.fields {
            // Without one of them the others are put together.
            for (at, part) in field.also().iter().enumerate() {
                if part.label() == Some(&column) {
                    let at = (at + 1).to_string();
                    let keys = ["fields", field.name.as_str(), "concat", at.as_str()];
                    job.warning(&keys, message.clone());
                }
            }
        }
        for field in definition.fields.iter().filter(optional) {
            if field.from.label() == Some(&column) {
                let name = field.name.as_str();
                let key = ["column", "aliases"]
                    .into_iter()
                    .find(|key| job.text(&["fields", name, key]).is_some());
                let first = field.concat.as_ref().map(|_| ["concat", "0"]);
                let keys =
                    ["fields", name].into_iter().chain(key).chain(first.into_iter().flatten());
                let keys = keys.collect::<Vec<_>>();
                job.warning(&keys, message.clone());
            }
        }
    }
}

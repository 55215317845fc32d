//! Owns what is wrong with the job file of a CSV source: its parameters, fields that are found in some
//! other way than columns are, and files that are not there or lack columns.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::header::{self, Wanted};
use super::params::CsvParams;
use super::plan;
use super::{CsvSource, SourceError, source_of};
use crate::domain::failure::chain;
use crate::domain::text::quoted;
use crate::job_file::{Definition, Inspection};
use crate::sources::AllowedRoots;

/// What is wrong on every machine.
pub(super) fn inspect(job: &mut Inspection<'_>) {
    if let Some(params) = job.params::<CsvParams>() {
        for problem in params.problems() {
            let at = problem.at.map(|at| at.to_string());
            let keys: Vec<&str> = ["csv", problem.key].into_iter().chain(at.as_deref()).collect();
            job.problem(&keys, problem.message);
        }
    }
    for name in job.fields_with("from") {
        let keys = ["fields", name.as_str(), "from"];
        let column = job.text(&keys).map_or("…", last_name);
        let message = format!(
            "looks into JSON, and this source reads columns: write column = {column:?} instead"
        );
        job.problem(&keys, message);
    }
    for at in 0.. {
        let at = at.to_string();
        let keys = ["primary_key", at.as_str()];
        let Some(text) = job.text(&keys) else { break };
        if text.starts_with('$') {
            let message = format!(
                "{text:?} looks into JSON, and this source reads columns: write {:?}",
                last_name(text)
            );
            job.problem(&keys, message);
        }
    }
    if let Some(text) = job.text(&["external_id"])
        && text.contains("{$")
    {
        let message = "looks into JSON, and this source reads columns: write their names in braces";
        job.problem(&["external_id"], message);
    }
}

/// The last name of a JSONPath: what the column is probably called.
fn last_name(path: &str) -> &str {
    let end = path.trim_end_matches(['\'', '"', ']', ')']);
    let start = end.rfind(['.', '\'', '"', '[', '$']).map_or(0, |at| at + 1);
    match &end[start..] {
        "" | "*" => "…",
        name => name,
    }
}

/// What is wrong on this machine: files that may not be read are a problem, files that are not there a
/// warning, since others may have them.
pub(super) fn look(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
    job: &mut Inspection<'_>,
) {
    let Ok(source) = source_of(definition) else { return };
    let source = source.within(allowed_roots.clone());
    let never = AtomicBool::new(false);
    let mut at_hand = Vec::new();
    let plain = |error: SourceError| {
        error.message.strip_prefix("csv.paths: ").unwrap_or(&error.message).to_owned()
    };
    let mut loaded = HashSet::new();
    let mut left_out = Vec::new();
    for (at, entry) in source.params.paths.iter().enumerate() {
        let at = at.to_string();
        let keys = ["csv", "paths", at.as_str()];
        if let Err(error) = source.named_within_roots(entry) {
            job.problem(&keys, plain(error));
            continue;
        }
        let mut finder = source.finder(&never);
        if let Err(error) = finder.find(entry) {
            job.warning(&keys, plain(error));
            continue;
        }
        let found = finder.found();
        loaded.extend(found.files.iter().cloned());
        left_out.extend(found.left_out.into_iter().map(|left| (at.clone(), left)));
        for file in found.files {
            if file.is_dir() {
                let message = format!("is a folder; its files are \"{entry}/*.csv\"");
                job.warning(&keys, message);
            } else {
                at_hand.push((at.clone(), file));
            }
        }
    }
    // Another entry may lead there.
    left_out.retain(|(_, left)| !loaded.contains(&left.path));
    for (at, left) in left_out.iter().take(MOST_TOLD) {
        job.warning(&["csv", "paths", at], left.why.clone());
    }
    if left_out.len() > MOST_TOLD {
        let message = format!("{} more are not read either", left_out.len() - MOST_TOLD);
        job.warning(&["csv", "paths"], message);
    }
    source.look_at_headers(definition, &at_hand, job);
}

/// The most files whose headers are looked at.
const MOST_HEADERS: usize = 200;
/// The most files of which it is said one by one what they lack.
const MOST_TOLD: usize = 5;

impl CsvSource {
    /// Says which columns of the mapping the files at hand, each with its place in `paths`, lack: that
    /// no file has one that may be absent, and that a file lacks one without which it is not read.
    fn look_at_headers(
        &self,
        definition: &Definition,
        files: &[(String, PathBuf)],
        job: &mut Inspection<'_>,
    ) {
        let looked_at = &files[..files.len().min(MOST_HEADERS)];
        let (mut with_columns, mut told) = (0, 0);
        // The optional columns by how many files lack each, with the nearest header of one of them.
        let mut lacking: BTreeMap<String, (usize, Option<String>)> = BTreeMap::new();
        for (at, file) in looked_at {
            let columns =
                self.open_file(file).and_then(|open| plan::columns(&self.params, file, open));
            let columns = match columns {
                Ok(columns) if columns.is_empty() => continue,
                Ok(columns) => columns,
                Err(error) => {
                    told += 1;
                    if told <= MOST_TOLD {
                        job.warning(&["csv", "paths", at], chain(&error));
                    }
                    continue;
                }
            };
            with_columns += 1;
            let resolved = header::resolve(&header::shown(file), &columns, &self.wanted);
            if let Err(error) = resolved {
                told += 1;
                if told <= MOST_TOLD {
                    job.warning(&["csv", "paths", at], chain(&error));
                }
            }
            for absent in header::lacking(&columns, &self.optional()) {
                let entry = lacking.entry(absent.column).or_default();
                entry.0 += 1;
                entry.1 = entry.1.take().or(absent.nearest);
            }
        }
        if told > MOST_TOLD {
            let message = format!("{} more files cannot be read either", told - MOST_TOLD);
            job.warning(&["csv", "paths"], message);
        }
        let everywhere = lacking.into_iter().filter(|(_, (files, _))| *files == with_columns);
        for (column, (_, nearest)) in everywhere {
            let which = match (with_columns, files.len() > looked_at.len()) {
                (1, false) => "the file has no".to_owned(),
                (_, false) => "none of the files has a".to_owned(),
                (_, true) => format!("none of the first {MOST_HEADERS} files has a"),
            };
            let meant = match nearest {
                Some(nearest) => format!("; did you mean {}?", quoted(&nearest)),
                None => String::new(),
            };
            let message = format!("{which} column {}{meant}", quoted(&column));
            for field in &definition.fields {
                if field.from.label() == Some(&column) {
                    let name = field.name.as_str();
                    let key = ["column", "aliases"]
                        .into_iter()
                        .find(|key| job.text(&["fields", name, key]).is_some());
                    let keys = ["fields", name].into_iter().chain(key).collect::<Vec<_>>();
                    job.warning(&keys, message.clone());
                }
            }
        }
    }

    /// The columns without which a file is read all the same.
    fn optional(&self) -> Vec<Wanted> {
        self.wanted.iter().filter(|wanted| !wanted.needed).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_a_path_is_offered_as_the_column() {
        for (path, name) in [
            ("$.price", "price"),
            ("$.a.b_c", "b_c"),
            ("$['Unit Price']", "Unit Price"),
            ("$[\"a\"]", "a"),
            ("$", "…"),
            ("$.a[*]", "…"),
            ("price", "price"),
        ] {
            assert_eq!(last_name(path), name, "{path}");
        }
    }
}

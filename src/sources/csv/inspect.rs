//! Owns what is wrong with the job file of a CSV source: its parameters, fields that are found in some
//! other way than columns are, and files that are not there.

use super::params::CsvParams;
use super::{CsvSource, SourceError, source_of};
use crate::definition::{Definition, Inspection};
use crate::sources::Reach;

/// What is wrong on every machine.
pub(super) fn inspect(job: &mut Inspection<'_>) {
    if let Some(params) = job.params::<CsvParams>() {
        for flaw in params.flaws() {
            let at = flaw.at.map(|at| at.to_string());
            let keys: Vec<&str> = ["csv", flaw.key].into_iter().chain(at.as_deref()).collect();
            job.problem(&keys, flaw.message);
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
pub(super) fn look(definition: &Definition, reach: &Reach, job: &mut Inspection<'_>) {
    let Ok(source) = source_of(definition) else { return };
    let source = source.within(reach.clone());
    for (at, entry) in source.params.paths.iter().enumerate() {
        let at = at.to_string();
        let keys = ["csv", "paths", at.as_str()];
        let plain = |error: SourceError| {
            error.message.strip_prefix("csv.paths: ").unwrap_or(&error.message).to_owned()
        };
        match source.expand(entry) {
            Err(error) => job.warning(&keys, plain(error)),
            Ok(files) => {
                for file in files {
                    if file.is_dir() {
                        let message = format!("is a folder; its files are \"{entry}/*.csv\"");
                        job.warning(&keys, message);
                    } else if let Err(error) = source.within_reach(&file) {
                        job.problem(&keys, plain(error));
                    }
                }
            }
        }
    }
}

impl CsvSource {
    fn within_reach(&self, file: &std::path::Path) -> Result<(), SourceError> {
        let failed = |error| super::io_error(file, error);
        self.reach.check(&self.base_dir, file, super::PATHS, failed)
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

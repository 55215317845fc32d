//! Owns which lines of a job file are the rule that rows were set aside by.

use crate::db::quarantine_totals::QuarantineGroup;
use crate::domain::field_name;
use crate::domain::reject::ReasonCode;
use crate::job_file::{Definition, Excerpt};

/// Lines of a job file.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Name of the file.
    pub(crate) file: String,
    /// The number of the first line.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The entries of `[fields]` that read the field, the key if that is made of it, and the contract if it was that.
pub(crate) fn rules(definition: &Definition, group: &QuarantineGroup) -> Vec<Rule> {
    let is_it = |label: Option<&str>| {
        label.is_some_and(|label| field_name::kept(label) == group.field.as_str())
    };
    let mut entries: Vec<Vec<&str>> = Vec::new();
    for value in definition.values() {
        let entry = vec!["fields", value.field.name.as_str()];
        if is_it(value.from.label()) && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    let reason: Option<ReasonCode> = group.reason.parse().ok();
    let of_key = matches!(reason, Some(ReasonCode::MissingKey | ReasonCode::RedactedKey));
    if of_key || definition.external_id.parts.iter().any(|part| is_it(part.label())) {
        entries.extend([vec!["primary_key"], vec!["external_id"]]);
    }
    if matches!(reason, Some(ReasonCode::NewField | ReasonCode::TypeChanged)) {
        entries.push(vec!["contract"]);
    }
    let file = definition.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let excerpts = entries.iter().filter_map(|entry| definition.excerpt(entry));
    excerpts.map(|Excerpt { line, text }| Rule { file: file.clone(), line, text }).collect()
}

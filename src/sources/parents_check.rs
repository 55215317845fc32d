//! Owns what is wrong with the parents of a job file, seen together with those of the other sources of its folder.

use super::source::ParentsProfile;
use crate::domain::record::Column;
use crate::domain::suggest;
use crate::job_file::Definition;
use crate::job_file::error::Problem;

/// The column of the key.
const KEY: &str = "external_id";

/// What is wrong: a source that is none of `names`, and fields that its records do not have. `others` are the job
/// files that can be read.
pub fn parents_problems(
    definition: &Definition,
    parents: &ParentsProfile,
    others: &[&Definition],
    names: &[String],
) -> Vec<Problem> {
    let Some((source, fields)) = &parents.records else { return Vec::new() };
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    if *source == definition.source.as_str() {
        found.push((
            vec!["source".to_owned()],
            "is this source itself: write that of the parents".to_owned(),
        ));
    } else if !known.contains(&source.as_str()) {
        let hint = suggest::hint(source, "sources", &known);
        found.push((vec!["source".to_owned()], format!("there is no source {source:?}{hint}")));
    } else if let Some(other) = others.iter().find(|other| other.source.as_str() == source) {
        let mut columns: Vec<&str> =
            other.fields.iter().map(|field| field.name.as_str()).chain([KEY]).collect();
        let has_any = columns.contains(&Column::Attributes.spec().name);
        columns.sort_unstable();
        let unknown = fields.iter().enumerate().filter(|(_, field)| {
            let is_column = Column::named(field).is_some();
            !columns.contains(&field.as_str()) && (is_column || !has_any)
        });
        for (at, field) in unknown {
            let hint = suggest::hint(field, "fields", &columns);
            let message = format!("records of {source} have no `{field}`{hint}");
            found.push((vec!["fields".to_owned(), at.to_string()], message));
        }
    }
    let look = definition.inspect(|job| {
        for (below, message) in found {
            let below = below.iter().map(String::as_str);
            let keys: Vec<&str> = parents.at.iter().copied().chain(below).collect();
            job.problem(&keys, message);
        }
    });
    look.map(|(problems, _)| problems).unwrap_or_default()
}

//! Owns what is wrong with the parents of a job file, seen together with those of the other sources of its folder.

use std::collections::{HashMap, VecDeque};

use super::source::ParentsProfile;
use crate::domain::record::Column;
use crate::domain::suggest;
use crate::job_file::Definition;
use crate::job_file::error::Problem;

/// The column of the key.
const KEY: &str = "external_id";

/// Columns of the table that are what kasparro knows of a record, and nothing that it says.
const NOT_OF_RECORDS: &[&str] = &[
    "content_hash",
    "created_at",
    "deleted_at",
    "first_run_id",
    "last_run_id",
    "raw_ref",
    "raw_row",
    "source",
    "updated_at",
];

/// What is wrong: a source that is none of `names` or whose runs wait for this one, and fields that its records do not
/// have. `others` are the job files that can be read, `asking` is whose records each source asks for.
pub fn parents_problems(
    definition: &Definition,
    parents: &ParentsProfile,
    others: &[&Definition],
    asking: &HashMap<&str, String>,
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
        let unknown = fields.iter().enumerate();
        for (at, field) in unknown.filter(|(_, field)| !columns.contains(&field.as_str())) {
            let is_known_of = NOT_OF_RECORDS.contains(&field.as_str());
            if has_any && !is_known_of && Column::named(field).is_none() {
                continue;
            }
            let hint = suggest::hint(field, "fields", &columns);
            let message = match is_known_of {
                true => format!(
                    "`{field}` is a column of the table and no field of the records of {source}: children can be told \
                     what its [fields] name, and `{KEY}`{hint}"
                ),
                false => format!("records of {source} have no `{field}`{hint}"),
            };
            found.push((vec!["fields".to_owned(), at.to_string()], message));
        }
        if let Some(circle) = circle(definition.source.as_str(), source, others, asking) {
            found.push((
                vec!["source".to_owned()],
                format!(
                    "a circle, in which each waits for records of the next: {circle}; take one out"
                ),
            ));
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

/// How the parents of a source wait for it in turn: they ask for records, or run after another, which does.
fn circle<'a>(
    child: &'a str,
    parent: &'a str,
    others: &[&'a Definition],
    asking: &'a HashMap<&str, String>,
) -> Option<String> {
    let asks = |source: &str| asking.get(source).map(|of| (of.as_str(), "asks for records of"));
    let mut from = HashMap::from([(parent, (child, "asks for records of"))]);
    let mut open = VecDeque::from([parent]);
    while let Some(at) = open.pop_front() {
        let after = others.iter().filter(|other| other.source.as_str() == at);
        let after = after.flat_map(|other| &other.after).map(|of| (of.as_str(), "runs after"));
        for (next, how) in asks(at).into_iter().chain(after) {
            if next == child {
                let mut steps = vec![format!("{at} {how} {child}")];
                let mut at = at;
                while let Some((before, how)) = from.get(at).filter(|_| at != child) {
                    steps.push(format!("{before} {how} {at}"));
                    at = before;
                }
                steps.reverse();
                return Some(steps.join(", "));
            }
            if next != parent && !from.contains_key(next) {
                from.insert(next, (at, how));
                open.push_back(next);
            }
        }
    }
    None
}

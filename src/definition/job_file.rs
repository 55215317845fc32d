//! Owns a job file as it is written, and its way to a [`Definition`]: every key known, every value
//! of its type, no contradictions, every problem with its line.
//!
//! Must not know the parameters of any kind of source: [`Definition::params`] hands them out.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Definition;
use super::document::Document;
use super::error::{DefinitionError, Problem};
use super::field::ExternalId;
use super::field_table::{self, FieldTable};
use super::key;
use super::policy::{Checks, Contract, Policy, Retention};
use super::schedule::{Schedule, parse_time_zone};
use super::suggest;
use crate::domain::hash::ContentHash;
use crate::domain::source_name::SourceName;

/// What to read, how rows become records, when, and under which schema contract. The file's name
/// is the source's name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobFile {
    /// How the source is read; also the name of the table with the parameters for it.
    pub(super) kind: String,
    /// For people.
    description: Option<String>,
    /// When the source is due: minute, hour, day of month, month and day of week, for example
    /// `*/10 * * * *`. Without it the source is read on demand only.
    schedule: Option<String>,
    /// Time zone of the schedule, for example `Europe/Berlin`; UTC if not given.
    time_zone: Option<String>,
    /// The source fields that tell rows apart: columns, keys or JSONPaths. Several are joined by
    /// `|`.
    primary_key: Option<Vec<String>>,
    /// Instead of `primary_key`: a text with source fields in braces, for example `acme:{sku}`.
    external_id: Option<String>,
    /// The fields of a record by their names.
    #[serde(default)]
    fields: BTreeMap<String, FieldTable>,
    /// What to do when the source's schema changes.
    #[serde(default)]
    contract: Contract,
    /// What must hold at the end of a run.
    #[serde(default)]
    checks: Checks,
    /// How long what runs leave behind is kept.
    #[serde(default)]
    retention: Retention,
}

impl Definition {
    /// Reads the text of a job file. `kinds` are the known kinds of sources.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] with everything that is wrong in the file.
    pub fn parse(
        source: SourceName,
        path: &Path,
        text: String,
        kinds: &[&str],
    ) -> Result<Self, DefinitionError> {
        let mut problems = Vec::new();
        let mut document = Document::parse(path, &text)?;
        set_parameters_aside(&mut document, kinds, &mut problems);
        let Some(file) = document.read::<JobFile>(&[], &mut problems) else {
            return Err(DefinitionError::invalid(path, problems));
        };
        let mut reader = Reader { document: &document, problems };
        let fields = reader.fields(&file);
        let schedule = reader.schedule(&file);
        let external_id = reader.external_id(&file);
        reader.contract(&file);
        reader.checks(&file);
        let problems = reader.problems;
        let Some(external_id) = external_id.filter(|_| problems.is_empty()) else {
            return Err(DefinitionError::invalid(path, problems));
        };
        Ok(Self {
            source,
            path: path.to_owned(),
            hash: ContentHash::of(text.as_bytes()),
            kind: file.kind,
            description: file.description,
            schedule,
            external_id,
            fields,
            contract: file.contract,
            checks: file.checks,
            retention: file.retention,
            text,
        })
    }

    /// The parameters of the kind of source: the table that `kind` names.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] with everything in the table that `P` does not take.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, DefinitionError> {
        let document = Document::parse(&self.path, &self.text)?;
        let mut problems = Vec::new();
        document
            .read(&[&self.kind], &mut problems)
            .ok_or_else(|| DefinitionError::invalid(&self.path, problems))
    }

    /// An error about the value that `keys` lead to, for kinds that check their parameters beyond
    /// types: `definition.problem(&["csv", "delimiter"], "…")`.
    pub fn problem(&self, keys: &[&str], message: impl Into<String>) -> DefinitionError {
        self.problems(&[(keys, message.into())])
    }
}

impl Definition {
    /// [`Definition::problem`] for several values at once.
    pub fn problems(&self, found: &[(&[&str], String)]) -> DefinitionError {
        match Document::parse(&self.path, &self.text) {
            Ok(document) => {
                let problem = |(keys, message): &(&[&str], String)| {
                    document.problem_at(keys, message.clone())
                };
                DefinitionError::invalid(&self.path, found.iter().map(problem).collect())
            }
            Err(error) => error,
        }
    }

    /// The key of the job file that says what tells rows apart.
    pub fn key_word(&self) -> &'static str {
        let document = Document::parse(&self.path, &self.text);
        let template = document.is_ok_and(|file| file.text_at(&["external_id"]).is_some());
        if template { "external_id" } else { "primary_key" }
    }
}

/// Takes the kind's own table out of the document, and says what is wrong with `kind`.
fn set_parameters_aside(document: &mut Document<'_>, kinds: &[&str], problems: &mut Vec<Problem>) {
    let Some(kind) = document.text_at(&["kind"]).map(str::to_owned) else {
        // Missing or no text: reading the rest says so. The tables of kinds are no news then.
        kinds.iter().for_each(|kind| document.remove(kind));
        return;
    };
    if !kinds.contains(&kind.as_str()) {
        let hint = suggest::hint(&kind, "kinds", kinds);
        let known = match hint.contains("did you mean") {
            true => format!(" Known kinds: {}", kinds.join(", ")),
            false => String::new(),
        };
        problems
            .push(document.problem_at(&["kind"], format!("unknown kind `{kind}`{hint}{known}")));
        kinds.iter().for_each(|kind| document.remove(kind));
    } else if !document.has_table(&[&kind]) {
        let message = format!("missing table [{kind}] with the parameters of kind = \"{kind}\"");
        problems.push(document.problem_at(&["kind"], message));
    }
    for other in kinds.iter().filter(|other| **other != kind) {
        if document.has_table(&[other]) {
            let message = format!(
                "unknown key `{other}` at the top level; kind = \"{kind}\" takes its parameters \
                 from [{kind}]"
            );
            problems.push(document.problem_at(&[other], message));
            document.remove(other);
        }
    }
    let own_words = ["kind", "fields", "contract", "checks", "retention"];
    if !own_words.contains(&kind.as_str()) {
        document.remove(&kind);
    }
}

struct Reader<'a> {
    document: &'a Document<'a>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, keys: &[&str], message: impl Into<String>) {
        self.problems.push(self.document.problem_at(keys, message));
    }

    fn fields(&mut self, file: &JobFile) -> Vec<super::field::FieldDefinition> {
        let names = self.document.keys(&["fields"]);
        let tables = names.iter().filter_map(|name| Some((name, file.fields.get(name)?)));
        tables
            .map(|(name, table)| {
                field_table::define(name, table, self.document, &mut self.problems)
            })
            .collect()
    }

    fn schedule(&mut self, file: &JobFile) -> Option<Schedule> {
        let zone = match file.time_zone.as_deref().map(parse_time_zone) {
            None => chrono_tz::Tz::UTC,
            Some(Ok(zone)) => zone,
            Some(Err(message)) => {
                self.problem(&["time_zone"], message);
                return None;
            }
        };
        let Some(expression) = &file.schedule else {
            if file.time_zone.is_some() {
                let message = "`time_zone` is that of the `schedule`, and there is none; times in \
                               rows have their own: `time_zone` in the table of the field";
                self.problem(&["time_zone"], message);
            }
            return None;
        };
        match Schedule::parse(expression, zone) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                self.problem(&["schedule"], error.to_string());
                None
            }
        }
    }

    fn external_id(&mut self, file: &JobFile) -> Option<ExternalId> {
        let (at, made) = match (&file.primary_key, &file.external_id) {
            (Some(fields), None) => ("primary_key", key::of_fields(fields)),
            (None, Some(template)) => ("external_id", key::of_template(template)),
            (Some(_), Some(_)) => {
                let message = "`external_id` stands instead of `primary_key`: remove one".into();
                ("external_id", Err(message))
            }
            (None, None) => {
                let message = "missing key `primary_key`: the source fields that tell rows apart, \
                               for example primary_key = [\"id\"]";
                ("primary_key", Err(message.into()))
            }
        };
        let made = made.and_then(|id| {
            let paths = id.parts.iter().filter_map(|part| part.label());
            for path in paths.filter(|path| path.starts_with('$')) {
                serde_json_path::JsonPath::parse(path)
                    .map_err(|error| format!("`{path}` is no JSONPath: {}", error.message()))?;
            }
            Ok(id)
        });
        made.map_err(|message| self.problem(&[at], message)).ok()
    }

    fn contract(&mut self, file: &JobFile) {
        let Contract { new_field, type_change, .. } = file.contract;
        for (key, policy) in [("new_field", new_field), ("type_change", type_change)] {
            if policy == Policy::Guard {
                let message = format!(
                    "`{key}` cannot be \"guard\", which is for `missing_field`: write \"evolve\", \
                     \"freeze\", \"discard_value\" or \"quarantine_row\""
                );
                self.problem(&["contract", key], message);
            }
        }
    }

    fn checks(&mut self, file: &JobFile) {
        let ratio = file.checks.max_quarantine_ratio;
        if !(0.0..=1.0).contains(&ratio) {
            let message = format!("max_quarantine_ratio is a share from 0 to 1, not {ratio}");
            self.problem(&["checks", "max_quarantine_ratio"], message);
        }
    }
}

#[cfg(test)]
#[path = "job_file_tests.rs"]
mod tests;

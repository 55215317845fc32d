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
use super::field_table::{self, FieldTable};
use super::inspection::{Inspection, KindRules};
use super::key::{self, KeyRows, PrimaryKey};
use super::policy::{Checks, Contract, Freshness, Missing, Policy, Retention};
use super::schedule::{Schedule, is_on_change, parse_time_zone};
use crate::domain::hash::ContentHash;
use crate::domain::source_name::SourceName;
use crate::domain::suggest;
use crate::domain::text;
use crate::values::field::{ExternalId, FieldDefinition, Locator, Target};
use crate::values::json_path;

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
    /// `*/10 * * * *`; or `on_change`: whenever its files have changed. Without it the source is read on
    /// demand only.
    schedule: Option<String>,
    /// Time zone of the schedule, for example `Europe/Berlin`; UTC if not given.
    time_zone: Option<String>,
    /// Other sources: when a run of one of them has ended well, a run of this one starts. With or
    /// instead of `schedule`.
    after: Option<Vec<String>>,
    /// The source fields that tell rows apart: columns, keys or JSONPaths. Several are joined by
    /// `|`. Of files whose rows have no key `row_number`, the file and the row's number in it, or `content`, all that
    /// the row holds.
    primary_key: Option<PrimaryKey>,
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
    /// Records that the source does not show any more.
    #[serde(default)]
    missing: Missing,
    /// How long what runs leave behind is kept.
    #[serde(default)]
    retention: Retention,
    /// How old what the source has loaded may be.
    #[serde(default)]
    freshness: Freshness,
}

/// The message for a file with nothing but comments in it.
const NOTHING_SAID: &str = "the job file is empty: it needs `kind`, a table of that name with what \
                            to read, and `primary_key`; `kasparro job-schema` prints what else there is";
const MISSING_KEY: &str = "missing: the source fields that tell rows apart, for example \
                           primary_key = [\"id\"]";

impl Definition {
    /// Reads the text of a job file. `kinds` are the known kinds of sources.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] with everything that is wrong in the file.
    pub fn parse<K: KindRules>(
        source: SourceName,
        path: &Path,
        text: String,
        kinds: &[K],
    ) -> Result<Self, DefinitionError> {
        let mut problems = Vec::new();
        let whole = Document::parse(path, &text)?;
        if whole.keys(&[]).is_empty() {
            return Err(DefinitionError::invalid(path, vec![whole.problem_at(&[], NOTHING_SAID)]));
        }
        let mut document = whole.clone();
        set_strangers_aside(&mut document, kinds, &mut problems);
        let kind = set_parameters_aside(&mut document, kinds, &mut problems);
        let file = document.read::<JobFile>(&[], &mut problems);
        let of_types = problems.len();
        let mut reader = Reader { document: &document, problems };
        let read = file.as_ref().map(|file| {
            let (fields, schedule) = (reader.fields(file), reader.schedule(file));
            reader.on_change(file, kind.as_ref().is_some_and(|kind| kind.reads_files()));
            let after = reader.after(file);
            let reads_files = kind.as_ref().is_none_or(|kind| kind.reads_files());
            let rows = KeyRows { in_files: reads_files, made_anew: whole.has(&[EXPORT]) };
            let external_id = reader.external_id(file, rows);
            reader.contract(file);
            reader.checks(file);
            reader.freshness(file);
            (fields, schedule, after, external_id)
        });
        if file.is_none() && !["primary_key", "external_id"].iter().any(|key| document.has(&[key]))
        {
            reader.problem(&["primary_key"], MISSING_KEY);
        }
        let mut problems = reader.problems;
        forget_consequences(&mut problems, of_types);
        let mut warnings = Vec::new();
        if let Some(kind) = kind {
            let mut inspection = Inspection::new(&whole, kind.name());
            kind.inspect(&mut inspection);
            problems.extend(inspection.problems);
            warnings = inspection.warnings;
        }
        let fields_read = read.iter().flat_map(|(fields, ..)| fields);
        warnings.extend(fields_read.filter_map(|FieldDefinition { name, .. }| {
            let column = meant_column(name)?;
            let text = format!(
                "is no column and becomes a key of `attributes`; did you mean the column `{column}`?"
            );
            Some(document.problem_at(&["fields", name], text))
        }));
        if read.as_ref().is_some_and(|(fields, ..)| fields.is_empty()) && !document.has(&["fields"])
        {
            warnings.push(document.problem_at(&["fields"], NO_FIELDS));
        }
        let (Some(file), Some((fields, schedule, after, Some(external_id))), true) =
            (file, read, problems.is_empty())
        else {
            return Err(DefinitionError::invalid(path, problems));
        };
        let longest_gap = schedule.as_ref().and_then(Schedule::longest_gap);
        Ok(Self {
            source,
            path: path.to_owned(),
            hash: ContentHash::of(text.as_bytes()),
            kind: file.kind,
            description: file.description,
            schedule,
            on_change: file.schedule.as_deref().is_some_and(is_on_change),
            after,
            external_id,
            fields,
            contract: file.contract,
            checks: file.checks,
            missing: file.missing,
            retention: file.retention,
            freshness: file.freshness.or_by_schedule(longest_gap),
            warnings,
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
            .filter(|_| problems.is_empty())
            .ok_or_else(|| DefinitionError::invalid(&self.path, problems))
    }

    /// The table of this name, or what `P` is without a word, where there is none.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] with everything in the table that `P` does not take.
    pub fn table<P: DeserializeOwned + Default>(&self, name: &str) -> Result<P, DefinitionError> {
        let document = Document::parse(&self.path, &self.text)?;
        if !document.has(&[name]) {
            return Ok(P::default());
        }
        let mut problems = Vec::new();
        document
            .read(&[name], &mut problems)
            .filter(|_| problems.is_empty())
            .ok_or_else(|| DefinitionError::invalid(&self.path, problems))
    }

    /// What `look` reports of the job file besides what is reported on every machine: what keeps it
    /// from being used, and warnings.
    ///
    /// # Errors
    /// [`DefinitionError::Invalid`] when the text is no TOML any more.
    pub fn inspect(
        &self,
        look: impl FnOnce(&mut Inspection<'_>),
    ) -> Result<(Vec<Problem>, Vec<Problem>), DefinitionError> {
        let document = Document::parse(&self.path, &self.text)?;
        let mut inspection = Inspection::new(&document, &self.kind);
        look(&mut inspection);
        Ok((inspection.problems, inspection.warnings))
    }
}

const NO_FIELDS: &str = "there is no [fields]: records get a key and no values, and no change of any value is noticed; \
                         name the fields that you want, such as `name = {}`";

/// The column that a key of `attributes` was perhaps meant to be: one written otherwise, or with a slip.
fn meant_column(field: &str) -> Option<&'static str> {
    if Target::of(field) != Target::Attribute {
        return None;
    }
    let letters = |name: &str| {
        name.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    let written = letters(field);
    Target::columns().find(|column| {
        let column = letters(column);
        let slips = strsim::damerau_levenshtein(&written, &column);
        slips == 0 || slips == 1 && column.len() > 4
    })
}

/// A problem with a value is not reported where its type was wrong already, nor what follows from that
/// for others of its table.
fn forget_consequences(problems: &mut Vec<Problem>, of_types: usize) {
    let known: Vec<Vec<String>> =
        problems[..of_types].iter().map(|problem| problem.keys.clone()).collect();
    let mut at = 0;
    problems.retain(|problem| {
        at += 1;
        at <= of_types
            || !known.iter().any(|known| {
                let table = known.split_last().map_or(&[][..], |(_, table)| table);
                problem.keys.starts_with(known)
                    || (!table.is_empty() && problem.keys.starts_with(table))
            })
    });
}

/// The keys of a job file, but for the tables of kinds.
const KEYS: [&str; 13] = [
    "kind",
    "description",
    "schedule",
    "time_zone",
    "after",
    "primary_key",
    "external_id",
    "fields",
    "contract",
    "checks",
    "missing",
    "retention",
    "freshness",
];

/// The table that all kinds share that read files: where these are.
pub(super) const FILES: &str = "files";
/// The table that they share whose files an API makes.
pub(super) const EXPORT: &str = "export";

/// Takes out what is no key of a job file, and says what it may have been meant to be: serde does not
/// know the tables of kinds.
fn set_strangers_aside<K: KindRules>(
    document: &mut Document<'_>,
    kinds: &[K],
    problems: &mut Vec<Problem>,
) {
    let own = document.text_at(&["kind"]).map(str::to_owned);
    let all: Vec<&str> = kinds.iter().map(KindRules::name).collect();
    // The table of the file's kind; of all when the kind is unknown.
    let tables = all.iter().copied().filter(|kind| own.as_deref().is_none_or(|own| own == *kind));
    let known: Vec<&str> = KEYS.into_iter().chain([FILES, EXPORT]).chain(tables).collect();
    for key in document.keys(&[]) {
        let is_known =
            KEYS.contains(&&*key) || key == FILES || key == EXPORT || all.contains(&&*key);
        if !is_known && own.as_deref() != Some(&*key) {
            let message = format!("unknown key{}", suggest::hint(&key, "keys", &known));
            problems.push(document.problem_at(&[&key], message));
            document.remove(&key);
        }
    }
}

/// Takes the kind's own table out of the document, and says what is wrong with `kind`.
fn set_parameters_aside<'k, K: KindRules>(
    document: &mut Document<'_>,
    kinds: &'k [K],
    problems: &mut Vec<Problem>,
) -> Option<&'k K> {
    let Some(name) = document.text_at(&["kind"]).map(str::to_owned) else {
        // Missing or no text: reading the rest says so. The tables of kinds are not reported then.
        let mut meant = kinds.iter().filter(|kind| document.has_table(&[kind.name()]));
        let meant = (meant.next(), meant.next());
        kinds.iter().for_each(|kind| document.remove(kind.name()));
        [FILES, EXPORT].into_iter().for_each(|key| document.remove(key));
        return match meant {
            (Some(kind), None) => Some(kind),
            _ => None,
        };
    };
    let kind = kinds.iter().find(|kind| kind.name() == name);
    let names: Vec<&str> = kinds.iter().map(KindRules::name).collect();
    if kind.is_none() {
        let hint = suggest::hint(&name, "kinds", &names);
        let known = match hint.contains("did you mean") {
            true => format!(" Known kinds: {}", names.join(", ")),
            false => String::new(),
        };
        problems
            .push(document.problem_at(&["kind"], format!("unknown kind `{name}`{hint}{known}")));
        names.iter().for_each(|kind| document.remove(kind));
    } else if !document.has_table(&[&name])
        && !is_misspelt(&name, problems)
        && (document.has(&[&name]) || !has_files(document, kind))
    {
        let message = match document.has(&[&name]) {
            true => format!("expected a table: [{name}], and the parameters below it"),
            false => format!("missing table with the parameters of kind = \"{name}\""),
        };
        problems.push(document.problem_at(&[&name], message));
    }
    for other in names.iter().filter(|other| **other != name) {
        if document.has(&[other]) {
            let message = match kind {
                Some(_) => {
                    format!("unknown key; kind = \"{name}\" takes its parameters from [{name}]")
                }
                None => continue,
            };
            problems.push(document.problem_at(&[other], message));
            document.remove(other);
        }
    }
    for table in [FILES, EXPORT] {
        if kind.is_some_and(|kind| !kind.reads_files()) && document.has(&[table]) {
            let message = format!("unknown key; kind = \"{name}\" reads no files");
            problems.push(document.problem_at(&[table], message));
        }
        document.remove(table);
    }
    let own_words = ["kind", "fields", "contract", "checks", "missing", "retention", "freshness"];
    if !own_words.contains(&name.as_str()) {
        document.remove(&name);
    }
    kind
}

/// Whether the job file says where files are: then each parameter of their kind may be left out.
fn has_files<K: KindRules>(document: &Document<'_>, kind: Option<&K>) -> bool {
    let has = [FILES, EXPORT].iter().any(|table| document.has_table(&[table]));
    kind.is_some_and(KindRules::reads_files) && has
}

/// Whether the table of this name is there under another one, which is reported already.
fn is_misspelt(name: &str, problems: &[Problem]) -> bool {
    let meant = format!("; did you mean `{name}`?");
    problems.iter().any(|problem| problem.keys.len() == 1 && problem.message.ends_with(&meant))
}

struct Reader<'a> {
    document: &'a Document<'a>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, keys: &[&str], message: impl Into<String>) {
        self.problems.push(self.document.problem_at(keys, message));
    }

    fn fields(&mut self, file: &JobFile) -> Vec<crate::values::field::FieldDefinition> {
        let names = self.document.keys(&["fields"]);
        let tables = names.iter().filter_map(|name| Some((name, file.fields.get(name)?)));
        tables
            .map(|(name, table)| {
                field_table::define(name, table, self.document, &mut self.problems)
            })
            .collect()
    }

    /// Whether the source can be watched, if it is to be.
    fn on_change(&mut self, file: &JobFile, reads_files: bool) {
        if !file.schedule.as_deref().is_some_and(is_on_change) {
            return;
        }
        let message = match (reads_files, self.document.has(&[EXPORT])) {
            (true, false) => return,
            (true, true) => {
                "the files of [export] are there only once a run has asked for them: write when it is due, for \
                 example \"0 5 * * *\""
            }
            (false, _) => {
                "only files can be watched: write when the source is due, for example \"*/10 * * * *\""
            }
        };
        self.problem(&["schedule"], message);
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
                let message = "it is that of the `schedule`, and there is none; times in \
                               rows have their own: `time_zone` in the table of the field";
                self.problem(&["time_zone"], message);
            }
            return None;
        };
        if is_on_change(expression) {
            if file.time_zone.is_some() {
                self.problem(
                    &["time_zone"],
                    "a source that is read on change knows no hours: take it out",
                );
            }
            return None;
        }
        match Schedule::parse(expression, zone) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                self.problem(&["schedule"], error.to_string());
                None
            }
        }
    }

    fn after(&mut self, file: &JobFile) -> Vec<SourceName> {
        let Some(names) = &file.after else { return Vec::new() };
        if names.is_empty() {
            self.problem(&["after"], "names no source: name at least one, or take it out");
        }
        let mut after: Vec<SourceName> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let known = after.iter().any(|known| known.as_str() == name);
            match name.parse::<SourceName>() {
                _ if known => {
                    self.problem(&["after", &at.to_string()], "is there twice: remove one")
                }
                Ok(name) => after.push(name),
                Err(error) => self.problem(&["after", &at.to_string()], error.to_string()),
            }
        }
        after
    }

    fn external_id(&mut self, file: &JobFile, rows: KeyRows) -> Option<ExternalId> {
        let (at, made) = match (&file.primary_key, &file.external_id) {
            (Some(written), None) => ("primary_key", key::of_primary_key(written, rows)),
            (None, Some(template)) => ("external_id", key::of_template(template)),
            (Some(_), Some(_)) => {
                let message = "is used instead of `primary_key`: remove one".into();
                ("external_id", Err(message))
            }
            (None, None) => ("primary_key", Err(MISSING_KEY.into())),
        };
        let made = made.and_then(|id| {
            let paths = id.parts.iter().filter_map(|part| match part {
                Locator::Path(path) if path.starts_with('$') => Some(path),
                _ => None,
            });
            for path in paths {
                json_path::parse(path).map_err(|error| {
                    let path = text::cut(path, text::MAX_QUOTED);
                    format!("`{path}` is no JSONPath: {error}")
                })?;
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
        let shares = [
            (["checks", "max_quarantine_ratio"], file.checks.max_quarantine_ratio),
            (["missing", "max_ratio"], file.missing.max_ratio),
        ];
        for (keys, ratio) in shares {
            if !(0.0..=1.0).contains(&ratio) {
                self.problem(&keys, format!("a share from 0 to 1, not {ratio}"));
            }
        }
    }

    fn freshness(&mut self, file: &JobFile) {
        let Freshness { warn_after, error_after } = file.freshness;
        if warn_after.zip(error_after).is_some_and(|(warn, error)| warn > error) {
            let message = "a source that needs a look is not stale yet: give `error_after` more than `warn_after`";
            self.problem(&["freshness", "error_after"], message);
        }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

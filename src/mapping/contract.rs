//! Owns the schema contract applied row by row: what happens to a value, or to its row, that does
//! not fit the current schema version.
//!
//! The schema knows top-level fields only, so a nested value is evaluated by the field that contains it; that
//! it is gone from every record is evaluated by what earlier runs had of the mapped field.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::field_name;
use crate::domain::presence::{Presence, Reads};
use crate::domain::reject::{Defect, MAX_DEFECTS, ReasonCode};
use crate::domain::schema::{FieldSchema, Schema};
use crate::domain::shape::FieldType;
use crate::job_file::policy::{Contract, Policy};
use crate::job_file::{Definition, FieldValue};
use crate::values::field::{Locator, first_segment, plain_header};
use crate::values::row::{Cell, Row};

/// A contract with what it needs of the schema.
#[derive(Debug)]
pub(super) struct RowContract {
    rules: Contract,
    /// The names that the schema knows, when a row's fields have to be looked at.
    known: Option<BTreeSet<String>>,
    /// Under `missing_field = "guard"`: fields that every row had and that none of the run has.
    gone: Gone,
}

/// Mapped fields that every row had, and that no row of a run has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Top-level fields, by the source's own names.
    #[serde(default, rename = "gone", skip_serializing_if = "BTreeSet::is_empty")]
    pub fields: BTreeSet<String>,
    /// What is nested in them, by the paths of the job file.
    #[serde(default, rename = "gone_paths", skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<String>,
}

impl Gone {
    /// Whether nothing is gone.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.paths.is_empty()
    }

    /// Keeps what is gone from others as well.
    pub fn retain_those_of(&mut self, others: &Self) {
        self.fields.retain(|field| others.fields.contains(field));
        self.paths.retain(|path| others.paths.contains(path));
    }
}

/// The fields that are guarded, as long as no record of a run was seen to have them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// Those of which no record has anything.
    #[serde(flatten)]
    pub missing: Gone,
    /// Of how many records of the run they must be missing to be gone; of any number where nothing is said.
    #[serde(default, rename = "gone_from", skip_serializing_if = "BTreeMap::is_empty")]
    pub fewest: BTreeMap<String, u64>,
    /// How many records were looked at: those that say that they are deleted are none of them.
    #[serde(default, rename = "gone_of", skip_serializing_if = "is_zero")]
    pub records: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Guarded {
    /// Adds what others have looked at.
    pub fn merge(&mut self, others: &Self) {
        self.missing.retain_those_of(&others.missing);
        self.records += others.records;
        let names = others.fewest.iter().map(|(name, fewest)| (name.clone(), *fewest));
        self.fewest.extend(names);
    }

    /// What is gone: a few records that lack a field that every record had are an accident.
    pub fn gone(mut self) -> Gone {
        let is_gone = |name: &String| self.fewest.get(name).is_none_or(|it| *it <= self.records);
        self.missing.fields.retain(is_gone);
        self.missing.paths.retain(is_gone);
        self.missing
    }
}

/// What the contract watches of one locator.
#[derive(Debug)]
pub(super) struct Watch {
    /// Whether it leads to what is gone from within a field.
    lost: bool,
    /// The field that the schema knows, if the locator leads to or through one.
    field: Option<WatchedField>,
}

#[derive(Debug)]
struct WatchedField {
    /// The top-level field.
    field: String,
    /// What the schema says of it; `None` when it does not have it.
    schema: Option<FieldSchema>,
    /// Whether the value is nested in the field instead of being it.
    nested: bool,
}

/// What the contract has against a row.
#[derive(Debug)]
pub(super) enum ContractViolation {
    /// Stop: the sentence says why.
    Freeze(String),
    /// Set the row aside.
    Defect(Defect),
}

/// What a row has where the contract looks.
enum Found {
    Missing,
    Null,
    Value(FieldType),
}

impl RowContract {
    pub(super) fn new(rules: Contract, schema: Option<&Schema>, gone: &Gone) -> Self {
        let looks = matches!(rules.new_field, Policy::Freeze | Policy::QuarantineRow);
        // A full schema cannot say that a field is new.
        let known = schema
            .filter(|schema| looks && !schema.is_full())
            .map(|schema| schema.fields.keys().cloned().collect());
        let gone = if rules.guards() { gone.clone() } else { Gone::default() };
        Self { rules, known, gone }
    }

    /// What is to be watched of a mapped locator; `None` when nothing about it can matter.
    pub(super) fn watch(&self, locator: &Locator, schema: Option<&Schema>) -> Option<Watch> {
        let lost = matches!(locator, Locator::Path(path) if self.gone.paths.contains(path));
        let field = schema.and_then(|schema| self.watch_field(locator, schema));
        (lost || field.is_some()).then_some(Watch { lost, field })
    }

    fn watch_field(&self, locator: &Locator, schema: &Schema) -> Option<WatchedField> {
        let strict = |policy| matches!(policy, Policy::Freeze | Policy::QuarantineRow);
        let matters = strict(self.rules.missing_field)
            || !self.gone.fields.is_empty()
            || self.rules.type_change != Policy::Evolve
            || self.rules.new_field == Policy::DiscardValue;
        let (field, nested) = match locator {
            _ if !matters => return None,
            locator => top_level(locator, schema)?,
        };
        let field = field_name::kept(&field).into_owned();
        let known = schema.fields.get(&field).cloned();
        if known.is_none() && schema.is_full() {
            return None;
        }
        Some(WatchedField { field, schema: known, nested })
    }

    /// Checks that the schema knows every field of the row.
    pub(super) fn check_new_fields<R: Row>(
        &self,
        row: &R,
        defects: &mut Vec<Defect>,
    ) -> Result<(), String> {
        let Some(known) = &self.known else {
            return Ok(());
        };
        let mut frozen = None;
        row.visit_fields(&mut |name, _| {
            let name = field_name::kept(name);
            if known.contains(name.as_ref()) {
                return;
            }
            if defects.len() >= MAX_DEFECTS {
                return;
            }
            let message = format!("{name}: the schema has no such field");
            match self.rules.new_field {
                Policy::Freeze => {
                    frozen.get_or_insert(format!("{message} (contract: new_field = \"freeze\")"));
                }
                _ => defects.push(Defect::without_value(
                    Some(name.into_owned()),
                    ReasonCode::NewField,
                    format!("{message} (contract: new_field = \"quarantine_row\")"),
                )),
            }
        });
        frozen.map_or(Ok(()), Err)
    }

    /// Evaluates the value of a watched locator: what comes back is the value to go on with.
    pub(super) fn admit<'r, R: Row>(
        &self,
        watch: &Watch,
        label: &str,
        row: &R,
        cell: Cell<'r>,
    ) -> Result<Cell<'r>, ContractViolation> {
        if watch.lost && matches!(cell, Cell::Missing) {
            let what = "the row has nothing there, and every row had";
            self.object("missing_field", self.rules.missing_field, label, what)?;
        }
        let Some(watch) = &watch.field else { return Ok(cell) };
        let Some(schema) = &watch.schema else {
            let discarded = self.rules.new_field == Policy::DiscardValue;
            return Ok(if discarded { Cell::Null } else { cell });
        };
        let found = if watch.nested { found_above(row, &watch.field) } else { found_in(cell) };
        match found {
            Found::Missing
                if match self.rules.guards() {
                    true => self.gone.fields.contains(&watch.field),
                    false => !schema.optional,
                } =>
            {
                let what =
                    format!("the row has no such field, and every row had \"{}\"", watch.field);
                self.object("missing_field", self.rules.missing_field, label, &what)?;
                Ok(cell)
            }
            Found::Value(kind) if row.typed() && !schema.admits(kind) => {
                if self.rules.type_change == Policy::DiscardValue {
                    return Ok(Cell::Null);
                }
                let what = format!("of type {kind}, and the schema says {schema}");
                self.object("type_change", self.rules.type_change, label, &what)?;
                Ok(cell)
            }
            _ => Ok(cell),
        }
    }

    /// Whether a defect that [`RowContract::admit`] found says that the row lacks what is gone from all of them.
    pub(super) fn is_of_guard(&self, defect: &Defect) -> bool {
        self.rules.guards() && defect.reason == ReasonCode::MissingField
    }

    /// What to do with text that could not be converted: in rows without types that is what a
    /// change of type looks like. Without a schema, or a rule, the row is set aside.
    pub(super) fn on_failed_text(&self, watch: Option<&Watch>) -> Policy {
        let schema = watch.and_then(|watch| watch.field.as_ref()?.schema.as_ref());
        match (schema, self.rules.type_change) {
            (Some(_), policy @ (Policy::Freeze | Policy::DiscardValue)) => policy,
            _ => Policy::QuarantineRow,
        }
    }

    fn object(
        &self,
        rule: &str,
        policy: Policy,
        label: &str,
        what: &str,
    ) -> Result<(), ContractViolation> {
        let message = format!("{label}: {what} (contract: {rule} = \"{}\")", policy.as_str());
        let reason = match rule {
            "missing_field" => ReasonCode::MissingField,
            _ => ReasonCode::TypeChanged,
        };
        match policy {
            Policy::Evolve | Policy::DiscardValue => Ok(()),
            Policy::Freeze => Err(ContractViolation::Freeze(message)),
            Policy::QuarantineRow | Policy::Guard => {
                let field = Some(label.to_owned());
                Err(ContractViolation::Defect(Defect::without_value(field, reason, message)))
            }
        }
    }
}

/// The fields that every row had and that are mapped: under `missing_field = "guard"` they are missed
/// when none of a run has them.
pub(super) fn guarded(
    definition: &Definition,
    schema: Option<&Schema>,
    known: &BTreeMap<String, Presence>,
    reads: Reads,
) -> Guarded {
    if !definition.contract.guards() {
        return Guarded::default();
    }
    let values = definition.values();
    let always = |value: &&FieldValue<'_>, from: &str| {
        known.get(&*value.counted_as()).is_some_and(|known| {
            known.always && known.records > 0 && known.from == field_name::kept(from)
        })
    };
    let mut fewest = BTreeMap::new();
    // Of news a few may lack what every record had: of all that a source has, none does by accident.
    let mut take = |value: &FieldValue<'_>, name: String| {
        if let (Reads::News, Some(known)) = (reads, known.get(&*value.counted_as())) {
            let least = known.fewest_missed();
            let kept = fewest.entry(name.clone()).or_insert(least);
            *kept = least.max(*kept);
        }
        name
    };
    let fields = schema.map(|schema| match reads {
        Reads::Again => {
            let mut fields = guarded_fields(&definition.locators(), schema);
            fields.extend(missed_fields(definition, schema, known));
            fields
        }
        Reads::News => {
            let had = values.iter().filter(|v| v.from.label().is_some_and(|from| always(v, from)));
            let names = had.filter_map(|value| Some((value, top_level(value.from, schema)?.0)));
            let names = names.filter(|(_, name)| schema.fields.contains_key(name));
            names.map(|(value, name)| take(value, name)).collect()
        }
    });
    let paths = values.iter().filter_map(|value| {
        let path = value.from.nested_path()?;
        always(&value, path).then(|| (value, path.to_owned()))
    });
    let paths = paths.map(|(value, path)| take(value, path)).collect();
    let missing = Gone { fields: fields.unwrap_or_default(), paths };
    Guarded { missing, fewest, records: 0 }
}

fn guarded_fields(locators: &[Locator], schema: &Schema) -> BTreeSet<String> {
    let mapped = locators.iter().filter_map(|locator| top_level(locator, schema));
    let had = |field: &String| schema.fields.get(field).is_some_and(|known| !known.optional);
    mapped.map(|(field, _)| field).filter(had).collect()
}

/// The top-level fields that a job file reads from, as the schema names them: those that the contract has
/// a say in.
pub fn mapped_fields(definition: &Definition, schema: &Schema) -> BTreeSet<String> {
    let locators = definition.locators();
    locators.iter().filter_map(|locator| Some(top_level(locator, schema)?.0)).collect()
}

/// The top-level fields that every record had until hardly any had it. A single record without a field
/// makes it optional in the schema, which would end the guard just then.
fn missed_fields(
    definition: &Definition,
    schema: &Schema,
    known: &BTreeMap<String, Presence>,
) -> BTreeSet<String> {
    let values = definition.values();
    let values = values.iter().filter(|value| value.from.nested_path().is_none());
    let missed = values.filter_map(|value| {
        let from = field_name::kept(value.from.label()?);
        let known = known.get(&*value.counted_as()).filter(|known| known.from == from)?;
        let (name, _) = top_level(value.from, schema).filter(|_| known.always && known.missed)?;
        schema.fields.contains_key(&name).then_some(name)
    });
    missed.collect()
}

/// The top-level field that a locator leads to, as the schema names it, and whether it leads on from
/// there.
fn top_level(locator: &Locator, schema: &Schema) -> Option<(String, bool)> {
    match locator {
        Locator::Whole(_) | Locator::Nowhere => None,
        Locator::Column(names) => Some((known_name(names, schema)?, false)),
        Locator::Named(name) => Some((known_name(std::slice::from_ref(name), schema)?, false)),
        Locator::Path(key) if !key.starts_with('$') => Some((key.clone(), false)),
        Locator::Path(path) => first_segment(path),
    }
}

/// The one of a column's names that the schema has, else the first.
fn known_name(names: &[String], schema: &Schema) -> Option<String> {
    let exact = names.iter().find(|name| schema.fields.contains_key(*name)).cloned();
    let plain = || {
        let fits =
            |known: &&String| names.iter().any(|name| plain_header(name) == plain_header(known));
        schema.fields.keys().find(fits).cloned()
    };
    exact.or_else(plain).or_else(|| names.first().cloned())
}

fn found_in(cell: Cell<'_>) -> Found {
    match cell {
        Cell::Missing => Found::Missing,
        Cell::Null | Cell::Json(Value::Null) => Found::Null,
        Cell::Text(_) | Cell::Json(Value::String(_)) => Found::Value(FieldType::String),
        Cell::Json(Value::Bool(_)) => Found::Value(FieldType::Boolean),
        Cell::Json(Value::Array(_)) => Found::Value(FieldType::Array),
        Cell::Json(Value::Object(_)) => Found::Value(FieldType::Object),
        Cell::Json(Value::Number(digits)) => {
            let whole = !digits.as_str().contains(['.', 'e', 'E']);
            Found::Value(if whole { FieldType::Integer } else { FieldType::Number })
        }
    }
}

fn found_above<R: Row>(row: &R, field: &str) -> Found {
    let mut found = Found::Missing;
    row.visit_fields(&mut |name, kind| {
        if field_name::kept(name) == field {
            found = kind.map_or(Found::Null, Found::Value);
        }
    });
    found
}

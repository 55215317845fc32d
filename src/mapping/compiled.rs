//! Owns the compiled mapping: the fields of a definition with what is known of them before any row is.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::contract::{self, Gone, Guarded, RowContract, Watch};
use super::mapped::UniqueField;
use crate::domain::hash::ContentHash;
use crate::domain::presence::{Presence, Reads};
use crate::domain::record::Column;
use crate::domain::reject::Defect;
use crate::domain::schema::Schema;
use crate::job_file::Definition;
use crate::values::convert::Converter;
use crate::values::field::{ExternalId, FieldDefinition, Locator, RowPart, Target};
use crate::values::json;

/// A compiled mapping: the fields of a definition under the contract and the current schema.
#[derive(Debug)]
pub struct Mapping {
    pub(super) contract: RowContract,
    pub(super) key: Key,
    /// Fields with a column of their own, but for `attributes`.
    pub(super) columns: Vec<Field>,
    /// The field named `attributes`: the object that the others are added to.
    pub(super) base: Option<Field>,
    /// The other fields, sorted by name: the content hash must not depend on the file's order.
    pub(super) members: Vec<Field>,
    /// Rows with values that other records have.
    pub(super) not_unique: Arc<NotUnique>,
}

/// Rows with values that other records have, by their place among those that are mapped together, and what is wrong
/// with each: one page may be among them twice.
pub type NotUnique = HashMap<usize, Vec<Defect>>;

#[derive(Debug)]
pub(super) struct Key {
    pub(super) external_id: ExternalId,
    pub(super) parts: Vec<Part>,
}

/// A locator as rows know it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) locator: usize,
    /// What of the row itself it is, in place of one of its fields.
    pub(super) whole: Option<RowPart>,
    pub(super) label: String,
    pub(super) watch: Option<Watch>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) part: Part,
    pub(super) target: Target,
    pub(super) converter: Converter,
    /// For the values of the job file itself.
    pub(super) plain: Converter,
    pub(super) constant: Option<String>,
    /// What it is put together of besides, and what stands between.
    pub(super) concat: Option<(Vec<Part>, String)>,
    pub(super) default: Option<String>,
    pub(super) required: bool,
    /// Of one with `unique`.
    pub(super) unique: Option<Arc<UniqueField>>,
    /// `"name":`, for fields that become a key of `attributes`.
    pub(super) member: String,
    pub(super) name: String,
}

impl Mapping {
    /// The same, which sets these rows aside as well.
    #[must_use]
    pub fn setting_aside(self, not_unique: Arc<NotUnique>) -> Self {
        Self { not_unique, ..self }
    }

    /// Compiles the mapping. `schema` is the current version, `None` before the first.
    pub fn new(definition: &Definition, schema: Option<&Schema>) -> Self {
        Self::guarding(definition, schema, &Gone::default())
    }

    /// The same, which sets rows aside that lack one of the fields that are `gone` from the source.
    pub fn guarding(definition: &Definition, schema: Option<&Schema>, gone: &Gone) -> Self {
        let contract = RowContract::new(definition.contract, schema, gone);
        let locators = definition.locators();
        let part = |locator: usize, name: &str| Part {
            locator,
            whole: match locators[locator] {
                Locator::Whole(part) => Some(part),
                _ => None,
            },
            label: locators[locator].label().unwrap_or(name).to_owned(),
            watch: contract.watch(&locators[locator], schema),
        };
        let mut members = Vec::new();
        let mut columns = Vec::new();
        let mut base = None;
        let first = definition.fields.len();
        let behind_key = first + definition.external_id.parts.len();
        let mut also = behind_key..locators.len();
        for (i, definition) in definition.fields.iter().enumerate() {
            let concat = definition.concat.as_ref().map(|concat| {
                let parts =
                    concat.also.iter().map(|_| part(also.next().unwrap_or(i), &definition.name));
                (parts.collect(), concat.separator.clone())
            });
            let field = Field { concat, ..Field::new(definition, part(i, &definition.name)) };
            match field.target {
                Target::Column(Column::Attributes) => base = Some(field),
                Target::Attribute => members.push(field),
                Target::Column(_) => columns.push(field),
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let external_id = definition.external_id.clone();
        let parts = (first..behind_key).map(|locator| part(locator, "primary_key")).collect();
        let (key, not_unique) = (Key { external_id, parts }, Arc::default());
        Self { contract, key, columns, base, members, not_unique }
    }

    /// A hash of all that [`Mapping::guarding`] is made of: with equal hashes, a row becomes the same
    /// record or reject.
    pub fn hash(definition: &Definition, schema: Option<&Schema>, gone: &Gone) -> ContentHash {
        let measures = definition.contract.measures_rows() || !gone.is_empty();
        let schema = schema.filter(|_| measures);
        let made_of = (env!("CARGO_PKG_VERSION"), definition.hash, schema, gone);
        ContentHash::of(format!("{made_of:?}").as_bytes())
    }

    /// The mapped fields that every row had: those that are missed when no row of a run has them.
    /// The schema knows top-level fields, `known` what is nested in them. Of a source that reads news records may have
    /// lacked a field without a new version of the schema: of all its fields only `known` says that none ever did.
    pub fn guarded(
        definition: &Definition,
        schema: Option<&Schema>,
        known: &BTreeMap<String, Presence>,
        reads: Reads,
    ) -> Guarded {
        contract::guarded(definition, schema, known, reads)
    }
}

impl Field {
    /// Where its value comes from, as messages name it.
    pub(super) fn label(&self) -> Cow<'_, str> {
        match &self.concat {
            None => Cow::Borrowed(&self.part.label),
            Some((also, _)) => {
                let labels = std::iter::once(&self.part).chain(also).map(|part| &*part.label);
                Cow::Owned(labels.collect::<Vec<_>>().join(" + "))
            }
        }
    }

    fn new(definition: &FieldDefinition, part: Part) -> Self {
        let plain = Converter::plain(definition);
        let mut member = String::new();
        // A name that JSON cannot hold was refused with the job file.
        let _ = json::write_string(&definition.name, &mut member);
        member.push(':');
        let names = || UniqueField { name: definition.name.clone(), label: part.label.clone() };
        let unique = definition.unique.then(|| Arc::new(names()));
        Self {
            part,
            target: Target::of(&definition.name),
            // So was a bad format; were it not, values would have to be in ISO 8601.
            converter: Converter::new(definition).unwrap_or_else(|_| plain.clone()),
            plain,
            constant: definition.constant.clone(),
            concat: None,
            default: definition.default.clone(),
            required: definition.required,
            unique,
            member,
            name: definition.name.clone(),
        }
    }
}

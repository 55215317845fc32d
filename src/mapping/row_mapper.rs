//! Owns what the mapping does with one row: look up, evaluate by the contract, convert, write. Values
//! go straight into the batch's arena; nothing is allocated for a row without defects.

use std::borrow::Cow;

use serde_json::Value;

use super::compiled::{Field, Key, Mapping, Part};
use super::contract::ContractViolation;
use super::gap_counter::GapCounter;
use super::mapped::UniqueValue;
use crate::domain::decimal;
use crate::domain::record::{Column, ColumnType, RecordBatch};
use crate::domain::reject::{Defect, ReasonCode};
use crate::job_file::policy::Policy;
use crate::values::convert::{self, ConversionError, Converter, Form};
use crate::values::field::{RowPart, Target};
use crate::values::json;
use crate::values::object;
use crate::values::row::{Cell, Row, RowPlace};

/// The longest key in bytes; an entry of PostgreSQL's btree index holds about 2,700.
pub(super) const MAX_KEY: usize = 2_000;

/// A value on its way: what it is, who converts it, and whether it carries its type.
type Taken<'a> = (Cell<'a>, &'a Converter, bool);

/// One row being mapped. An `Err` of its methods is the sentence of [`Frozen`].
pub(super) struct RowMapper<'a, R> {
    mapping: &'a Mapping,
    row: &'a R,
    place: RowPlace<'a>,
    typed: bool,
    records: &'a mut RecordBatch,
    gaps: &'a mut GapCounter,
    /// Whether the row says that its record is deleted: of that it needs no other field.
    pub(super) is_deleted: bool,
    /// Everything wrong with the row.
    pub(super) defects: Vec<Defect>,
    /// Whether it lacks what is gone from all rows.
    pub(super) is_kept_out: bool,
    /// The values that no other record may have.
    pub(super) unique: Vec<UniqueValue>,
}

impl<'a, R: Row> RowMapper<'a, R> {
    pub(super) fn new(
        mapping: &'a Mapping,
        row: &'a R,
        place: RowPlace<'a>,
        records: &'a mut RecordBatch,
        gaps: &'a mut GapCounter,
    ) -> Self {
        let (typed, is_deleted) = (row.typed(), records.is_open_deleted());
        let (defects, is_kept_out, unique) = (Vec::new(), false, Vec::new());
        Self { mapping, row, place, typed, records, gaps, is_deleted, defects, is_kept_out, unique }
    }

    /// Fills the open record as far as the row allows.
    pub(super) fn fill(&mut self) -> Result<(), String> {
        let mapping = self.mapping;
        mapping.contract.check_new_fields(self.row, &mut self.defects)?;
        self.write_key(&mapping.key)?;
        for field in &mapping.columns {
            match field.target {
                Target::Column(column) if column.spec().kind == ColumnType::Timestamp => {
                    let micros =
                        self.convert(field, |converter, cell, _, _| converter.instant(cell))?;
                    if let Some(micros) = micros {
                        self.records.set_time(column, micros);
                        if let Some(unique) = &field.unique {
                            self.unique.push(UniqueValue::of(unique, &micros.to_string()));
                        }
                    }
                }
                Target::Column(column) => self.write_column(field, column)?,
                Target::Attribute => {}
            }
        }
        self.write_attributes(mapping.base.as_ref(), &mapping.members)
    }

    fn write_column(&mut self, field: &'a Field, column: Column) -> Result<(), String> {
        let start = self.records.arena().len();
        let written = self.convert(field, |converter, cell, typed, arena| {
            converter.write(cell, typed, Form::Column, arena)
        })?;
        if written.is_some() {
            self.note_written(field, start, Form::Column);
            self.records.close_column(column, start);
        }
        Ok(())
    }

    /// Notes what was written behind `start`, if no other record may have it.
    fn note_written(&mut self, field: &Field, start: usize, form: Form) {
        if let Some(unique) = &field.unique {
            let written = &self.records.arena()[start..];
            let text = match form {
                Form::Json => serde_json::from_str::<Cow<'_, str>>(written).ok(),
                Form::Column => None,
            };
            let text = text.unwrap_or(Cow::Borrowed(written));
            self.unique.push(UniqueValue::of(unique, &text));
        }
    }

    fn write_attributes(
        &mut self,
        base: Option<&'a Field>,
        members: &'a [Field],
    ) -> Result<(), String> {
        let start = self.records.arena().len();
        let has_base = match base {
            Some(field) => self.convert(field, write_object)?.is_some(),
            None => false,
        };
        let own = self.records.arena().len();
        for field in members {
            let arena = self.records.arena();
            let before = arena.len();
            arena.push(if before == own { '{' } else { ',' });
            arena.push_str(&field.member);
            let written = self.convert(field, |converter, cell, typed, arena| {
                converter.write(cell, typed, Form::Json, arena)
            })?;
            match written {
                Some(()) => {
                    self.note_written(field, before + 1 + field.member.len(), Form::Json);
                }
                None => self.records.arena().truncate(before),
            }
            if self.records.arena().len() - start > json::MAX_BYTES {
                break;
            }
        }
        let arena = self.records.arena();
        let has_own = arena.len() > own;
        if has_own {
            arena.push('}');
        }
        if has_base && has_own {
            object::merge(arena, start, own);
        }
        if written_out(&arena[start..]) > json::MAX_BYTES {
            let error = convert::not_json(json::JsonError::TooLong);
            let message = format!("all attributes together: {}", error.problem);
            self.defects.push(Defect::without_value(None, error.reason, message));
        }
        if has_base || has_own {
            self.records.close_column(Column::Attributes, start);
        }
        Ok(())
    }

    fn write_key(&mut self, key: &'a Key) -> Result<(), String> {
        let id = &key.external_id;
        let start = self.records.arena().len();
        self.records.arena().push_str(&id.literals[0]);
        for (part, literal) in key.parts.iter().zip(&id.literals[1..]) {
            if let Some(whole) = part.whole {
                self.write_whole(whole, id.escaped);
                self.records.arena().push_str(literal);
                continue;
            }
            match self.look(part)? {
                None => {}
                Some(Cell::Missing | Cell::Null | Cell::Text("")) => {
                    let problem = "a part of the key is missing or empty";
                    self.reject(
                        &part.label,
                        None,
                        ConversionError::new(ReasonCode::MissingKey, problem),
                    );
                }
                // What is that long is no key, however much longer it gets.
                Some(_) if self.records.arena().len() - start > json::MAX_BYTES => {}
                Some(cell) => match convert::storable_text(cell) {
                    Ok(text) => push_part(text, id.escaped, self.records.arena()),
                    Err(error) => self.reject(&part.label, Some(cell), error),
                },
            }
            self.records.arena().push_str(literal);
        }
        let length = self.records.arena().len() - start;
        if length > MAX_KEY {
            let labels: Vec<_> = key.parts.iter().map(|part| part.label.as_str()).collect();
            let problem = format!("a key of {length} bytes (expected at most {MAX_KEY})");
            self.reject(
                &labels.join(", "),
                None,
                ConversionError::new(ReasonCode::TooLong, problem),
            );
        }
        self.records.close_id(start);
        Ok(())
    }

    /// A part of the key that is the row itself, or its place.
    fn write_whole(&mut self, part: RowPart, escaped: bool) {
        let (row, place) = (self.row, self.place);
        if !push_whole(part, Some(row), Some(place), escaped, self.records.arena()) {
            let problem = "the row has no value, so that no key can be made of its values";
            let error = ConversionError::new(ReasonCode::MissingKey, problem);
            self.reject("primary_key", None, error);
        }
    }

    /// The value of a locator as far as the contract admits it; `None` after a defect.
    fn look(&mut self, part: &Part) -> Result<Option<Cell<'a>>, String> {
        let cell = match self.row.cell(part.locator) {
            Cell::Json(serde_json::Value::Null) => Cell::Null,
            cell => cell,
        };
        let Some(watch) = &part.watch else {
            return Ok(Some(cell));
        };
        match self.mapping.contract.admit(watch, &part.label, self.row, cell) {
            Ok(cell) => Ok(Some(cell)),
            Err(ContractViolation::Freeze(message)) => Err(message),
            Err(ContractViolation::Defect(defect)) => {
                if self.mapping.contract.is_of_guard(&defect) {
                    if self.is_deleted {
                        return Ok(Some(cell));
                    }
                    self.is_kept_out = true;
                }
                self.defects.push(defect);
                Ok(None)
            }
        }
    }

    fn take(&mut self, field: &'a Field) -> Result<Option<Taken<'a>>, String> {
        if let Some(constant) = &field.constant {
            return Ok(Some((Cell::Text(constant), &field.plain, false)));
        }
        match self.look(&field.part)? {
            None => Ok(None),
            Some(cell @ (Cell::Missing | Cell::Null)) => Ok(self.fall_back(field, cell)),
            Some(Cell::Text("")) if field.required => Ok(self.fall_back(field, Cell::Null)),
            Some(cell) if says_nothing(cell) => {
                self.gaps.note(field.part.locator);
                Ok(Some((cell, &field.converter, self.typed)))
            }
            Some(cell) => Ok(Some((cell, &field.converter, self.typed))),
        }
    }

    /// The text that a field is put together of; blank parts are left out. `None` after a defect.
    fn join(
        &mut self,
        field: &'a Field,
        also: &'a [Part],
        separator: &str,
    ) -> Result<Option<String>, String> {
        let mut joined = String::new();
        let mut is_good = true;
        for part in std::iter::once(&field.part).chain(also) {
            let text = match self.look(part)? {
                None => {
                    is_good = false;
                    continue;
                }
                Some(Cell::Missing | Cell::Null) => {
                    self.gaps.note_part(part.locator);
                    continue;
                }
                Some(cell) => match convert::storable_text(cell) {
                    Ok(text) => text,
                    Err(error) => {
                        self.reject(&part.label, Some(cell), error);
                        is_good = false;
                        continue;
                    }
                },
            };
            if text.trim().is_empty() {
                self.gaps.note_part(part.locator);
                continue;
            }
            if !joined.is_empty() {
                joined.push_str(separator);
            }
            joined.push_str(text);
        }
        Ok(is_good.then_some(joined))
    }

    /// What replaces a value that is not there.
    fn fall_back(&mut self, field: &'a Field, cell: Cell<'_>) -> Option<Taken<'a>> {
        match &field.concat {
            None => self.gaps.note(field.part.locator),
            Some((also, _)) => {
                let parts = std::iter::once(&field.part).chain(also);
                parts.for_each(|part| self.gaps.note_part(part.locator));
            }
        }
        if let Some(default) = &field.default {
            return Some((Cell::Text(default), &field.plain, false));
        }
        if field.required {
            let problem = match cell {
                Cell::Missing => "the row has no such field, and it is required",
                _ => "null or empty, and it is required",
            };
            self.reject(
                &field.label(),
                None,
                ConversionError::new(ReasonCode::MissingField, problem),
            );
        }
        None
    }

    /// Converts the value of a field; `None` when there is none, or after a defect.
    fn convert<T>(
        &mut self,
        field: &'a Field,
        conversion: impl Fn(&Converter, Cell<'_>, bool, &mut String) -> Result<T, ConversionError>,
    ) -> Result<Option<T>, String> {
        let joined;
        let mut taken = match &field.concat {
            None => self.take(field)?,
            Some((also, separator)) => match self.join(field, also, separator)? {
                None => None,
                Some(text) if text.is_empty() => self.fall_back(field, Cell::Null),
                Some(text) => {
                    joined = text;
                    Some((Cell::Text(&joined), &field.converter, self.typed))
                }
            },
        };
        while let Some((cell, converter, typed)) = taken {
            let arena = self.records.arena();
            let start = arena.len();
            let error = match conversion(converter, cell, typed, arena) {
                Ok(converted) => return Ok(Some(converted)),
                Err(error) => error,
            };
            arena.truncate(start);
            let from_file = std::ptr::eq(converter, &field.plain);
            let policy = match error.is_of_type() && !self.typed && !from_file {
                true => self.mapping.contract.on_failed_text(field.part.watch.as_ref()),
                false => Policy::QuarantineRow,
            };
            taken = None;
            // What the steps leave nothing of is no value.
            if error.reason == ReasonCode::MissingField {
                taken = self.fall_back(field, Cell::Null);
                continue;
            }
            match policy {
                Policy::DiscardValue => taken = self.fall_back(field, Cell::Null),
                Policy::Freeze => {
                    let found = convert::shown(cell);
                    return Err(format!(
                        "{}: {found} {} (contract: type_change = \"freeze\")",
                        field.label(),
                        error.problem
                    ));
                }
                Policy::Evolve | Policy::Guard | Policy::QuarantineRow => {
                    self.reject(&field.label(), Some(cell), error);
                }
            }
        }
        Ok(None)
    }

    fn reject(&mut self, label: &str, cell: Option<Cell<'_>>, error: ConversionError) {
        let found = cell.map(convert::shown);
        let message = match &found {
            Some(found) => format!("{label}: {found} {}", error.problem),
            None => format!("{label}: {}", error.problem),
        };
        let field = Some(label.to_owned());
        self.defects.push(Defect { field, reason: error.reason, message, found });
    }
}

/// See [`json::written_out`]. Only a number whose digits are few bytes can become more than that, so
/// short texts need no look.
fn written_out(attributes: &str) -> usize {
    let most = attributes.len().saturating_mul(2 * decimal::MAX_DIGITS as usize);
    if most > json::MAX_BYTES { json::written_out(attributes) } else { attributes.len() }
}

/// The conversion of the field named `attributes`.
fn write_object(
    converter: &Converter,
    cell: Cell<'_>,
    typed: bool,
    arena: &mut String,
) -> Result<(), ConversionError> {
    let start = arena.len();
    converter.write(cell, typed, Form::Json, arena)?;
    if arena[start..].starts_with('{') {
        return Ok(());
    }
    Err(ConversionError::new(
        ReasonCode::InvalidJson,
        "is not a JSON object (expected {\"key\": value, …})",
    ))
}

impl Key {
    /// The label of the part of a row's key that holds this text.
    pub(super) fn part_with(&self, row: &dyn Row, text: &str) -> Option<&str> {
        let holds = |part: &&Part| matches!(row.cell(part.locator), Cell::Text(cell) if cell.contains(text));
        self.parts.iter().find(holds).map(|part| part.label.as_str())
    }

    /// Appends a row's key; `false` when the row has none. The contract has no say here: a row that
    /// it sets aside has its place in the order all the same.
    pub(super) fn write(
        &self,
        row: Option<&dyn Row>,
        place: Option<RowPlace<'_>>,
        out: &mut String,
    ) -> bool {
        let id = &self.external_id;
        out.push_str(&id.literals[0]);
        for (part, literal) in self.parts.iter().zip(&id.literals[1..]) {
            match (part.whole, row.map(|row| row.cell(part.locator))) {
                (Some(whole), _) => {
                    if !push_whole(whole, row, place, id.escaped, out) {
                        return false;
                    }
                }
                (None, None | Some(Cell::Missing | Cell::Null | Cell::Text(""))) => return false,
                (None, Some(cell)) => match convert::storable_text(cell) {
                    Ok(text) => push_part(text, id.escaped, out),
                    Err(_) => return false,
                },
            }
            out.push_str(literal);
        }
        true
    }
}

/// Whether a cell holds no value: blanks, or a list or an object of nothing. Zero and `false` are values.
fn says_nothing(cell: Cell<'_>) -> bool {
    match cell {
        Cell::Missing | Cell::Null => true,
        Cell::Text(text) => matches!(text.trim(), "" | "{}" | "[]"),
        Cell::Json(value) => holds_nothing(value),
    }
}

fn holds_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(elements) => elements.iter().all(holds_nothing),
        Value::Object(fields) => fields.values().all(holds_nothing),
    }
}

/// Appends what a row is or where it stands; `false` when that is nothing, or not known.
fn push_whole(
    part: RowPart,
    row: Option<&dyn Row>,
    place: Option<RowPlace<'_>>,
    escaped: bool,
    out: &mut String,
) -> bool {
    let text = match part {
        RowPart::File => {
            // What stands in it is escaped, and a `#` in front of a member is not.
            place.inspect(|place| out.push_str(place.file));
            return place.is_some();
        }
        RowPart::Number => {
            let own = row.and_then(Row::place);
            own.or_else(|| place.map(|place| place.number.to_string()))
        }
        RowPart::Content => row.and_then(Row::content).map(|content| content.to_string()),
    };
    if let Some(text) = &text {
        push_part(text, escaped, out);
    }
    text.is_some()
}

fn push_part(text: &str, escaped: bool, out: &mut String) {
    if !escaped {
        out.push_str(text);
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.find(['|', '\\']) {
        out.push_str(&rest[..at]);
        out.push('\\');
        out.push_str(&rest[at..=at]);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

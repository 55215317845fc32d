//! Tests of the mapping by its effects: rows in, records and rejects out.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::domain::record::Column;
use crate::domain::record::RecordBatch;
use crate::domain::reject::ReasonCode;
use crate::domain::schema::Schema;
use crate::domain::shape::FieldType;
use crate::job_file::Definition;
use crate::mapping::mapped::Before;
use crate::values::content::RowContent;
use crate::values::field::Locator;
use crate::values::row::Cell;

/// A row of JSON, or one of CSV whose cells are all text (`null` is an empty cell).
struct TestRow {
    fields: Value,
    typed: bool,
    locators: Vec<Locator>,
}

impl Row for TestRow {
    fn cell(&self, locator: usize) -> Cell<'_> {
        let found = match &self.locators[locator] {
            Locator::Whole(_) | Locator::Nowhere => None,
            Locator::Column(names) => names.iter().find_map(|name| self.fields.get(name)),
            Locator::Named(name) => self.fields.get(name),
            Locator::Path(path) => self.fields.pointer(&path[1..].replace('.', "/")),
        };
        match found {
            None => Cell::Missing,
            Some(Value::Null) => Cell::Null,
            Some(Value::String(text)) => Cell::Text(text),
            Some(other) => Cell::Json(other),
        }
    }

    fn typed(&self) -> bool {
        self.typed
    }

    fn content(&self) -> Option<RowContent> {
        RowContent::of_object(&self.fields, &[])
    }

    fn visit_fields(&self, visit: &mut dyn FnMut(&str, Option<FieldType>)) {
        for (name, value) in self.fields.as_object().unwrap() {
            let kind = match value {
                Value::Null => None,
                Value::Bool(_) => Some(FieldType::Boolean),
                Value::Number(_) => Some(FieldType::Integer),
                Value::String(_) => Some(FieldType::String),
                Value::Array(_) => Some(FieldType::Array),
                Value::Object(_) => Some(FieldType::Object),
            };
            visit(name, kind);
        }
    }
}

fn definition(toml: &str) -> Definition {
    let toml = if toml.contains("primary_key") || toml.contains("external_id") {
        toml.to_owned()
    } else {
        format!("primary_key = ['id']\n{toml}")
    };
    let text = format!("kind = 'test'\n{toml}\n[test]\n");
    Definition::parse("test".parse().unwrap(), "test.toml".as_ref(), text, &["test"]).unwrap()
}

fn map_as(toml: &str, schema: Option<&str>, row: &str, typed: bool) -> Result<Mapped, Frozen> {
    let definition = definition(toml);
    let schema: Option<Schema> = schema.map(|text| serde_json::from_str(text).unwrap());
    let fields = serde_json::from_str(row).unwrap();
    let row = TestRow { fields, typed, locators: definition.locators() };
    let mapping = Mapping::new(&definition, schema.as_ref());
    let mut out = Mapped::default();
    out.records.enter_raw(RawRef::File(1));
    let reject = |defects| Reject {
        raw_row: 1,
        line: None,
        byte_range: None,
        key: None,
        raw: vec![],
        defects,
    };
    mapping.map(&row, RawRef::File(1), 1, &mut out, reject)?;
    assert_eq!(out.records.len() + out.rejects.len(), 1);
    Ok(out)
}

fn json(toml: &str, row: &str) -> Mapped {
    map_as(toml, None, row, true).unwrap()
}

fn csv(toml: &str, row: &str) -> Mapped {
    map_as(toml, None, row, false).unwrap()
}

fn column(mapped: &Mapped, column: Column) -> Option<&str> {
    assert!(mapped.rejects.is_empty(), "the row was set aside");
    mapped.records.get(0).column(column)
}

fn attributes(mapped: &Mapped) -> &str {
    column(mapped, Column::Attributes).unwrap()
}

/// The defects of the first row that was set aside.
fn defects(mapped: &Mapped) -> Vec<Defect> {
    mapped.rejects.iter().next().unwrap().1.defects
}

fn reasons(mapped: &Mapped) -> Vec<ReasonCode> {
    defects(mapped).iter().map(|defect| defect.reason).collect()
}

fn messages(mapped: &Mapped) -> Vec<String> {
    defects(mapped).into_iter().map(|defect| defect.message).collect()
}

const PRICE: &str = "[fields]\nprice = { column = 'Price', type = 'decimal' }";

#[test]
fn text_is_kept_exactly_as_it_is() {
    let mapped = csv("[fields.name]\ncolumn = 'n'", r#"{"id":" 007 ","n":"  a\tb "}"#);
    assert_eq!(column(&mapped, Column::Name), Some("  a\tb "));
    assert_eq!(mapped.records.get(0).external_id(), " 007 ");
}

#[test]
fn several_columns_are_put_together_without_those_that_are_blank() {
    let toml = "[fields]\nname = { concat = ['a', 'b', 'c'], separator = ' - ', required = true }\n\
                source_updated_at = { concat = ['day', 'time'], type = 'timestamp' }\n\
                brand = { concat = ['a', 'n'], transform = ['upper'] }";
    let row = r#"{"id":1,"a":"x","b":" ","c":"z","n":1.50,"day":"2026-11-28","time":"06:30:00"}"#;
    let mapped = json(toml, row);
    assert_eq!(column(&mapped, Column::Name), Some("x - z"));
    assert_eq!(column(&mapped, Column::Attributes), Some(r#"{"brand":"X 1.50"}"#));
    assert_eq!(mapped.records.len(), 1);
    let mapped = csv(toml, r#"{"id":"1","b":" "}"#);
    assert_eq!(reasons(&mapped), [ReasonCode::MissingField]);
    assert!(
        messages(&mapped)[0].starts_with("a + b + c: null or empty"),
        "{:?}",
        messages(&mapped)
    );
    let mapped = json(toml, r#"{"id":1,"a":"x","c":[1],"n":{}}"#);
    assert_eq!(reasons(&mapped), [ReasonCode::InvalidText, ReasonCode::InvalidText]);
    let mapped = csv(
        "[fields]\nprice = { concat = ['a', 'b'], type = 'integer', required = true }",
        r#"{"id":"1","a":"1","b":"x"}"#,
    );
    assert_eq!(messages(&mapped), [r#"a + b: "1 x" is not a whole number (expected digits)"#]);
    let mapped = csv("[fields]\nname = { concat = ['a', 'b'], default = 'none' }", r#"{"id":"1"}"#);
    assert_eq!(column(&mapped, Column::Name), Some("none"));
}

#[test]
fn what_a_transform_leaves_nothing_of_is_no_value() {
    let toml = |more: &str| {
        format!(
            "[fields]\nname = {{ transform = [{{ replace = '[^0-9]', with = '' }}]{more} }}\nx = {{ transform = ['trim'] }}"
        )
    };
    let row = r#"{"id":"1","name":"n/a","x":"  "}"#;
    let mapped = csv(&toml(", required = true"), row);
    assert_eq!(reasons(&mapped), [ReasonCode::MissingField]);
    assert_eq!(column(&csv(&toml(", default = '0'"), row), Column::Name), Some("0"));
    let mapped = csv(&toml(""), row);
    assert_eq!(column(&mapped, Column::Name), None);
    assert_eq!(column(&mapped, Column::Attributes), None);
    // A number that nothing is left of is no number.
    let toml = "[fields]\nprice = { transform = [{ replace = '[^0-9]', with = '' }] }";
    assert_eq!(reasons(&csv(toml, r#"{"id":"1","price":"n/a"}"#)), [ReasonCode::InvalidDecimal]);
    let empty = json("[fields]\nname = { required = true }", r#"{"id":1,"name":""}"#);
    assert_eq!(reasons(&empty), [ReasonCode::MissingField]);
}

#[test]
fn scalars_become_text_as_written_and_objects_do_not() {
    let toml = "[fields]\nname = {}";
    assert_eq!(column(&json(toml, r#"{"id":1,"name":1.50}"#), Column::Name), Some("1.50"));
    assert_eq!(column(&json(toml, r#"{"id":1,"name":true}"#), Column::Name), Some("true"));
    let mapped = json(toml, r#"{"id":1,"name":{"a":1}}"#);
    assert_eq!(reasons(&mapped), [ReasonCode::InvalidText]);
}

#[test]
fn nul_is_refused_in_text_key_and_attributes() {
    let mapped = json(
        "[fields]\nname = {}\nbrand = {}\ndata = { type = 'json' }",
        r#"{"id":"\u0000","name":"a\u0000","brand":"\u0000b","data":["\u0000"]}"#,
    );
    use ReasonCode::{InvalidJson, NulCharacter};
    assert_eq!(reasons(&mapped), [NulCharacter, NulCharacter, NulCharacter, InvalidJson]);
}

#[test]
fn decimals_keep_every_digit() {
    let digits = "123456789012345678901234567890.12345678901234567890";
    let row = format!(r#"{{"id":1,"Price":{digits}}}"#);
    assert_eq!(column(&json(PRICE, &row), Column::Price), Some(digits));
    let row = format!(r#"{{"id":1,"Price":" {digits} "}}"#);
    assert_eq!(column(&csv(PRICE, &row), Column::Price), Some(digits));
    assert_eq!(
        column(&json(PRICE, r#"{"id":1,"Price":8.4e-07}"#), Column::Price),
        Some("0.00000084")
    );
}

#[test]
fn a_field_has_its_own_notation_and_json_numbers_that_of_json() {
    let toml =
        "[fields]\nprice = { type = 'decimal', decimal_separator = ',', group_separator = '.' }";
    assert_eq!(
        column(&csv(toml, r#"{"id":"1","price":"1.234,50"}"#), Column::Price),
        Some("1234.50")
    );
    assert_eq!(
        column(&json(toml, r#"{"id":"1","price":1234.50}"#), Column::Price),
        Some("1234.50")
    );
}

#[test]
fn what_is_no_number_is_said_with_what_was_expected() {
    let mapped = csv(PRICE, r#"{"id":"1","Price":"call us"}"#);
    assert_eq!(
        messages(&mapped),
        [
            r#"Price: "call us" is not a decimal number (expected digits with "." as decimal separator)"#
        ]
    );
    assert_eq!(defects(&mapped)[0].field.as_deref(), Some("Price"));
    let long = format!(r#"{{"id":"1","Price":"{}"}}"#, "é".repeat(300));
    let mapped = csv(PRICE, &long);
    assert!(messages(&mapped)[0].starts_with(&format!("Price: \"{}\"… is not", "é".repeat(80))));
    for row in [r#"{"id":1,"Price":true}"#, r#"{"id":1,"Price":[1]}"#, r#"{"id":1,"Price":""}"#] {
        assert_eq!(reasons(&json(PRICE, row)), [ReasonCode::InvalidDecimal]);
    }
}

#[test]
fn integers_have_no_fraction() {
    let toml = "[fields]\nstock = { type = 'integer' }";
    assert_eq!(
        attributes(&json(toml, r#"{"id":1,"stock":9007199254740993}"#)),
        r#"{"stock":9007199254740993}"#
    );
    assert_eq!(attributes(&csv(toml, r#"{"id":"1","stock":" 1e3 "}"#)), r#"{"stock":1000}"#);
    for row in
        [r#"{"id":1,"stock":5.0}"#, r#"{"id":1,"stock":"5.5"}"#, r#"{"id":1,"stock":"five"}"#]
    {
        assert_eq!(reasons(&json(toml, row)), [ReasonCode::InvalidInteger], "{row}");
    }
}

#[test]
fn numbers_beyond_their_bounds_are_refused() {
    let toml = "[fields]\nprice = { type = 'decimal', min = 0, max = 99.5 }";
    for (value, good) in [("0", true), ("99.50", true), ("-0.01", false), ("99.51", false)] {
        let mapped = json(toml, &format!(r#"{{"id":1,"price":{value}}}"#));
        assert_eq!(mapped.rejects.is_empty(), good, "{value}");
        if !good {
            assert_eq!(reasons(&mapped), [ReasonCode::OutOfRange]);
        }
    }
    assert_eq!(reasons(&json(toml, r#"{"id":1,"price":1e200000}"#)), [ReasonCode::OutOfRange]);
}

#[test]
fn booleans_have_three_spellings() {
    let toml = "[fields]\nactive = { type = 'boolean' }";
    for (value, expected) in
        [("true", "true"), (r#"" YES ""#, "true"), (r#""0""#, "false"), ("1", "true")]
    {
        let mapped = json(toml, &format!(r#"{{"id":1,"active":{value}}}"#));
        assert_eq!(attributes(&mapped), format!(r#"{{"active":{expected}}}"#));
    }
    assert_eq!(reasons(&json(toml, r#"{"id":1,"active":"maybe"}"#)), [ReasonCode::InvalidBoolean]);
    assert_eq!(reasons(&json(toml, r#"{"id":1,"active":{}}"#)), [ReasonCode::InvalidBoolean]);
}

#[test]
fn times_become_instants_and_dates_stay_dates() {
    let toml = "[fields]\nsource_updated_at = { column = 'at' }\nday = { type = 'date' }\nseen = { column = 'at', type = 'timestamp' }";
    let mapped = json(toml, r#"{"id":1,"at":"2025-01-02T03:04:05.5+01:00","day":"2025-01-02"}"#);
    assert_eq!(attributes(&mapped), r#"{"day":"2025-01-02","seen":"2025-01-02T02:04:05.500000Z"}"#);
    assert_eq!(mapped.records.get(0).time(Column::SourceUpdatedAt), Some(1_735_783_445_500_000));
    let mapped = json(toml, r#"{"id":1,"at":"yesterday","day":"2025-02-30"}"#);
    use ReasonCode::{InvalidDate, InvalidTimestamp};
    assert_eq!(reasons(&mapped), [InvalidTimestamp, InvalidDate, InvalidTimestamp]);
    assert_eq!(messages(&mapped)[1], r#"day: "2025-02-30" is not a date and time of the calendar"#);
}

#[test]
fn a_time_that_the_clock_skipped_is_refused_and_says_so() {
    let toml = "[fields]\nsource_updated_at = { time_zone = 'Europe/Berlin' }";
    let mapped = csv(toml, r#"{"id":"1","source_updated_at":"2025-03-30 02:30"}"#);
    assert!(messages(&mapped)[0].contains("never came"), "{}", messages(&mapped)[0]);
    let mapped = csv(toml, r#"{"id":"1","source_updated_at":"2025-10-26 02:30"}"#);
    assert!(messages(&mapped)[0].contains("came twice"));
}

#[test]
fn a_date_format_reads_unix_times_as_well() {
    let toml = "[fields]\nsource_updated_at = { date_format = '%s' }";
    let mapped = json(toml, r#"{"id":1,"source_updated_at":1735787045}"#);
    assert_eq!(mapped.records.get(0).time(Column::SourceUpdatedAt), Some(1_735_787_045_000_000));
}

#[test]
fn json_of_an_api_is_kept_and_json_of_a_csv_is_parsed() {
    let toml = "[fields]\ndata = { type = 'json' }";
    let row = r#"{"id":"1","data":"[1, 2]"}"#;
    assert_eq!(attributes(&json(toml, row)), r#"{"data":"[1, 2]"}"#);
    assert_eq!(attributes(&csv(toml, row)), r#"{"data":[1,2]}"#);
    let mapped = csv(toml, r#"{"id":"1","data":"{oops"}"#);
    assert_eq!(reasons(&mapped), [ReasonCode::InvalidJson]);
    assert!(messages(&mapped)[0].starts_with(r#"data: "{oops" is not JSON (key must be"#));
}

#[test]
fn fields_without_a_column_are_attributes_in_the_order_of_their_names() {
    let row = r#"{"id":1,"b":"x\"y","a":2,"c":null,"d":true}"#;
    let one =
        "[fields]\nb = {}\na = { type = 'decimal' }\nc = {}\nd = { type = 'boolean' }\ne = {}";
    let other =
        "[fields]\ne = {}\nd = { type = 'boolean' }\nc = {}\na = { type = 'decimal' }\nb = {}";
    let (one, other) = (json(one, row), json(other, row));
    assert_eq!(attributes(&one), r#"{"a":2,"b":"x\"y","d":true}"#);
    assert_eq!(one.records.get(0).content_hash(), other.records.get(0).content_hash());
}

#[test]
fn nothing_to_keep_is_no_object() {
    assert_eq!(column(&json("[fields]\na = {}", r#"{"id":1,"a":null}"#), Column::Attributes), None);
}

#[test]
fn the_field_attributes_is_the_object_that_others_join() {
    let toml = "[fields]\nattributes = {}\nbrand = {}\nzone = { const = 7, type = 'integer' }";
    let row = r#"{"id":1,"brand":"acme","attributes":{"size":"M","color":"red","brand":"old"}}"#;
    let expected = r#"{"brand":"acme","color":"red","size":"M","zone":7}"#;
    assert_eq!(attributes(&json(toml, row)), expected);
    let row = r#"{"id":"1","brand":"acme","attributes":" {\"size\":\"M\", \"color\":\"red\"}"}"#;
    assert_eq!(attributes(&csv(toml, row)), expected);
    assert_eq!(attributes(&csv(toml, r#"{"id":"1","attributes":null}"#)), r#"{"zone":7}"#);
    for row in [r#"{"id":1,"attributes":[1]}"#, r#"{"id":1,"attributes":"{}"}"#] {
        assert_eq!(reasons(&json(toml, row)), [ReasonCode::InvalidJson]);
    }
}

#[test]
fn a_missing_value_is_its_default_then_a_defect_if_required_then_null() {
    let toml = "[fields]\ncurrency = { default = 'EUR' }\nprice = { type = 'decimal', default = 1.50 }\nname = { required = true }\nurl = {}";
    let mapped = json(toml, r#"{"id":1,"name":"x","price":null}"#);
    assert_eq!(column(&mapped, Column::Currency), Some("EUR"));
    assert_eq!(column(&mapped, Column::Price), Some("1.50"));
    assert_eq!(column(&mapped, Column::Url), None);
    assert_eq!(
        messages(&json(toml, r#"{"id":1,"name":null}"#)),
        ["name: null or empty, and it is required"]
    );
    assert_eq!(reasons(&json(toml, r#"{"id":1}"#)), [ReasonCode::MissingField]);
}

#[test]
fn a_constant_is_the_same_in_every_row() {
    let toml =
        "[fields]\ncurrency = { const = 'EUR' }\nsource_updated_at = { const = '2025-01-02' }";
    let mapped = json(toml, r#"{"id":1,"currency":"USD"}"#);
    assert_eq!(column(&mapped, Column::Currency), Some("EUR"));
    assert_eq!(mapped.records.get(0).time(Column::SourceUpdatedAt), Some(1_735_776_000_000_000));
}

#[test]
fn every_defect_of_a_row_is_reported() {
    let toml = "[fields]\nprice = { type = 'decimal' }\nname = { required = true }\nstock = { type = 'integer' }\nattributes = {}";
    let mapped = csv(toml, r#"{"id":"","price":"x","name":null,"stock":"y","attributes":"z"}"#);
    use ReasonCode::{InvalidDecimal, InvalidInteger, InvalidJson, MissingField, MissingKey};
    assert_eq!(
        reasons(&mapped),
        [MissingKey, InvalidDecimal, MissingField, InvalidJson, InvalidInteger]
    );
    assert_eq!(mapped.records.text_len(), 0);
}

#[test]
fn a_key_of_several_parts_is_joined_without_collisions() {
    let toml = "primary_key = ['a', 'b']";
    let id = |row: &str| json(toml, row).records.get(0).external_id().to_owned();
    assert_eq!(id(r#"{"a":"x","b":7}"#), "x|7");
    assert_eq!(id(r#"{"a":"x|y","b":"z"}"#), r"x\|y|z");
    assert_eq!(id(r#"{"a":"x\\","b":"|z"}"#), r"x\\|\|z");
}

#[test]
fn a_template_makes_the_key() {
    let mapped = json("external_id = 'acme:{sku}/{$.a.b}'", r#"{"sku":"a|b","a":{"b":1.0}}"#);
    assert_eq!(mapped.records.get(0).external_id(), "acme:a|b/1.0");
}

#[test]
fn a_key_that_is_absent_empty_long_or_an_object_is_refused() {
    use ReasonCode::{InvalidText, MissingKey, TooLong};
    let toml = "[fields]\nname = {}";
    for (row, expected) in [
        (r#"{"name":"x"}"#.to_owned(), MissingKey),
        (r#"{"id":null}"#.to_owned(), MissingKey),
        (r#"{"id":""}"#.to_owned(), MissingKey),
        (r#"{"id":{}}"#.to_owned(), InvalidText),
        (format!(r#"{{"id":"{}"}}"#, "x".repeat(2_001)), TooLong),
    ] {
        assert_eq!(reasons(&json(toml, &row)), [expected], "{row}");
    }
    assert!(json(toml, &format!(r#"{{"id":"{}"}}"#, "x".repeat(2_000))).rejects.is_empty());
}

const SCHEMA: &str = r#"{"id":"integer","price":"number","meta":"object","roi":"null"}"#;
const MAPPED: &str =
    "[fields]\nprice = { type = 'decimal' }\nsize = { from = '$.meta.size', type = 'json' }";

fn under(contract: &str, row: &str, typed: bool) -> Result<Mapped, Frozen> {
    map_as(&format!("{MAPPED}\n[contract]\n{contract}"), Some(SCHEMA), row, typed)
}

#[test]
fn a_contract_says_what_happens_to_a_new_field() {
    let row = r#"{"id":1,"price":1,"meta":{},"extra":1}"#;
    assert!(under("new_field = 'evolve'", row, true).unwrap().rejects.is_empty());
    assert!(under("new_field = 'discard_value'", row, true).unwrap().rejects.is_empty());
    let mapped = under("new_field = 'quarantine_row'", row, true).unwrap();
    assert_eq!(reasons(&mapped), [ReasonCode::NewField]);
    assert_eq!(
        under("new_field = 'freeze'", row, true).unwrap_err().to_string(),
        "file/1 row 1: extra: the schema has no such field (contract: new_field = \"freeze\")"
    );
}

#[test]
fn a_discarded_new_field_that_is_mapped_is_null() {
    let toml = "[fields]\nextra = {}\n[contract]\nnew_field = 'discard_value'";
    let mapped = map_as(toml, Some(SCHEMA), r#"{"id":1,"extra":"x"}"#, true).unwrap();
    assert_eq!(column(&mapped, Column::Attributes), None);
    let mapped = map_as(toml, None, r#"{"id":1,"extra":"x"}"#, true).unwrap();
    assert_eq!(attributes(&mapped), r#"{"extra":"x"}"#);
}

#[test]
fn a_contract_says_what_happens_when_a_field_is_gone() {
    let row = r#"{"id":1,"meta":{}}"#;
    assert!(under("missing_field = 'evolve'", row, true).unwrap().rejects.is_empty());
    assert!(under("missing_field = 'discard_value'", row, true).unwrap().rejects.is_empty());
    let mapped = under("missing_field = 'quarantine_row'", row, true).unwrap();
    assert_eq!(reasons(&mapped), [ReasonCode::MissingField]);
    assert!(under("missing_field = 'freeze'", row, true).is_err());
    // What lacks is `meta.size`, and the schema speaks of `meta` only.
    let row = r#"{"id":1,"price":1,"meta":{}}"#;
    assert!(under("missing_field = 'freeze'", row, true).unwrap().rejects.is_empty());
    let row = r#"{"id":1,"price":1}"#;
    assert!(
        under("missing_field = 'freeze'", row, true)
            .unwrap_err()
            .message
            .starts_with("$.meta.size")
    );
}

#[test]
fn a_contract_says_what_happens_to_a_value_of_another_type() {
    let row = r#"{"id":1,"price":"1.5","meta":{}}"#;
    assert_eq!(
        column(&under("type_change = 'evolve'", row, true).unwrap(), Column::Price),
        Some("1.5")
    );
    assert_eq!(
        column(&under("type_change = 'discard_value'", row, true).unwrap(), Column::Price),
        None
    );
    let mapped = under("type_change = 'quarantine_row'", row, true).unwrap();
    assert_eq!(
        messages(&mapped),
        [
            "price: of type string, and the schema says number (contract: type_change = \"quarantine_row\")"
        ]
    );
    assert!(under("type_change = 'freeze'", row, true).is_err());
    let row = r#"{"id":1,"price":1,"meta":[]}"#;
    assert!(
        under("type_change = 'freeze'", row, true).unwrap_err().message.starts_with("$.meta.size")
    );
}

#[test]
fn a_null_is_of_every_type() {
    let row = r#"{"id":1,"price":null,"meta":null}"#;
    for policy in ["freeze", "quarantine_row"] {
        let mapped = under(&format!("type_change = '{policy}'"), row, true).unwrap();
        assert_eq!(column(&mapped, Column::Price), None);
    }
}

#[test]
fn text_that_cannot_be_converted_is_a_change_of_type_in_a_csv() {
    let row = r#"{"id":"1","price":"n/a","meta":null}"#;
    for policy in ["evolve", "quarantine_row"] {
        let mapped = under(&format!("type_change = '{policy}'"), row, false).unwrap();
        assert_eq!(reasons(&mapped), [ReasonCode::InvalidDecimal]);
    }
    let mapped = under("type_change = 'discard_value'", row, false).unwrap();
    assert_eq!(column(&mapped, Column::Price), None);
    let frozen = under("type_change = 'freeze'", row, false).unwrap_err();
    assert!(frozen.message.starts_with(r#"price: "n/a" is not a decimal number"#), "{frozen}");
}

#[test]
fn a_row_after_a_reject_is_not_touched_by_it() {
    let definition = definition(PRICE);
    let mapping = Mapping::new(&definition, None);
    let mut out = Mapped::default();
    out.records.enter_raw(RawRef::File(1));
    for (i, row) in [r#"{"id":1,"Price":"x"}"#, r#"{"id":2,"Price":"2"}"#].iter().enumerate() {
        let fields = serde_json::from_str(row).unwrap();
        let row = TestRow { fields, typed: true, locators: definition.locators() };
        let number = i as i64 + 1;
        let reject = |defects| Reject {
            raw_row: number,
            line: None,
            byte_range: None,
            key: None,
            raw: vec![],
            defects,
        };
        mapping.map(&row, RawRef::File(1), number, &mut out, reject).unwrap();
    }
    assert_eq!(out.rejects.len(), 1);
    assert_eq!(out.records.get(0).column(Column::Price), Some("2"));
    assert_eq!(out.records.get(0).raw_row(), 2);
}

#[test]
fn a_number_of_a_few_bytes_that_would_fill_pages_sets_its_row_aside() {
    let attribute = |kind: &str| format!("[fields]\nx = {{ column = 'x', type = '{kind}' }}");
    for (mapped, field) in [
        (csv(PRICE, r#"{"id":"1","Price":"1e131000"}"#), "Price"),
        (json(PRICE, r#"{"id":1,"Price":1e-1001}"#), "Price"),
        (csv(&attribute("integer"), r#"{"id":"1","x":"1e1000"}"#), "x"),
        (csv(&attribute("json"), r#"{"id":"1","x":"[1e131000]"}"#), "x"),
        (csv("[fields.attributes]\ncolumn = 'x'", r#"{"id":"1","x":"{\"a\":1e131000}"}"#), "x"),
    ] {
        assert_eq!(reasons(&mapped), [ReasonCode::OutOfRange]);
        assert!(messages(&mapped)[0].contains("more than 1,000 digits"), "{:?}", messages(&mapped));
        assert_eq!(defects(&mapped)[0].field.as_deref(), Some(field));
    }
    let most = csv(PRICE, r#"{"id":"1","Price":"1e999","x":"1e131000"}"#);
    assert_eq!(column(&most, Column::Price).map(str::len), Some(1000));
}

#[test]
fn attributes_are_measured_as_their_numbers_are_written_out() {
    let toml = "[fields]\nx = { column = 'x', type = 'json' }\ny = { column = 'y', type = 'json' }";
    let numbers = |count: usize| format!("[{}1]", "1e999,".repeat(count));
    let row = |x, y| format!(r#"{{"id":"1","x":"{}","y":"{}"}}"#, numbers(x), numbers(y));
    assert!(csv(toml, &row(90_000, 90_000)).rejects.is_empty());
    assert_eq!(reasons(&csv(toml, &row(110_000, 110_000))), [ReasonCode::TooLong]);
}

#[test]
fn rows_for_which_a_batch_has_no_room_are_set_aside_and_the_others_stay() {
    let definition = definition("[fields]\nprice = { column = 'Price', type = 'decimal' }");
    let mapping = Mapping::new(&definition, None);
    let records = RecordBatch::small(5_000);
    let mut out = Mapped { records, ..Mapped::default() };
    out.records.enter_raw(RawRef::File(1));
    for number in 1..=9 {
        let price = if number == 9 { "1" } else { "1e999" };
        let row = format!(r#"{{"id":"{number}","Price":"{price}"}}"#);
        let fields = serde_json::from_str(&row).unwrap();
        let row = TestRow { fields, typed: false, locators: definition.locators() };
        let reject = |defects| Reject {
            raw_row: number,
            line: None,
            byte_range: None,
            key: None,
            raw: vec![],
            defects,
        };
        mapping.map(&row, RawRef::File(1), number, &mut out, reject).unwrap();
    }
    let rows: Vec<_> = out.records.iter().map(|record| record.raw_row()).collect();
    assert_eq!(rows, [1, 2, 3, 4, 9]);
    assert_eq!(out.rejects.len(), 4);
    assert_eq!(reasons(&out), [ReasonCode::TooLong]);
}

const EVERYTHING: &str = "[fields]\nname = {}\nprice = { type = 'decimal' }\nsource_updated_at = {}\n\
    attributes = {}\nbrand = {}\nday = { type = 'date' }\nat = { type = 'timestamp' }\n\
    stock = { type = 'integer' }\nflag = { type = 'boolean' }\ndata = { type = 'json' }";
const NAMES: [&str; 11] = [
    "id",
    "name",
    "price",
    "source_updated_at",
    "attributes",
    "brand",
    "day",
    "at",
    "stock",
    "flag",
    "data",
];

fn any_cell() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[0-9]{1,3}(\\.[0-9]{1,3})?".prop_map(Value::from),
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]".prop_map(Value::from),
        "\\{\"[a-z\"]{0,3}\": ?[0-9a\"]{0,3}\\}".prop_map(Value::from),
        Just(serde_json::json!({"z": [1, {"b": "\"\\é", "a": null}], "brand": "x"})),
        Just(Value::from("1")),
    ]
}

proptest! {
    #[test]
    fn no_row_panics_and_what_is_committed_can_be_stored(
        cells in prop::collection::vec(any_cell(), NAMES.len()),
        typed in any::<bool>(),
    ) {
        let row: serde_json::Map<String, Value> =
            NAMES.iter().map(|name| (*name).to_owned()).zip(cells).collect();
        let text = Value::Object(row.clone()).to_string();
        let mapped = map_as(EVERYTHING, None, &text, typed).unwrap();
        if let Some(record) = mapped.records.iter().next() {
            if let Some(attributes) = record.column(Column::Attributes) {
                prop_assert!(serde_json::from_str::<Value>(attributes).unwrap().is_object());
            }
            let reversed: serde_json::Map<String, Value> = row.into_iter().rev().collect();
            let again = map_as(EVERYTHING, None, &Value::Object(reversed).to_string(), typed).unwrap();
            prop_assert_eq!(again.records.get(0).content_hash(), record.content_hash());
        } else {
            prop_assert!(!defects(&mapped).is_empty());
            prop_assert_eq!(mapped.records.text_len(), 0);
        }
    }
}

#[test]
fn records_are_counted_that_have_no_value_of_a_field() {
    let toml = "[fields]\nname = {}\nprice = { default = 7 }\nbrand = { const = 'x' }\n\
                size = { type = 'integer' }\n[contract]\ntype_change = 'discard_value'";
    let gaps = |row: &str, typed: bool| {
        let mapped = map_as(toml, Some(r#"{"id":"string","size":"integer"}"#), row, typed).unwrap();
        let gaps = mapped.gaps_since(&definition(toml), &Before::default());
        assert_eq!(gaps.records as usize, mapped.records.len());
        gaps.without.into_iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>()
    };
    assert!(gaps(r#"{"id":"1","name":"a","price":1,"size":2}"#, true).is_empty());
    // A default is no value, nor is what was discarded, nor an empty text; a constant is not looked for.
    let none = ["name 1", "price 1", "size 1"];
    assert_eq!(gaps(r#"{"id":"1"}"#, true), none);
    assert_eq!(gaps(r#"{"id":"1","name":"","price":null,"size":"big"}"#, true), none);
    assert_eq!(gaps(r#"{"id":"1","name":"","price":null,"size":""}"#, false), none);
    // A row that is set aside is no record.
    assert!(gaps(r#"{"name":"a"}"#, true).is_empty());
}

#[test]
fn each_part_of_a_value_is_counted_that_records_lack() {
    let toml = "[fields]\nname = { concat = ['a', 'b', 'c'], transform = [{ replace = 'x', with = '' }, 'trim'] }\nbrand = {}";
    let gaps = |row: &str| {
        let mapped = csv(toml, row);
        let gaps = mapped.gaps_since(&definition(toml), &Before::default());
        gaps.without.into_iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>()
    };
    let part = |label: &str| format!("name\u{1f}{label} 1");
    assert!(gaps(r#"{"id":"1","a":"1","b":"2","c":"3","brand":"y"}"#).is_empty());
    let without = gaps(r#"{"id":"1","a":"1","b":" ","brand":"y"}"#);
    assert_eq!(without, [part("b"), part("c")]);
    let all = ["brand 1".to_owned(), part("a"), part("b"), part("c")];
    assert_eq!(gaps(r#"{"id":"1","b":""}"#), all, "each once");
    assert_eq!(gaps(r#"{"id":"1","a":"x","c":"x"}"#), all, "nothing is left of it");
}

#[test]
fn lists_objects_and_texts_of_nothing_are_no_values() {
    let toml = "[fields]\ntags = { type = 'json' }";
    let gaps = |tags: &str, typed: bool| {
        let mapped = map_as(toml, None, &format!(r#"{{"id":"1","tags":{tags}}}"#), typed).unwrap();
        mapped.gaps_since(&definition(toml), &Before::default()).with_value("tags") == 0
    };
    for nothing in ["{}", "[]", "[null]", r#"{"a":null,"b":[]}"#, r#"[{"a":" "}]"#] {
        assert!(gaps(nothing, true), "{nothing}");
    }
    for value in [r#"{"a":1}"#, "[0]", r#"{"a":{"b":false}}"#, "0", "false"] {
        assert!(!gaps(value, true), "{value}");
    }
    assert!(gaps(r#""{}""#, false) && gaps(r#"" [] ""#, false) && !gaps(r#""[1]""#, false));
}

/// What one field becomes of a text, as the object of attributes says it, or the reason why it does not.
fn field_of(toml: &str, text: &str) -> Result<Value, ReasonCode> {
    let row = serde_json::json!({ "id": 1, "f": text }).to_string();
    let mapped = csv(&format!("[fields]\nf = {{ {toml} }}"), &row);
    if !mapped.rejects.is_empty() {
        return Err(reasons(&mapped)[0]);
    }
    let attributes: Value = serde_json::from_str(attributes(&mapped)).unwrap();
    Ok(attributes["f"].clone())
}

#[test]
fn numbers_are_read_as_people_write_them() {
    use ReasonCode::{InvalidDecimal, InvalidInteger};
    const FRENCH: &str = "type = 'decimal', decimal_separator = ',', group_separator = ' '";
    const MONEY: &str = "type = 'money', group_separator = ','";
    const SWISS: &str = "type = 'money', group_separator = \"'\"";
    for (toml, text, expected) in [
        (FRENCH, "1 234,50", Ok("1234.50")),
        (FRENCH, "1\u{a0}234,50", Ok("1234.50")),
        (FRENCH, "2\u{202f}500,00", Ok("2500.00")),
        (FRENCH, "\u{a0}−1\u{a0}234 ", Ok("-1234")),
        (FRENCH, "12\u{a0}34,50", Err(InvalidDecimal)),
        ("type = 'decimal'", "1\u{a0}234", Err(InvalidDecimal)),
        (MONEY, "$1,234.50", Ok("1234.50")),
        (MONEY, "(1,234.50) USD", Ok("-1234.50")),
        (MONEY, "1,234.50- EUR", Ok("-1234.50")),
        (MONEY, "12.50", Ok("12.50")),
        (MONEY, "12.50 apples", Err(InvalidDecimal)),
        (SWISS, "CHF 1’250.00", Ok("1250.00")),
        ("type = 'money', decimal_separator = ',', scale = 2", "12,50 €", Ok("1250")),
        ("type = 'percent', decimal_separator = ','", "12,5 %", Ok("0.125")),
        ("type = 'percent', scale = 2", "12.50%", Ok("12.50")),
        ("type = 'percent'", "12.5", Err(InvalidDecimal)),
        ("type = 'decimal', negative = 'trailing'", "12.50-", Ok("-12.50")),
        ("type = 'decimal', negative = 'parentheses'", "(12.50)", Ok("-12.50")),
        ("type = 'integer', negative = 'parentheses'", "(7)", Ok("-7")),
        ("type = 'decimal'", "12.50-", Err(InvalidDecimal)),
        (
            "type = 'integer', group_separator = ',', grouping = 'indian'",
            "12,34,567",
            Ok("1234567"),
        ),
        ("type = 'integer', group_separator = ','", "12,34,567", Err(InvalidInteger)),
        ("type = 'integer', transform = [{ extract = '[0-9]+' }]", "about 7 pieces", Ok("7")),
    ] {
        let read = field_of(toml, text).map(|number| number.to_string());
        assert_eq!(read.as_deref(), expected.as_deref(), "{toml}: {text}");
    }
}

#[test]
fn texts_are_changed_first_and_checked_then() {
    use ReasonCode::{
        InvalidBoolean, InvalidTimestamp, InvalidUrl, InvalidUuid, NoMatch, NotAllowed, WrongLength,
    };
    const UUID: &str = "\"0d1f5e9c-7d8e-4f6a-8b9c-0d1e2f3a4b5c\"";
    const SIZES: &str = "transform = ['trim', 'upper'], allowed = ['S', 'M']";
    const WORDS: &str = "type = 'boolean', true_values = ['Ja'], false_values = ['nein', '']";
    for (toml, text, expected) in [
        ("transform = ['spreadsheet_text']", "=\"01\"", Ok("\"01\"")),
        ("transform = [{ split = '-', part = 2 }]", "a-b", Ok("\"b\"")),
        ("transform = [{ split = '-', part = 3 }]", "a-b", Err(NoMatch)),
        ("transform = [{ lookup = { m = 'male' } }, 'upper']", "m", Ok("\"MALE\"")),
        ("transform = [{ lookup = { m = 'male' } }]", "x", Err(NotAllowed)),
        ("transform = [{ lookup = { m = 'male' }, otherwise = 'keep' }]", "x", Ok("\"x\"")),
        ("transform = [{ replace = '[^0-9+]', with = '' }]", "+49 (0) 1", Ok("\"+4901\"")),
        (SIZES, " m ", Ok("\"M\"")),
        (SIZES, "L", Err(NotAllowed)),
        ("pattern = '[A-Z]{2}[0-9]+'", "AB12", Ok("\"AB12\"")),
        ("pattern = '[A-Z]{2}[0-9]+'", "AB12x", Err(NoMatch)),
        ("min_length = 2, max_length = 3", "äöü", Ok("\"äöü\"")),
        ("min_length = 2, max_length = 3", "ä", Err(WrongLength)),
        ("min_length = 2, max_length = 3", "äöüß", Err(WrongLength)),
        ("type = 'uuid'", "{0D1F5E9C-7D8E-4F6A-8B9C-0D1E2F3A4B5C}", Ok(UUID)),
        ("type = 'uuid'", "0d1f5e9c7d8e4f6a8b9c0d1e2f3a4b5c", Ok(UUID)),
        ("type = 'uuid'", "0d1f5e9c-7d8e4f6a-8b9c-0d1e-2f3a4b5c", Err(InvalidUuid)),
        ("type = 'uuid'", "0d1f5e9c", Err(InvalidUuid)),
        ("type = 'url'", " https://example.com/ä?q=1 ", Ok("\"https://example.com/ä?q=1\"")),
        ("type = 'url'", "example.com", Err(InvalidUrl)),
        ("type = 'url'", "https:///a b", Err(InvalidUrl)),
        ("type = 'url'", "https:example.com", Err(InvalidUrl)),
        ("type = 'url'", "https:\\\\example.com", Err(InvalidUrl)),
        ("type = 'url'", "HTTPS://example.com", Ok("\"HTTPS://example.com\"")),
        ("type = 'url'", "javascript:alert(1)", Err(InvalidUrl)),
        (WORDS, "JA", Ok("true")),
        (WORDS, "Nein", Ok("false")),
        (WORDS, "yes", Err(InvalidBoolean)),
        (
            "type = 'date', date_format = '%d.%m.%y', two_digit_years_from = 1930",
            "01.02.45",
            Ok("\"1945-02-01\""),
        ),
        (
            "type = 'timestamp', time_zone = 'Europe/Berlin', repeated_hour = 'second'",
            "2026-10-25T02:30:00",
            Ok("\"2026-10-25T01:30:00Z\""),
        ),
        (
            "type = 'timestamp', time_zone = 'Europe/Berlin'",
            "2026-10-25T02:30:00",
            Err(InvalidTimestamp),
        ),
        (
            "type = 'timestamp', transform = [{ extract = '[0-9T:-]+Z' }]",
            "at 2026-10-25T02:30:00Z, about",
            Ok("\"2026-10-25T02:30:00Z\""),
        ),
    ] {
        let read = field_of(toml, text).map(|value| value.to_string());
        assert_eq!(read.as_deref(), expected.as_deref(), "{toml}: {text}");
    }
}

#[test]
fn messages_say_what_was_expected() {
    for (toml, text, expected) in [
        ("type = 'percent'", "5", "is not a percentage (expected digits, a percent sign,"),
        ("type = 'money'", "x", "is not a sum of money (expected digits, perhaps with a currency,"),
        ("allowed = ['S', 'M']", "L", "is not in `allowed` (\"M\", \"S\")"),
        ("pattern = '[0-9]+'", "x", "does not fit `pattern` ([0-9]+)"),
        ("max_length = 1", "xx", "has 2 characters, and `max_length` is 1"),
        ("transform = [{ lookup = { a = 'b' } }]", "x", "is not in `lookup` (\"a\")"),
        (
            "type = 'boolean', true_values = ['Y']",
            "x",
            "is neither true (\"Y\") nor false (false, 0, no)",
        ),
    ] {
        let row = serde_json::json!({ "id": 1, "f": text }).to_string();
        let said = messages(&csv(&format!("[fields]\nf = {{ {toml} }}"), &row));
        assert!(said[0].contains(expected), "{said:?}");
    }
}

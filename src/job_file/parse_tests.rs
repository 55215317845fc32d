//! Tests of job files: what is read from a good one, and how a bad one is refused.

use super::*;
use crate::job_file::policy::Policy;
use crate::values::field::{FieldKind, Locator};

const GOOD: &str = r#"kind = "csv"
description = "Products"
schedule = "*/10 * * * *"
time_zone = "Europe/Berlin"
primary_key = ["sku"]

[csv]
paths = ["data/*.csv"]

[fields]
name = { column = "Item", aliases = ["Artikel"], required = true }
price = { type = "decimal", min = 0, max = 1_0, decimal_separator = "," }

[fields.weight]
type = "decimal"
min = 0.10
default = 12345678901234567890.5

[contract]
type_change = "quarantine_row"

[checks]
max_quarantine_ratio = 0.05
"#;

fn parse(text: &str) -> Result<Definition, DefinitionError> {
    let path = Path::new("jobs/products_csv.toml");
    let kinds = ["csv", "rest_api"];
    Definition::parse("products_csv".parse().unwrap(), path, text.to_owned(), &kinds)
}

/// The problems of a job file with these lines in place of others.
fn refused(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    let error = parse(&GOOD.replace(old, new)).unwrap_err().to_string();
    assert!(error.lines().all(|line| line.starts_with("jobs/products_csv.toml:")), "{error}");
    error.replace("jobs/products_csv.toml:", "")
}

#[test]
fn a_good_file_is_read_in_its_order() {
    let definition = parse(GOOD).unwrap();
    assert_eq!(definition.kind, "csv");
    assert_eq!(definition.schedule.as_ref().unwrap().expression(), "*/10 * * * *");
    assert_eq!(definition.contract.type_change, Policy::QuarantineRow);
    let names: Vec<_> = definition.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["name", "price", "weight"]);
    let [name, price, weight] = definition.fields.as_slice() else { panic!() };
    assert_eq!(name.from, Locator::Column(vec!["Item".into(), "Artikel".into()]));
    assert_eq!((name.kind, name.required), (FieldKind::Text, true));
    assert_eq!((price.min.as_deref(), price.max.as_deref()), (Some("0"), Some("10")));
    assert_eq!(price.from, Locator::Named("price".into()));
    assert_eq!(weight.min.as_deref(), Some("0.10"));
    assert_eq!(weight.default.as_deref(), Some("12345678901234567890.5"));
    assert_eq!(definition.locators().len(), 4);
    assert_eq!(definition.locators()[3], Locator::Named("sku".into()));
}

#[test]
fn a_column_gives_its_field_the_type() {
    let definition =
        parse("kind='csv'\nprimary_key=['a']\n[csv]\n[fields]\nprice={}\nsource_updated_at={}\nattributes={}\nx={}")
            .unwrap();
    let kinds: Vec<_> = definition.fields.iter().map(|field| field.kind).collect();
    use FieldKind::{Decimal, Json, Text, Timestamp};
    assert_eq!(kinds, [Decimal, Timestamp, Json, Text]);
}

#[test]
fn unknown_keys_are_refused_with_line_table_and_the_nearest_key() {
    for (old, new, expected) in [
        (
            "description =",
            "descripton =",
            "2: descripton: unknown key; did you mean `description`?",
        ),
        ("column =", "colum =", "11: fields.name.colum: unknown key; did you mean `column`?"),
        ("min = 0.10", "mim = 1", "16: fields.weight.mim: unknown key; did you mean `min`?"),
        (
            "type_change =",
            "type_changes =",
            "20: contract.type_changes: unknown key; did you mean `type_change`?",
        ),
        ("[checks]", "[check]", "22: check: unknown key; did you mean `checks`?"),
        (
            "\"quarantine_row\"",
            "\"quarantine\"",
            "20: contract.type_change: unknown word \"quarantine\"; did you mean `quarantine_row`?",
        ),
        (
            "[csv]",
            "[csv]\n[rest_api]",
            "8: rest_api: unknown key; kind = \"csv\" takes its parameters from [csv]",
        ),
    ] {
        let error = refused(old, new);
        assert_eq!(error.lines().next(), Some(expected), "{error}");
    }
}

#[test]
fn everything_wrong_is_said_at_once_and_in_order() {
    let error = refused(
        "name = { column = \"Item\", aliases = [\"Artikel\"], required = true }",
        "name = { colum = 1 }\nother = { typ = 'text', requird = true }\nthird = { min = true }",
    );
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 5, "{error}");
    assert!(lines[0].starts_with("11: fields.name.colum: unknown key"));
    assert!(lines[1].starts_with("12: fields.other.typ: unknown key"));
    assert!(lines[2].starts_with("12: fields.other.requird: unknown key"));
    assert!(lines[3].starts_with("13: fields.third.min: only numbers have bounds"));
}

#[test]
fn what_a_field_cannot_mean_is_refused_by_its_key() {
    for (field, expected) in [
        ("transform = [{}]", "x.transform: each table has one of `extract`, `replace`, `split`"),
        (
            "transform = [{ extract = '(' }]",
            "x.transform: `extract` = \"(\" is no regular expression",
        ),
        ("transform = [{ replace = 'a' }]", "x.transform: `replace` needs `with`"),
        ("transform = [{ split = '-' }]", "x.transform: `split` needs `part`, counted from 1"),
        ("transform = [{ split = '-', part = 0 }]", "x.transform: `split` needs `part`"),
        ("transform = [{ split = '', part = 1 }]", "x.transform: `split` is empty"),
        ("transform = [{ extract = 'a', part = 1 }]", "x.transform: `part` belongs to `split`"),
        ("transform = [{ extract = 'a', split = '-' }]", "x.transform: each table has one of"),
        ("type = 'json', transform = ['trim']", "x.transform: only single values are transformed"),
        ("pattern = '['", "x.pattern: \"[\" is no regular expression"),
        ("allowed = []", "x.allowed: is empty"),
        ("min_length = 3, max_length = 2", "x.min_length: no text has at least 3 and at most 2"),
        ("type = 'integer', allowed = ['1']", "x.allowed: only texts are listed"),
        ("true_values = ['ja']", "x.true_values: only booleans have them"),
        ("type = 'boolean', true_values = ['NO']", "x.true_values: \"no\" means true and false"),
        ("type = 'boolean', false_values = []", "x.false_values: is empty"),
        (
            "type = 'money', negative = 'trailing'",
            "x.negative: only numbers are negative, and money",
        ),
        (
            "type = 'integer', grouping = 'indian'",
            "x.grouping: means nothing without `group_separator`",
        ),
        (
            "type = 'date', two_digit_years_from = 1930",
            "x.two_digit_years_from: means nothing without",
        ),
        ("repeated_hour = 'first'", "x.repeated_hour: only timestamps and dates have one"),
        ("type = 'url', default = 'here'", "x.default: \"here\" is not an address"),
    ] {
        let job = format!("kind='csv'\nprimary_key=['a']\n[csv]\n[fields]\nx = {{ {field} }}");
        let error = parse(&job).unwrap_err().to_string();
        assert!(error.contains(&format!("fields.{expected}")), "{field}: {error}");
    }
    let error =
        parse("kind='csv'\nprimary_key=['a']\n[csv]\n[fields]\nx = { transform = ['trum'] }");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("did you mean `trim`?"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_line() {
    assert!(
        refused("required = true", "required = 'yes'").starts_with(
            "11: fields.name.required: expected true or false, found the text \"yes\""
        )
    );
    assert!(
        refused("[\"sku\"]", "\"sku\"")
            .starts_with("5: primary_key: expected a list, found the text \"sku\"")
    );
    assert!(refused("kind = \"csv\"", "kind = ").starts_with("1: not TOML: "));
}

#[test]
fn a_kind_is_known_and_has_its_table() {
    let error = refused("kind = \"csv\"", "kind = \"cvs\"");
    assert_eq!(
        error,
        "1: kind: unknown kind `cvs`; did you mean `csv`? Known kinds: csv, rest_api"
    );
    let error = refused("kind = \"csv\"", "kind = \"xlsx\"");
    assert_eq!(error, "1: kind: unknown kind `xlsx`; known kinds: csv, rest_api");
    assert_eq!(refused("kind = \"csv\"\n", ""), "1: kind: missing");
    let error = refused("[csv]\npaths = [\"data/*.csv\"]\n", "");
    assert_eq!(error, "1: csv: missing table with the parameters of kind = \"csv\"");
}

#[test]
fn contradictions_are_refused_with_a_way_out() {
    let weight = "min = 0.10\ndefault = 12345678901234567890.5";
    for (new, expected) in [
        ("const = 1\nfrom = '$.a'", "fields.weight.from: a `const` comes from nowhere: remove one"),
        (
            "const = 1\nrequired = true",
            "fields.weight.required: a `const` is never missing: remove one",
        ),
        (
            "default = 1\nrequired = true",
            "fields.weight.default: it is never used when `required`: remove one",
        ),
        (
            "from = 'a'\ncolumn = 'b'",
            "fields.weight.column: `from` is for APIs, `column` for CSV: remove one",
        ),
        (
            "date_format = '%Y'",
            "fields.weight.date_format: only timestamps and dates have one, not type = \"decimal\"",
        ),
        ("min = 2\nmax = 1", "fields.weight.min: no number is at least 2 and at most 1"),
        ("min = 'x'", "fields.weight.min: \"x\": not a decimal number"),
        ("default = 'x'", "fields.weight.default: \"x\" is not a decimal number"),
        ("decimal_separator = ';'", "fields.weight.decimal_separator: must be one of \".\", \",\""),
        (
            "group_separator = '.'",
            "fields.weight.group_separator: is the `decimal_separator` as well; give both",
        ),
        ("from = '$.['", "`$.[` is no JSONPath:"),
        ("time_zone = 'UTC'", "fields.weight.time_zone: only timestamps and dates have one"),
        ("column = ' '", "fields.weight.column: an empty header"),
    ] {
        let error = refused(weight, new);
        assert!(error.contains(expected), "{new}: {error}");
    }
    let error = refused(
        "type = \"decimal\", min = 0, max = 1_0, decimal_separator = \",\"",
        "type = 'text'",
    );
    assert_eq!(
        error,
        "12: fields.price.type: the column `price` of unified_records cannot hold type = \"text\"; it needs \"decimal\" or \"integer\" or \"money\" or \"percent\""
    );
    let error = refused("type = \"decimal\"\nmin", "min");
    assert!(
        error.contains("fields.weight.min: only numbers have bounds, not type = \"text\""),
        "{error}"
    );
    assert!(
        refused("[fields.weight]", "[fields.external_id]").contains("this column is not mapped")
    );
    assert!(refused("[fields.weight]", "[fields.\" x\"]").contains("a field's name cannot"));
    let error =
        refused(&format!("type = \"decimal\"\n{weight}"), "type = 'date'\ndate_format = '%d.%m.'");
    assert!(error.contains("does not hold a whole date"), "{error}");
}

#[test]
fn the_key_is_made_in_one_way() {
    let key = "primary_key = [\"sku\"]";
    assert!(refused(key, "").contains("primary_key: missing"));
    assert!(refused(key, "primary_key = []").starts_with("5: primary_key: a primary key needs"));
    assert!(refused(key, "external_id = 'x'\nprimary_key = ['a']").contains("remove one"));
    assert!(
        refused(key, "external_id = 'acme'").starts_with("5: external_id: every row would have")
    );
    assert!(
        refused(key, "primary_key = ['$.[']").starts_with("5: primary_key: `$.[` is no JSONPath")
    );
}

#[test]
fn only_missing_fields_are_guarded_and_they_are_unless_the_job_file_says_otherwise() {
    let contract = |lines: &str| parse(&GOOD.replace("type_change = \"quarantine_row\"", lines));
    assert!(contract("").unwrap().contract.guards());
    assert!(contract("missing_field = 'guard'").unwrap().contract.guards());
    assert!(!contract("missing_field = 'evolve'").unwrap().contract.guards());
    for key in ["new_field", "type_change"] {
        let error = contract(&format!("{key} = 'guard'")).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}` cannot be \"guard\"")), "{error}");
    }
}

#[test]
fn schedules_time_zones_and_checks_are_validated() {
    assert!(
        refused("*/10 * * * *", "*/10 * *").starts_with("3: schedule: \"*/10 * *\" is no schedule")
    );
    assert!(
        refused("Europe/Berlin", "Europe/Berln")
            .starts_with("4: time_zone: \"Europe/Berln\" is no time zone")
    );
    assert!(
        refused("schedule = \"*/10 * * * *\"\n", "").starts_with("3: time_zone: it is that of")
    );
    assert!(refused("0.05", "5").starts_with("23: checks.max_quarantine_ratio: a share"));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CsvParams {
    paths: Vec<String>,
}

#[test]
fn a_kind_reads_its_own_table_with_the_same_care() {
    let params: CsvParams = parse(GOOD).unwrap().params().unwrap();
    assert_eq!(params.paths, ["data/*.csv"]);
    let definition = parse(&GOOD.replace("paths =", "path =")).unwrap();
    let error = definition.params::<CsvParams>().unwrap_err().to_string();
    assert_eq!(error, "jobs/products_csv.toml:8: csv.path: unknown key; did you mean `paths`?");
    let look = |job: &mut Inspection<'_>| job.problem(&["csv", "path", "0"], "is empty");
    let (problems, _) = definition.inspect(look).unwrap();
    assert_eq!(
        problems[0].line_of(&definition.path),
        "jobs/products_csv.toml:8: csv.path[0]: is empty"
    );
}

#[test]
fn nothing_in_a_job_file_can_be_nested_until_the_stack_ends() {
    const DEEP: usize = 20_000;
    let brackets = "[".repeat(DEEP);
    for value in [
        format!("'${brackets}'"),
        format!("'${}'", "[?(".repeat(DEEP)),
        brackets.clone(),
        format!("{brackets}{}", "]".repeat(DEEP)),
        "{a=".repeat(DEEP),
        format!("{{{}=1}}", vec!["a"; DEEP].join(".")),
    ] {
        for text in [
            format!("kind='csv'\nprimary_key=['id']\n[csv]\n[fields]\nname.from={value}\n"),
            format!("kind='csv'\nprimary_key=[{value}]\n[csv]\n"),
            format!("kind='csv'\nprimary_key=['id']\nschedule={value}\n[csv]\n"),
            format!("kind='csv'\nprimary_key=['id']\n[csv]\npaths={value}\n"),
        ] {
            let error = match parse(&text) {
                Ok(definition) => definition.params::<CsvParams>().unwrap_err(),
                Err(error) => error,
            };
            assert!(error.to_string().contains("products_csv.toml:"), "{:.200}", error.to_string());
        }
    }
    for header in [vec!["a"; DEEP].join("."), format!("{brackets}x")] {
        assert!(parse(&format!("kind='csv'\nprimary_key=['id']\n[{header}]\n")).is_err());
    }
}

proptest::proptest! {
    #[test]
    fn no_slip_of_the_pen_panics(at in 0..GOOD.len(), length in 0..12_usize, new in "\\PC{0,3}") {
        let end = (at + length).min(GOOD.len());
        let text = format!("{}{new}{}", &GOOD[..at], &GOOD[end..]);
        match parse(&text) {
            Ok(definition) => {
                let _ = definition.params::<CsvParams>();
            }
            Err(error) => proptest::prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn every_key_of_a_job_file_is_known_before_it_is_read() {
    let schema = schemars::schema_for!(JobFile).to_value();
    let mut written: Vec<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut known = KEYS.to_vec();
    written.sort_unstable();
    known.sort_unstable();
    assert_eq!(written, known);
}

#[test]
fn a_misspelt_table_of_a_kind_is_offered_its_name_and_said_once() {
    assert_eq!(refused("[csv]", "[cvs]"), "7: cvs: unknown key; did you mean `csv`?");
    let error = refused("[csv]", "[xyz]");
    assert!(error.contains("xyz: unknown key; known keys: kind, description"), "{error}");
    assert!(error.contains("csv: missing table with the parameters"), "{error}");
}

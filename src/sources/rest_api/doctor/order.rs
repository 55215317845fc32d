//! Owns in what order the times and numbers of records come, and how they are written.

use serde_json::Value;

use crate::sources::Finding;
use crate::values::timestamp::TimeFormat;

/// In what order the times and numbers of the records come that look like a cursor, how precise they are and
/// in which zone.
pub(super) fn order(records: &[String]) -> Vec<Finding> {
    const NAMES: &[&str] = &["updat", "modif", "creat", "chang", "date", "time", "_at", "last"];
    let parsed: Vec<Value> =
        records.iter().take(1000).filter_map(|record| serde_json::from_str(record).ok()).collect();
    let Some(Value::Object(first)) = parsed.first() else { return Vec::new() };
    let names = first.keys().filter(|name| {
        let lower = name.to_ascii_lowercase();
        NAMES.iter().any(|part| lower.contains(part)) || lower == "id"
    });
    names.filter_map(|name| of_field(name, &parsed)).collect()
}

fn of_field(name: &str, records: &[Value]) -> Option<Finding> {
    let texts: Vec<String> = records
        .iter()
        .filter_map(|record| match record.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect();
    if texts.len() < 2 {
        return None;
    }
    let format = TimeFormat::default();
    let (kind, values): (String, Vec<i64>) =
        match texts.iter().map(|text| format.instant(text)).collect() {
            Ok(instants) => (precision(&texts), instants),
            Err(error) => {
                let numbers: Option<Vec<i64>> =
                    texts.iter().map(|text| text.parse().ok()).collect();
                let said = error.to_string();
                let kind = match said.starts_with("looks like") {
                    true => format!("a number that {said}"),
                    false => "whole numbers".to_owned(),
                };
                (kind, numbers?)
            }
        };
    let order = if values.windows(2).all(|pair| pair[0] < pair[1]) {
        "ascending"
    } else if values.windows(2).all(|pair| pair[0] > pair[1]) {
        "descending"
    } else if values.is_sorted() {
        "ascending, some are equal"
    } else if values.iter().rev().is_sorted() {
        "descending, some are equal"
    } else {
        "in no order"
    };
    Some(Finding::note("order", format!("`$.{name}`: {order} ({kind})")))
}

/// How precise times are, and in which zone.
fn precision(texts: &[String]) -> String {
    let digits = |text: &String| {
        let fraction = text.split_once(['.', ',']).map_or("", |(_, fraction)| fraction);
        fraction.bytes().take_while(u8::is_ascii_digit).count()
    };
    let precise = match texts.iter().map(digits).max() {
        Some(0) | None if texts.iter().all(|text| text.len() == 10) => "days".to_owned(),
        Some(0) | None if texts.iter().all(|text| text.matches(':').count() < 2) => {
            "minutes".to_owned()
        }
        Some(0) | None => "seconds".to_owned(),
        Some(digits) => format!("{digits} digits of a second"),
    };
    let zone = match texts.iter().find_map(|text| text.get(19..)) {
        Some(rest) if rest.contains(['Z', 'z']) => "UTC",
        Some(rest) if rest.contains(['+', '-']) => "with its offset",
        _ => "without a zone: taken for UTC unless `time_zone` is set",
    };
    format!("{precise}, {zone}")
}

//! Owns which values are seen most among rows that fail alike: a look at the first of them, not all.

use std::collections::HashMap;

use crate::api::console::html::number;
use crate::db::quarantine_pages::RowBeginning;
use crate::domain::text;

/// Values that are shown.
const MOST: usize = 10;
/// The most bytes of a value.
const VALUE: usize = 200;

/// The values of the first rows.
pub(crate) struct SeenMost {
    pub(crate) looked_at: String,
    pub(crate) values: Vec<(String, String)>,
    /// Different ones besides.
    pub(crate) others: Option<String>,
    /// Rows in which no value was found.
    pub(crate) without: Option<String>,
}

/// The most frequent values of these rows; `None` when there is no row.
pub(crate) fn seen_most(
    rows: &[RowBeginning],
    value: impl Fn(&RowBeginning) -> Option<String>,
) -> Option<SeenMost> {
    if rows.is_empty() {
        return None;
    }
    let mut counts: HashMap<Option<String>, i64> = HashMap::new();
    for row in rows {
        let value = value(row).map(|value| text::cut(&value, VALUE).into_owned());
        *counts.entry(value).or_default() += 1;
    }
    let without = counts.remove(&None).map(number);
    let mut values: Vec<(String, i64)> =
        counts.into_iter().filter_map(|(value, rows)| Some((value?, rows))).collect();
    values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let others = values.len().checked_sub(MOST).filter(|others| *others > 0);
    values.truncate(MOST);
    Some(SeenMost {
        looked_at: number(rows.len() as i64),
        values: values.into_iter().map(|(value, rows)| (value, number(rows))).collect(),
        others: others.map(|others| number(others as i64)),
        without,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_values_stand_first_and_the_rest_is_counted() {
        let row = |raw: &str| RowBeginning {
            raw_ref: String::new(),
            raw: raw.into(),
            raw_bytes: raw.len() as i32,
        };
        let mut rows: Vec<_> = (0..13).map(|value| row(&format!("v{value:02}"))).collect();
        rows.extend(["x", "x", "v03", ""].map(row));
        let value =
            |row: &RowBeginning| String::from_utf8(row.raw.clone()).ok().filter(|v| !v.is_empty());
        let seen = seen_most(&rows, value).unwrap();
        let first: Vec<_> =
            seen.values.iter().take(3).map(|(v, n)| (v.as_str(), n.as_str())).collect();
        assert_eq!(first, [("v03", "2"), ("x", "2"), ("v00", "1")]);
        assert_eq!((seen.values.len(), seen.others.as_deref()), (10, Some("4")));
        assert_eq!((seen.without.as_deref(), seen.looked_at.as_str()), (Some("1"), "17"));
        assert!(seen_most(&[], value).is_none());
    }
}

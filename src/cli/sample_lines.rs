//! Owns how the samples of a dry run are shown.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::raw;
use crate::domain::sample::Sample;
use crate::domain::text::printable;

/// What a dry run shows, a line for each row and each of its columns that would change.
pub(super) fn sample_lines(source: &str, samples: &[Sample]) -> String {
    let mut lines = String::new();
    for Sample { change, external_id, payload, row, before, after, defects } in samples {
        let key = external_id.as_ref().map(|key| format!(" {key}")).unwrap_or_default();
        let place = raw::place(payload, None, *row);
        // What a source says is in one line, whatever it holds.
        let (source, key, place) = (printable(source), printable(&key), printable(&place));
        lines += &format!("{source}: {change}{key} ({place})\n");
        for defect in defects {
            let (message, reason) = (printable(&defect.message), printable(&defect.reason));
            lines += &format!("    {message} ({reason})\n");
        }
        let column = |side: &Option<Value>, name: &str| {
            side.as_ref().and_then(|columns| columns.get(name)).cloned().unwrap_or(Value::Null)
        };
        let sides = [before, after].into_iter().flatten().filter_map(Value::as_object);
        let names: BTreeSet<&String> = sides.flat_map(|columns| columns.keys()).collect();
        for name in names {
            let (before, after) = (column(before, name), column(after, name));
            if before != after {
                let change = match before {
                    Value::Null => format!("{name}: {after}"),
                    before => format!("{name}: {before} -> {after}"),
                };
                lines += &format!("    {}\n", printable(&change));
            }
        }
    }
    lines
}

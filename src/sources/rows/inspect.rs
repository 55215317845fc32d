//! Owns what is wrong with the fields of a job file for JSON: that they are found in some other way than
//! values in JSON are.

use crate::job_file::Inspection;

/// What is wrong on every machine.
pub(in crate::sources) fn fields(job: &mut Inspection<'_>) {
    names(job);
    for key in ["column", "aliases"] {
        for name in job.fields_with(key) {
            let column = job.text(&["fields", &name, key]).unwrap_or("…");
            let message = format!(
                "is for CSV, and this source reads JSON: write from = \"{column}\" for a key of its \
                 records, or a JSONPath such as \"$.{name}\""
            );
            job.problem(&["fields", &name, key], message);
        }
    }
}

/// A name with a dot in it is one key, and hardly ever meant as one.
fn names(job: &mut Inspection<'_>) {
    let message = |name: &str| {
        let quoted = name.replace('\\', "\\\\").replace('\'', "\\'");
        format!(
            "`{name}` is one key with a dot in its name: write `$.{name}` for a value within another, \
             or `$['{quoted}']` when the key is really called so"
        )
    };
    let dotted = |name: &str| name.contains('.') && !name.starts_with('$');
    for field in job.fields_with("from") {
        let keys = ["fields", field.as_str(), "from"];
        if let Some(name) = job.text(&keys).filter(|name| dotted(name)) {
            job.problem(&keys, message(name));
        }
    }
    for field in job.fields_without(&["from", "column", "aliases", "const"]) {
        if dotted(&field) {
            job.problem(&["fields", &field], message(&field));
        }
    }
    for at in 0.. {
        let at = at.to_string();
        let keys = ["primary_key", at.as_str()];
        let Some(name) = job.text(&keys) else { break };
        if dotted(name) {
            job.problem(&keys, message(name));
        }
    }
    let template = job.text(&["external_id"]).unwrap_or_default();
    for part in template.split('{').skip(1).filter_map(|part| part.split_once('}')) {
        if dotted(part.0) {
            job.problem(&["external_id"], message(part.0));
        }
    }
}

//! Owns what is wrong with the fields of a job file for CSV: that they are found in some other way than
//! columns are.

use crate::job_file::Inspection;

/// What is wrong on every machine.
pub(super) fn fields(job: &mut Inspection<'_>) {
    for name in job.fields_with("from") {
        let keys = ["fields", name.as_str(), "from"];
        let column = job.text(&keys).map_or("…", last_name);
        let message = format!(
            "looks into JSON, and this source reads columns: write column = {column:?} instead"
        );
        job.problem(&keys, message);
    }
    for name in job.fields_with("concat") {
        for at in 0.. {
            let at = at.to_string();
            let keys = ["fields", name.as_str(), "concat", at.as_str()];
            let Some(text) = job.text(&keys) else { break };
            if looks_into_json(text) {
                let message = format!(
                    "{text:?} looks into JSON, and this source reads columns: write {:?}",
                    last_name(text)
                );
                job.problem(&keys, message);
            }
        }
    }
    for at in 0.. {
        let at = at.to_string();
        let keys = ["primary_key", at.as_str()];
        let Some(text) = job.text(&keys) else { break };
        if looks_into_json(text) {
            let message = format!(
                "{text:?} looks into JSON, and this source reads columns: write {:?}",
                last_name(text)
            );
            job.problem(&keys, message);
        }
    }
    if let Some(text) = job.text(&["external_id"])
        && text.split('{').skip(1).any(looks_into_json)
    {
        let message = "looks into JSON, and this source reads columns: write their names in braces";
        job.problem(&["external_id"], message);
    }
}

/// Whether a text is a JSONPath. A column may be called `$id`.
fn looks_into_json(text: &str) -> bool {
    text.strip_prefix('$').is_some_and(|rest| rest.starts_with(['.', '[', '}']) || rest.is_empty())
}

/// The last name of a JSONPath: what the column is probably called.
fn last_name(path: &str) -> &str {
    let path = without_places(path);
    let end = path.trim_end_matches(['\'', '"', ']', ')']);
    let start = end.rfind(['.', '\'', '"', '[', '$']).map_or(0, |at| at + 1);
    match &end[start..] {
        "" | "*" => "…",
        name => name,
    }
}

/// A JSONPath without what is behind its last name: `[*]`, `[0]`, `.*`.
fn without_places(path: &str) -> &str {
    let mut path = path;
    loop {
        let place = path.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
        path = match (path.strip_suffix(".*"), place) {
            (Some(rest), _) => rest,
            (None, Some((rest, at)))
                if at.chars().all(|c| matches!(c, '*' | '-' | ':' | '0'..='9')) =>
            {
                rest
            }
            _ => return path,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_a_path_is_offered_as_the_column() {
        for (path, name) in [
            ("$.price", "price"),
            ("$.a.b_c", "b_c"),
            ("$['Unit Price']", "Unit Price"),
            ("$[\"a\"]", "a"),
            ("$", "…"),
            ("$.a[*]", "a"),
            ("$.meta['a b'][0][*]", "a b"),
            ("$.a.*", "a"),
            ("$[*]", "…"),
            ("price", "price"),
        ] {
            assert_eq!(last_name(path), name, "{path}");
        }
    }
}

//! Owns which ways to further pages an answer gives evidence of: a line for another one would be a guess.

use reqwest::Url;
use serde_json::Value;

use crate::sources::rest_api::around::plain;
use crate::sources::rest_api::signs::{Sign, sign_of};

/// How deep signs are looked for.
const DEPTH: usize = 4;
/// Parameters of requests that name a page, or how many records come before it; without their spelling.
const NUMBERS: &[&str] = &["page", "p", "pagenumber", "pageindex", "currentpage", "pageno"];
const OFFSETS: &[&str] = &["offset", "skip", "start", "startat", "startindex"];

/// What an answer, and the request, have that one kind of paginator goes by.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// The number of the page, or how many there are.
    pub number: bool,
    /// How many records come before these.
    pub offset: bool,
    /// A link to the next page, or a cursor.
    pub reference: bool,
    /// The path of the last record's `id`: APIs that say no more than that there is more take that, mostly.
    pub last_id: Option<String>,
}

impl Ways {
    /// Those of an answer in which `selector` finds these records.
    pub fn of(asked: &Url, body: Option<&Value>, selector: &str, records: &[String]) -> Self {
        let mut ways = Self { last_id: last_id(selector, records), ..Self::default() };
        for (name, _) in asked.query_pairs() {
            let name = plain(&name);
            ways.number |= NUMBERS.contains(&name.as_str());
            ways.offset |= OFFSETS.contains(&name.as_str());
        }
        if let Some(body) = body {
            ways.look_into(body, "$", selector.trim_end_matches("[*]"), DEPTH);
        }
        ways
    }

    fn look_into(&mut self, value: &Value, path: &str, selected: &str, depth: usize) {
        let Value::Object(fields) = value else { return };
        if depth == 0 || (path == selected && path != "$") {
            return;
        }
        for (key, value) in fields {
            self.see(key, value);
            self.look_into(value, &format!("{path}.{key}"), selected, depth - 1);
        }
    }

    fn see(&mut self, key: &str, value: &Value) {
        let is_number = value.is_u64();
        match sign_of(&plain(key), None) {
            Some(Sign::Page) => self.number |= is_number || value.is_string(),
            Some(Sign::Pages | Sign::LastPage) => self.number |= is_number,
            Some(Sign::Offset) => self.offset |= is_number,
            Some(Sign::Next | Sign::Cursor | Sign::Continue | Sign::Continuation) => {
                self.reference |= match value {
                    Value::String(text) => !text.is_empty(),
                    Value::Number(number) => number.as_i64().is_some_and(|number| number > 0),
                    Value::Object(fields) => !fields.is_empty(),
                    Value::Null | Value::Bool(_) | Value::Array(_) => false,
                };
            }
            _ => {}
        }
    }
}

fn last_id(selector: &str, records: &[String]) -> Option<String> {
    // What a filter finds last is not what the API gave last.
    let list = selector.strip_suffix("[*]").filter(|list| !list.contains(['?', '*']))?;
    let last: Value = serde_json::from_str(records.last()?).ok()?;
    let id = last.get("id")?;
    (id.is_string() || id.is_number()).then(|| format!("{list}[-1].id"))
}

/// The parameter that mostly takes a cursor of this name: `next_page_token` comes back as `page_token`.
pub(super) fn parameter_of(place: &str) -> String {
    let name = place.trim_matches(['`', '"']).rsplit(['.', '[']).next().unwrap_or_default();
    let name = name.trim_matches(['\'', ']', '"']);
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let bare = ["next_", "next-", "next", "end_", "end"].iter().find_map(|begin| {
        let rest = name.strip_prefix(begin)?;
        let first = rest.chars().next().filter(char::is_ascii)?;
        let starts_anew = begin.ends_with(['_', '-']) || first.is_uppercase();
        starts_anew.then(|| format!("{}{}", first.to_ascii_lowercase(), &rest[1..]))
    });
    match bare.as_deref().unwrap_or(name) {
        "pageStart" => "start".to_owned(),
        "" | "next" | "href" | "continue" => "cursor".to_owned(),
        bare if is_name => bare.to_owned(),
        _ => "cursor".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_back_by_the_name_that_it_came_by() {
        for (place, name) in [
            ("\"$.next_cursor\"", "cursor"),
            ("\"$.meta.nextPageToken\"", "pageToken"),
            ("\"$.paging.next.after\"", "after"),
            ("\"$.pageInfo.endCursor\"", "cursor"),
            ("\"$.nextPageStart\"", "start"),
            ("\"$.next_page\"", "page"),
            ("\"$.next\"", "cursor"),
            ("\"$.next_\"", "next_"),
            ("\"$['o''clock next']\"", "cursor"),
        ] {
            assert_eq!(parameter_of(place), name, "{place}");
        }
    }
}

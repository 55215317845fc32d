//! Owns what of a page leads to further ones, whether the paginator uses it, and the line that would make it.

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::ways::{Ways, parameter_of};
use crate::domain::text;
use crate::sources::Finding;
use crate::sources::rest_api::around::plain;
use crate::sources::rest_api::paginator::{Paginator, Way};
use crate::sources::rest_api::params::RestApiParams;
use crate::sources::rest_api::signs::{Sign, bare_header, sign_of};

/// How deep lists and signs of further pages are looked for.
const DEPTH: usize = 4;

/// What decides whether something is worth a line.
#[derive(Debug)]
pub(super) struct Advice {
    /// What the job file says of further pages, to see what it uses.
    paginator: String,
    is_single: bool,
    /// Whether no other page is wanted.
    is_enough: bool,
    /// How many records came.
    came: u64,
    /// Whether the page leads on.
    next: bool,
    /// Whether a link to the next page stands in a header.
    has_link: bool,
    /// What the job file asks for: a line that does not go with it is none.
    params: RestApiParams,
    /// The variables that its GraphQL query declares, if it has one.
    variables: Option<Vec<String>>,
    /// Which ways to further pages there is evidence of.
    ways: Ways,
}

/// Variables of GraphQL queries that take a cursor, as they are mostly called.
const CURSORS: &[&str] =
    &["after", "cursor", "endcursor", "nextcursor", "pagetoken", "nexttoken", "before"];
/// The same of the number of a page.
const NUMBERS: &[&str] = &["page", "pagenumber", "pageindex", "currentpage"];

impl Advice {
    pub fn of(
        params: &RestApiParams,
        headers: &HeaderMap,
        came: usize,
        next: bool,
        ways: Ways,
    ) -> Self {
        let way = params.paginator.way();
        Self {
            paginator: format!("{:?}", params.paginator),
            is_single: matches!(way, Way::Single { .. }),
            is_enough: params.paginator.first_pages_only(),
            came: came as u64,
            next,
            has_link: text_of(headers, "link").is_some_and(|link| link.contains("next")),
            params: params.clone(),
            variables: params.graphql.as_ref().map(|graphql| graphql.declared()),
            ways,
        }
    }

    /// The variable of the query that is called like one of these.
    fn variable(&self, like: &[&str]) -> Option<&str> {
        let named = |name: &&String| like.contains(&plain(name).as_str());
        self.variables.iter().flatten().find(named).map(String::as_str)
    }

    /// What takes a cursor, as a key: a variable in a GraphQL query, if it declares one.
    fn cursor_target(&self, place: &str) -> Option<String> {
        match &self.variables {
            None => Some(format!("param = {:?}", parameter_of(place))),
            Some(_) => self.variable(CURSORS).map(|name| format!("variable = {name:?}")),
        }
    }

    /// Whether the job file could have the line: one that `check` refuses is no advice.
    fn fits(&self, line: &str) -> bool {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line {
            paginator: Paginator,
        }
        if !line.starts_with("paginator = ") {
            return true;
        }
        let Ok(Line { paginator }) = toml::from_str::<Line>(line) else { return false };
        RestApiParams { paginator, ..self.params.clone() }.problems().is_empty()
    }

    /// Whether the paginator names a key, such as `total_path`.
    fn has(&self, key: &str) -> bool {
        self.paginator.contains(&format!("{key}: Some("))
    }

    /// What to say of a sign: `said` what it is, `place` how the job file writes where it is.
    fn say(&self, said: String, is_used: bool, line: Option<String>) -> Finding {
        if is_used {
            return Finding::note("next page", format!("{said}; the paginator uses it"));
        }
        let finding = match self.next || self.is_enough {
            // One that goes on all the same may end too early, or not know when.
            true => Finding::note("next page", format!("{said}; the paginator does not use it")),
            false => Finding::suspicious(
                "next page",
                format!("{said}; the paginator does not use it, and asks for no further page"),
            ),
        };
        match line.filter(|line| !self.is_enough && self.fits(line)) {
            Some(line) => finding.suggest(line),
            None => finding,
        }
    }

    /// The line for a key of all paginators but `single_page`.
    fn key(&self, key: &str, place: &str) -> Option<String> {
        match self.is_single {
            _ if self.has(key) => None,
            true => self.paginator_of(key, place),
            false => Some(format!("{key} = {place}")),
        }
    }

    /// The paginator with a key that there is evidence of; none where another sign has a line of its own.
    fn paginator_of(&self, key: &str, place: &str) -> Option<String> {
        if self.variables.is_some() {
            let name = self.variable(NUMBERS)?;
            return Some(format!(
                "paginator = {{ type = \"page_number\", variable = {name:?}, {key} = {place} }}"
            ));
        }
        let numbered =
            |kind: &str| Some(format!("paginator = {{ type = \"{kind}\", {key} = {place} }}"));
        let ways = &self.ways;
        // A yes or no goes with any of them, and with none more than with another.
        let says_only_that = matches!(key, "has_more_path" | "end_path");
        match &ways.last_id {
            _ if ways.number || key == "total_pages" => numbered("page_number"),
            _ if ways.offset => numbered("offset"),
            _ if ways.reference || self.has_link => None,
            Some(id) if says_only_that => Some(format!(
                "paginator = {{ type = \"cursor\", cursor_path = {id:?}, param = \"starting_after\", {key} = {place} }}"
            )),
            None if says_only_that => None,
            // Who counts all records numbers them, or the pages, mostly.
            _ => numbered("page_number"),
        }
    }

    /// What a value says of further pages. `shown` is where it stands for people, `place` for the job file.
    fn sign(
        &self,
        sign: Sign,
        value: &Value,
        shown: &str,
        place: &str,
        used: bool,
    ) -> Option<Finding> {
        let brief = text::beginning(&value.to_string());
        let is_link = |text: &str| text.starts_with("http") || text.starts_with(['/', '?']);
        Some(match (sign, value) {
            (Sign::Next, Value::String(link)) if is_link(link) => {
                let line =
                    format!("paginator = {{ type = \"next_url\", next_url_path = {place} }}");
                let line = Some(line).filter(|_| !self.has_link);
                self.say(format!("{shown} is the address of the next page"), used, line)
            }
            (Sign::Next | Sign::Cursor | Sign::Continue | Sign::Continuation, value)
                if may_name_none(value) =>
            {
                if !used
                    || !self.paginator.starts_with("Cursor")
                    || self.paginator.contains(&format!("{value:?}"))
                {
                    return None;
                }
                Finding::suspicious(
                    "next page",
                    format!("{shown} is {brief}, which may say that there is no next page, and is asked for"),
                )
                .suggest(format!("end_values = [{value}]"))
            }
            (
                Sign::Next | Sign::Cursor | Sign::Continue | Sign::Continuation,
                Value::String(text),
            ) if text.is_empty() => {
                return None;
            }
            (
                Sign::Next | Sign::Cursor | Sign::Continue | Sign::Continuation,
                Value::String(_) | Value::Number(_),
            ) => {
                let line = self.cursor_target(place).map(|target| {
                    format!("paginator = {{ type = \"cursor\", cursor_path = {place}, {target} }}")
                });
                // Beside numbered pages it is another way to the same.
                let line = line.filter(|_| self.is_single && !self.has_link);
                self.say(format!("{shown} is likely to be a cursor: {brief}"), used, line)
            }
            (Sign::More | Sign::PerhapsMore, Value::Bool(true)) => {
                let line = self.key("has_more_path", place);
                self.say(format!("{shown} says that there is more"), used, line)
            }
            (Sign::Last | Sign::LastPage, Value::Bool(false)) => {
                let line = self.key("end_path", place);
                self.say(format!("{shown} says that this is not the last page"), used, line)
            }
            (Sign::Partial, Value::Bool(true)) | (Sign::Complete, Value::Bool(false)) => {
                self.say(format!("{shown} says that the answer is not complete"), used, None)
            }
            (Sign::Total | Sign::Count, value) => {
                let total = whole(value)?;
                // A number that is no larger may count the page alone.
                if total <= self.came && (self.is_single || sign == Sign::Count) {
                    return None;
                }
                let line = self.key("total_path", place);
                self.say(format!("{shown} is likely to be the total: {brief}"), used, line)
            }
            (Sign::Pages | Sign::LastPage, value) => {
                let pages = whole(value)?;
                if pages <= 1 && self.is_single {
                    return None;
                }
                let line = self.key("total_pages", place);
                self.say(
                    format!("{shown} is likely to be the number of pages: {brief}"),
                    used,
                    line,
                )
            }
            _ => return None,
        })
    }

    /// What headers say of further pages.
    pub fn of_headers(&self, headers: &HeaderMap) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(link) = text_of(headers, "link").filter(|_| self.has_link) {
            let said =
                format!("the header `link` leads to the next page: {}", text::beginning(&link));
            let is_used = self.paginator.starts_with("LinkHeader");
            found.push(match is_used || self.is_enough {
                true if is_used => {
                    Finding::note("next page", format!("{said}; the paginator uses it"))
                }
                true => {
                    Finding::note("next page", format!("{said}; the paginator does not use it"))
                }
                false => Finding::suspicious(
                    "next page",
                    format!("{said}; the paginator does not use it"),
                )
                .suggest("paginator = { type = \"link_header\" }"),
            });
            if let Some(finding) = found.last_mut()
                && !finding.suggestion.as_deref().is_none_or(|line| self.fits(line))
            {
                finding.suggestion = None;
            }
        }
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        for name in names {
            let sign = bare_header(name).and_then(|bare| sign_of(&plain(bare), None));
            let (Some(sign), Some(value)) = (sign, text_of(headers, name)) else { continue };
            let is_used = self.paginator.contains(&format!("{name:?}"));
            let is_number =
                matches!(sign, Sign::Total | Sign::Count | Sign::Pages | Sign::LastPage);
            let place = match is_number {
                true => format!("{{ header = {name:?} }}"),
                false => format!("{name:?}"),
            };
            let shown = format!("the header `{name}`");
            // By words a body would have as yes and no, which no key takes out of a header.
            if !is_number && !matches!(sign, Sign::Next | Sign::Cursor | Sign::Continuation) {
                continue;
            }
            let finding = self.sign(sign, &Value::from(value), &shown, &place, is_used);
            found.extend(
                finding
                    .map(|finding| Finding {
                        suggestion: finding
                            .suggestion
                            .map(|line| line.replace("cursor_path", "cursor_header")),
                        ..finding
                    })
                    .map(|finding| match finding.suggestion.as_deref() {
                        // An address in a header of its own nobody follows.
                        Some(line) if line.contains("next_url_path") => {
                            Finding { suggestion: None, ..finding }
                        }
                        _ => finding,
                    }),
            );
        }
        found
    }
}

/// Looks through a body for lists, and for signs of further pages.
pub(super) struct Looking<'a> {
    advice: &'a Advice,
    /// The path of what the records are, unless that is everything.
    selected: Option<&'a str>,
    /// What the key of the records is called.
    records: Option<&'a str>,
    pub found: Vec<Finding>,
    /// The lists of objects, and how many are in each.
    pub lists: Vec<(String, usize)>,
}

impl<'a> Looking<'a> {
    pub fn new(advice: &'a Advice, selector: &'a str, records: Option<&'a str>) -> Self {
        let selected = Some(selector.trim_end_matches("[*]")).filter(|path| *path != "$");
        Self { advice, selected, records, found: Vec::new(), lists: Vec::new() }
    }

    pub fn look(&mut self, body: &Value) {
        self.look_at("$", body, DEPTH);
    }

    fn look_at(&mut self, path: &str, value: &Value, depth: usize) {
        match value {
            Value::Array(elements) if elements.first().is_some_and(Value::is_object) => {
                self.lists.push((path.to_owned(), elements.len()));
            }
            Value::Object(fields) if depth > 0 => {
                let is_record = self.selected == Some(path);
                for (key, value) in fields {
                    let is_plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                        && !key.starts_with(|c: char| c.is_ascii_digit());
                    let below = match is_plain {
                        true => format!("{path}.{key}"),
                        false => format!("{path}['{}']", key.replace('\'', "\\'")),
                    };
                    if !is_record {
                        self.sign(&below, key, value);
                    }
                    self.look_at(&below, value, depth - 1);
                }
            }
            _ => {}
        }
    }

    /// What a value beside the records says of further pages.
    fn sign(&mut self, path: &str, key: &str, value: &Value) {
        if self.selected.is_some_and(|selected| path.starts_with(&format!("{selected}."))) {
            return;
        }
        let Some(sign) = sign_of(&plain(key), self.records) else { return };
        let paginator = &self.advice.paginator;
        let is_used =
            paginator.contains(&format!("{path:?}")) || paginator.contains(&format!("\"{path}\""));
        let (shown, place) = (format!("`{path}`"), format!("{path:?}"));
        self.found.extend(self.advice.sign(sign, value, &shown, &place, is_used));
    }
}

/// Whether some APIs say by a cursor of this value that there is no next page.
fn may_name_none(value: &Value) -> bool {
    match value {
        Value::String(text) => matches!(text.trim(), "0" | "-1" | "null" | "false"),
        Value::Number(number) => number.as_i64().is_some_and(|number| matches!(number, 0 | -1)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A whole number, also of an object that holds it, as Elasticsearch has it.
fn whole(value: &Value) -> Option<u64> {
    match value.get("value").unwrap_or(value) {
        Value::Number(number) => number.as_u64(),
        Value::String(digits) => digits.trim().parse().ok(),
        _ => None,
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

//! Owns `rest_api.responses`: which answers mean something else than their status says, and what.
//!
//! Must not know what follows for the run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::body_path::MAX_QUERIED;
use super::request::header_name;
use crate::domain::json_size::JsonSize;
use crate::sources::rows::path::Path;
use crate::sources::{SourceError, SourceErrorKind};

/// A rule: an answer that fits all of its conditions means what it says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseRule {
    /// The HTTP status: 404, [404, 410], "4xx" or "500-599".
    pub status: Option<Statuses>,
    /// Headers that the answer must have, and a text in each, whatever its capital letters: { "x-error" = "quota" };
    /// an empty text means any value.
    #[serde(default)]
    pub header: BTreeMap<String, String>,
    /// A text that the body must contain, whatever its capital letters.
    pub contains: Option<String>,
    /// A JSONPath (RFC 9535) that must find something in the body: `$.errors[?@.code == 'THROTTLED']`.
    pub r#where: Option<String>,
    /// What the answer means.
    pub action: Option<ResponseAction>,
    /// How long to wait, where the API does not say it: "2s". For the action "wait".
    #[serde(default, with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub wait: Option<Duration>,
    /// What the run says of it, instead of the API's own words.
    pub message: Option<String>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseAction {
    /// The page has failed, and is not asked for again.
    Fail,
    /// The page is asked for again; that is one of `retry.max_attempts`.
    Retry,
    /// It is not the time yet: the page is asked for again later, and no attempt is spent.
    Wait,
    /// There are no more pages: the proper end.
    End,
    /// The answer is left out: it has no records, and the full sync is not complete.
    Ignore,
    /// The parent whose children were asked for is gone: it has none, and that is complete.
    SkipParent,
    /// The token is not accepted any more: it is renewed and the page asked for again, once.
    Renew,
}

/// HTTP statuses.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Statuses {
    /// One of them.
    One(StatusPattern),
    /// Several.
    Several(Vec<StatusPattern>),
}

/// A status, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "StatusText")]
pub struct StatusPattern {
    first: u16,
    last: u16,
}

/// How job files write it.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a status such as 404, \"4xx\" or \"500-599\"")]
#[allow(dead_code, reason = "the schema shows it")]
enum StatusText {
    Number(u16),
    Text(String),
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, range) = match StatusText::deserialize(deserializer)? {
            StatusText::Number(status) => (status.to_string(), Some((status, status))),
            StatusText::Text(text) => {
                let range = match text.split_once('-') {
                    Some((first, last)) => first.trim().parse().ok().zip(last.trim().parse().ok()),
                    None => match text.to_ascii_lowercase().strip_suffix("xx") {
                        Some(class) => class.parse().ok().map(|n: u16| (n * 100, n * 100 + 99)),
                        None => text.trim().parse().ok().map(|status| (status, status)),
                    },
                };
                (text, range)
            }
        };
        let range = range
            .filter(|(first, last)| (200..600).contains(first) && first <= last && *last < 600);
        let (first, last) = range.ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no HTTP status from 200 to 599; expected for example 404, \"4xx\" or \"500-599\""
            ))
        })?;
        Ok(Self { first, last })
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> serde::de::Visitor<'de> for OneOrMore {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 404, \"4xx\" or \"500-599\", or a list of them")
            }

            fn visit_i64<E: serde::de::Error>(self, status: i64) -> Result<Statuses, E> {
                let deserializer = serde::de::value::I64Deserializer::new(status);
                StatusPattern::deserialize(deserializer).map(Statuses::One)
            }

            fn visit_u64<E: serde::de::Error>(self, status: u64) -> Result<Statuses, E> {
                let deserializer = serde::de::value::U64Deserializer::new(status);
                StatusPattern::deserialize(deserializer).map(Statuses::One)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Statuses, E> {
                let deserializer = serde::de::value::StrDeserializer::new(text);
                StatusPattern::deserialize(deserializer).map(Statuses::One)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                list: A,
            ) -> Result<Statuses, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                Vec::deserialize(list).map(Statuses::Several)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl Statuses {
    fn has(&self, status: u16) -> bool {
        let list = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(list) => list.as_slice(),
        };
        list.iter().any(|pattern| (pattern.first..=pattern.last).contains(&status))
    }
}

/// A thing that is wrong with a rule: its place in the list, the key, and what.
pub(super) type RuleProblem = (usize, &'static str, String);

/// What is wrong with the rules that serde cannot see.
pub(super) fn problems(rules: &[ResponseRule]) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let mut problem = |key, text: String| problems.push((place, key, text));
        let has_condition = rule.status.is_some()
            || !rule.header.is_empty()
            || rule.contains.is_some()
            || rule.r#where.is_some();
        if !has_condition {
            let text = "fits every answer: add `status`, `header`, `contains` or `where`";
            problem("", text.to_owned());
        }
        if rule.action.is_none() {
            let text = "has no `action`: write one of \"fail\", \"retry\", \"wait\", \"end\", \"ignore\", \
                        \"skip_parent\", \"renew\"";
            problem("", text.to_owned());
        }
        let looks_inside =
            !rule.header.is_empty() || rule.contains.is_some() || rule.r#where.is_some();
        if rule.status.as_ref().is_some_and(|statuses| statuses.has(200)) && !looks_inside {
            let text = "fits every good page: add `header`, `contains` or `where`, which say which of them is meant";
            problem("status", text.to_owned());
        }
        if matches!(&rule.status, Some(Statuses::Several(list)) if list.is_empty()) {
            problem("status", "is an empty list, which fits no answer".to_owned());
        }
        for name in rule.header.keys() {
            if let Err(error) = header_name(name) {
                problem("header", error.text());
            }
        }
        if rule.contains.as_deref().is_some_and(|text| text.trim().is_empty()) {
            problem("contains", "is empty, and every body contains that".to_owned());
        }
        if let Some(path) = &rule.r#where
            && let Err(error) = Path::parse(path)
        {
            problem("where", format!("`{path}` is no JSONPath: {error}"));
        }
        if rule.wait.is_some() && rule.action.is_some_and(|action| action != ResponseAction::Wait) {
            problem("wait", "says how long, which goes with `action = \"wait\"` only".to_owned());
        }
        if rule.wait.is_some_and(|wait| wait.is_zero()) {
            problem("wait", "is no time at all".to_owned());
        }
        if rule.action == Some(ResponseAction::End)
            && let Some(statuses) = &rule.status
            && (500..600).any(|status| statuses.has(status))
        {
            let text = "is a fault of the API, which is no end: write `action = \"retry\"`, or \"ignore\" if the rest \
                        may be missing";
            problem("status", text.to_owned());
        }
        let quiet = [ResponseAction::End, ResponseAction::Ignore, ResponseAction::SkipParent];
        if rule.message.is_some() && rule.action.is_some_and(|action| quiet.contains(&action)) {
            problem("message", "is never said: the answer is no error".to_owned());
        }
    }
    problems
}

/// The rules, compiled.
#[derive(Debug, Default)]
pub(super) struct Responses(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    status: Option<Statuses>,
    header: Vec<(String, String)>,
    contains: Option<String>,
    path: Option<Path>,
    verdict: Verdict,
}

/// What a rule says of an answer that fits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Its place in the list, from 0.
    pub place: usize,
    /// What the answer means.
    pub action: ResponseAction,
    /// How long to wait.
    pub wait: Option<Duration>,
    /// What to say.
    pub message: Option<String>,
}

impl Responses {
    /// Compiles the rules.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn new(rules: &[ResponseRule]) -> Result<Self, SourceError> {
        if let Some((place, key, text)) = problems(rules).into_iter().next() {
            let dot = if key.is_empty() { "" } else { "." };
            let message = format!("`rest_api.responses[{place}]{dot}{key}` {text}");
            return Err(SourceError::new(SourceErrorKind::InvalidConfig, message));
        }
        let rule = |(place, rule): (usize, &ResponseRule)| {
            let lower = |text: &String| text.to_lowercase();
            Some(Rule {
                status: rule.status.clone(),
                header: rule.header.iter().map(|(name, text)| (lower(name), lower(text))).collect(),
                contains: rule.contains.as_ref().map(lower),
                path: rule.r#where.as_deref().and_then(|path| Path::parse(path).ok()),
                verdict: Verdict {
                    place,
                    action: rule.action?,
                    wait: rule.wait,
                    message: rule.message.clone(),
                },
            })
        };
        Ok(Self(rules.iter().enumerate().filter_map(rule).collect()))
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the first rule that fits says. A body that is no JSON fits no `where`.
    ///
    /// # Errors
    /// When the body holds too much to be searched.
    pub fn verdict(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &str,
    ) -> Result<Option<&Verdict>, SourceError> {
        let mut lower = None;
        for rule in &self.0 {
            if rule.status.as_ref().is_some_and(|statuses| !statuses.has(status))
                || !rule.header.iter().all(|(name, text)| has_header(headers, name, text))
            {
                continue;
            }
            if let Some(text) = &rule.contains {
                let lower = lower.get_or_insert_with(|| body.to_lowercase());
                if !lower.contains(text.as_str()) {
                    continue;
                }
            }
            if let Some(path) = &rule.path
                && !finds(path, body)?
            {
                continue;
            }
            return Ok(Some(&rule.verdict));
        }
        Ok(None)
    }
}

fn has_header(headers: &HeaderMap, name: &str, text: &str) -> bool {
    let mut values = headers.get_all(name).into_iter();
    values.any(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase().contains(text))
}

fn finds(path: &Path, body: &str) -> Result<bool, SourceError> {
    if matches!(path, Path::Query(_)) && JsonSize::of(body).values > MAX_QUERIED {
        let message = format!(
            "the answer holds more than {MAX_QUERIED} values, too many for a `where` of `rest_api.responses`"
        );
        return Err(SourceError::new(SourceErrorKind::TooLarge, message)
            .advise("ask for smaller pages, or name the value by keys alone, such as `$.error`"));
    }
    match path.find(body) {
        Ok(found) => Ok(!found.is_empty()),
        Err(error) if error.is_data() => Err(SourceError::new(
            SourceErrorKind::InvalidResponse,
            format!("a `where` of `rest_api.responses` cannot tell what the answer says: {error}"),
        )),
        // What is no JSON has nothing there.
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Table {
        responses: Vec<ResponseRule>,
    }

    fn rules(text: &str) -> Result<Vec<ResponseRule>, String> {
        let table: Result<Table, _> = toml::from_str(&format!("responses = [{text}]"));
        table.map(|table| table.responses).map_err(|error| error.message().to_owned())
    }

    fn action(rules: &str, status: u16, body: &str) -> Option<ResponseAction> {
        let rules = Responses::new(&self::rules(rules).unwrap()).unwrap();
        let headers = [(reqwest::header::SERVER, "Quota-Guard".parse().unwrap())];
        let headers = headers.into_iter().collect();
        rules.verdict(status, &headers, body).unwrap().map(|verdict| verdict.action)
    }

    #[test]
    fn the_first_rule_whose_conditions_all_fit_wins() {
        use ResponseAction::{End, Fail, Ignore, Wait};
        let two = r#"{ status = [404, "41x", "412-413"], action = "end" }, { status = "4xx", action = "ignore" }"#;
        assert!(rules(two).unwrap_err().contains("`41x` is no HTTP status"));
        let two = two.replace("41x", "410");
        for (status, expected) in [
            (404, Some(End)),
            (410, Some(End)),
            (413, Some(End)),
            (501, None),
            (403, Some(Ignore)),
            (503, None),
            (200, None),
        ] {
            assert_eq!(action(&two, status, ""), expected, "{status}");
        }
        let all = r#"{ status = 200, header = { server = "quota" }, contains = "Slow Down", where = "$.errors[?@.code == 9]", action = "wait" }"#;
        assert_eq!(action(all, 200, r#"{"errors":[{"code":9,"is":"slow down"}]}"#), Some(Wait));
        assert_eq!(action(all, 200, r#"{"errors":[{"code":8,"is":"slow down"}]}"#), None);
        assert_eq!(action(all, 200, r#"{"errors":[{"code":9}]}"#), None);
        assert_eq!(action(all, 429, r#"{"errors":[{"code":9,"is":"slow down"}]}"#), None);
        assert_eq!(action(&all.replace("quota", "other"), 200, "slow down"), None);
        let found = r#"{ where = "$.error", action = "fail" }"#;
        assert_eq!(action(found, 200, r#"{"error":null}"#), Some(Fail), "it is there");
        assert_eq!(action(found, 200, "<p>no JSON</p>"), None);
        let any = r#"{ header = { server = "" }, action = "fail" }"#;
        assert_eq!(action(any, 200, ""), Some(Fail));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused_with_what_to_do() {
        for (rule, problem) in [
            (r#"action = "end""#, "fits every answer"),
            ("status = 404", "has no `action`"),
            (r#"status = [], action = "end""#, "`rest_api.responses[0].status` is an empty list"),
            (r#"header = { "a b" = "c" }, action = "end""#, "name of a header"),
            (r#"contains = " ", action = "end""#, "every body contains that"),
            (
                r#"where = "error", action = "end""#,
                "`rest_api.responses[0].where` `error` is no JSONPath",
            ),
            (r#"status = 404, action = "end", wait = "2s""#, "goes with `action = \"wait\"`"),
            (r#"status = 404, action = "wait", wait = "0s""#, "no time at all"),
            (r#"status = 404, action = "end", message = "x""#, "is never said"),
        ] {
            let error = Responses::new(&rules(&format!("{{ {rule} }}")).unwrap()).unwrap_err();
            assert!(error.text().contains(problem), "{rule}: {error}");
        }
        for (rule, problem) in [
            (r#"status = 99, action = "end""#, "`99` is no HTTP status"),
            (r#"status = "6xx", action = "end""#, "`6xx` is no HTTP status"),
            (r#"status = "599-500", action = "end""#, "no HTTP status"),
            (r#"status = 404, action = "stop""#, "unknown variant `stop`"),
            (r#"status = 404, action = "end", when = 1"#, "unknown field `when`"),
        ] {
            let error = rules(&format!("{{ {rule} }}")).unwrap_err();
            assert!(error.contains(problem), "{rule}: {error}");
        }
    }
}

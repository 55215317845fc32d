//! Owns templates: `${name}` and `${name:FORMAT}` within a text of the job file. There are no conditions
//! and no functions, and no value of a template is ever a secret.
//!
//! Must not know where values come from: that is [`Names`].

use std::fmt::Write as _;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::bound::{self, Side};
use crate::domain::{suggest, text};
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::timestamp::{HALF_A_DAY, halves_day};

/// What is encoded in a segment of a path: all but what RFC 3986 calls unreserved.
const IN_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The names that stand for one value.
pub(super) const START: &str = "incremental.start";
pub(super) const END: &str = "incremental.end";
pub(super) const RUN_ID: &str = "run.id";
pub(super) const RUN_DATE: &str = "run.date";
pub(in crate::sources) const JOB_ID: &str = "job.id";
/// What the names of a parent's fields begin with.
pub(super) const PARENT: &str = "parent.";

/// What supplies the values of names.
pub(super) trait Names {
    /// The value of a name; `None` when nothing has it.
    fn supply(&self, name: &str) -> Option<Supplied>;
}

/// The value of a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Supplied {
    /// A value with its type.
    Value(Value),
    /// A time, and how it is written where the template names no format.
    Time(Moment, Value),
    /// The template itself: its value is not known.
    Itself,
}

/// A time as a template takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub time: DateTime<Utc>,
    /// The zone to write it in.
    pub zone: Tz,
    /// What it bounds: a format may be unable to say it exactly.
    pub side: Side,
}

/// Names that stand for themselves: what tells a request from others where nobody sends it.
pub(super) struct Unfilled;

impl Names for Unfilled {
    fn supply(&self, _: &str) -> Option<Supplied> {
        Some(Supplied::Itself)
    }
}

/// A text with templates in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name { name: String, format: Option<String> },
}

impl Template {
    /// Takes a text apart. `$${` stands for `${`.
    ///
    /// # Errors
    /// What is wrong with it, to be read behind the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, behind) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                plain.push_str(before);
                plain.push_str("${");
                rest = behind;
                continue;
            }
            plain.push_str(before);
            let Some(end) = behind.find('}') else {
                return Err("has a `${` without its `}`; for the text `${` write `$${`".to_owned());
            };
            let (name, format) = match behind[..end].split_once(':') {
                Some((name, format)) => (name, Some(format)),
                None => (&behind[..end], None),
            };
            if name.trim() != name || name.is_empty() {
                return Err(format!(
                    "has `${{{}}}`, which names nothing; for the text `${{` write `$${{`",
                    &behind[..end]
                ));
            }
            if let Some(format) = format {
                check_format_of(name, format)?;
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Name { name: name.to_owned(), format: format.map(str::to_owned) });
            rest = &behind[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name { name, .. } => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Whether it has this name with a format.
    pub fn has_format(&self, sought: &str) -> bool {
        let is_it =
            |part: &Part| matches!(part, Part::Name { name, format: Some(_) } if name == sought);
        self.0.iter().any(is_it)
    }

    /// Whether it has a name that begins like this.
    pub fn names_any(&self, prefix: &str) -> bool {
        self.names().any(|name| name.starts_with(prefix))
    }

    /// Whether it is one name and nothing else: then it becomes the value with its type, which may be a list.
    pub fn is_one_name(&self) -> bool {
        matches!(self.0.as_slice(), [Part::Name { format: None, .. }])
    }

    /// The first name that begins like this and stands for one value of a list.
    pub fn unjoined(&self, prefix: &str) -> Option<&str> {
        self.0.iter().find_map(|part| match part {
            Part::Name { name, format: None } if name.starts_with(prefix) => Some(name.as_str()),
            Part::Name { .. } | Part::Text(_) => None,
        })
    }

    /// What is wrong with its names, if only these are known; to be read behind the key.
    pub fn unknown(&self, known: &[String]) -> Option<String> {
        let name = self.names().find(|name| !known.iter().any(|other| other == name))?;
        if name.starts_with(PARENT) && !known.iter().any(|other| other.starts_with(PARENT)) {
            return Some(format!(
                "names `${{{name}}}`, and there are no parents without `for_each`"
            ));
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = suggest::hint(name, "names", &known);
        Some(format!("names `${{{name}}}`, which has no value here{hint}"))
    }

    /// The text with its values. A name that is null makes no text.
    ///
    /// # Errors
    /// When a name has no value.
    pub fn text(&self, names: &dyn Names) -> Result<String, SourceError> {
        self.written(names, |text, value| text.push_str(value))
    }

    /// The text as part of a path: each value is one segment, or a part of one.
    ///
    /// # Errors
    /// When a name has no value, or one that would lead elsewhere.
    pub fn path(&self, names: &dyn Names) -> Result<String, SourceError> {
        let path = self.written(names, |text, value| {
            // Writing into a text cannot fail.
            let _ = write!(text, "{}", utf8_percent_encode(value, IN_SEGMENT));
        })?;
        let leads_elsewhere = |segment: &str| matches!(segment, "" | "." | "..");
        let has_names = self.names().next().is_some();
        // The ends may be empty: paths begin and end with a slash as they like.
        let inner = path.trim_matches('/');
        if has_names && inner.split('/').any(leads_elsewhere) {
            let message = format!(
                "a value of the path of the request is empty, `.` or `..`, which would ask for something else: `{path}`"
            );
            return Err(SourceError::new(SourceErrorKind::InvalidState, message));
        }
        Ok(path)
    }

    /// The value: where the text is one template and nothing else, with its type.
    ///
    /// # Errors
    /// When a name has no value.
    pub fn value(&self, names: &dyn Names) -> Result<Value, SourceError> {
        match self.0.as_slice() {
            [Part::Name { name, format }] => of(names, name, format.as_deref()),
            _ => self.text(names).map(Value::String),
        }
    }

    fn written(
        &self,
        names: &dyn Names,
        write: impl Fn(&mut String, &str),
    ) -> Result<String, SourceError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Name { name, format } => {
                    write(&mut text, &text_of(&of(names, name, format.as_deref())?));
                }
            }
        }
        Ok(text)
    }
}

/// A value as it stands within a text.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// All templates of a JSON value replaced; keys stay as they are.
///
/// # Errors
/// When a name has no value.
pub(super) fn filled(json: &Value, names: &dyn Names) -> Result<Value, SourceError> {
    Ok(match json {
        Value::String(text) if text.contains("${") => parsed(text)?.value(names)?,
        Value::Array(elements) => Value::Array(
            elements.iter().map(|value| filled(value, names)).collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| Ok((key.clone(), filled(value, names)?)));
            Value::Object(fields.collect::<Result<_, SourceError>>()?)
        }
        other => other.clone(),
    })
}

/// A text that the check has seen.
///
/// # Errors
/// When it is no template after all.
pub(super) fn parsed(text: &str) -> Result<Template, SourceError> {
    Template::parse(text)
        .map_err(|why| SourceError::new(SourceErrorKind::InvalidConfig, format!("`{text}` {why}")))
}

fn of(names: &dyn Names, name: &str, format: Option<&str>) -> Result<Value, SourceError> {
    let supplied = names.supply(name).ok_or_else(|| {
        SourceError::new(SourceErrorKind::InvalidConfig, format!("`${{{name}}}` has no value"))
    })?;
    match (supplied, format) {
        (Supplied::Value(value), None) | (Supplied::Time(_, value), None) => Ok(value),
        (Supplied::Itself, None) => Ok(format!("${{{name}}}").into()),
        (Supplied::Itself, Some(format)) => Ok(format!("${{{name}:{format}}}").into()),
        (Supplied::Value(value), Some(format)) if let Some(between) = joined(format) => {
            let values = match &value {
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            let texts: Vec<_> = values.iter().map(text_of).collect();
            put_together(&texts, between).map(Value::from).map_err(|value| {
                let message = format!(
                    "a value of `${{{name}:{format}}}` contains its separator: {} would ask for something else",
                    text::quoted(value)
                );
                SourceError::new(SourceErrorKind::InvalidState, message).advise(
                    "write another separator if the API knows one, or no `rest_api.for_each.batch` and no `join`",
                )
            })
        }
        (Supplied::Time(moment, _), Some(format)) => Ok(formatted(moment, format)),
        (Supplied::Value(_), Some(format)) => {
            let message = format!("`${{{name}:{format}}}` has a format, and the value is no time");
            Err(SourceError::new(SourceErrorKind::InvalidConfig, message)
                .advise(format!("write `${{{name}}}`")))
        }
    }
}

/// A time by a format: that of strftime, and `%Q` for milliseconds since 1970. `%s` and `%Q` alone are
/// numbers.
pub(super) fn formatted(moment: Moment, format: &str) -> Value {
    let Moment { time, zone, side } = moment;
    let time = bound::local(time, zone, format, side);
    match format {
        "%s" => return time.timestamp().into(),
        "%Q" => return time.timestamp_millis().into(),
        _ => {}
    }
    let format = with_millis(format, &time.timestamp_millis().to_string());
    Value::String(time.format(&format).to_string())
}

/// What stands between the values of a list, where the format says that they are put together.
fn joined(format: &str) -> Option<&str> {
    format.strip_prefix("join(")?.strip_suffix(')')
}

/// Values with a separator between them, as long as who takes the text apart finds these and no others.
///
/// # Errors
/// The value that would become another, or several.
fn put_together<'t>(texts: &'t [String], between: &str) -> Result<String, &'t str> {
    let together = texts.join(between);
    if texts.is_empty() || together.split(between).eq(texts.iter().map(String::as_str)) {
        return Ok(together);
    }
    let torn = texts.iter().zip(together.split(between)).find(|(text, part)| text != part);
    Err(torn.map_or("", |(text, _)| text))
}

/// What is wrong with the format of a name, if anything.
fn check_format_of(name: &str, format: &str) -> Result<(), String> {
    match (name.starts_with(PARENT), format.starts_with("join(")) {
        (true, true) if joined(format).is_none() => {
            Err(format!("has `${{{name}:{format}}}`, without the `)` of `join(`"))
        }
        (true, true) if joined(format) == Some("") => Err(format!(
            "has `${{{name}:{format}}}` without a separator, and nobody could tell the values apart: write \
             `${{{name}:join(,)}}`"
        )),
        (true, true) => Ok(()),
        (true, false) => Err(format!(
            "has `${{{name}:{format}}}` with a format, and the value is no time: write `${{{name}}}`, or \
             `${{{name}:join(,)}}` for several"
        )),
        (false, true) => Err(format!(
            "has `${{{name}:{format}}}`, and only values of parents can be put together: write `${{{name}}}`"
        )),
        (false, false) => check_format(format),
    }
}

/// What is wrong with a format, if anything.
pub(super) fn check_format(format: &str) -> Result<(), String> {
    let format_shown = format;
    let format = with_millis(format, "0");
    let bad = StrftimeItems::new(&format).any(|item| matches!(item, Item::Error));
    if bad || format.is_empty() {
        return Err(format!(
            "has the format `{format_shown}`, which is none; it is that of strftime, such as `%Y-%m-%d`, with \
             `%s` and `%Q` for seconds and milliseconds since 1970"
        ));
    }
    if halves_day(&format) {
        return Err(format!("has the format `{format_shown}`, which {HALF_A_DAY}"));
    }
    Ok(())
}

/// A format with the milliseconds in place of each `%Q`.
fn with_millis(format: &str, millis: &str) -> String {
    let mut text = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let (before, behind) = rest.split_at(at);
        text.push_str(before);
        let length = behind.chars().take(2).map(char::len_utf8).sum();
        match &behind[..length] {
            "%Q" => text.push_str(millis),
            other => text.push_str(other),
        }
        rest = &behind[length..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use chrono_tz::Europe::Berlin;
    use serde_json::json;

    use super::*;

    struct Known;

    impl Names for Known {
        fn supply(&self, name: &str) -> Option<Supplied> {
            let time = DateTime::from_timestamp_millis(1_700_000_000_250).unwrap();
            let moment = |side| Moment { time, zone: Berlin, side };
            Some(match name {
                START => Supplied::Time(moment(Side::Start), json!("2023-11-14T22:13:20.25Z")),
                END => Supplied::Time(moment(Side::End), json!("2023-11-14T22:13:20.25Z")),
                "parent.id" => Supplied::Value(json!(7)),
                "parent.name" => Supplied::Value(json!("a/b ü?")),
                "parent.up" => Supplied::Value(json!("..")),
                "parent.none" => Supplied::Value(Value::Null),
                "parent.all" => Supplied::Value(json!([7, "a b", true])),
                _ => return None,
            })
        }
    }

    fn text(template: &str) -> Result<String, String> {
        let template = Template::parse(template)?;
        template.text(&Known).map_err(|error| error.text())
    }

    fn path(template: &str) -> Result<String, String> {
        let template = Template::parse(template)?;
        template.path(&Known).map_err(|error| error.text())
    }

    #[test]
    fn names_become_their_values_and_times_their_format_in_the_zone() {
        for (template, becomes) in [
            ("plain { } $ text", "plain { } $ text"),
            ("a ${parent.id} b", "a 7 b"),
            ("${parent.id}${parent.name}", "7a/b ü?"),
            ("since ${incremental.start}", "since 2023-11-14T22:13:20.25Z"),
            ("${incremental.start:%Y-%m-%d %H:%M}", "2023-11-14 23:13"),
            ("${incremental.start:%s}|${incremental.start:%Q}", "1700000000|1700000000250"),
            ("${incremental.end:%Y-%m-%d %H:%M}", "2023-11-14 23:14"),
            ("${incremental.end:%d.%m.%Y}", "15.11.2023"),
            ("${incremental.end:%s}|${incremental.end:%Q}", "1700000001|1700000000250"),
            ("${incremental.start:%%Q %Q}", "%Q 1700000000250"),
            ("$${parent.id} $$${parent.id}", "${parent.id} $${parent.id}"),
            ("[${parent.none}]", "[]"),
            ("${parent.all:join(,)}|${parent.all:join(%2C )}", "7,a b,true|7%2C a b%2C true"),
            ("${parent.id:join(,)}", "7"),
        ] {
            assert_eq!(text(template).as_deref(), Ok(becomes), "{template}");
        }
    }

    #[test]
    fn a_text_that_is_one_template_keeps_the_type() {
        let body = json!({ "id": "${parent.id}", "n": [1, "${incremental.start:%Q}", "x${parent.id}"],
                           "none": "${parent.none}", "${parent.id}": true });
        let becomes = json!({ "id": 7, "n": [1, 1_700_000_000_250_i64, "x7"], "none": null,
                              "${parent.id}": true });
        assert_eq!(filled(&body, &Known).unwrap(), becomes);
    }

    #[test]
    fn in_a_path_a_value_is_one_segment_and_leads_nowhere_else() {
        assert_eq!(path("x/${parent.name}/y").as_deref(), Ok("x/a%2Fb%20%C3%BC%3F/y"));
        assert_eq!(path("/x/${parent.id}.json/").as_deref(), Ok("/x/7.json/"));
        for leads_away in ["x/${parent.up}/y", "x/${parent.none}/y"] {
            assert!(
                path(leads_away).unwrap_err().contains("ask for something else"),
                "{leads_away}"
            );
        }
        assert_eq!(path("a//b/../c").as_deref(), Ok("a//b/../c"), "as it was without templates");
    }

    #[test]
    fn values_that_would_come_apart_as_others_are_not_put_together() {
        let of = |texts: &[&str], between: &str| {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            put_together(&texts, between).map_err(str::to_owned)
        };
        assert_eq!(of(&["1", "2"], ",").as_deref(), Ok("1,2"));
        assert_eq!(of(&["1,2", "3"], "|").as_deref(), Ok("1,2|3"));
        assert_eq!(of(&[], ",").as_deref(), Ok(""));
        assert_eq!(of(&["0", "1,2", "3"], ","), Err("1,2".to_owned()));
        assert_eq!(of(&["1,2"], ","), Err("1,2".to_owned()));
        assert_eq!(of(&["a-", "b"], "--"), Err("a-".to_owned()), "else it is `a` and `-b`");
        assert_eq!(of(&["a", "b"], ""), Err("a".to_owned()));
        let said = text("${parent.all:join( )}").unwrap_err();
        assert!(said.contains("`${parent.all:join( )}` contains its separator: \"a b\""), "{said}");
        assert!(said.contains("another separator"), "{said}");
        let said = text("x${parent.name:join(/)}").unwrap_err();
        assert!(said.contains("\"a/b ü?\""), "{said}");
    }

    #[test]
    fn what_is_no_template_and_what_nobody_knows_is_told_with_what_was_meant() {
        for (template, says) in [
            ("${parent.id", "without its `}`"),
            ("${}", "names nothing"),
            ("${ parent.id}", "names nothing"),
            ("${incremental.start:}", "has the format ``, which is none"),
            ("${incremental.start:%}", "has the format `%`, which is none"),
            ("${parent.id:%Y}", "the value is no time"),
            ("${parent.id:join(,}", "without the `)`"),
            ("${parent.id:join()}", "without a separator"),
            ("${incremental.start:join(,)}", "only values of parents"),
            ("${incremental.start:%Y-%m-%d %I:%M}", "does not say which half of the day"),
        ] {
            assert!(text(template).unwrap_err().contains(says), "{template}");
        }
        let known = [START.to_owned(), END.to_owned()];
        let unknown = |text: &str| Template::parse(text).unwrap().unknown(&known);
        assert_eq!(unknown("${incremental.start}"), None);
        let said = unknown("${incremental.strat}").unwrap();
        assert!(said.contains("did you mean `incremental.start`?"), "{said}");
        let said = unknown("${parent.id}").unwrap();
        assert!(said.contains("no parents without `for_each`"), "{said}");
    }
}

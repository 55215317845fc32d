//! Owns the keys of `incremental`: what of an API is new, and how it is asked for.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::mark::{Clockwork, Lookback, MarkKind};
use super::side_by_side;
use super::template::{END, START, check_format};
use crate::sources::rows::path::Path;

/// Asks only for what is new since the last run that read everything it asked for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// JSONPath within a record of the value by which the API filters, such as `$.updated_at`. May be
    /// absent where the request names an end.
    pub cursor_path: Option<String>,
    /// What that value is.
    #[serde(default, rename = "type")]
    pub kind: MarkKind,
    /// How times are written in requests: that of strftime, `%s` and `%Q` for seconds and milliseconds
    /// since 1970. Also how cursors are read that are not ISO 8601.
    pub format: Option<String>,
    /// The time zone of times without one, in requests and in records: `Europe/Berlin`. UTC if not given.
    pub time_zone: Option<String>,
    /// The query parameter from where on to read.
    pub start_param: Option<String>,
    /// The query parameter up to where to read.
    pub end_param: Option<String>,
    /// Where the first run begins; without it, at the beginning.
    pub initial_value: Option<Bound>,
    /// How far behind the watermark the next run begins, such as "10m", for records that appear late; a
    /// number for cursors that are whole numbers.
    pub lookback: Option<Lookback>,
    /// How far behind the API's clock the watermark stays, such as "30s", for searches that lag behind.
    #[serde(default, rename = "settle", with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub lag: Option<Duration>,
    /// Cuts what is to be read into windows of this length, such as "30d", which are read side by side. The
    /// request needs an end.
    #[serde(default, with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub step: Option<Duration>,
    /// How many windows are read side by side, 4 unless it is set and never more than 100.
    pub concurrency: Option<NonZeroU32>,
    /// Whether the API gives records in the order of the cursor. With "asc", `max_records` of the paginator is
    /// the most that one query gives: behind it a new one goes on from the last record.
    pub sorted: Option<Sorted>,
    /// Whether the API gives records whose cursor equals the start. If not, the start is one unit less.
    #[serde(default = "yes")]
    pub inclusive: bool,
    /// How old a watermark may be, such as "30d", where the API keeps no more: behind it everything is read.
    #[serde(default, with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub max_age: Option<Duration>,
}

/// A value of the job file to begin with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a whole number")]
pub enum Bound {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// The order of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sorted {
    /// The lowest first.
    Asc,
    /// The highest first.
    Desc,
}

fn yes() -> bool {
    true
}

impl Bound {
    /// As a text.
    pub fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Incremental {
    /// What reads and writes its marks.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub(super) fn clockwork(&self) -> Result<Clockwork, (&'static str, String)> {
        Clockwork::new(self.kind, self.format.as_deref(), self.time_zone.as_deref())
    }

    /// What serde cannot check: the key below `rest_api.incremental`, or `None` for the table itself, and
    /// what is wrong there. `texts` are those with templates, `params` the names of query parameters.
    pub fn problems(
        &self,
        texts: &[(Vec<String>, &str)],
        has_param: impl Fn(&str) -> bool,
    ) -> Vec<(Option<&'static str>, String)> {
        let mut problems = Vec::new();
        let mut say = |key, text: &str| problems.push((key, text.to_owned()));
        if let Some(path) = &self.cursor_path
            && let Err(error) = Path::parse(path)
        {
            let meant = match path.starts_with('$') {
                true => error,
                false => format!("write `$.{path}`"),
            };
            say(Some("cursor_path"), &format!("`{path}` is no JSONPath: {meant}"));
        }
        let named = |name: &str| {
            let open = format!("${{{name}");
            texts.iter().any(|(_, text)| text.contains(&open))
        };
        let ends = self.end_param.is_some() || named(END);
        if self.cursor_path.is_none() && !ends {
            say(
                None,
                "needs `cursor_path`, the value of a record by which the API filters, such as \"$.updated_at\"",
            );
        }
        if self.start_param.is_none() && !named(START) {
            let what = match ends {
                true => "asks for an end and for no start: name",
                false => "asks for nothing: name",
            };
            say(
                None,
                &format!(
                    "{what} the query parameter in `start_param`, or write \
                 `${{incremental.start}}` where the request takes it"
                ),
            );
        }
        if named(START) && self.initial_value.is_none() {
            say(
                None,
                "needs `initial_value`, since `${incremental.start}` must have a value in the first run",
            );
        }
        for (key, param) in [("start_param", &self.start_param), ("end_param", &self.end_param)] {
            if let Some(param) = param.as_deref().filter(|param| has_param(param)) {
                say(
                    Some(key),
                    &format!("`{param}` stands among `params` already: remove it there"),
                );
            }
        }
        if let Some(step) = self.step {
            if !ends {
                say(
                    Some("step"),
                    "needs an end of the request: `end_param`, or `${incremental.end}` where it takes one",
                );
            }
            if self.initial_value.is_none() {
                say(Some("step"), "needs `initial_value`, where the first window begins");
            }
            if step < Duration::from_secs(1) {
                say(Some("step"), "is too short: the shortest window is one second");
            }
        }
        if self.concurrency.is_some() && self.step.is_none() {
            say(
                Some("concurrency"),
                "is how many windows are read side by side, and no `step` cuts them",
            );
        }
        if let Some(text) = self.concurrency.and_then(|most| side_by_side::problem(most.get())) {
            say(Some("concurrency"), &text);
        }
        if self.end_param.is_some() && self.end_param == self.start_param {
            say(Some("end_param"), "is `start_param` as well: they take two values");
        }
        let is_time = self.kind.is_time();
        for (key, there) in [
            ("format", self.format.is_some()),
            ("time_zone", self.time_zone.is_some()),
            ("end_param", self.end_param.is_some()),
            ("settle", self.lag.is_some()),
            ("max_age", self.max_age.is_some()),
        ] {
            if there && !is_time {
                say(
                    Some(key),
                    &format!("is for times, and the cursor is `type = \"{}\"`", self.kind),
                );
            }
        }
        match (self.kind, self.lookback) {
            (MarkKind::Text, Some(_)) => {
                say(Some("lookback"), "a text has nothing that is a little less")
            }
            (MarkKind::Integer, Some(Lookback::Time(_))) => {
                say(Some("lookback"), "expected a whole number, since the cursor is one");
            }
            (kind, Some(Lookback::Number(_))) if kind.is_time() => {
                say(
                    Some("lookback"),
                    "expected a duration such as \"10m\", since the cursor is a time",
                );
            }
            _ => {}
        }
        if self.kind == MarkKind::Text && !self.inclusive {
            say(Some("inclusive"), "a text has nothing that is one unit less");
        }
        if let Some(Err(why)) = self.format.as_deref().map(check_format) {
            say(Some("format"), why.trim_start_matches("has the format "));
        }
        match (self.clockwork(), &self.initial_value) {
            (Err((key, why)), _) => say(Some(key), &why),
            (Ok(clockwork), Some(initial)) if clockwork.read(&initial.text()).is_none() => {
                say(
                    Some("initial_value"),
                    &format!("`{}` is no cursor of `type = \"{}\"`", initial.text(), self.kind),
                );
            }
            _ => {}
        }
        problems
    }

    /// What tells this `incremental` from another that asks for something else. How far to look back and
    /// the like only change how much is asked for again.
    pub fn identity(&self) -> String {
        let Self { cursor_path, kind, format, time_zone, start_param, end_param, .. } = self;
        let initial = self.initial_value.as_ref().map(Bound::text);
        let parts = [cursor_path, format, time_zone, start_param, end_param, &initial];
        let parts = parts.map(|part| part.as_deref().unwrap_or_default());
        format!("{kind}\n{}\n{}", parts.join("\n"), self.inclusive)
    }
}

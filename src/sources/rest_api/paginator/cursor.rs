//! Owns the API that gives a cursor with each page, which is to be sent for the next one.

use reqwest::header::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::end_keys::{EndKeys, path_problem, with_end_keys};
use super::page_view::PageView;
use super::paginate::{Came, Paginate, Way, position};
use super::target::{Asks, Targets};
use crate::domain::text;
use crate::sources::rest_api::body_path::BodyPath;
use crate::sources::rest_api::http::said::Said;
use crate::sources::rest_api::signs::says_end;
use crate::sources::{SourceError, SourceErrorKind};

/// The longest cursor: it is stored with every task.
const MAX_CURSOR: usize = 64 << 10;

with_end_keys! {
    /// Each page gives a cursor, in the body, in a header or as a field of its last record, that asks for the next
    /// one. On the last page it is null, empty or not there.
    pub struct Cursor {
        /// JSONPath of the cursor, such as `$.meta.next_cursor`, or of a field of the last record, such as
        /// `$.data[-1].id`.
        cursor_path: Option<String>,
        /// The header with the cursor, instead of `cursor_path`.
        cursor_header: Option<String>,
        /// Values of the cursor that say that there is no next page, such as `"0"` or `"-1"`: a text is also a number
        /// that is written so.
        #[serde(default)]
        end_values: Vec<Value>,
        /// The query parameter that takes the cursor.
        param: Option<String>,
        /// Where the cursor goes in the body of the request, instead of `param`: an exact JSONPath such
        /// as `$.after`.
        body_path: Option<String>,
        /// The variable of the GraphQL query that takes the cursor, instead of `param`.
        variable: Option<String>,
        /// The path below `base_url` of the pages that a cursor asks for, instead of `param`: with `${page.cursor}`
        /// where it stands, such as `"items/after/${page.cursor}"`. That of the first page is `path` under `[rest_api]`.
        path: Option<String>,
        /// The query parameter that takes the number of records a page, when the API has one.
        size_param: Option<String>,
        /// Records a page.
        #[schemars(range(min = 1))]
        size: Option<u32>,
        /// Whether an incremental run goes on at the cursor at which the last one ended, as exports of changes do.
        /// Until there is one, it begins at `start_param`, which is not sent beside a cursor.
        #[serde(default)]
        resume: bool,
    }
}

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// Which page of the full sync it is, from 1.
    page: u64,
    /// The cursor; `None` for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<Value>,
}

impl Cursor {
    /// The cursor that a page gives.
    fn cursor(&self, came: Came<'_>) -> Result<Option<Value>, SourceError> {
        let Came::Page(page) = came else { return Ok(None) };
        let found = match (&self.cursor_path, &self.cursor_header) {
            (Some(path), _) => {
                let found = BodyPath::parse("cursor_path", path)?.find(page.body)?;
                if found.is_none() && page.came > 0 && leads_into_records(path) {
                    let message = format!(
                        "`paginator.cursor_path` = `{path}` leads nowhere in an answer with records"
                    );
                    return Err(SourceError::new(SourceErrorKind::InvalidResponse, message)
                        .advise(
                            "without a cursor nobody knows what comes behind them: correct it",
                        ));
                }
                found
            }
            (None, Some(name)) => {
                let value = page.headers.get(name);
                value.and_then(|value| value.to_str().ok()).map(|text| Value::from(text.trim()))
            }
            (None, None) => None,
        };
        Ok(found.filter(|cursor| !says_end(&self.end_values, cursor)).filter(
            |cursor| match cursor {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                _ => true,
            },
        ))
    }
}

/// Whether a path leads into an element of a list, as that of a field of the last record does.
fn leads_into_records(path: &str) -> bool {
    path.contains("[-") || path.contains("[*") || path.contains("[?") || path.contains("[0")
}

impl Paginate for Cursor {
    fn way(&self) -> Way<'_> {
        Way::Referenced
    }

    fn end_keys(&self) -> EndKeys<'_> {
        self.keys()
    }

    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let mut problems = super::paginate::size_problems(self.size_param.as_deref(), self.size);
        match (&self.cursor_path, &self.cursor_header) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => problems.push((None, "needs one of `cursor_path` and `cursor_header`".to_owned())),
        }
        let path = self.cursor_path.as_ref();
        let problem = path.and_then(|path| path_problem("cursor_path", path));
        problems.extend(problem.map(|problem| (Some("cursor_path"), problem)));
        if let Some(name) = &self.cursor_header
            && name.parse::<HeaderName>().is_err()
        {
            let problem = format!("names the header `{name}`, which cannot be one");
            problems.push((Some("cursor_header"), problem));
        }
        problems
    }

    fn targets(&self) -> Option<Targets<'_>> {
        Some(Targets {
            asks: Asks::Cursor,
            param: self.param.as_deref(),
            body_path: self.body_path.as_deref(),
            variable: self.variable.as_deref(),
            path: self.path.as_deref(),
            otherwise: None,
        })
    }

    fn asks_by(&self, at: &Value) -> Result<Option<Value>, SourceError> {
        Ok(position::<Position>(at)?.cursor)
    }

    fn page_size(&self) -> (Option<&str>, Option<u32>) {
        (self.size_param.as_deref(), self.size)
    }

    fn end_values(&self) -> &[Value] {
        &self.end_values
    }

    /// Some APIs give the number of the next page, or of its first record, as their cursor.
    fn leads_by_number(&self, at: &Value, page: &PageView<'_>, next: &Value) -> bool {
        let number = |at: &Value| {
            let cursor = position::<Position>(at).ok()?.cursor?;
            cursor.as_u64().or_else(|| cursor.as_str()?.parse().ok())
        };
        let (came, sizes) = (page.came as u64, self.size.map(u64::from));
        match (number(at), number(next)) {
            (Some(from), Some(to)) => {
                let step = to.saturating_sub(from);
                step == 1 || (step > 1 && (step == came || Some(step) == sizes))
            }
            (None, Some(to)) => {
                let is_first = position::<Position>(at).is_ok_and(|at| at.cursor.is_none());
                is_first && to > 0 && (to <= 2 || to == came || to == came + 1 || Some(to) == sizes)
            }
            _ => false,
        }
    }

    fn resumes(&self) -> bool {
        self.resume
    }

    fn resumed(&self, cursor: &Value) -> Option<Value> {
        self.resume.then(|| json!({ "page": 1, "cursor": cursor }))
    }

    fn last_cursor(&self, at: &Value, page: PageView<'_>) -> Result<Option<Value>, SourceError> {
        let Position { cursor: asked, .. } = position(at)?;
        if !self.resume {
            return Ok(None);
        }
        // Where the last page has none, it is asked for again, and what was added behind it comes with it.
        let own = match page.said {
            Said::Page => self.cursor(Came::Page(page))?,
            _ => None,
        };
        Ok(own.or(asked))
    }

    fn asks_by_cursor(&self, at: &Value) -> bool {
        self.resume && position::<Position>(at).is_ok_and(|position| position.cursor.is_some())
    }

    fn first(&self) -> Value {
        json!({ "page": 1 })
    }

    fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        position::<Position>(at).map(|position| position.page)
    }

    fn next(&self, at: &Value, came: Came<'_>) -> Result<Option<Value>, SourceError> {
        let Position { page, .. } = position(at)?;
        let Some(cursor) = self.cursor(came)? else { return Ok(None) };
        let length = cursor.to_string().len();
        if length > MAX_CURSOR {
            let shown = text::beginning(&cursor.to_string());
            let message =
                format!("the cursor has {length} bytes, and {MAX_CURSOR} are the most: {shown}");
            return Err(SourceError::new(SourceErrorKind::TooLarge, message));
        }
        Ok(Some(json!({ "page": page.saturating_add(1), "cursor": cursor })))
    }
}

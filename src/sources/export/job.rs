//! Owns what an API says of a job: its id, whether it is done, and where its files are.

use std::borrow::Cow;

use humantime_serde::re::humantime::format_duration;
use serde_json::Value;

use super::params::{ExportParams, Poll};
use crate::domain::text;
use crate::sources::rest_api::jobs::Answer;
use crate::sources::rows::path::Path;
use crate::sources::{SourceError, SourceErrorKind};

/// The status of an answer that says that what was asked for is being prepared.
const ACCEPTED: u16 = 202;

/// How answers are understood.
#[derive(Debug)]
pub(super) struct JobPaths {
    id: Path,
    status: Path,
    /// That of the list, where the job file names each of its elements.
    url: Path,
    is_list: bool,
}

impl JobPaths {
    /// Compiles the paths of a job file.
    ///
    /// # Errors
    /// The keys, and what is wrong with them.
    pub fn new(params: &ExportParams) -> Result<Self, Vec<([&'static str; 2], String)>> {
        let mut problems = Vec::new();
        let mut path = |keys: [&'static str; 2], text: &str| {
            let parsed = Path::parse(text);
            if let Err(error) = &parsed {
                let meant = match text.starts_with('$') {
                    true => error.clone(),
                    false => format!("write `$.{text}`"),
                };
                let text = text::cut(text, text::MAX_QUOTED);
                problems.push((keys, format!("`{text}` is no JSONPath: {meant}")));
            }
            parsed.ok()
        };
        let url = params.download.url.as_str();
        let list = url.strip_suffix("[*]").filter(|list| !list.ends_with(".."));
        let id = path(["create", "id"], &params.create.id);
        let status = path(["poll", "status"], &params.poll.status);
        let files = path(["download", "url"], list.unwrap_or(url));
        match (id, status, files) {
            (Some(id), Some(status), Some(url)) => {
                Ok(Self { id, status, url, is_list: list.is_some() })
            }
            _ => Err(problems),
        }
    }

    /// The id of the job that was created.
    ///
    /// # Errors
    /// When the answer has none.
    pub fn id(&self, answer: &Answer, key: &str) -> Result<Value, SourceError> {
        match first(&self.id, answer)? {
            Some(Value::Number(_)) => number(&self.id, answer),
            Some(Value::String(id)) if !id.trim().is_empty() => Ok(id.into()),
            found => {
                let what = match found {
                    None => "leads nowhere",
                    Some(_) => "leads to no id: a text or a number",
                };
                Err(invalid(answer, &format!("`export.create.id` = `{key}` {what}")))
            }
        }
    }

    /// The addresses of the files of a job that is done.
    ///
    /// # Errors
    /// When it is not done yet, has failed, or does not say where its files are.
    pub fn files(
        &self,
        answer: &Answer,
        job: &Value,
        params: &ExportParams,
    ) -> Result<Vec<String>, SourceError> {
        let Poll { status: key, done, failed, .. } = &params.poll;
        let job = shown(job);
        let status = match first(&self.status, answer) {
            Ok(Some(Value::Null) | None) | Err(_) if answer.status == ACCEPTED => {
                return Err(not_yet(&job, "202 Accepted", &params.poll));
            }
            Err(error) => return Err(error),
            Ok(Some(Value::String(status))) => status,
            Ok(Some(status @ (Value::Bool(_) | Value::Number(_)))) => status.to_string(),
            Ok(found) => {
                let what = match found {
                    None => "leads nowhere",
                    Some(_) => "leads to no status: a text, a number, true or false",
                };
                return Err(invalid(answer, &format!("`export.poll.status` = `{key}` {what}")));
            }
        };
        if done.contains(&status) {
            return self.links(answer, &params.download.url);
        }
        let is_failed = failed.contains(&status);
        let status = text::beginning(&status);
        if is_failed {
            let message = match answer.words().filter(|words| *words != status) {
                Some(words) => format!("the export job {job} ended as `{status}`: {words}"),
                None => format!("the export job {job} ended as `{status}`"),
            };
            return Err(SourceError::new(SourceErrorKind::Rejected, message)
                .advise("the next run creates a new one"));
        }
        Err(not_yet(&job, &format!("`{status}`"), &params.poll))
    }

    fn links(&self, answer: &Answer, key: &str) -> Result<Vec<String>, SourceError> {
        let wrong =
            |what: &str| invalid(answer, &format!("`export.download.url` = `{key}` {what}"));
        let found = found(&self.url, answer)?;
        let links: Vec<Value> = match found.as_slice() {
            [] => return Err(wrong("leads nowhere")),
            [Value::Array(list)] => list.clone(),
            [Value::Null] => Vec::new(),
            _ if self.is_list => return Err(wrong("leads to no list")),
            links => links.to_vec(),
        };
        let link = |link: Value| match link {
            Value::String(link) if !link.trim().is_empty() => Ok(link),
            _ => Err(wrong("leads to something that is no address")),
        };
        links.into_iter().map(link).collect()
    }
}

/// An id that is a number. One that would be stored as other digits than the API gave is kept as their text.
fn number(path: &Path, answer: &Answer) -> Result<Value, SourceError> {
    let found = path.find(&answer.body).map_err(|error| unreadable(answer, error))?;
    let text = found.first().map(|text| text.trim()).unwrap_or_default();
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Ok(number.into()),
        _ => Ok(text.into()),
    }
}

/// A job as messages name it.
fn shown(job: &Value) -> String {
    match job {
        Value::String(job) => format!("`{}`", text::beginning(job)),
        other => other.to_string(),
    }
}

fn not_yet(job: &str, status: &str, poll: &Poll) -> SourceError {
    let [again_ms, within_ms] =
        [poll.every, poll.timeout].map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    let message = format!("the export job {job} is not done: its status is {status}");
    let advice = format!("`export.poll.timeout` = \"{}\"", format_duration(poll.timeout));
    SourceError::new(SourceErrorKind::NotReady { again_ms, within_ms }, message).advise(advice)
}

/// Shows nothing of the answer but the API's words for what is wrong: there may be addresses in it that are as good
/// as keys.
fn invalid(answer: &Answer, problem: &str) -> SourceError {
    let from = &answer.from;
    let message = match answer.words() {
        Some(words) => format!("{problem} in the answer of {from}: {words}"),
        None => format!("{problem} in the answer of {from}"),
    };
    SourceError::new(SourceErrorKind::InvalidResponse, message)
}

fn first(path: &Path, answer: &Answer) -> Result<Option<Value>, SourceError> {
    Ok(found(path, answer)?.into_iter().next())
}

fn found(path: &Path, answer: &Answer) -> Result<Vec<Value>, SourceError> {
    let unreadable = |error| unreadable(answer, error);
    let found = path.find(&answer.body).map_err(unreadable)?;
    let values = found.into_iter().map(|value: Cow<'_, str>| serde_json::from_str(&value));
    values.collect::<Result<_, _>>().map_err(unreadable)
}

fn unreadable(answer: &Answer, error: serde_json::Error) -> SourceError {
    let (from, kind) = (&answer.from, SourceErrorKind::InvalidResponse);
    match error.is_data() {
        true => {
            SourceError::new(kind, format!("{from} answered what has no clear meaning: {error}"))
        }
        false => SourceError::new(kind, format!("{from} answered something that is no JSON"))
            .caused_by(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(more: &str) -> ExportParams {
        let text = format!(
            "base_url = 'https://api.example.com/'\n\
             create = {{ path = 'jobs', id = '$.id' }}\n\
             poll = {{ path = 'jobs/${{job.id}}', every = '1s', timeout = '1m', status = '$.status', \
             done = ['DONE'], failed = ['FAILED'] }}\n{more}"
        );
        toml::from_str(&text).unwrap()
    }

    fn answer(status: u16, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (from, rate) = ("https://api.example.com/jobs/7".to_owned(), Default::default());
        Answer { from, status, body, date: None, rate }
    }

    fn files(url: &str, status: u16, body: Value) -> Result<Vec<String>, SourceError> {
        let params = params(&format!("download = {{ url = '{url}' }}"));
        let paths = JobPaths::new(&params).unwrap();
        paths.files(&answer(status, body), &json!(7), &params)
    }

    #[test]
    fn a_job_that_is_done_says_where_its_files_are_and_an_empty_list_is_no_file() {
        for (url, body, expected) in [
            ("$.urls[*]", json!({"status": "DONE", "urls": ["a", "b"]}), &["a", "b"][..]),
            ("$.urls[*]", json!({"status": "DONE", "urls": []}), &[]),
            ("$.urls[*]", json!({"status": "DONE", "urls": null}), &[]),
            ("$.url", json!({"status": "DONE", "url": "a"}), &["a"]),
            (
                "$.files[*].url",
                json!({"status": "DONE", "files": [{"url": "a"}, {"url": "b"}]}),
                &["a", "b"],
            ),
        ] {
            assert_eq!(files(url, 200, body).unwrap(), expected, "{url}");
        }
        for (url, body, says) in [
            ("$.urls[*]", json!({"status": "DONE"}), "leads nowhere"),
            ("$.url[*]", json!({"status": "DONE", "url": "a"}), "leads to no list"),
            ("$.url", json!({"status": "DONE", "url": 1}), "no address"),
            (
                "$.url",
                json!({"state": "DONE", "url": "a"}),
                "`export.poll.status` = `$.status` leads nowhere",
            ),
        ] {
            let error = files(url, 200, body).unwrap_err();
            assert!(error.text().contains(says), "{error}");
            assert_eq!(error.kind, SourceErrorKind::InvalidResponse);
        }
    }

    #[test]
    fn an_id_is_kept_with_the_digits_that_the_api_gave() {
        let paths = JobPaths::new(&params("download = { url = '$.url' }")).unwrap();
        for (id, expected) in [
            ("7", json!(7)),
            ("-7", json!(-7)),
            ("\"007\"", json!("007")),
            ("123456789012345678901234567890", json!("123456789012345678901234567890")),
            ("1.50e3", json!("1.50e3")),
            ("1.0", json!("1.0")),
            ("-0", json!("-0")),
        ] {
            let body = format!("{{\"id\": {id} }}");
            let answer = Answer { body, ..answer(200, Value::Null) };
            assert_eq!(paths.id(&answer, "$.id").unwrap(), expected, "{id}");
        }
    }

    #[test]
    fn a_job_that_is_not_done_is_waited_for_and_one_that_failed_says_why() {
        for (status, body) in [
            (200, json!({"status": "RUNNING"})),
            (202, json!({"status": "PENDING"})),
            (202, Value::Null),
            (202, json!({})),
        ] {
            let error = files("$.url", status, body).unwrap_err();
            assert!(matches!(error.kind, SourceErrorKind::NotReady { .. }), "{error}");
        }
        let error = files("$.url", 200, json!({"status": "FAILED", "error": "no such campaign"}));
        let error = error.unwrap_err();
        assert!(error.text().contains("job 7 ended as `FAILED`: no such campaign"), "{error}");
    }
}

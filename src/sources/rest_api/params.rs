//! Owns the keys of a job file's `[rest_api]` table. The doc comments are what editors show.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::auth::AuthList;
use super::body_params::{BodyParams, GraphQlParams, Method, template_problems};
use super::body_path::BodyPath;
use super::explode::Explode;
use super::for_each::ForEach;
use super::http::redirects::AllowedHost;
use super::http::tls::Tls;
use super::incremental_params::Incremental;
use super::paginator::{Paginator, Way};
use super::param_value::ParamValue;
use super::responses::{ResponseAction, ResponseRule};
use super::template;
use crate::domain::parent::Needed;
use crate::job_file::setting::{PlainOrSecret, Setting};
use crate::sources::{SourceError, SourceErrorKind};

/// An API that answers JSON over HTTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestApiParams {
    /// The address that `path` is relative to, such as `https://api.example.com/v1/`, without a
    /// query and without a password in it.
    pub base_url: Setting,
    /// The path below `base_url`. May have templates, of which each value is one segment.
    #[serde(default)]
    pub path: String,
    /// GET, or POST, which is the default of a request with `json`, `form` or `graphql`.
    pub method: Option<Method>,
    /// Query parameters of every request; a list is the parameter several times. Texts may have
    /// templates.
    #[serde(default)]
    pub params: BTreeMap<String, ParamValue>,
    /// The body of every request, sent as JSON. Texts may have templates; a text that is one template
    /// and nothing else becomes its value, with its type.
    pub json: Option<Value>,
    /// The body of every request, sent as a form; a list is the field several times. Texts may have
    /// templates.
    pub form: Option<BTreeMap<String, ParamValue>>,
    /// The body of every request: a query in the language GraphQL.
    pub graphql: Option<GraphQlParams>,
    /// Headers of every request; a secret one as { env = "X" } or { file = "/run/secrets/x" }. Texts
    /// may have templates.
    #[serde(default)]
    pub headers: BTreeMap<String, PlainOrSecret>,
    /// How requests are authenticated: a table, or a list of several. Nothing secret of it is ever shown.
    pub auth: Option<AuthList>,
    /// JSONPath of the records in a response. With `[*]` at its end what comes before must be a
    /// list; without, it may also be a single object. Null is an empty list.
    #[serde(default = "whole_body")]
    pub data_selector: String,
    /// Whether an answer in which `data_selector` or `explode` leads nowhere has no records, "ok", or is an
    /// error.
    #[serde(default)]
    pub empty: Empty,
    /// The key of a list within each record, or its JSONPath: each element becomes a record, with the rest
    /// at `$._parent`.
    pub explode: Option<String>,
    /// How an answer leads to the next page.
    #[serde(default)]
    pub paginator: Paginator,
    /// Whether an answer is taken as it is though it says of itself that something is wrong, by an
    /// `error`, `success: false` and the like beside the records.
    #[serde(default)]
    pub ignore_errors: bool,
    /// What of the API is new: only that is asked for.
    pub incremental: Option<Incremental>,
    /// The parents for whose children is asked, such as the issues whose comments are wanted: the records of another
    /// source, or a list of values.
    pub for_each: Option<ForEach>,
    /// A filter that finds the records which say of themselves that they are deleted, such as
    /// `$[?@.status == 'deleted']`: they are loaded and marked as deleted.
    pub deleted: Option<String>,
    /// How often requests may be made, over all workers and all sources with the same key.
    pub rate_limit: Option<RateLimitParams>,
    /// What to do when a request fails.
    #[serde(default)]
    pub retry: Retry,
    /// The longest that one request may take, from connecting to the last byte: "30s".
    #[serde(default = "default_timeout", with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// The largest answer that is read, in bytes after decompression.
    #[serde(default = "default_max_response_bytes")]
    pub max_response_bytes: NonZeroU64,
    /// How many times larger than what came an answer may be after decompression, once that is more
    /// than 1 MiB.
    #[serde(default = "default_max_compression_ratio")]
    pub max_compression_ratio: NonZeroU32,
    /// Other hosts that answers may lead to, by a redirect, such as "cdn.example.com" or
    /// "cdn.example.com:8443". Neither `auth` nor `headers` are sent there, and names must lead to
    /// public addresses.
    #[serde(default)]
    pub allowed_hosts: Vec<AllowedHost>,
    /// Answers that mean something else than their status says. The first rule that fits wins.
    #[serde(default)]
    pub responses: Vec<ResponseRule>,
    /// Whether a page is asked for only if it has changed since the last run, by its `ETag` or `Last-Modified`. An
    /// answer that it has not counts as the page that is kept.
    #[serde(default)]
    pub conditional: bool,
    /// Certificates besides those of the system, each as { file = "ca.pem" } or { env = "X" }.
    pub tls: Option<Tls>,
    /// Folder of recorded answers, relative to the job file: `--record` writes them, `--offline`
    /// reads them.
    pub recording: Option<PathBuf>,
    /// Names that templates may have besides, of who asks for no pages.
    #[serde(skip)]
    #[schemars(skip)]
    pub(in crate::sources) more_names: Vec<&'static str>,
    /// What answers are read by besides, of who asks for no pages: with other words here something else is asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub(in crate::sources) read_by: String,
}

/// What an answer is in which a path leads nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// An error: a key may have been renamed.
    #[default]
    Error,
    /// An answer without records.
    Ok,
}

/// How often requests may be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitParams {
    /// Sources with the same key share one limit.
    pub key: String,
    /// Requests allowed per period.
    pub requests: NonZeroU32,
    /// The period: "60s".
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub per: Duration,
    /// JSONPath of the number of requests, or of other units, that the API says are left: corrects the bucket, as
    /// the headers for that do.
    pub remaining_path: Option<String>,
    /// JSONPath of when there are more: seconds, a time since 1970, or a date.
    pub reset_path: Option<String>,
}

/// What to do when a request fails.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// The most attempts that a page gets. Waiting for a rate limit is no attempt.
    pub max_attempts: NonZeroU32,
    /// The longest that the API may ask to wait: "1h". When it asks for more, the page fails.
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "String")]
    pub max_retry_after: Duration,
    /// The longest that the API may make a page wait in all, by asking again and again to wait: "2h". Twice
    /// `max_retry_after` without it.
    #[serde(with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub max_wait: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        const MAX_ATTEMPTS: NonZeroU32 = NonZeroU32::new(8).unwrap();
        Self {
            max_attempts: MAX_ATTEMPTS,
            max_retry_after: Duration::from_secs(3600),
            max_wait: None,
        }
    }
}

impl Retry {
    /// The longest that the API may make a page wait in all.
    pub(super) fn max_wait(&self) -> Duration {
        self.max_wait.unwrap_or(self.max_retry_after.saturating_mul(2))
    }
}

impl RestApiParams {
    /// An address and nothing else.
    pub(in crate::sources) fn at(base_url: Setting) -> Self {
        Self {
            base_url,
            path: String::new(),
            method: None,
            params: BTreeMap::new(),
            json: None,
            form: None,
            graphql: None,
            headers: BTreeMap::new(),
            auth: None,
            data_selector: whole_body(),
            empty: Empty::default(),
            explode: None,
            for_each: None,
            paginator: Paginator::default(),
            ignore_errors: false,
            incremental: None,
            deleted: None,
            rate_limit: None,
            retry: Retry::default(),
            timeout: default_timeout(),
            max_response_bytes: default_max_response_bytes(),
            max_compression_ratio: default_max_compression_ratio(),
            allowed_hosts: Vec::new(),
            responses: Vec::new(),
            conditional: false,
            tls: None,
            recording: None,
            more_names: Vec::new(),
            read_by: String::new(),
        }
    }

    /// What serde cannot check: the keys below `rest_api`, and what is wrong there.
    pub(in crate::sources) fn problems(&self) -> Vec<(Vec<String>, String)> {
        let per = self.rate_limit.as_ref().map(|limit| limit.per);
        let key = |name: &str| vec![name.to_owned()];
        let below = |table: &str, name: &str| vec![table.to_owned(), name.to_owned()];
        let durations = [
            (key("timeout"), Some(self.timeout)),
            (below("rate_limit", "per"), per),
            (below("retry", "max_wait"), self.retry.max_wait),
        ];
        let none = durations.into_iter().filter(|(_, time)| time.is_some_and(|t| t.is_zero()));
        let mut problems: Vec<_> =
            none.map(|(keys, _)| (keys, "is no time at all".to_owned())).collect();
        if self.path.contains("://") {
            let message = "the address belongs into `base_url`; this is what follows it";
            problems.push((key("path"), message.to_owned()));
        }
        if let Some(Err(problem)) = self.explode.as_deref().map(Explode::new) {
            problems.push((key("explode"), problem));
        }
        problems.extend(self.body().problems(self.paginator.variable()));
        let texts = self.texts();
        if let Some(incremental) = &self.incremental {
            let has_param = |name: &str| self.params.contains_key(name);
            for (below, problem) in incremental.problems(&texts, has_param) {
                let keys = ["incremental"].into_iter().chain(below).map(str::to_owned);
                problems.push((keys.collect(), problem));
            }
        }
        if let Some(for_each) = &self.for_each {
            problems.extend(for_each.problems(&texts));
            if self.incremental.is_some() {
                let text = "cannot be combined with `for_each`: a record of a parent that has not changed is not \
                            asked for again anyway; remove one of the two";
                problems.push((key("incremental"), text.to_owned()));
            }
        }
        problems.extend(self.path_problems());
        let texts = texts.into_iter().filter(|(keys, _)| !is_page_path(keys));
        problems.extend(template_problems(texts, &self.names()));
        let limit = self.rate_limit.as_ref();
        let paths = [
            ("remaining_path", limit.and_then(|limit| limit.remaining_path.as_ref())),
            ("reset_path", limit.and_then(|limit| limit.reset_path.as_ref())),
        ];
        for (name, path) in paths {
            if let Some(Err(error)) = path.map(|path| BodyPath::parse(name, path)) {
                let text = error.text();
                let message = text.trim_start_matches(&format!("`{name}` = ")).to_owned();
                problems.push((below("rate_limit", name), message));
            }
        }
        let paginator = self.paginator.problems().into_iter();
        let of_request = self.paginator.request_problems(&self.body());
        for (below, problem) in paginator.chain(of_request).chain(self.paginator_and_incremental())
        {
            let keys = ["paginator"].into_iter().chain(below).map(str::to_owned);
            problems.push((keys.collect(), problem));
        }
        problems.extend(self.renews_nothing());
        for (name, problem) in self.tls.iter().flat_map(Tls::problems) {
            problems.push((below("tls", name), problem));
        }
        problems.extend(self.auth.iter().flat_map(AuthList::problems));
        problems
    }

    /// Where tokens are that must be kept between runs, such as `rest_api.auth[1]`.
    pub(in crate::sources) fn kept_tokens(&self) -> Vec<String> {
        let placed = self.auth.iter().flat_map(AuthList::each);
        let kept = placed.filter(|placed| placed.kind.kept_token().is_some());
        kept.map(|placed| placed.at()).collect()
    }

    /// What is wrong with the path of pages that have one of their own.
    fn path_problems(&self) -> Vec<(Vec<String>, String)> {
        let Some((path, name)) = self.paginator.path() else { return Vec::new() };
        let mut names = self.names();
        names.push(name.to_owned());
        let mut problems = template_problems([(page_path(), path)], &names);
        if self.paginator.has_all_paths() && !self.path.is_empty() {
            let problem = "is asked for no page: `rest_api.paginator.path` is the path of all of them; remove this one";
            problems.push((vec!["path".to_owned()], problem.to_owned()));
        }
        problems
    }

    /// The rules that would have a token renewed, where there is none that can be.
    fn renews_nothing(&self) -> impl Iterator<Item = (Vec<String>, String)> {
        let renews = self.auth.iter().flat_map(AuthList::each).any(|placed| placed.kind.renews());
        let rules = self.responses.iter().enumerate();
        let rules =
            rules.filter(move |(_, rule)| !renews && rule.action == Some(ResponseAction::Renew));
        rules.map(|(place, _)| {
            let keys = ["responses", &place.to_string(), "action"].map(str::to_owned);
            let problem = "is \"renew\", and there is no token that could be had anew: `auth` needs a table of the \
                           type \"oauth2\" or \"login\"";
            (keys.to_vec(), problem.to_owned())
        })
    }

    /// What the paginator and `incremental` cannot do together: the key below `rest_api.paginator`.
    fn paginator_and_incremental(&self) -> Vec<(Option<&'static str>, String)> {
        let mut problems = Vec::new();
        let mut say = |key, text: &str| problems.push((Some(key), text.to_owned()));
        let (resumes, paginator) = (self.paginator.resumes(), &self.paginator);
        let Some(incremental) = &self.incremental else {
            if resumes {
                say(
                    "resume",
                    "goes on where the last run ended, and needs `incremental`, which says where the first one \
                     begins",
                );
            }
            return problems;
        };
        if resumes && self.asks_for_an_end() {
            say(
                "resume",
                "goes on where the last run ended, and a request with an end ends elsewhere: remove `end_param` or \
                 `${incremental.end}`",
            );
        }
        if paginator.first_pages_only() {
            let key = match paginator.way() {
                Way::Single { .. } => "first_page_only",
                Way::Numbered { .. } | Way::Referenced => "first_pages_only",
            };
            say(
                key,
                "leaves out what is behind the first pages, and an incremental run never asks for it again: remove \
                 it, or `incremental`",
            );
        }
        let bounds =
            [("start_param", &incremental.start_param), ("end_param", &incremental.end_param)];
        for (key, name) in paginator.query_params() {
            let both = bounds.iter().find(|(_, bound)| bound.as_deref() == Some(name));
            if let Some((bound, _)) = both {
                say(
                    key,
                    &format!("`{name}` is `incremental.{bound}` as well: they take two values"),
                );
            }
        }
        problems
    }

    /// The keys of the body.
    pub(super) fn body(&self) -> BodyParams<'_> {
        let Self { method, json, form, graphql, .. } = self;
        BodyParams {
            method: *method,
            json: json.as_ref(),
            form: form.as_ref(),
            graphql: graphql.as_ref(),
        }
    }

    /// The names that templates may have.
    fn names(&self) -> Vec<String> {
        let mut names = vec![template::RUN_ID, template::RUN_DATE];
        if let Some(incremental) = &self.incremental {
            names.push(template::START);
            // Only times have an end that is known before they are read.
            names.extend(incremental.kind.is_time().then_some(template::END));
        }
        let parents = self.for_each.iter().flat_map(ForEach::names);
        let parents = parents.map(|name| format!("{}{name}", template::PARENT));
        names.extend(&self.more_names);
        names.into_iter().map(str::to_owned).chain(parents).collect()
    }

    /// Whether a template has a name that begins like this.
    pub(in crate::sources) fn names_any(&self, prefix: &str) -> bool {
        let names_it = |(_, text): (Vec<String>, &str)| {
            text.contains("${") && template::parsed(text).is_ok_and(|t| t.names_any(prefix))
        };
        self.texts().into_iter().any(names_it)
    }

    /// Which fields of a parent its requests need: all that they name. A segment of a path cannot be empty, and a
    /// parameter without a value is left out, so that more would be asked for than the parent's own.
    pub(super) fn needed_of_parents(&self) -> Needed {
        let mut fields = Vec::new();
        for (_, text) in self.texts() {
            let Ok(template) = template::parsed(text) else { continue };
            for name in template.names().filter_map(|name| name.strip_prefix(template::PARENT)) {
                if !fields.iter().any(|known| known == name) {
                    fields.push(name.to_owned());
                }
            }
        }
        Needed { fields }
    }

    /// Whether an incremental run asks for no more than what is before an end.
    pub(in crate::sources) fn asks_for_an_end(&self) -> bool {
        let incremental = self.incremental.as_ref();
        incremental.is_some_and(|i| i.end_param.is_some() || self.names_any(template::END))
    }

    /// The texts that may have templates, by their keys.
    fn texts(&self) -> Vec<(Vec<String>, &str)> {
        let mut texts = vec![(vec!["path".to_owned()], self.path.as_str())];
        texts.extend(self.paginator.path().map(|(path, _)| (page_path(), path)));
        for (name, value) in &self.params {
            let keys = vec!["params".to_owned(), name.clone()];
            texts.extend(value.texts().into_iter().map(|text| (keys.clone(), text)));
        }
        for (name, value) in &self.headers {
            if let PlainOrSecret::Plain(text) = value {
                texts.push((vec!["headers".to_owned(), name.clone()], text.as_str()));
            }
        }
        texts.extend(self.body().texts());
        texts
    }

    /// The first of the problems as an error.
    pub(super) fn validate(&self) -> Result<(), SourceError> {
        match self.problems().into_iter().next() {
            None => Ok(()),
            Some((keys, message)) => {
                let key = keys.join(".");
                let message = format!("`rest_api.{key}` {message}");
                Err(SourceError::new(SourceErrorKind::InvalidConfig, message))
            }
        }
    }
}

/// The keys of the path of pages that have one of their own.
fn page_path() -> Vec<String> {
    vec!["paginator".to_owned(), "path".to_owned()]
}

fn is_page_path(keys: &[String]) -> bool {
    keys == page_path()
}

fn whole_body() -> String {
    "$".to_owned()
}

pub(in crate::sources) fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_max_response_bytes() -> NonZeroU64 {
    const MEBIBYTES_64: NonZeroU64 = NonZeroU64::new(64 << 20).unwrap();
    MEBIBYTES_64
}

fn default_max_compression_ratio() -> NonZeroU32 {
    const HUNDRED: NonZeroU32 = NonZeroU32::new(100).unwrap();
    HUNDRED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_alone_is_a_whole_definition() {
        let params: RestApiParams = toml::from_str("base_url = \"https://example.com\"").unwrap();
        assert_eq!(params.data_selector, "$");
        assert_eq!(params.timeout, Duration::from_secs(30));
        assert_eq!(params.retry.max_attempts.get(), 8);
        assert_eq!(params.max_response_bytes.get(), 64 * 1024 * 1024);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for line in [
            "basis = 1",
            "retry = { attempts = 3 }",
            "paginator = { type = \"page_number\", size = 3, sise = 3 }",
            "auth = { type = \"bearer\", token = { env = \"X\" }, name = \"x\" }",
            "rate_limit = { key = \"x\", requests = 1, per = \"1s\", burst = 2 }",
        ] {
            let text = format!("base_url = \"https://example.com\"\n{line}");
            let error = toml::from_str::<RestApiParams>(&text).unwrap_err();
            assert!(error.message().contains("unknown field"), "{line}: {error}");
        }
    }

    #[test]
    fn keys_that_cannot_work_together_are_refused_and_those_that_can_are_not() {
        const SINCE: &str = "incremental = { cursor_path = '$.at', start_param = 'since', initial_value = '2026-01-01'";
        let cursor =
            |keys: &str| format!("paginator = {{ type = 'cursor', cursor_path = '$.c', {keys} }}");
        let numbered = |keys: &str| format!("paginator = {{ type = 'page_number', {keys} }}");
        let query = "graphql = { query = 'query ($c: ID) { a }' }";
        let by_number = "graphql = { query = 'query ($p: Int!) { a }' }";
        for (lines, key, says) in [
            (cursor("body_path = '$.c'"), "paginator.body_path", "has no body"),
            (cursor("body_path = '$.c'") + "\nmethod = 'POST'", "", ""),
            (cursor("body_path = '$.c'") + "\njson = { a = 1 }", "", ""),
            (cursor("body_path = '$.c'") + "\njson = [1]", "paginator.body_path", "no JSON object"),
            (
                cursor("body_path = '$.c.d'") + "\nform = { a = 'b' }",
                "paginator.body_path",
                "nothing below",
            ),
            (cursor("body_path = '$.variables.c'") + "\n" + query, "", ""),
            (
                cursor("body_path = '$.c'") + "\n" + query,
                "paginator.body_path",
                "only the variables",
            ),
            (cursor("variable = 'c'"), "paginator.variable", "there is none"),
            (
                cursor("variable = 'c'") + "\njson = { a = 1 }",
                "paginator.variable",
                "there is none",
            ),
            (cursor("variable = 'c'") + "\n" + query, "", ""),
            (
                format!("paginator = {{ type = 'page_number' }}\n{query}"),
                "paginator.type",
                "`cursor`",
            ),
            (format!("paginator = {{ type = 'offset' }}\n{query}"), "paginator.type", "`cursor`"),
            (numbered("variable = 'p'"), "paginator.variable", "there is none"),
            (numbered("body_path = '$.p'"), "paginator.body_path", "has no body"),
            (numbered("body_path = '$.p'") + "\njson = { q = 'x' }", "", ""),
            (numbered("variable = 'p'") + "\n" + by_number, "", ""),
            (
                numbered("variable = 'n'") + "\n" + by_number,
                "paginator.variable",
                "no variable of the query: it declares `$p`",
            ),
            (cursor("variable = 'p'") + "\n" + by_number, "graphql", "for the first page already"),
            (
                numbered("param = 'page', body_path = '$.p'") + "\njson = {}",
                "paginator.body_path",
                "stands beside `param`, and the number of the page goes to one place",
            ),
            (
                cursor("param = 'c', path = 'x/${page.cursor}'"),
                "paginator.path",
                "stands beside `param`",
            ),
            (numbered("path = 'x/${page.number}'"), "", ""),
            (cursor("path = 'x/${page.cursor}'") + "\npath = 'x'", "", ""),
            (numbered("path = 'x/${page.number}'") + "\npath = 'x'", "path", "asked for no page"),
            (numbered("path = 'x'"), "paginator.path", "write `${page.number}` for the number"),
            (numbered("path = 'x/${page.cursor}'"), "paginator.path", "`${page.number}` for the"),
            (
                numbered("path = 'x/${page.cursor}'"),
                "paginator.path",
                "names `${page.cursor}`, which has no value here",
            ),
            (
                numbered("path = 'x/${page.number:%s}'"),
                "paginator.path",
                "with a format, and the value is no time",
            ),
            (numbered("path = 'x/${page.number'"), "paginator.path", "without its `}`"),
            (
                numbered("path = 'https://x/${page.number}'"),
                "paginator.path",
                "belongs into `rest_api.base_url`",
            ),
            ("path = 'x/${page.number}'".to_owned(), "path", "which has no value here"),
            (
                "paginator = { type = 'offset', path = 'x/${page.offset}' }\nparams = { p = '${page.offset}' }"
                    .to_owned(),
                "params.p",
                "which has no value here",
            ),
            (cursor("param = 'c', resume = true"), "paginator.resume", "needs `incremental`"),
            (cursor("param = 'c', resume = true") + &format!("\n{SINCE} }}"), "", ""),
            (
                cursor("param = 'c', resume = true")
                    + &format!("\n{SINCE}, end_param = 'until' }}"),
                "paginator.resume",
                "remove `end_param`",
            ),
            (
                cursor("param = 'since'") + &format!("\n{SINCE} }}"),
                "paginator.param",
                "`incremental.start_param` as well",
            ),
            (
                format!(
                    "paginator = {{ type = 'single_page', first_page_only = true }}\n{SINCE} }}"
                ),
                "paginator.first_page_only",
                "never asks for it again",
            ),
            (
                format!(
                    "paginator = {{ type = 'page_number', max_pages = 2, first_pages_only = true }}\n{SINCE} }}"
                ),
                "paginator.first_pages_only",
                "never asks for it again",
            ),
            (format!("{SINCE}, concurrency = 2 }}"), "incremental.concurrency", "no `step`"),
            (format!("{SINCE}, concurrency = 2, step = '1d', end_param = 'until' }}"), "", ""),
            (
                format!("{SINCE}, concurrency = 101, step = '1d', end_param = 'until' }}"),
                "incremental.concurrency",
                "at most 100 are asked for side by side",
            ),
            (format!("{SINCE}, step = '1d' }}"), "incremental.step", "needs an end"),
            (format!("{SINCE}, end_param = 'since' }}"), "incremental.end_param", "two values"),
            (
                "incremental = { cursor_path = '$.at', end_param = 'until' }".to_owned(),
                "incremental",
                "an end and for no start",
            ),
        ] {
            let text = format!("base_url = 'https://example.com'\n{lines}");
            let params: RestApiParams = toml::from_str(&text).unwrap();
            let problems = params.problems();
            let found = problems.iter().map(|(keys, problem)| (keys.join("."), problem.as_str()));
            match key {
                "" => assert!(problems.is_empty(), "{lines}: {problems:?}"),
                _ => assert!(
                    found.clone().any(|(keys, problem)| keys == key && problem.contains(says)),
                    "{lines}: {problems:?}"
                ),
            }
        }
    }

    #[test]
    fn the_keys_have_a_json_schema_with_their_documentation() {
        let schema = schemars::schema_for!(RestApiParams).to_value().to_string();
        for part in ["The longest that one request may take", "page_number", "max_retry_after"] {
            assert!(schema.contains(part), "{part}: {schema}");
        }
    }
}

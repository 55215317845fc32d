//! Owns what is wrong with the job file of an API: its parameters, secrets written out, fields that are
//! found in some other way than values in JSON are, and secrets and recordings that are not there.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::Path;

use super::auth::AuthList;
use super::body_params::GraphQlParams;
use super::data_selector::DataSelector;
use super::deleted::Deleted;
use super::for_each::ForEach;
use super::params::RestApiParams;
use super::recording::Recording;
use super::request::{self, BASE_URL};
use super::responses::{self, ResponseAction};
use super::source::RestApiSource;
use crate::domain::{suggest, text};
use crate::files;
use crate::job_file::policy::{Missing, MissingAction};
use crate::job_file::setting::{PlainOrSecret, Secret, SettingError};
use crate::job_file::{Definition, Inspection};
use crate::sources::{AllowedRoots, SourceError, rows};

/// Headers that hold credentials and nothing else.
const CREDENTIALS: &[&str] = &["authorization", "proxy-authorization", "cookie"];
/// Headers that frame a request or belong to the connection: they are written when it is sent.
const OF_CONNECTION: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];
/// What the names of other headers and parameters with a secret in them mostly have.
const SUSPICIOUS: &[&str] = &["apikey", "token", "secret", "password", "passwd", "signature"];
/// The largest recorded page that is looked into.
const MAX_RECORDED: u64 = 8 << 20;

/// What is wrong on every machine.
pub(super) fn inspect(job: &mut Inspection<'_>) {
    if let Some(params) = job.params::<RestApiParams>() {
        inspect_params(job, &params);
    }
    rows::inspect::fields(job);
}

fn inspect_params(job: &mut Inspection<'_>, params: &RestApiParams) {
    for (keys, message) in params.problems() {
        job.problem(&below(&keys), message);
    }
    for (place, key, message) in responses::problems(&params.responses) {
        let place = place.to_string();
        let mut keys = vec!["rest_api", "responses", place.as_str()];
        keys.extend(Some(key).filter(|key| !key.is_empty()));
        job.problem(&keys, message);
    }
    inspect_address(job, "rest_api", params);
    if let Err(error) = DataSelector::new(&params.data_selector) {
        job.problem(&["rest_api", "data_selector"], without_key(&error, "data_selector"));
    }
    if let Some(Err(error)) = params.deleted.as_deref().map(Deleted::new) {
        job.problem(&["rest_api", "deleted"], without_key(&error, "deleted"));
    }
    inspect_missing(job, params);
    inspect_parents(job, params);
    inspect_headers(job, &["rest_api"], params);
    if let Some(graphql) = params.graphql.as_ref().filter(|graphql| graphql.query.is_some()) {
        for (keys, problem) in graphql.unused(Path::new("")) {
            job.warning(&below(&keys), problem);
        }
    }
    for name in params.params.keys().filter(|name| is_suspicious(name)) {
        let message = format!(
            "looks like a secret, and what stands here is stored and shown: if it is one, remove it \
             and write auth = {{ type = \"api_key\", in = \"query\", name = {name:?}, \
             value = {{ env = \"NAME_OF_VARIABLE\" }} }}"
        );
        job.warning(&["rest_api", "params", name], message);
    }
}

/// Where no run can tell which records are gone, none would ever be marked, and nobody would be told.
fn inspect_missing(job: &mut Inspection<'_>, params: &RestApiParams) {
    let missing = job.table::<Missing>("missing");
    if missing.is_none_or(|missing| missing.action != MissingAction::Tombstone) {
        return;
    }
    let keys = ["missing", "action"];
    if params.paginator.first_pages_only() {
        job.problem(
            &keys,
            "needs all pages, and the paginator reads the first only: what is not on them may be there all the same",
        );
    }
    if params.asks_for_an_end() {
        job.problem(
            &keys,
            "needs runs that ask for everything, and the request has an end, behind which records may be: remove \
             `end_param` or `${incremental.end}` of `rest_api.incremental`",
        );
    }
}

/// What is said of parents where there are none, and of what is not known of them.
fn inspect_parents(job: &mut Inspection<'_>, params: &RestApiParams) {
    let for_each = params.for_each.as_ref();
    for (place, rule) in params.responses.iter().enumerate() {
        if rule.action == Some(ResponseAction::SkipParent) && for_each.is_none() {
            let message = "skips a parent, and there are none without `rest_api.for_each`: write \"end\" for the \
                           proper end, or \"ignore\"";
            job.problem(&["rest_api", "responses", &place.to_string(), "action"], message);
        }
    }
    if params.explode.is_some() {
        // The rest of the exploded record.
        return;
    }
    let known = for_each.map(ForEach::names).unwrap_or_default();
    for field in job.fields_with("from") {
        let keys = ["fields", field.as_str(), "from"];
        let Some(path) = job.text(&keys) else { continue };
        let Some(rest) = path.strip_prefix("$._parent") else { continue };
        let name: String =
            rest.chars().skip(1).take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        match for_each {
            None => job.warning(
                &keys,
                "there is no parent without `rest_api.for_each` or `rest_api.explode`, unless the records themselves \
                 have a key `_parent`",
            ),
            Some(for_each) if for_each.batch() > 1 => job.problem(
                &keys,
                "which of several parents a record is of, nobody can tell: remove `rest_api.for_each.batch`, or take \
                 what the record itself says of its parent",
            ),
            // At `$._parent._parent` is what records have themselves at `_parent`.
            Some(_)
                if rest.starts_with('.')
                    && name != "_parent"
                    && !known.contains(&name.as_str()) =>
            {
                let hint = suggest::hint(&name, "fields of the parent", &known);
                let message = format!("`{name}` is not known of the parent: see `rest_api.for_each`{hint}");
                job.problem(&keys, message);
            }
            Some(_) => {}
        }
    }
}

/// Says what is wrong with the headers of a table.
pub(in crate::sources) fn inspect_headers(
    job: &mut Inspection<'_>,
    table: &[&str],
    params: &RestApiParams,
) {
    for (name, value) in &params.headers {
        let keys = [table, &["headers", name.as_str()]].concat();
        if let Err(error) = request::header_name(name) {
            job.problem(&keys, error.text());
        }
        if OF_CONNECTION.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            let message = "is written when the request is sent, and one of your own would break it: remove it";
            job.problem(&keys, message);
        } else if name.eq_ignore_ascii_case("host") {
            let message = "is written when the request is sent, from `base_url`; one of your own is for servers that \
                           are asked by another name than their own, and HTTP/2 does not know it";
            job.warning(&keys, message);
        }
        let PlainOrSecret::Plain(text) = value else { continue };
        let lower = text.trim_start().to_ascii_lowercase();
        let scheme = lower.starts_with("bearer ") || lower.starts_with("basic ");
        let bearer = name.eq_ignore_ascii_case("authorization") && lower.starts_with("bearer ");
        // Never with the value.
        if scheme || CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            let way = match bearer {
                true => "auth = { type = \"bearer\", token = { env = \"NAME_OF_VARIABLE\" } }",
                false => "{ env = \"NAME_OF_VARIABLE\" } or { file = \"/run/secrets/name\" }",
            };
            let message = format!(
                "a secret is never written into a job file, where it would be stored and shown: \
                 write {way} instead"
            );
            job.problem(&keys, message);
        } else if is_suspicious(name) {
            let message = "looks like a secret, and what stands here is stored and shown: if it is \
                           one, write { env = \"NAME_OF_VARIABLE\" } or \
                           { file = \"/run/secrets/name\" } instead";
            job.warning(&keys, message);
        }
    }
}

fn is_suspicious(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    SUSPICIOUS.iter().any(|word| plain.contains(word))
}

/// The message without the key that it begins with, which is in front of it already.
fn without_key(error: &SourceError, key: &str) -> String {
    let text = error.text();
    let rest = text.strip_prefix(&format!("`{key}` ")).unwrap_or(&text);
    rest.strip_prefix("= ").unwrap_or(rest).to_owned()
}

/// What is wrong on this machine: a recording that may not be read is a problem; what is not there is
/// a warning, since others may have it.
pub(super) fn look(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
    job: &mut Inspection<'_>,
) {
    let Ok(params) = definition.params::<RestApiParams>() else { return };
    let base_dir = definition.base_dir();
    look_for_secrets(job, &["rest_api"], &params, base_dir);
    if let Some(graphql) = params.graphql.as_ref().filter(|graphql| graphql.query_file.is_some()) {
        inspect_query_file(job, graphql, &params, base_dir);
    }
    let keys = ["rest_api", "recording"];
    let Some(folder) = &params.recording else { return };
    let recording = Recording::new(base_dir, folder);
    if let Err(error) = recording.check(base_dir, allowed_roots) {
        let text = error.text();
        job.problem(&keys, text.strip_prefix("rest_api.recording: ").unwrap_or(&text));
        return;
    }
    let Ok(source) = RestApiSource::new(params.clone(), base_dir.to_owned(), definition.locators())
    else {
        return;
    };
    let first = source.first_recorded();
    match first.as_ref().map_or_else(|| Err(ErrorKind::NotFound.into()), std::fs::metadata) {
        Err(_) => {
            let message = format!(
                "there is no recording in {}, so `--offline` finds nothing: `kasparro run {} \
                 --record` makes one",
                base_dir.join(folder).display(),
                definition.source
            );
            job.warning(&keys, message);
        }
        Ok(file) if file.len() > MAX_RECORDED => {}
        Ok(_) => {
            let message = first.and_then(|first| look_into(&first, &params.data_selector));
            if let Some(message) = message {
                job.warning(&["rest_api", "data_selector"], message);
            }
        }
    }
}

/// Says which settings and secrets of a table are not there on this machine.
pub(in crate::sources) fn look_for_secrets(
    job: &mut Inspection<'_>,
    table: &[&str],
    params: &RestApiParams,
    base_dir: &Path,
) {
    if let Err(error) = params.base_url.resolve(BASE_URL) {
        job.warning(&[table, &["base_url"]].concat(), missing(&error));
    }
    for placed in params.auth.iter().flat_map(AuthList::each) {
        for key in placed.kind.secrets().iter().filter(|key| !key.optional) {
            let below = placed.keys.iter().map(String::as_str).chain(key.key.split('.'));
            let keys: Vec<&str> = table.iter().copied().chain(below).collect();
            look_for(job, key.secret, &keys, base_dir);
        }
    }
    for (key, secret) in params.tls.iter().flat_map(|tls| tls.secrets()) {
        look_for(job, secret, &[table, &["tls", key]].concat(), base_dir);
    }
    for (name, value) in &params.headers {
        if let PlainOrSecret::Secret(secret) = value {
            look_for(job, secret, &[table, &["headers", name]].concat(), base_dir);
        }
    }
}

/// What is wrong with the address of a table, wherever it is asked.
pub(in crate::sources) fn inspect_address(
    job: &mut Inspection<'_>,
    table: &str,
    params: &RestApiParams,
) {
    if params.base_url.resolve(BASE_URL).is_ok()
        && let Err(error) = request::address(&params.base_url, &params.path)
    {
        job.problem(&[table, "base_url"], without_key(&error, BASE_URL));
    }
}

/// The same of a query in a file as of one in the job file.
fn inspect_query_file(
    job: &mut Inspection<'_>,
    graphql: &GraphQlParams,
    params: &RestApiParams,
    base_dir: &Path,
) {
    let query = match graphql.query(base_dir) {
        Ok(query) => query,
        Err(error) => {
            job.warning(&["rest_api", "graphql", "query_file"], error.text());
            return;
        }
    };
    for unfit in graphql.unfit_variables(&query, params.paginator.variable()) {
        match unfit.is_fatal {
            true => job.problem(&below(&unfit.keys), unfit.problem),
            false => job.warning(&below(&unfit.keys), unfit.problem),
        }
    }
}

/// The keys below `rest_api`, from the top.
fn below(keys: &[String]) -> Vec<&str> {
    ["rest_api"].into_iter().chain(keys.iter().map(String::as_str)).collect()
}

/// Says that a secret is not there on this machine.
pub(in crate::sources) fn look_for(
    job: &mut Inspection<'_>,
    secret: &Secret,
    keys: &[&str],
    base_dir: &Path,
) {
    if let Err(error) = secret.resolve(&keys.join("."), base_dir) {
        job.warning(keys, missing(&error));
    }
}

fn missing(error: &SettingError) -> String {
    format!("{} {}", error.place, error.problem)
}

/// What is wrong with the records that the selector finds in a recorded page.
fn look_into(page: &Path, selector: &str) -> Option<String> {
    let body = match files::read_text(page, MAX_RECORDED) {
        Ok(body) => body,
        Err(error) => {
            let unfit = files::Unfit::of(&error)?;
            return Some(format!("the recorded page {} is not read: {unfit}", page.display()));
        }
    };
    let selector = DataSelector::new(selector).ok()?;
    let page = page.display();
    match selector.select(&body) {
        Err(error) => Some(format!("in the recorded page {page}: {}", error.text())),
        Ok(found) => {
            let no_object = |record: &&Cow<'_, str>| !record.trim_start().starts_with('{');
            let odd = found.iter().find(no_object)?;
            Some(format!(
                "finds values that are no objects in the recorded page {page}, such as {}: select \
                 the objects, and their values with `from` of the fields",
                text::beginning(odd)
            ))
        }
    }
}

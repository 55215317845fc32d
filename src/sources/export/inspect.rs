//! Owns what is wrong with the job file of an export: its requests, what contradicts the files that it brings, and
//! secrets that are not there.

use std::time::Duration;

use super::job::JobPaths;
use super::params::{ExportParams, TABLE};
use crate::job_file::policy::{Missing, MissingAction};
use crate::job_file::{Definition, Inspection};
use crate::sources::files::FilesParams;
use crate::sources::files::file_source::WhenGone;
use crate::sources::files::format::RowFormat;
use crate::sources::files::inspect::tell;
use crate::sources::files::location::PATHS;
use crate::sources::files::params::TABLE as FILES;
use crate::sources::rest_api::RestApiParams;
use crate::sources::rest_api::inspect::{inspect_address, inspect_headers, look_for_secrets};

/// A task waits no longer for anything.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The keys of a request, below the table of the request.
const OF_REQUEST: &[&str] = &["method", "path", "params", "json", "form"];

/// What is wrong on every machine.
pub(super) fn inspect<F: RowFormat>(job: &mut Inspection<'_>) {
    inspect_files::<F>(job);
    F::inspect_fields(job);
    let Some(Some(params)) = job.table::<Option<ExportParams>>(TABLE) else { return };
    inspect_incremental(job, &params);
    for (request, asked) in [("create", params.creating(String::new())), ("poll", params.polling())]
    {
        inspect_address(job, TABLE, &asked);
        inspect_request(job, request, &asked);
    }
    inspect_headers(job, &[TABLE], &params.creating(String::new()));
    if let Err(problems) = JobPaths::new(&params) {
        for ([table, key], problem) in problems {
            job.problem(&[TABLE, table, key], problem);
        }
    }
    inspect_poll(job, &params);
}

fn inspect_files<F: RowFormat>(job: &mut Inspection<'_>) {
    if let Some(missing) = F::MISSING {
        job.problem(&["kind"], missing);
    }
    let files = job.table::<FilesParams>(FILES);
    if let Some(own) = job.table::<F::Params>(F::NAME) {
        tell(job, F::NAME, F::problems(&own));
    }
    for table in [FILES, F::NAME] {
        if job.has(&[table, PATHS]) {
            let message = "stands beside [export], which brings the files: remove one of them";
            job.problem(&[table, PATHS], message);
        }
    }
    if files.is_some_and(|files| files.when_gone == WhenGone::Tombstone) {
        let message = "is for files that are looked for, and those of [export] are made anew by each run: remove it";
        job.problem(&[FILES, "when_gone"], message);
    }
}

/// What is wrong with a request, by the keys of this table.
fn inspect_request(job: &mut Inspection<'_>, request: &str, asked: &RestApiParams) {
    for (keys, message) in asked.problems() {
        let of_request = keys.first().is_some_and(|key| OF_REQUEST.contains(&key.as_str()));
        let table = Some(request).filter(|_| of_request);
        let keys: Vec<&str> =
            [TABLE].into_iter().chain(table).chain(keys.iter().map(String::as_str)).collect();
        job.problem(&keys, message);
    }
}

fn inspect_incremental(job: &mut Inspection<'_>, params: &ExportParams) {
    let Some(incremental) = &params.incremental else { return };
    let keys = [TABLE, "incremental"];
    if incremental.cursor_path.is_some() {
        let message = "is a path within a record of an API, and files have none: what was asked for says how far was \
                       read, by `${incremental.end}`; remove it";
        job.problem(&[TABLE, "incremental", "cursor_path"], message);
    }
    if !params.creating(String::new()).asks_for_an_end() {
        let message = "needs an end of what is asked for, which is where the next run begins: write \
                       `${incremental.end}` in `create`, or name the query parameter in `end_param`";
        job.problem(&keys, message);
    } else if job
        .table::<Missing>("missing")
        .is_some_and(|missing| missing.action == MissingAction::Tombstone)
    {
        let message = "needs runs that ask for everything, and `export.incremental` asks for a part: records outside \
                       of it may be there";
        job.problem(&["missing", "action"], message);
    }
}

fn inspect_poll(job: &mut Inspection<'_>, params: &ExportParams) {
    let poll = &params.poll;
    let mut say = |key: &str, message: &str| job.problem(&[TABLE, "poll", key], message);
    if poll.every.is_zero() {
        say("every", "is no time at all");
    }
    if poll.timeout < poll.every {
        say("timeout", "is less than `every`: the job would be looked at once, and given up");
    }
    if poll.timeout > LONGEST {
        say("timeout", "is more than 24 hours, and nothing is waited for longer");
    }
    if poll.done.is_empty() {
        say("done", "is empty: name the status of a job whose files are there");
    }
    if let Some(both) = poll.done.iter().find(|status| poll.failed.contains(status)) {
        say(
            "failed",
            &format!("has `{both}`, which is among `done` as well: remove it from one of them"),
        );
    }
    let texts = params.polling();
    if !texts.names_any("job.") {
        let message = "names no `${job.id}`, nor do `params` and the body: it would not look at the job that was created";
        say("path", message);
    }
}

/// What is not there on this machine.
pub(super) fn look(definition: &Definition, params: &ExportParams, job: &mut Inspection<'_>) {
    look_for_secrets(job, &[TABLE], &params.creating(String::new()), definition.base_dir());
}

//! Owns what is wrong with where a job file says that files are, and with how it says that they are reached.

use std::collections::BTreeSet;
use std::path::Path;

use super::buckets;
use super::glob::{Exclude, Pattern};
use super::http;
use super::params::{AzParams, GsParams, HttpParams, S3Params, SftpParams};
use super::scheme::scheme;
use super::sftp_address::SftpAddress;
use crate::domain::suggest;
use crate::job_file::Inspection;
use crate::job_file::setting::{PlainOrSecret, Secret};
use crate::sources::files::location::PATHS;
use crate::sources::files::params::{FilesParams, TABLE};
use crate::sources::rest_api::file_request::is_presigned;
use crate::sources::rest_api::inspect::{inspect_headers, look_for, look_for_secrets};

/// The schemes of addresses that can be read.
const SCHEMES: &[&str] = &["http", "https", "s3", "gs", "az", "sftp"];
/// What others call them.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("s3a", "s3"),
    ("s3n", "s3"),
    ("gcs", "gs"),
    ("azure", "az"),
    ("abfs", "az"),
    ("abfss", "az"),
    ("wasb", "az"),
    ("wasbs", "az"),
    ("adl", "az"),
    ("ssh", "sftp"),
    ("scp", "sftp"),
];

/// What is wrong on every machine; `table` is the one with `paths`.
pub(in crate::sources::files) fn inspect(
    job: &mut Inspection<'_>,
    table: &str,
    files: &FilesParams,
    entries: &[String],
) {
    let mut names = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let at = at.to_string();
        let keys = [table, PATHS, at.as_str()];
        if let Some(problem) = problem(entry) {
            job.problem(&keys, problem);
            continue;
        }
        let Ok(url) = http::address(entry) else { continue };
        if !matches!(url.scheme(), "http" | "https") {
            continue;
        }
        if is_presigned(&url) {
            let message = "has something like a key in it, and what stands here is stored and shown as it is, and good \
                           for a while only: if it is one, write it as `auth` or `headers` into `http` of [files]";
            job.warning(&keys, message);
        }
        if !names.insert(http::name_of(&url)) {
            job.problem(&keys, "is there twice: what is behind `?` tells no files apart where it is as good as a key");
        }
    }
    if let Err((at, why)) = Exclude::new(files.exclude.as_deref()) {
        job.problem(&[TABLE, "exclude", &at.to_string()], why);
    }
    let schemes: BTreeSet<String> = entries.iter().filter_map(|entry| scheme(entry)).collect();
    let is_named = |names: &[&str]| names.iter().any(|name| schemes.contains(*name));
    inspect_http(job, files.http.as_ref(), entries);
    inspect_s3(job, files.s3.as_ref());
    inspect_gs(job, files.gs.as_ref());
    inspect_az(job, files.az.as_ref(), is_named(&["az"]));
    inspect_sftp(job, files.sftp.as_ref(), is_named(&["sftp"]));
    for (key, is_there, names) in [
        ("http", files.http.is_some(), &["http", "https"][..]),
        ("s3", files.s3.is_some(), &["s3"]),
        ("gs", files.gs.is_some(), &["gs"]),
        ("az", files.az.is_some(), &["az"]),
        ("sftp", files.sftp.is_some(), &["sftp"]),
    ] {
        if is_there && !is_named(names) {
            let message = format!(
                "is for addresses that begin with `{}://`, and there are none",
                names[names.len() - 1]
            );
            job.warning(&[TABLE, key], message);
        }
    }
}

/// What is wrong with an entry.
pub(in crate::sources::files) fn problem(entry: &str) -> Option<String> {
    let scheme = scheme(entry)?;
    // The rest may hold a password.
    match scheme.as_str() {
        "http" | "https" => match http::address(entry) {
            Err(why) => Some(why),
            Ok(url) if url.path().contains('*') => Some(
                "has a `*` in it, and a web server has no list of its files: name the address of each, or write `%2A` \
                 for the character itself"
                    .to_owned(),
            ),
            Ok(_) => None,
        },
        "s3" | "gs" | "az" => match buckets::parts(entry) {
            Err(why) => Some(why.to_owned()),
            Ok((_, pattern)) => Pattern::new(pattern).err(),
        },
        "sftp" => match SftpAddress::parse(entry) {
            Err(why) => Some(why.to_owned()),
            Ok(address) => Pattern::new(address.path).err(),
        },
        "file" => Some("is a file of this machine: write its path alone".to_owned()),
        other => {
            let known = SCHEMES.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ");
            let other_name = OTHER_NAMES.iter().find(|(name, _)| *name == other);
            let meant = match other_name {
                Some((_, name)) => format!("; write {name}://"),
                None => suggest::nearest(other, SCHEMES.iter().copied())
                    .map_or_else(String::new, |name| format!("; did you mean {name}://?")),
            };
            Some(format!("begins with `{other}://`, and files are read from folders of this machine and from {known}{meant}"))
        }
    }
}

fn inspect_http(job: &mut Inspection<'_>, params: Option<&HttpParams>, entries: &[String]) {
    let Some(params) = params else { return };
    let table = [TABLE, "http"];
    let common = http::common(params, None);
    for (below, message) in common.problems() {
        let keys: Vec<&str> = table.into_iter().chain(below.iter().map(String::as_str)).collect();
        job.problem(&keys, message);
    }
    inspect_headers(job, &table, &common);
    for place in common.kept_tokens() {
        let below: Vec<&str> = place
            .trim_start_matches("rest_api.")
            .split(['.', '[', ']'])
            .filter(|key| !key.is_empty())
            .collect();
        let keys: Vec<&str> = table.into_iter().chain(below).collect();
        job.problem(&keys, "has a refresh token that is good once, and the next one is not kept for files: use another kind");
    }
    let has_secret = |value: &PlainOrSecret| matches!(value, PlainOrSecret::Secret(_));
    let is_known = params.auth.is_some()
        || params.headers.values().any(has_secret)
        || params.tls.as_ref().is_some_and(|tls| tls.cert.is_some());
    let urls = entries.iter().filter_map(|entry| http::address(entry).ok());
    let urls = urls.filter(|url| matches!(url.scheme(), "http" | "https"));
    let origins: BTreeSet<String> = urls.map(|url| url.origin().ascii_serialization()).collect();
    if is_known && origins.len() > 1 {
        let origins: Vec<_> = origins.into_iter().collect();
        let message = format!(
            "has something secret, which would be sent to each of {}: read the files of each with a job file of its own",
            origins.join(", ")
        );
        job.problem(&table, message);
    }
}

/// Whether a key of one of the tables is there, though its value may be none, or its name is misspelt.
fn is_written(job: &Inspection<'_>, table: &str, key: &str) -> bool {
    let keys = [TABLE, table, key];
    job.has(&keys) || job.is_misspelt(&keys)
}

fn inspect_s3(job: &mut Inspection<'_>, params: Option<&S3Params>) {
    let Some(params) = params else { return };
    let [id, key, token, credentials] =
        ["access_key_id", "secret_access_key", "session_token", "credentials"]
            .map(|key| is_written(job, "s3", key));
    let mut say = |key: &str, message: &str| job.problem(&[TABLE, "s3", key], message);
    match (id, key) {
        (true, false) => say("access_key_id", "has no key: add `secret_access_key`"),
        (false, true) => say("secret_access_key", "has no id: add `access_key_id`"),
        (false, false) if token => {
            say("session_token", "belongs to a key: add `access_key_id` and `secret_access_key`");
        }
        (true, true) if credentials => {
            say("credentials", "stands beside keys: remove one of them");
        }
        _ => {}
    }
    inspect_tls(job, "s3", params.tls.as_ref());
}

fn inspect_gs(job: &mut Inspection<'_>, params: Option<&GsParams>) {
    let Some(params) = params else { return };
    if params.service_account.is_some() && params.credentials.is_some() {
        job.problem(
            &[TABLE, "gs", "credentials"],
            "stands beside `service_account`: remove one of them",
        );
    }
    inspect_tls(job, "gs", params.tls.as_ref());
}

fn inspect_az(job: &mut Inspection<'_>, params: Option<&AzParams>, is_named: bool) {
    let Some(params) = params else {
        if is_named {
            let message = "is missing, and there is an az:// address: write az = { account = \"NAME\", key = { env = \
                           \"NAME_OF_VARIABLE\" } }";
            job.problem(&[TABLE, "az"], message);
        }
        return;
    };
    if params.account.trim().is_empty() {
        job.problem(&[TABLE, "az", "account"], "is empty: name the storage account");
    }
    let given = [params.key.is_some(), params.sas.is_some(), params.credentials.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        job.problem(
            &[TABLE, "az"],
            "has more than one of `key`, `sas` and `credentials`: remove all but one",
        );
    }
    inspect_tls(job, "az", params.tls.as_ref());
}

fn inspect_sftp(job: &mut Inspection<'_>, params: Option<&SftpParams>, is_named: bool) {
    let Some(params) = params else {
        if is_named {
            let message = "is missing, and there is an sftp:// address: write sftp = { user = \"NAME\", password = { env = \
                           \"NAME_OF_VARIABLE\" }, host_key = \"SHA256:…\" }";
            job.problem(&[TABLE, "sftp"], message);
        }
        return;
    };
    if params.user.trim().is_empty() {
        job.problem(&[TABLE, "sftp", "user"], "is empty: name the user");
    }
    let [password, key, known_hosts, host_key] =
        ["password", "key", "known_hosts", "host_key"].map(|key| is_written(job, "sftp", key));
    if !password && !key {
        job.problem(
            &[TABLE, "sftp"],
            "does not say how the user is known: add `key` or `password`",
        );
    }
    if params.passphrase.is_some() && !key {
        job.problem(&[TABLE, "sftp", "passphrase"], "is that of a key: add `key`");
    }
    if params.host_key.0.is_empty() && !known_hosts {
        let message = "knows no host key, and a server that is not known is told nothing: add host_key = \"SHA256:…\", which \
                       `ssh-keyscan HOST | ssh-keygen -lf -` shows; ask whoever runs the server whether it is right";
        match host_key {
            true => job.problem(&[TABLE, "sftp", "host_key"], message),
            false => job.problem(&[TABLE, "sftp"], message),
        }
    }
    if params.timeout.is_zero() {
        job.problem(&[TABLE, "sftp", "timeout"], "is no time at all");
    }
}

fn inspect_tls(job: &mut Inspection<'_>, key: &str, tls: Option<&crate::sources::rest_api::Tls>) {
    for (below, problem) in tls.iter().flat_map(|tls| tls.problems()) {
        job.problem(&[TABLE, key, "tls", below], problem);
    }
}

/// Secrets that are not there on this machine.
pub(in crate::sources::files) fn look(
    job: &mut Inspection<'_>,
    files: &FilesParams,
    base_dir: &Path,
) {
    if let Some(params) = &files.http {
        look_for_secrets(job, &[TABLE, "http"], &http::common(params, None), base_dir);
    }
    for (table, key, secret) in secrets(files) {
        look_for(job, secret, &[TABLE, table, key], base_dir);
    }
}

fn secrets(files: &FilesParams) -> Vec<(&'static str, &'static str, &Secret)> {
    let s3 = files.s3.iter().flat_map(|s3| {
        [
            ("s3", "access_key_id", &s3.access_key_id),
            ("s3", "secret_access_key", &s3.secret_access_key),
            ("s3", "session_token", &s3.session_token),
        ]
    });
    let gs = files.gs.iter().map(|gs| ("gs", "service_account", &gs.service_account));
    let az = files.az.iter().flat_map(|az| [("az", "key", &az.key), ("az", "sas", &az.sas)]);
    let sftp = files.sftp.iter().flat_map(|sftp| {
        [
            ("sftp", "password", &sftp.password),
            ("sftp", "key", &sftp.key),
            ("sftp", "passphrase", &sftp.passphrase),
        ]
    });
    let each = s3.chain(gs).chain(az).chain(sftp);
    each.filter_map(|(table, key, secret)| Some((table, key, secret.as_ref()?))).collect()
}

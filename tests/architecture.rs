//! The floors of `docs/architecture.md`: imports run downwards, siblings never import each other.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by panicking what is wrong"
)]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "support/vocabulary.rs"]
mod vocabulary;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the top; modules of one line are siblings.
const FLOORS: &[&[&str]] = &[
    &["main", "lib"],
    &["cli"],
    &["api", "worker", "scheduler", "watcher", "janitor"],
    &["tasks"],
    &["sources", "db", "queue", "embedded"],
    &["config", "telemetry", "mapping"],
    &["job_file"],
    &["values", "files"],
    &["domain"],
];

fn floor(module: &str) -> usize {
    let from_top = FLOORS.iter().position(|floor| floor.contains(&module));
    FLOORS.len() - from_top.unwrap_or_else(|| panic!("module `{module}` has no floor: give it one"))
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    files_below(folder, &["rs"], found);
}

fn files_below(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder is read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, extensions, found);
        } else if path.extension().is_some_and(|e| extensions.iter().any(|known| e == *known)) {
            found.push(path);
        }
    }
}

/// Whoever tries kasparro out puts files into `jobs/`, as the README says: then `cargo test` must not
/// fail. Files that ship are asked for by name.
#[test]
fn tests_and_benches_use_their_own_copy_of_what_ships() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        source_files(&root.join(folder), &mut paths);
    }
    // Each of these names the files that it means.
    let by_name = [
        "src/sources/rest_api/tests/pages.rs",
        "src/sources/rest_api/tests/tls.rs",
        "tests/architecture.rs",
        "tests/job_schema.rs",
        "tests/it/examples/mod.rs",
        "tests/openapi.rs",
        "tests/support/shipped.rs",
        "tests/support/vocabulary.rs",
        "examples/generate_coingecko_recording.rs",
    ];
    let live = ["CARGO_MANIFEST_DIR", "read_dir(\"jobs", "JobsFolder::new(\"jobs"];
    let is_live = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("a source file is read");
        live.iter().any(|words| text.contains(words))
    };
    let relative = |path: &PathBuf| path.strip_prefix(root).expect("below root").to_owned();
    let found: BTreeSet<_> = paths.iter().filter(|path| is_live(path)).map(relative).collect();
    let expected: BTreeSet<_> = by_name.iter().map(PathBuf::from).collect();
    assert_eq!(found, expected, "use `shipped::copy_to` of tests/support/shipped.rs");
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = sources_of(&root.join("src"));
    all.extend(as_folder(root, "crates/embedded/src", "embedded"));
    all
}

/// The files of a folder, by their paths in it.
fn sources_of(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    source_files(folder, &mut paths);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source file is read");
        (path.strip_prefix(folder).expect("below it").to_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

/// A crate of its own as if it were a top folder of that name.
fn as_folder(root: &Path, folder: &str, name: &str) -> Vec<(PathBuf, String)> {
    let within = format!("crate::{name}::");
    let moved = |(path, text): (PathBuf, String)| {
        let root_file = ["lib.rs", "main.rs"].iter().any(|root| path == Path::new(root));
        let path = if root_file { "mod.rs".into() } else { path };
        (Path::new(name).join(path), text.replace("crate::", &within))
    };
    sources_of(&root.join(folder)).into_iter().map(moved).collect()
}

/// A program that is run as the server's user must not share our terminal; `Account::command` sees to it.
#[test]
fn whatever_the_private_postgresql_runs_begins_in_one_place() {
    let begins = |(path, text): &(PathBuf, String)| {
        module_of(path) == "embedded" && text.contains("Command::new(")
    };
    let found: Vec<_> = all_sources().into_iter().filter(begins).map(|(path, _)| path).collect();
    assert_eq!(found, [Path::new("embedded/account.rs")]);
}

/// The top module that a file belongs to.
fn module_of(path: &Path) -> String {
    let first = path.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The top modules that a text names behind `crate::` or, in `main.rs`, `kasparro::`; comments do
/// not count.
fn imports(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n").replace("kasparro::", "crate::");
    let mut modules = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(list) => top_names(list),
            None => vec![first_name(rest)],
        };
        modules.extend(names.into_iter().filter(|name| !name.is_empty()));
    }
    modules
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The names at the top level of a braced list.
fn top_names(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut depth = 0usize;
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            c if depth == 0 => names.last_mut().expect("never empty").push(c),
            _ => {}
        }
    }
    names.iter().map(|name| first_name(name.trim())).collect()
}

#[test]
fn imports_run_downwards_only() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let own = module_of(&path);
        for imported in imports(&text) {
            if imported != own && floor(&imported) >= floor(&own) {
                wrong.push(format!("src/{}: {own} imports {imported}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not run downwards:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<_> = all_sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "files without a `//!` header: {silent:?}");
}

/// See `src/db/transaction.rs`: sqlx's own transactions come back to the pool too early.
#[test]
fn transactions_are_those_that_may_be_given_up_in_the_middle() {
    let own = Path::new("db").join("transaction.rs");
    let begins = |text: &str| {
        text.contains("pool.begin(")
            || text.contains("connection.begin(")
            || text.contains("Connection::begin")
    };
    let wrong: Vec<_> = all_sources()
        .into_iter()
        .filter(|(path, text)| *path != own && begins(text))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "begin a `db::Transaction` instead: {wrong:?}");
}

#[test]
fn unsafe_code_is_forbidden_in_every_crate() {
    for root in ["lib.rs", "main.rs", "embedded/mod.rs"] {
        let sources = all_sources();
        let (_, text) = sources.iter().find(|(path, _)| path == Path::new(root)).expect(root);
        let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
        assert!(forbids, "{root} does not forbid unsafe code");
    }
}

#[test]
fn only_the_queue_knows_apalis_and_only_db_and_queue_know_sql() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let own = module_of(&path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        if own != "queue" && code.contains("apalis") {
            wrong.push(format!("src/{} knows apalis", path.display()));
        }
        let queries = ["sqlx::query", "query!(", "query_as!(", "query_scalar!("];
        // The private server's own database is created before there is a schema to speak of.
        if !["db", "queue", "embedded"].contains(&own.as_str())
            && queries.iter().any(|query| code.contains(query))
        {
            wrong.push(format!("src/{} contains SQL", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a TOML file at the root of the repository says.
fn table(path: &str) -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).expect("a file").parse().expect("TOML")
}

/// They build the lower floors by themselves, and would test something else with other crates.
#[test]
fn the_fuzz_targets_are_built_with_the_crates_of_kasparro() {
    let (ours, theirs) = (table("Cargo.toml"), table("fuzz/Cargo.toml"));
    let required = |name: &str| {
        let tables = ["dependencies", "dev-dependencies"].into_iter();
        tables.filter_map(|table| ours[table].get(name)).next().cloned()
    };
    for (name, requirement) in theirs["dependencies"].as_table().expect("a table") {
        let expected = required(name);
        assert!(name == "libfuzzer-sys" || expected.as_ref() == Some(requirement), "{name}");
    }
    let locked = |lock: &toml::Table| -> BTreeSet<(String, String)> {
        let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
        let packages = lock["package"].as_array().expect("packages").iter();
        packages.map(|package| (text(&package["name"]), text(&package["version"]))).collect()
    };
    let (ours, theirs) = (locked(&table("Cargo.lock")), locked(&table("fuzz/Cargo.lock")));
    let known: BTreeSet<&String> = ours.iter().map(|(name, _)| name).collect();
    let other: Vec<_> = theirs.difference(&ours).filter(|(name, _)| known.contains(name)).collect();
    assert!(other.is_empty(), "other versions in fuzz/Cargo.lock: {other:?}");
}

#[test]
fn the_scan_sees_every_form_of_import() {
    let text = "use crate::db::{runs, totals};\nuse crate::{queue, sources::{self, Source}};\n\
                // crate::cli is only mentioned\nlet x = crate::domain::run::Mode::Full;";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["db", "domain", "queue", "sources"]);
}

/// Where hashes that can be forged are used, xxh3 mostly, and why two texts of one hash, made on
/// purpose, do no harm there. What a source says is compared by `domain::hash::ContentHash`.
const FORGEABLE: &[(&str, &str)] = &[
    ("domain/hash.rs", "the old kind of stored hashes, compared with nothing but its like"),
    ("domain/bloom_filter.rs", "keys of one hash are applied in order, or normalized once more"),
    (
        "domain/reject.rs",
        "the name of a group of defects; a redrive takes all rows behind the first",
    ),
    (
        "sources/rest_api/auth/hmac.rs",
        "an HMAC, which nobody forges without its key, for APIs that know no other",
    ),
    ("sources/formats/csv/params.rs", "only whoever writes the job file could make them"),
    ("sources/files/unpack/archive.rs", "the checksum that ZIP has, which finds damage"),
];

#[test]
fn a_hash_that_can_be_forged_is_used_only_where_that_does_no_harm() {
    let sources = all_sources();
    let names = ["xxhash_rust", "siphash", "crc32", "fnv", "md5", "sha1"];
    let named: BTreeSet<String> = sources
        .iter()
        .filter(|(_, text)| names.iter().any(|name| code_of(text).to_lowercase().contains(name)))
        .map(|(path, _)| path.to_string_lossy().replace('\\', "/"))
        .collect();
    let allowed: BTreeSet<String> = FORGEABLE.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(named, allowed);
}

/// A text as a line, without comments.
fn code_of(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn statements_select_a_column_even_where_none_is_needed() {
    // Citus passes statements on to other servers as text, and its text of a `select` without columns
    // is a syntax error there (42601).
    let db = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/db");
    let mut paths = Vec::new();
    files_below(&db, &["rs", "sql"], &mut paths);
    assert!(paths.iter().any(|path| path.ends_with("run_tasks/next_batch.sql")), "{paths:?}");
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a file is read");
        let code = code_of(&text).to_lowercase();
        assert!(!code.contains("select from"), "{}: write `select 1 from`", path.display());
    }
}

#[test]
fn no_operation_takes_or_gives_xml_or_yaml() {
    // What poem brings for them is old, and has advisories: see `deny.toml`. Our own `quick_xml` is another version,
    // without any.
    let of_workbooks = Path::new("sources/formats/xlsx");
    for (path, text) in all_sources() {
        if path.starts_with(of_workbooks) {
            continue;
        }
        let code = code_of(&text);
        let words: BTreeSet<&str> =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for name in ["Xml", "Yaml", "ParseFromXML", "ParseFromYAML", "serde_yaml", "spec_yaml"] {
            assert!(!words.contains(name), "{} uses {name}", path.display());
        }
        let is_source = path.components().any(|folder| folder.as_os_str() == "sources");
        assert!(is_source || !words.contains("quick_xml"), "{} uses quick_xml", path.display());
    }
    let document = include_str!("../openapi/openapi.json");
    assert!(document.contains("application/json"));
    for media_type in ["/xml", "+xml", "/yaml", "+yaml", "x-yaml"] {
        assert!(!document.contains(media_type), "an operation takes or gives {media_type}");
    }
}

#[test]
fn imports_within_a_folder_run_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = all_sources();
    sources.extend(as_folder(root, "benches/ingest", "ingest"));
    let found = circles::circles(&sources);
    assert!(found.is_empty(), "circles: {found:?}; move what both need below both");
}

/// A further kind of reading task is its own file, its words in `domain/task.rs`, an arm in `perform.rs`,
/// and nothing else: no statement and no other code names a kind of task, or asks what kind of source it is.
#[test]
fn a_reading_kind_is_named_in_its_file_in_its_words_and_in_one_arm() {
    let kinds = [
        "FetchPage",
        "ParseCsvChunk",
        "ParseSmallChunks",
        "fetch_page",
        "parse_csv_chunk",
        "parse_small_chunks",
    ];
    // Planning and reading name the tasks that follow.
    let named = [
        "domain/task.rs",
        "tasks/perform.rs",
        "tasks/mod.rs",
        "tasks/fetch_page.rs",
        "tasks/parse_csv_chunk.rs",
        "tasks/plan_run.rs",
        "tasks/read_slice.rs",
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files_below(&src, &["rs", "sql"], &mut paths);
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a file is read");
        let name = path.strip_prefix(&src).expect("below src").display().to_string();
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let found = kinds.iter().find(|kind| code.contains(**kind));
        assert!(found.is_none() || named.contains(&name.as_str()), "{name} names {found:?}");
        let asks = name.starts_with("tasks/")
            && ["\"rest_api\"", "\"csv\"", "\"jsonl\"", "rest_api::", "formats::"]
                .iter()
                .any(|kind| code.split("#[cfg(test)]").next().is_some_and(|c| c.contains(kind)));
        assert!(!asks, "{name} asks for a kind of source");
    }
}

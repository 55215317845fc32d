//! Owns what several commands take, and the help for slips in it.

use std::path::Path;
use std::str::FromStr;

use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use super::out;
use crate::api::http::pagination::Limit;
use crate::domain::number::whole;
use crate::domain::run::RunId;
use crate::domain::source_name::SourceName;
use crate::domain::suggest;
use crate::job_file::{DefinitionError, JobsFolder};
use crate::sources::Access;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct OutputArgs {
    /// Print JSON, in the shape of the HTTP API, instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Which part of a list is shown.
#[derive(Debug, clap::Args)]
pub(super) struct PartArgs {
    /// How many, 1 to 1000
    #[arg(long, default_value = "20", value_name = "N")]
    pub limit: Limit,

    /// Go on behind an earlier part: its `next_cursor`
    #[arg(long)]
    pub cursor: Option<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where runs that are started get their API pages from.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct AccessArgs {
    /// Read recorded API pages instead of the network
    #[arg(long, env = "KASPARRO_OFFLINE", value_parser = FalseyValueParser::new())]
    offline: bool,
}

impl AccessArgs {
    pub(super) fn access(self) -> Access {
        if self.offline { Access::Offline } else { Access::Network }
    }
}

/// A parser of one of the words of an enum; a slip is offered the word that was perhaps meant.
pub(super) fn word<T>(words: impl Iterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words.collect::<Vec<_>>()).try_map(|word| word.parse())
}

/// The name of a source, also when its job file is given, as shells complete it: `jobs/shop.toml`.
pub(super) fn source_of(text: &str) -> &str {
    let file = Path::new(text);
    let stem = file.file_stem().filter(|_| file.extension().is_some_and(|end| end == "toml"));
    stem.and_then(|stem| stem.to_str()).unwrap_or(text)
}

/// The source whose runs are meant; a number alone is that of a run.
pub(super) fn source_of_runs(text: &str) -> Result<SourceName, String> {
    match text.parse::<u64>() {
        Ok(run) => Err(format!("to see a run: kasparro runs show {run}")),
        Err(_) => source(text),
    }
}

/// Parses [`source_of`] the text.
pub(super) fn source(text: &str) -> Result<SourceName, String> {
    source_of(text).parse().map_err(|error| format!("{error}"))
}

/// The number of a run.
pub(super) fn run(text: &str) -> Result<RunId, String> {
    whole(text, 1.., 7)
        .map(RunId)
        .map_err(|said| format!("{said}: the number of a run, as `kasparro runs` lists them"))
}

/// For a list that is empty: that is no wonder if there is no such source.
pub(super) fn must_be_known(jobs: &JobsFolder, source: &SourceName) -> anyhow::Result<()> {
    match jobs.get(source.as_str(), crate::sources::kinds()) {
        Err(error @ (DefinitionError::UnknownSource { .. } | DefinitionError::Folder { .. })) => {
            Err(error.into())
        }
        // A broken job file is one all the same.
        _ => Ok(()),
    }
}

/// As [`must_be_known`], for a word behind `command`, where one of its `words` may have been meant.
pub(super) fn must_be_known_behind(
    jobs: &JobsFolder,
    source: &SourceName,
    command: &str,
    words: &[&str],
) -> anyhow::Result<()> {
    must_be_known(jobs, source).map_err(|error| {
        match suggest::nearest(source.as_str(), words.iter().copied()) {
            Some(word) => anyhow::anyhow!("{error}; or did you mean `kasparro {command} {word}`?"),
            None => error,
        }
    })
}

/// Says how to see the rest of a list.
pub(super) fn say_more(next_cursor: Option<&str>) {
    if let Some(cursor) = next_cursor {
        out::remark(format!("there are more: --cursor {cursor}, or a larger --limit"));
    }
}

/// A value as people read it: text without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A list as the API answers it. `former` is the name that its items had before.
pub(super) fn list(items: Vec<Value>, next_cursor: Option<String>, former: &str) -> Value {
    json!({ former: items, "items": items, "next_cursor": next_cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_by_its_job_file_as_well() {
        for text in ["shop", "shop.toml", "jobs/shop.toml", "./jobs/shop.toml", "/a/b/shop.toml"] {
            assert_eq!(source_of(text), "shop");
        }
        assert_eq!(source_of("jobs/shop.csv"), "jobs/shop.csv");
        assert!(source("jobs/shop.csv").is_err());
    }
}

//! Owns completion on the Tab key: a shell asks the program itself, which knows the sources.
//!
//! Only the jobs folder is looked into: no file is read, no database is opened.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{CompletionCandidate, Shell};

use super::out;
use crate::config::{Settings, SettingsLayer};
use crate::job_file::JobsFolder;

/// Tells this program, and the script, that a shell asks.
const VARIABLE: &str = "COMPLETE";

/// Answers a shell that asks, and ends; otherwise does nothing.
pub(super) fn answer(command: fn() -> clap::Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// `completions`: the script that makes a shell ask.
pub(super) fn script(shell: Shell) -> anyhow::Result<ExitCode> {
    let (shells, name) = (Shells::builtins(), shell.to_string());
    let shell = shells.completer(&name).with_context(|| format!("{name} cannot ask"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "kasparro", "kasparro", "kasparro", &mut script)?;
    out::raw(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// The sources whose name begins as typed.
pub(super) fn sources(typed: &OsStr) -> Vec<CompletionCandidate> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let given = SettingsLayer { jobs_dir: jobs_dir(&words), ..SettingsLayer::default() };
    let jobs_dir = std::env::var_os("KASPARRO_JOBS_DIR").filter(|dir| !dir.is_empty());
    let folder = match (given.jobs_dir.clone(), jobs_dir) {
        (Some(folder), _) => Some(folder),
        (None, Some(folder)) => Some(folder.into()),
        (None, None) => Settings::resolve(given, None).ok().map(|settings| settings.jobs_dir),
    };
    let names = folder.and_then(|folder| JobsFolder::new(folder).names().ok());
    let typed = typed.to_string_lossy();
    let names = names.into_iter().flatten().filter(|name| name.starts_with(&*typed));
    names.map(CompletionCandidate::new).collect()
}

/// The folder that the command line under the cursor names.
fn jobs_dir(words: &[OsString]) -> Option<PathBuf> {
    let at = words.iter().position(|word| word == "--jobs-dir");
    let mut joined = words.iter().filter_map(|word| word.to_str()?.strip_prefix("--jobs-dir="));
    joined.next_back().map(PathBuf::from).or_else(|| words.get(at? + 1).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_command_line_counts() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let found = |text: &str| jobs_dir(&words(text));
        assert_eq!(found("kasparro -- kasparro --jobs-dir=a run"), Some("a".into()));
        assert_eq!(found("kasparro -- kasparro run --jobs-dir b s"), Some("b".into()));
        assert_eq!(found("kasparro -- kasparro run s"), None);
    }
}

//! Finding usable Postgres programs on this machine.
//!
//! Owns the order of the places and what makes a candidate usable. It must not know the data folder
//! beyond the major version that an existing cluster demands, nor how to download.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::account::Account;
use super::rejected::Rejected;

/// The oldest major version that has everything kasparro uses.
const OLDEST_MAJOR: u32 = 14;
/// The extensions that kasparro's migrations create.
const EXTENSIONS: [&str; 2] = ["pgcrypto", "hstore"];
/// A program that does not tell its version by then hangs.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(20);

/// Where packages put server programs that are not on the PATH: parent folder, beginning of an
/// entry's name, way to the programs.
const USUAL_PLACES: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/usr/local", "pgsql", "bin"),
];

/// A folder of programs that was tried and works.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    folder: PathBuf,
    version: String,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// As `postgres --version` tells it, e.g. `17.11`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What the programs have to satisfy besides working.
#[derive(Debug, Clone)]
pub(super) struct Demand<'a> {
    /// Who will run them.
    pub(super) account: &'a Account,
    /// The major version of the cluster that is already there: another one cannot open it.
    pub(super) cluster_major: Option<u32>,
}

/// The first usable folder, or every rejected one.
///
/// A folder that was named on purpose is the only one looked at: falling back silently to another
/// installation would hide the mistake.
pub(super) async fn find(
    named: Option<&Path>,
    downloaded: Vec<PathBuf>,
    demand: &Demand<'_>,
) -> Result<Binaries, Vec<Rejected>> {
    if let Some(named) = named {
        return examine(&folder_of_programs(named), demand).await.map_err(|reason| {
            let place = format!("{} (KASPARRO_PG_BIN; nothing else was tried)", named.display());
            vec![Rejected { place, reason }]
        });
    }
    let mut rejected = Vec::new();
    for folder in candidates().into_iter().chain(downloaded) {
        match examine(&folder, demand).await {
            Ok(binaries) => return Ok(binaries),
            Err(reason) => {
                rejected.push(Rejected { place: folder.display().to_string(), reason });
            }
        }
    }
    Err(rejected)
}

/// People name the installation, its `bin`, or the program itself.
fn folder_of_programs(named: &Path) -> PathBuf {
    if named.is_file() {
        named.parent().unwrap_or(named).to_owned()
    } else if !named.join("postgres").exists() && named.join("bin").is_dir() {
        named.join("bin")
    } else {
        named.to_owned()
    }
}

/// Every existing folder that holds a `postgres`, each once, the most likely first.
fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let usual = USUAL_PLACES
        .iter()
        .flat_map(|(parent, beginning, way)| versions_in(Path::new(parent), beginning, way));
    let mut seen = BTreeSet::new();
    on_path
        .chain(usual)
        // /usr/local/bin/postgres may be a link to a package's program, which looks for its library
        // and its siblings where the link points.
        .filter_map(|folder| folder.join("postgres").canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .filter(|folder| seen.insert(folder.clone()))
        .collect()
}

/// The newest first: by the number in the entry's name.
fn versions_in(parent: &Path, beginning: &str, way: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning))
        .map(|entry| (number_in(&entry.file_name()), entry.path().join(way)))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, folder)| folder).collect()
}

fn number_in(name: &OsStr) -> u32 {
    let digits: String = name
        .to_string_lossy()
        .chars()
        .skip_while(|character| !character.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(0)
}

/// Runs the programs as the user who will run the server, which also shows whether that user may.
pub(super) async fn examine(folder: &Path, demand: &Demand<'_>) -> Result<Binaries, String> {
    for name in ["postgres", "initdb"] {
        if !folder.join(name).is_file() {
            return Err(format!("holds no program `{name}`"));
        }
    }
    let answer = output_of(folder, "postgres", &["--version"], demand.account).await?;
    let version = version_in(&answer)
        .ok_or_else(|| format!("`postgres --version` says {:?}", answer.trim()))?;
    let major = number_in(OsStr::new(&version));
    if major < OLDEST_MAJOR {
        return Err(format!("is PostgreSQL {version}; kasparro needs {OLDEST_MAJOR} or later"));
    }
    if let Some(wanted) = demand.cluster_major
        && wanted != major
    {
        return Err(format!(
            "is PostgreSQL {version}; the existing cluster was made by PostgreSQL {wanted}"
        ));
    }
    let share = share_folder(folder, demand.account).await?;
    for extension in EXTENSIONS {
        let control = share.join("extension").join(format!("{extension}.control"));
        if !control.is_file() {
            return Err(format!(
                "PostgreSQL {version} without the extension {extension} ({} is missing; it comes \
                 with the contrib package)",
                control.display()
            ));
        }
    }
    Ok(Binaries { folder: folder.to_owned(), version })
}

/// Where this installation keeps its extensions. Asked of initdb, because pg_config often comes in a
/// package of its own and the way from `bin` to `share` differs from system to system.
async fn share_folder(folder: &Path, account: &Account) -> Result<PathBuf, String> {
    let arguments = ["--show", "--locale=C", "-D", "/nonexistent"];
    let answer = output_of(folder, "initdb", &arguments, account).await?;
    answer
        .lines()
        .find_map(|line| line.strip_prefix("share_path="))
        .map(PathBuf::from)
        .ok_or_else(|| "`initdb --show` does not tell its share folder".to_owned())
}

/// What a program says on both its channels.
async fn output_of(
    folder: &Path,
    program: &str,
    arguments: &[&str],
    account: &Account,
) -> Result<String, String> {
    let cannot_run = |error| match account {
        Account::Other { name, .. } => format!("`{program}` cannot be run by {name}: {error}"),
        Account::Ourselves => format!("`{program}` cannot be run: {error}"),
    };
    let command = account.command(&folder.join(program), Path::new("/"));
    let mut command = command.map_err(cannot_run)?;
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, command.output())
        .await
        .map_err(|_| format!("`{program}` does not answer"))?
        .map_err(cannot_run)?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(said);
    }
    let words = said.lines().next().unwrap_or_default();
    Err(format!("`{program} {}` fails ({}): {words}", arguments.join(" "), output.status))
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → `15.18`.
fn version_in(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("(PostgreSQL) ")?;
    let version = rest.split_whitespace().next()?;
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_says() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(version_in(debian).as_deref(), Some("15.18"));
        assert_eq!(version_in("postgres (PostgreSQL) 19beta1\n").as_deref(), Some("19beta1"));
        assert_eq!(version_in("hello\n"), None);
        assert_eq!(number_in(OsStr::new("19beta1")), 19);
        assert_eq!(number_in(OsStr::new("postgresql@17")), 17);
    }

    #[test]
    fn newer_versions_come_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["pgsql-9.6", "pgsql-15", "pgsql-17", "other-99"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = versions_in(parent.path(), "pgsql-", "bin");
        let expected = ["pgsql-17/bin", "pgsql-15/bin", "pgsql-9.6/bin"];
        assert_eq!(found, expected.map(|name| parent.path().join(name)));
    }
}

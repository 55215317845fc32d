//! Owns whether an entry of `paths` leads to a file that need not be there yet.

use std::fs;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::sources::files::location::is_pattern;

/// Names are told apart by capitals, and only `**` leads through folders: as files are found.
const AS_FOUND: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Whether an entry, relative to `base_dir`, leads to a path, whose folder is there. Links and `..` in what the entry
/// writes out are followed; whether job files may read the file is not looked at.
pub(in super::super::super) fn leads_to(base_dir: &Path, entry: &str, path: &Path) -> bool {
    let Some(path) = real(path) else { return false };
    let start = if entry.starts_with('/') { Path::new("/") } else { base_dir };
    let parts: Vec<_> = entry.split('/').filter(|part| !part.is_empty()).collect();
    let written = parts.iter().take_while(|part| !is_pattern(part)).count();
    let named: PathBuf = parts[..written].iter().fold(start.to_owned(), |at, part| at.join(part));
    if written == parts.len() {
        return real(&named) == Some(path);
    }
    // It leads to folders.
    if parts.last() == Some(&"**") {
        return false;
    }
    let named = if named == Path::new("") { Path::new(".") } else { &named };
    let below = fs::canonicalize(named).ok().and_then(|folder| {
        let below = path.strip_prefix(folder).ok()?;
        Some(below.to_owned())
    });
    let pattern = Pattern::new(&parts[written..].join("/"));
    below.is_some_and(|below| pattern.is_ok_and(|is| is.matches_path_with(&below, AS_FOUND)))
}

/// A path without links and `..`, the last name as it is.
fn real(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
    Some(folder.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_leads_to_what_it_would_find() {
        let root = tempfile::tempdir().unwrap();
        let jobs = root.path().join("jobs");
        fs::create_dir_all(jobs.join("data/deep")).unwrap();
        fs::create_dir_all(root.path().join("uploads/shop")).unwrap();
        std::os::unix::fs::symlink(root.path().join("uploads"), jobs.join("in")).unwrap();
        let file = root.path().join("uploads/shop/a 1.csv");
        let absolute = format!("{}/uploads/*/*.csv", root.path().display());
        for entry in [
            "../uploads/shop/*.csv",
            "../uploads/shop/a 1.csv",
            "../uploads/**/*.csv",
            "../uploads/**/a?1.*",
            "../up*/shop/*.csv",
            "in/shop/*",
            "data/../../uploads/[s]hop/a*",
            &absolute,
        ] {
            assert!(leads_to(&jobs, entry, &file), "{entry}");
        }
        for entry in [
            "../uploads/*.csv",
            "../uploads/shop/*.CSV",
            "../uploads/shop",
            "data/**/*.csv",
            "nowhere/*.csv",
            "../uploads/shop/b.csv",
            "../uploads/**",
        ] {
            assert!(!leads_to(&jobs, entry, &file), "{entry}");
        }
        assert!(!leads_to(&jobs, "../uploads/*/*.csv", &root.path().join("none/a.csv")));
    }
}

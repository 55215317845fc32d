//! Owns whether an entry of `paths` leads to a file that need not be there yet.

use std::fs;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::find::names_hidden;
use crate::sources::files::location::is_pattern;

/// Names are told apart by capitals, and only `**` leads through folders: as files are found.
const AS_FOUND: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// What an entry, relative to `base_dir`, calls a path that it leads to and whose folder is there; `None` if it does not
/// lead there. Links and `..` in what the entry writes out are followed; whether job files may read the file is not looked
/// at.
pub(in super::super::super) fn leads_to(
    base_dir: &Path,
    entry: &str,
    path: &Path,
) -> Option<PathBuf> {
    let path = real(path)?;
    let start = if entry.starts_with('/') { Path::new("/") } else { base_dir };
    let parts: Vec<_> = entry.split('/').filter(|part| !part.is_empty()).collect();
    let written = parts.iter().take_while(|part| !is_pattern(part)).count();
    let named: PathBuf = parts[..written].iter().fold(start.to_owned(), |at, part| at.join(part));
    if written == parts.len() {
        return (real(&named)? == path).then_some(named);
    }
    // A file may well be called `a[1].csv`.
    let literally = parts[written..].iter().fold(named.clone(), |at, part| at.join(part));
    if real(&literally).is_some_and(|literally| literally == path) {
        return Some(literally);
    }
    // It leads to folders.
    if parts.last() == Some(&"**") {
        return None;
    }
    let folder = if named == Path::new("") { Path::new(".") } else { &named };
    let folder = fs::canonicalize(folder).ok()?;
    let below = path.strip_prefix(folder).ok()?;
    if !names_hidden(parts.last()?, &path.file_name()?.to_string_lossy()) {
        return None;
    }
    let pattern = Pattern::new(&parts[written..].join("/")).ok()?;
    pattern.matches_path_with(below, AS_FOUND).then(|| named.join(below))
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
        let data = jobs.join("data");
        let hidden = data.join("._a.csv");
        assert_eq!(leads_to(&jobs, "data/*.csv", &hidden), None, "as files are found");
        assert_eq!(leads_to(&jobs, "data/.*.csv", &hidden), Some(hidden.clone()));
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
            assert!(leads_to(&jobs, entry, &file).is_some(), "{entry}");
        }
        let bracketed = root.path().join("uploads/shop/a[1].csv");
        for (entry, leads) in [("a[1].csv", true), ("a[[]1].csv", true), ("a[1]*.csv", false)] {
            let entry = format!("../uploads/shop/{entry}");
            assert_eq!(leads_to(&jobs, &entry, &bracketed).is_some(), leads, "{entry}");
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
            assert!(leads_to(&jobs, entry, &file).is_none(), "{entry}");
        }
        assert!(leads_to(&jobs, "../uploads/*/*.csv", &root.path().join("none/a.csv")).is_none());
        let called = leads_to(&jobs, "../uploads/*/*.csv", &file);
        assert_eq!(called, Some(jobs.join("../uploads/shop/a 1.csv")));
    }
}

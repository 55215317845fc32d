//! Owns that a file of this machine is read once by a run, whatever names lead to it: links, and paths that are written in
//! two ways. Its rows would count twice where keys are made of its name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::found::Found;
use crate::domain::file_standing::shown;
use crate::sources::files::store::stored_name;
use crate::sources::{LeftOut, Loss};

/// Takes the names out that lead to files which have another one among them. The name stays that was read before, or
/// else that of the file itself, or else the first; where the last one was, since the last row of a key counts.
pub(super) fn once(
    base: &Path,
    files: Vec<Found>,
    is_known: impl Fn(&str) -> bool,
) -> (Vec<Found>, Vec<LeftOut>) {
    let mut by_inode: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
    for (at, file) in files.iter().enumerate() {
        if let Found::Here(path) = file
            && let Ok(metadata) = path.metadata()
        {
            by_inode.entry((metadata.dev(), metadata.ino())).or_default().push(at);
        }
    }
    let real_base = fs::canonicalize(base).unwrap_or_else(|_| base.to_owned());
    let mut places: Vec<Option<usize>> = (0..files.len()).map(Some).collect();
    let mut other_names = Vec::new();
    for of_inode in by_inode.into_values().filter(|names| names.len() > 1) {
        for same in same(&files, &of_inode) {
            let rank = |at: &&Name<'_>| {
                let name = stored_name(base, at.path);
                let is_own = at.real.as_os_str() == real_base.join(&name).as_os_str();
                (!is_known(&name), !is_own, at.at)
            };
            let (Some(kept), Some(last)) = (same.iter().min_by_key(rank), same.last()) else {
                continue;
            };
            for name in same.iter().filter(|name| name.at != kept.at) {
                places[name.at] = None;
                let (one, other) = (stored_name(base, name.path), stored_name(base, kept.path));
                let why =
                    format!("{} is the same file as {}, and read once", shown(&one), shown(&other));
                let path = name.path.to_owned();
                other_names.push(LeftOut { path, why, loss: Loss::Nothing });
            }
            places[kept.at] = Some(last.at);
        }
    }
    let mut placed: Vec<_> =
        places.into_iter().zip(files).filter_map(|(place, file)| Some((place?, file))).collect();
    placed.sort_by_key(|(place, _)| *place);
    other_names.sort_by(|one, other| one.path.as_os_str().cmp(other.path.as_os_str()));
    (placed.into_iter().map(|(_, file)| file).collect(), other_names)
}

/// A name of a file.
struct Name<'f> {
    at: usize,
    path: &'f Path,
    /// Without links and `..`.
    real: PathBuf,
}

/// The names of files that have one inode, those of one file together. Not all file systems tell files by it: what stands
/// elsewhere is the same only if the file is said to have several names.
fn same<'f>(files: &'f [Found], of_inode: &[usize]) -> Vec<Vec<Name<'f>>> {
    let mut groups: Vec<(u64, Vec<Name<'f>>)> = Vec::new();
    for at in of_inode {
        let Found::Here(path) = &files[*at] else { continue };
        let (Ok(real), Ok(metadata)) = (fs::canonicalize(path), path.metadata()) else { continue };
        let is_same = |(links, names): &&mut (u64, Vec<Name<'f>>)| {
            let is_one = names.iter().any(|name| name.real.as_os_str() == OsStr::new(&real));
            is_one || *links > 1 && metadata.nlink() > 1
        };
        let links = metadata.nlink();
        let found = groups.iter_mut().find(is_same);
        let name = Name { at: *at, path, real };
        match found {
            Some((_, names)) => names.push(name),
            None => groups.push((links, vec![name])),
        }
    }
    groups.into_iter().map(|(_, names)| names).filter(|names| names.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_under_the_name_that_was_read_before_or_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("jobs");
        fs::create_dir_all(base.join("d")).unwrap();
        for name in ["d/b.csv", "d/other.csv", "d/pair.csv"] {
            fs::write(base.join(name), "id\n1\n").unwrap();
        }
        std::os::unix::fs::symlink("b.csv", base.join("d/a.csv")).unwrap();
        std::os::unix::fs::symlink("d", base.join("e")).unwrap();
        fs::hard_link(base.join("d/pair.csv"), base.join("d/twin.csv")).unwrap();
        let once = |names: &[&str], known: &[&str]| {
            let files = names.iter().map(|name| Found::Here(base.join(name))).collect();
            let (files, other_names) = once(&base, files, |name| known.contains(&name));
            let name = |file: &Found| match file {
                Found::Here(path) => stored_name(&base, path),
                Found::There(_) => panic!("all are here"),
            };
            let files: Vec<_> = files.iter().map(name).collect();
            (files.join(" "), other_names.into_iter().map(|left| left.why).collect::<Vec<_>>())
        };
        let (files, other_names) =
            once(&["d/a.csv", "d/b.csv", "d/other.csv", "e/b.csv", "d/../d/b.csv"], &[]);
        assert_eq!(files, "d/other.csv d/b.csv", "where the last of its names was");
        assert_eq!(
            other_names,
            [
                "d/../d/b.csv is the same file as d/b.csv, and read once",
                "d/a.csv is the same file as d/b.csv, and read once",
                "e/b.csv is the same file as d/b.csv, and read once",
            ]
        );
        assert_eq!(once(&["d/a.csv", "d/b.csv"], &["d/a.csv"]).0, "d/a.csv");
        assert_eq!(once(&["d/a.csv", "d/b.csv"], &["d/a.csv", "d/b.csv"]).0, "d/b.csv");
        assert_eq!(once(&["d/twin.csv", "d/pair.csv"], &[]).0, "d/twin.csv");
        assert_eq!(once(&["d/twin.csv", "d/pair.csv"], &["d/pair.csv"]).0, "d/pair.csv");
        assert_eq!(once(&["d/b.csv", "d/other.csv"], &[]).0, "d/b.csv d/other.csv");
    }
}

//! What patterns lead to in folders as they are: links in circles, names that are no UTF-8, folders
//! that may not be looked into.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::domain::failure::FailureClass;
use crate::sources::files::store::Store;
use crate::sources::files::store::local::LocalStore;

const SETTING: Setting = Setting { table: "files", extension: "csv" };

/// A folder of files that hold `id` only, and what `paths` lead to in it.
struct Tree(TempDir);

impl Tree {
    fn new(files: &[&str]) -> Self {
        let tree = Self(TempDir::new().unwrap());
        fs::create_dir(tree.path("")).unwrap();
        files.iter().for_each(|file| tree.file(file));
        tree
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join("jobs").join(name)
    }

    fn file(&self, name: impl AsRef<Path>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "id\n1\n").unwrap();
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    fn store(&self) -> LocalStore {
        LocalStore::new(self.path(""), AllowedRoots::default(), SETTING)
    }

    fn look(&self, paths: &[&str]) -> Result<FoundPaths, SourceError> {
        let entries: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        self.store().list(&entries, &AtomicBool::new(false))
    }

    /// The files, and the messages of those left out.
    fn find(&self, paths: &[&str]) -> (Vec<String>, Vec<(String, Loss)>) {
        let found = self.look(paths).unwrap();
        let relative = |path: &PathBuf| {
            path.strip_prefix(self.path("")).unwrap().to_string_lossy().into_owned()
        };
        let folder = self.0.path().canonicalize().unwrap().display().to_string();
        let left = found.left_out.into_iter();
        let left = left.map(|left| (left.why.replace(&folder, "…"), left.loss)).collect();
        (found.files.iter().map(relative).collect(), left)
    }
}

#[test]
fn a_name_that_is_no_utf8_is_left_out_by_name() {
    let tree = Tree::new(&["d/a.csv"]);
    tree.file(OsStr::from_bytes(b"d/Preisliste_M\xe4rz.csv"));
    tree.file(OsStr::from_bytes(b"d/b\xff/b.csv"));
    let why = "its name is not UTF-8 (bytes that are none are shown as \\x..): rename it";
    let (files, left) = tree.find(&["d/*.csv"]);
    assert_eq!(files, ["d/a.csv"]);
    assert_eq!(left, [(format!("d/Preisliste_M\\xe4rz.csv: {why}"), Loss::File)]);
    let (files, left) = tree.find(&["d/**/*.csv"]);
    assert_eq!((files.len(), left.len()), (1, 2), "{left:?}");
    assert!(left[1].0.starts_with("d/b\\xff/b.csv: its"), "{left:?}");
    // What the pattern does not match is not reported.
    assert!(tree.find(&["d/a*.csv"]).1.is_empty());
}

/// Files are removed one by one: what an entry finds never depends on the names of others.
#[test]
fn a_file_whose_name_is_a_pattern_keeps_no_other_file_out() {
    let names = ["*.csv", "**", "[ab].csv", "a.csv", "a1.csv", "a?.csv", "a[1].csv", "b.csv"];
    let entries = ["*.csv", "[ab].csv", "a?.csv", "a[1].csv", "a[[]1].csv", "[*].csv", "a*"];
    for entry in entries {
        let pattern = Pattern::new(entry).unwrap();
        let tree = Tree::new(&[]);
        let mut there = Vec::new();
        for name in names.iter().rev() {
            tree.file(name);
            there.insert(0, *name);
            let found = |name: &&str| *name == entry || pattern.matches(name);
            let expected: Vec<_> = there.iter().copied().filter(found).collect();
            match expected.is_empty() {
                true => assert!(tree.look(&[entry]).is_err(), "{entry} of {there:?}"),
                false => assert_eq!(tree.find(&[entry]).0, expected, "{entry} of {there:?}"),
            }
        }
    }
}

#[test]
fn a_folder_whose_name_is_a_pattern_keeps_no_file_out() {
    let tree = Tree::new(&["**/in.csv", "deep/er/x.csv", "a[1].csv/z.csv", "a1.csv"]);
    assert_eq!(
        tree.find(&["**/*.csv"]).0,
        ["**/in.csv", "a1.csv", "a[1].csv/z.csv", "deep/er/x.csv"]
    );
    assert_eq!(tree.find(&["a[1].csv"]).0, ["a1.csv"]);
    fs::create_dir_all(tree.path("*")).unwrap();
    assert_eq!(tree.find(&["deep/**/*.csv", "*/in.csv"]).0, ["deep/er/x.csv", "**/in.csv"]);
    // A link of such a name leads out of the folders as others do.
    let tree = Tree::new(&["a.csv", "../secret/s.csv"]);
    tree.link("../secret/s.csv", "[ab].csv");
    let (files, left) = tree.find(&["[ab].csv"]);
    assert_eq!((files, left.len()), (vec!["a.csv".to_owned()], 1), "{left:?}");
    assert_eq!(left[0].1, Loss::File);
}

#[test]
fn links_in_circles_are_followed_once_around() {
    let tree = Tree::new(&["d/ok.csv", "d/sub/in.csv"]);
    for n in 0..3 {
        tree.link(".", &format!("d/up{n}"));
        tree.link("..", &format!("d/sub/up{n}"));
        tree.link("../sub", &format!("d/a{n}"));
    }
    for pattern in ["d/**/*.csv", "**/*.csv", "*/**/*.csv", "**/**/*.csv"] {
        let (files, left) = tree.find(&[pattern]);
        assert_eq!((files, left), (vec!["d/ok.csv".into(), "d/sub/in.csv".into()], vec![]));
    }
    // The real names first, wherever they are in the order of names.
    tree.link("sub", "d/0");
    assert_eq!(tree.find(&["d/**/in.csv"]).0, ["d/sub/in.csv"]);
}

#[test]
fn links_that_the_pattern_names_work_as_names_do_and_others_lead_to_what_nothing_else_leads_to() {
    let tree = Tree::new(&["2024/a.csv", "2024/q1/b.csv"]);
    tree.link("2024", "current");
    assert_eq!(tree.find(&["current/*.csv"]).0, ["current/a.csv"]);
    assert_eq!(tree.find(&["current/**/*.csv"]).0, ["current/a.csv", "current/q1/b.csv"]);
    assert_eq!(tree.find(&["*/a.csv"]).0, ["2024/a.csv", "current/a.csv"]);
    assert_eq!(tree.find(&["**/current/a.csv"]).0, ["current/a.csv"]);
    fs::create_dir(tree.path("d")).unwrap();
    tree.link("../2024", "d/in");
    assert_eq!(tree.find(&["d/**/*.csv"]).0, ["d/in/a.csv", "d/in/q1/b.csv"]);
    tree.link("a.csv", "2024/latest.csv");
    assert_eq!(tree.find(&["2024/*.csv"]).0, ["2024/a.csv", "2024/latest.csv"]);
}

#[test]
fn one_link_that_cannot_be_read_keeps_no_other_file_out() {
    let tree = Tree::new(&["d/a.csv", "d/z.csv", "../secret/s.csv"]);
    tree.link("/proc/kmsg", "d/kmsg.csv");
    tree.link("loop.csv", "d/loop.csv");
    tree.link("nowhere", "d/gone.csv");
    tree.link("../../secret/s.csv", "d/out.csv");
    tree.link("../../secret", "d/folder");
    let (files, left) = tree.find(&["d/**/*.csv"]);
    assert_eq!(files, ["d/a.csv", "d/z.csv"]);
    let said: Vec<_> = left.iter().map(|(why, _)| why.as_str()).collect();
    for (said, expected) in said.iter().zip([
        "d/folder leads to …/secret, which is outside the folders that job files may read",
        "d/gone.csv leads to nowhere, which is not there",
        "d/kmsg.csv leads to /proc/kmsg, which is outside the folders that job files may read: ",
        "d/loop.csv leads nowhere: Too many levels of symbolic links",
        "d/out.csv leads to …/secret/s.csv, which is outside the folders",
    ]) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(left.len(), 5, "{left:?}");
    assert!(left.iter().all(|(_, loss)| *loss > Loss::Nothing), "{left:?}");
    // What the job file writes out is its own mistake.
    for paths in [["d/out.csv"], ["d/folder/*.csv"], ["../secret/*.csv"]] {
        let error = tree.store().admit(paths[0]).unwrap_err();
        assert!(error.text().contains("data_roots"), "{error}");
    }
    let error = tree.store().admit("d/loop.csv").unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
}

#[test]
fn a_folder_that_may_not_be_looked_into_is_named() {
    let tree = Tree::new(&["d/a.csv", "d/shut/b.csv"]);
    let rights = |mode| fs::set_permissions(tree.path("d/shut"), PermissionsExt::from_mode(mode));
    rights(0).unwrap();
    if fs::read_dir(tree.path("d/shut")).is_err() {
        for pattern in ["d/**/*.csv", "d/**/a*.csv", "**/*.csv"] {
            let (files, left) = tree.find(&[pattern]);
            assert_eq!((files.len(), left.len()), (1, 1), "{left:?}");
            assert!(left[0].0.starts_with("d/shut may not be looked at: give"), "{left:?}");
            assert_eq!(left[0].1, Loss::Unknown);
        }
    }
    rights(0o755).unwrap();
}

#[test]
fn folders_and_names_in_other_case_are_named_unless_something_reads_them() {
    let tree = Tree::new(&["d/a.csv", "d/b.csv/part-0", "d/OLD.CSV"]);
    let (files, left) = tree.find(&["d/*.csv"]);
    assert_eq!(files, ["d/a.csv"]);
    assert!(left[0].0.starts_with("d/OLD.CSV is not read: its name has capitals"), "{left:?}");
    assert!(left[1].0.starts_with("d/b.csv is a folder; its files"), "{left:?}");
    assert_eq!((left[0].1, left[1].1, left.len()), (Loss::Nothing, Loss::File, 2));
    assert_eq!(tree.find(&["d/*.csv", "d/*.CSV"]).1.len(), 1);
    assert!(tree.find(&["d/*"]).1.is_empty());
    assert!(tree.find(&["d/**/*"]).1.is_empty());
    let error = tree.look(&["d/*.Csv"]).unwrap_err();
    assert!(error.text().contains("there is no file") && error.text().contains("OLD.CSV"));
}

#[test]
fn a_walk_ends_at_its_bounds_and_when_nobody_waits_any_more() {
    let tree = Tree::new(&["d/a.csv", "d/b.csv", "d/c/e.csv"]);
    let (base, allowed_roots, never) =
        (tree.path(""), AllowedRoots::default(), AtomicBool::new(false));
    let mut finder = Finder::new(&base, &allowed_roots, SETTING, &never);
    finder.entries = 3;
    let error = finder.find("d/**/*.csv").unwrap_err();
    assert!(error.text().contains("more than 1,000,000 files and folders"), "{error}");
    let mut finder = Finder::new(&base, &allowed_roots, SETTING, &never);
    finder.most_files = 2;
    let error = finder.find("d/**/*.csv").unwrap_err();
    assert!(error.text().contains("leads to more than 2 files"), "{error}");
    let stopped = AtomicBool::new(true);
    let error = tree.store().list(&["d/*.csv".to_owned()], &stopped).unwrap_err();
    assert_ne!(error.class(), FailureClass::Permanent);
}

#[test]
fn a_pattern_from_the_top_of_the_file_system_looks_only_where_files_may_be_read() {
    let tree = Tree::new(&["d/here.csv"]);
    let nothing = tree.look(&["/**/nothere*.csv"]).unwrap_err();
    assert!(nothing.text().contains("there is no file /**/nothere*.csv"), "{nothing}");
    let found = tree.look(&["/**/here.csv"]).unwrap();
    assert_eq!(found.files, [tree.path("d/here.csv").canonicalize().unwrap()]);
    assert_eq!(found.left_out.len(), 1, "{found:?}");
    assert_eq!(found.left_out[0].loss, Loss::Nothing, "{found:?}");
}

#[test]
fn a_hidden_file_is_found_only_by_a_pattern_that_begins_with_a_dot() {
    let tree = Tree::new(&["a.csv", "._a.csv", "d/.b.csv", "d/b.csv"]);
    let unread = |name: &str| {
        (
            format!("{name} is not read: its name begins with a dot, and the pattern does not"),
            Loss::Nothing,
        )
    };
    assert_eq!(tree.find(&["*.csv"]), (vec!["a.csv".into()], vec![unread("._a.csv")]));
    assert_eq!(tree.find(&["d/*"]), (vec!["d/b.csv".into()], vec![unread("d/.b.csv")]));
    let (files, left) = tree.find(&["**/*.csv"]);
    assert_eq!((files.len(), left.len()), (2, 2));
    for named in ["._*.csv", "._a.csv", "**/._a.csv"] {
        assert_eq!(tree.find(&[named]), (vec!["._a.csv".into()], vec![]), "{named}");
    }
    assert_eq!(tree.find(&["*.csv", ".*.csv"]).1, [], "another entry reads it");
}

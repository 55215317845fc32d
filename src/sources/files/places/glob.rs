//! Owns patterns over the names of files that a listing shows: what is matched, by which prefix it is listed, and what
//! is left out.
//!
//! Must not know where the files are.

use globset::{GlobBuilder, GlobMatcher};

use crate::sources::{SourceError, SourceErrorKind};

/// What is left out if the job file does not say otherwise: files that are still being written, and hidden ones.
pub const LEFT_OUT: &[&str] = &["*.tmp", "*.part", "*.filepart", ".*"];

/// A pattern. `*` and `?` stay within a folder, `**` leads through folders.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    /// `None` of a name without wildcards, which means itself.
    matcher: Option<GlobMatcher>,
}

/// What is left out of a listing.
#[derive(Debug, Clone, Default)]
pub struct Exclude(Vec<GlobMatcher>);

impl Pattern {
    /// Of the text behind the bucket or the host.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let matcher = match first_wildcard(text) {
            Some(_) => Some(compiled(text)?),
            None => None,
        };
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// The name that it means, if it is no pattern.
    pub fn name(&self) -> Option<&str> {
        self.matcher.is_none().then_some(self.text.as_str())
    }

    /// What all names begin with that it matches.
    pub fn prefix(&self) -> &str {
        &self.text[..first_wildcard(&self.text).unwrap_or(self.text.len())]
    }

    /// Whether it matches names below folders that it does not write out.
    pub fn is_deep(&self) -> bool {
        let rest = &self.text[self.prefix().len()..];
        rest.contains('/') || rest.contains("**")
    }

    /// Whether it matches a name.
    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Some(matcher) => matcher.is_match(name),
            None => name == self.text,
        }
    }

    /// Whether it may match names below this folder, which ends with `/`: otherwise it need not be looked into.
    #[cfg(any(test, feature = "sftp"))]
    pub fn may_be_below(&self, folder: &str) -> bool {
        let parts: Vec<&str> = self.text.split('/').collect();
        let folders: Vec<&str> = folder.trim_end_matches('/').split('/').collect();
        for (place, part) in parts.iter().enumerate() {
            if part.contains("**") {
                return true;
            }
            let Some(folder) = folders.get(place) else { return true };
            // The last part is that of the files.
            if place + 1 == parts.len() {
                return false;
            }
            let is_it = match first_wildcard(part) {
                Some(_) => compiled(part).is_ok_and(|part| part.is_match(folder)),
                None => part == folder,
            };
            if !is_it {
                return false;
            }
        }
        false
    }
}

impl Exclude {
    /// Of the patterns of a job file, or what is left out otherwise.
    ///
    /// # Errors
    /// The place of one that is none, and what is wrong with it.
    pub fn new(patterns: Option<&[String]>) -> Result<Self, (usize, String)> {
        let Some(patterns) = patterns else {
            let all = LEFT_OUT.iter().enumerate();
            return all
                .map(|(at, text)| compiled(text).map_err(|why| (at, why)))
                .collect::<Result<_, _>>()
                .map(Self);
        };
        let all = patterns.iter().enumerate();
        all.map(|(at, text)| compiled(text).map_err(|why| (at, why)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a file is left out: by its name, or by the whole path where the pattern has a `/` in it.
    pub fn leaves_out(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.0.iter().any(|pattern| match pattern.glob().glob().contains('/') {
            true => pattern.is_match(path),
            false => pattern.is_match(name),
        })
    }
}

/// Where the first wildcard stands.
fn first_wildcard(text: &str) -> Option<usize> {
    text.find(['*', '?', '[', '{'])
}

fn compiled(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(false).build();
    let glob = glob.map_err(|error| format!("`{text}` is no pattern: {}", error.kind()))?;
    Ok(glob.compile_matcher())
}

/// The error of a pattern in `files.paths`.
pub fn no_pattern(entry: &str, why: &str) -> SourceError {
    SourceError::new(SourceErrorKind::InvalidConfig, format!("files.paths: {entry}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn a_star_stays_within_a_folder_and_two_lead_through_folders() {
        for (text, matched, not) in [
            (
                "in/*.csv",
                &["in/a.csv", "in/ä b+c.csv", "in/.csv"][..],
                &["in/x/a.csv", "a.csv", "in/a.csv.gz"][..],
            ),
            ("in/**/*.csv", &["in/a.csv", "in/x/y/a.csv", "in/x//a.csv"], &["a.csv", "in/a.txt"]),
            ("**/*.csv.gz", &["a.csv.gz", "x/a.csv.gz"], &["x/a.csv"]),
            ("in/202?-[01]*/a.csv", &["in/2024-01/a.csv"], &["in/2024-21/a.csv", "in/2024/a.csv"]),
            ("in/{a,b}.csv", &["in/a.csv", "in/b.csv"], &["in/c.csv"]),
            ("in/a b+c.csv", &["in/a b+c.csv"], &["in/a bc.csv"]),
            ("in//a*.csv", &["in//a.csv"], &["in/a.csv"]),
        ] {
            let pattern = pattern(text);
            for name in matched {
                assert!(pattern.matches(name), "{text} {name}");
                assert!(name.starts_with(pattern.prefix()), "{text} {name}");
            }
            for name in not {
                assert!(!pattern.matches(name), "{text} {name}");
            }
        }
        assert!(Pattern::new("in/[a").unwrap_err().starts_with("`in/[a` is no pattern"));
        assert_eq!(pattern("in/a.csv").name(), Some("in/a.csv"));
        assert_eq!(pattern("in/a*.csv").prefix(), "in/a");
    }

    #[test]
    fn only_folders_are_looked_into_that_may_have_a_file() {
        for (text, yes, no) in [
            ("out/*.csv", &["out/"][..], &["in/", "out/a/"][..]),
            ("out/*/x.csv", &["out/", "out/a/"], &["out/a/b/"]),
            ("out/**/x.csv", &["out/", "out/a/", "out/a/b/"], &["in/"]),
            ("/out/a?/x.csv", &["/", "/out/", "/out/ab/"], &["/out/b/", "/in/"]),
        ] {
            for folder in yes {
                assert!(pattern(text).may_be_below(folder), "{text} {folder}");
            }
            for folder in no {
                assert!(!pattern(text).may_be_below(folder), "{text} {folder}");
            }
        }
    }

    #[test]
    fn what_is_still_being_written_is_left_out() {
        let usual = Exclude::new(None).unwrap();
        for name in ["in/a.csv.part", "a.tmp", "x/a.filepart", "in/.a.csv"] {
            assert!(usual.leaves_out(name), "{name}");
        }
        assert!(!usual.leaves_out(".in/a.csv"));
        let own = Exclude::new(Some(&["old/**".to_owned(), "*.bak".to_owned()])).unwrap();
        assert!(own.leaves_out("old/x/a.csv") && own.leaves_out("in/a.bak"));
        assert!(!own.leaves_out("in/a.tmp"));
        assert_eq!(Exclude::new(Some(&["[".to_owned()])).unwrap_err().0, 0);
    }
}

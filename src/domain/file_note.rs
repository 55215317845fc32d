//! Owns what reading a file leaves to be said at the end of its run, where no plan has seen what stands in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file_standing::shown;
use super::remark::{Remark, few};

/// The most things that are said of how files are understood.
const MOST_NOTES: usize = 20;

/// Something to say about a file that was read, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNote {
    /// What the file is called in `source_files`.
    pub url: String,
    /// The same, with the member that it is of an archive.
    pub name: String,
    /// What it is about.
    pub about: About,
    /// For people; of a file that was left out it names the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Where it is the same as before: the version that it is, and how it is listed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<SeenAgain>,
    /// Where it cannot be read as it is: what tells the source whether it is still the same, in the source's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<Value>,
}

/// A file that could not be read, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableFile {
    /// What tells the source whether it is still the same, in the source's own words.
    pub seen: Value,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// A version of a file that is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAgain {
    /// `source_files.id`.
    pub id: i64,
    /// How a listing shows it now, in the words of the place.
    pub listed: Value,
}

/// What a note on a file is about. What degrades a run comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// It could not be read, or not to its end.
    Unreadable,
    /// It was kept out since it has lost something that the job file guards.
    Lost,
    /// Something that makes the run degraded.
    Doubt,
    /// Something that people should know.
    Odd,
    /// It was read before as it is: its rows were not looked at again.
    Same,
}

impl About {
    /// Whether the file, or a part of it, is missing from the run.
    pub fn is_left_out(self) -> bool {
        matches!(self, Self::Unreadable | Self::Lost)
    }
}

/// The files of which nothing, or not all, was read.
pub fn left_out(notes: &[FileNote]) -> BTreeSet<&str> {
    let left_out = notes.iter().filter(|note| note.about.is_left_out());
    left_out.map(|note| note.url.as_str()).collect()
}

/// How many files those are of which no member is what it was.
pub fn left_out_whole(notes: &[FileNote]) -> usize {
    let same = notes.iter().filter(|note| note.about == About::Same);
    let same: BTreeSet<_> = same.map(|note| note.url.as_str()).collect();
    left_out(notes).difference(&same).count()
}

/// What there is to say of all of them.
pub fn remarks(notes: &[FileNote]) -> Vec<Remark> {
    let texts = |about| -> Vec<String> {
        let notes = notes.iter().filter(|note| note.about == about);
        notes.map(|note| note.text.clone()).collect()
    };
    let mut remarks = Vec::new();
    let (unreadable, lost) = (texts(About::Unreadable), texts(About::Lost));
    if !unreadable.is_empty() {
        let number = not_loaded(unreadable.len());
        remarks.push(Remark::degrading(format!("{number}: {}", few(unreadable))));
    }
    if !lost.is_empty() {
        remarks.push(Remark::degrading(format!(
            "{}: {}. Fix the file or the job file; or write missing_field = \"evolve\" under [contract] to load \
             such files, which empties what they filled",
            not_loaded(lost.len()),
            few(lost)
        )));
    }
    let mut of_files: BTreeMap<(About, &str), Vec<String>> = BTreeMap::new();
    for FileNote { name, about, text, .. } in notes {
        if matches!(about, About::Doubt | About::Odd) {
            let files = of_files.entry((*about, text)).or_default();
            // A text may name the file itself.
            files.extend(Some(shown(name)).filter(|name| !name.is_empty()));
        }
    }
    remarks.extend(of_files.into_iter().take(MOST_NOTES).map(|((about, text), files)| Remark {
        text: match files[..] {
            [] => text.to_owned(),
            // The file is what the sentence is about.
            [ref file] if text.starts_with("has ") || text.starts_with("is ") => {
                format!("{file} {text}")
            }
            _ => format!("{}: {text}", few(files)),
        },
        degrades: about == About::Doubt,
    }));
    remarks
}

/// So many files were kept out.
pub fn not_loaded(files: usize) -> String {
    match files {
        1 => "a file was not loaded".to_owned(),
        files => format!("{files} files were not loaded"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_together_where_the_same_is_to_be_said_and_what_degrades_is_said_first() {
        let note = |name: &str, about, text: &str| FileNote {
            url: name.to_owned(),
            name: name.to_owned(),
            about,
            text: text.to_owned(),
            again: None,
            stays: None,
        };
        let notes = [
            note("a.gz", About::Odd, "is empty"),
            note("b.gz", About::Odd, "is empty"),
            note("c.gz", About::Doubt, "delimiter = \";\""),
            note("d.gz", About::Unreadable, "d.gz is damaged"),
            note("e.gz", About::Lost, "e.gz: no column `x`"),
            note("f.gz", About::Same, ""),
            note("", About::Odd, "g.gz is unchanged"),
            note("h.gz", About::Odd, "has 3 rows; its earlier version had 9"),
        ];
        let remarks = remarks(&notes);
        let texts: Vec<_> = remarks.iter().map(|remark| remark.text.as_str()).collect();
        assert_eq!(texts[0], "a file was not loaded: d.gz is damaged");
        assert!(
            texts[1].starts_with("a file was not loaded: e.gz: no column `x`. Fix"),
            "{texts:?}"
        );
        assert_eq!(
            texts[2..],
            [
                "c.gz: delimiter = \";\"",
                "g.gz is unchanged",
                "h.gz has 3 rows; its earlier version had 9",
                "a.gz; b.gz: is empty"
            ]
        );
        let degrades: Vec<_> = remarks.iter().map(|remark| remark.degrades).collect();
        assert_eq!(degrades, [true, true, true, false, false, false]);
        assert_eq!(left_out(&notes), BTreeSet::from(["d.gz", "e.gz"]));
    }
}

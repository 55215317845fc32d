//! Owns what is remembered of a file between runs, and the raw blocks its rows are kept in.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::hash::StoredHash;
use super::run::RunId;
use super::slice::SliceId;

/// A position within a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes before it.
    pub bytes: u64,
    /// Rows before it, the header not counted.
    pub rows: i64,
    /// Lines before it.
    pub lines: i64,
    /// Chunks before it.
    pub chunks: i32,
}

/// How a file is to be read: dialect, header and chunk size, decided once when it is planned.
/// Opaque to all but its kind; equal layouts cut equal bytes into equal chunks.
/// Thousands of files share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Arc<Value>);

impl Layout {
    /// The layout that a kind of file has written.
    pub fn new(value: Value) -> Self {
        Self(Arc::new(value))
    }

    /// What the kind of file has written.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The same to be changed.
    pub fn value_mut(&mut self) -> &mut Value {
        Arc::make_mut(&mut self.0)
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification.
    pub modified: SystemTime,
}

/// What was known of a file when it was last read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification.
    pub modified: SystemTime,
    /// Hash of all `size` bytes.
    pub hash: StoredHash,
    /// How it was read.
    pub layout: Layout,
    /// Bytes, rows and lines read, and chunks made, up to the end.
    pub end: Progress,
    /// The most fields that a row of it has; `None` where that was not counted.
    pub width: Option<u32>,
    /// What tells it from another file of the same size and time; `None` where there is nothing of that kind.
    pub etag: Option<String>,
}

/// A file that is read as a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedFile {
    /// The slice that its first chunk became: what tells it from the other files of its run.
    pub begins: SliceId,
    /// What it is called, without anything secret.
    pub name: String,
    /// How it is read.
    pub layout: Layout,
    /// How a listing showed it, in the words of the place where it is: later runs find it again. `None` of a file that
    /// is made for one run.
    pub listed: Option<Value>,
    /// Which member of an archive it is.
    pub member: Option<String>,
}

/// A version of a file that a successful run has read to its end.
#[derive(Debug, Clone)]
pub struct CommittedFile {
    /// `source_files.id`.
    pub id: i64,
    /// What the file is called.
    pub url: String,
    /// How a listing showed it when it was read as a stream, see [`StreamedFile::listed`].
    pub listed: Option<Value>,
    /// Which member of an archive it is.
    pub member: Option<String>,
    /// What is known of it.
    pub known: KnownFile,
    /// Hash of the job file it was read with.
    pub definition_hash: Option<StoredHash>,
    /// The run that has read it to its end.
    pub run: RunId,
    /// Rows of it that are in quarantine.
    pub quarantined: i64,
    /// Whether a run did not find it since.
    pub gone: bool,
    /// Whether a run that noticed that has ended as a success.
    pub gone_for_good: bool,
    /// Whether raw rows are kept from behind its end: a run that was not finished read them.
    pub rows_behind: bool,
}

/// Consecutive rows of a file, byte for byte, as they are stored in `raw_csv_blocks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBlock {
    /// Number of the first row within the file, from 1.
    pub first_row: i64,
    /// Line within the file at which the first row starts, from 1.
    pub first_line: i64,
    /// Offset of the first byte within the file.
    pub start: u64,
    /// The rows with their line ends.
    pub payload: Bytes,
    /// For each row the offset behind its last byte within `payload`.
    pub row_ends: Vec<i32>,
}

impl CommittedFile {
    /// What it is called: the file, and which member of it.
    pub fn name(url: &str, member: Option<&str>) -> String {
        match member {
            Some(member) => format!("{url}#{member}"),
            None => url.to_owned(),
        }
    }

    /// What it is called in the keys of its rows: what stands between the parts of such a key, and between a file and a
    /// member, is escaped in them, so that no two have the same.
    pub fn in_keys(url: &str, member: Option<&str>) -> String {
        let escaped = |text: &str, special: &[char]| {
            let mut escaped = String::with_capacity(text.len());
            for c in text.chars() {
                if special.contains(&c) {
                    escaped.push('\\');
                }
                escaped.push(c);
            }
            escaped
        };
        let file = escaped(url, &['|', '\\', '#']);
        match member {
            Some(member) => format!("{file}#{}", escaped(member, &['|', '\\'])),
            None => file,
        }
    }

    /// What tells it from all others of its source.
    pub fn key(url: &str, member: Option<&str>) -> String {
        match member {
            // No name has this in it.
            Some(member) => format!("{url}\0{member}"),
            None => url.to_owned(),
        }
    }
}

impl RawBlock {
    /// Bytes that it takes in memory, about: a row on its own takes more than it has.
    pub fn held_bytes(&self) -> usize {
        self.payload.len() + 4 * self.row_ends.len() + 160
    }
}

/// Which rows of a file are to be mapped, by their sorted numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChosenRows {
    /// All.
    All,
    /// All but these.
    Without(Vec<i64>),
    /// Only these.
    Only(Vec<i64>),
}

impl ChosenRows {
    /// Whether a row is chosen.
    pub fn contains(&self, number: i64) -> bool {
        match self {
            Self::All => true,
            Self::Without(numbers) => numbers.binary_search(&number).is_err(),
            Self::Only(numbers) => numbers.binary_search(&number).is_ok(),
        }
    }

    /// The places of the chosen rows within a block, in order.
    pub fn within<'a>(&'a self, block: &RawBlock) -> Box<dyn Iterator<Item = usize> + 'a> {
        let (first, rows) = (block.first_row, block.row_ends.len());
        let numbered = |numbers: &'a [i64]| {
            let start = numbers.partition_point(|number| *number < first);
            let end = numbers.partition_point(|number| *number < first + rows as i64);
            &numbers[start..end]
        };
        match self {
            Self::All => Box::new(0..rows),
            Self::Only(numbers) => {
                Box::new(numbered(numbers).iter().map(move |number| (number - first) as usize))
            }
            Self::Without(numbers) => {
                let mut skipped = numbered(numbers).iter().peekable();
                Box::new(
                    (0..rows).filter(move |index| {
                        skipped.next_if_eq(&&(first + *index as i64)).is_none()
                    }),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_files_are_called_the_same_in_the_keys_of_their_rows() {
        let names: Vec<_> = ["a", "a|", "a#", "a\\", "a#b", "a\\#b", "a##b", "a#|b"]
            .iter()
            .flat_map(|url| {
                [None, Some("b"), Some("#b"), Some("|b"), Some("\\b")].map(|m| (url, m))
            })
            .map(|(url, member)| CommittedFile::in_keys(url, member))
            .collect();
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        assert_eq!(CommittedFile::in_keys("a.zip", Some("b#c.csv")), "a.zip#b#c.csv");
        assert_eq!(CommittedFile::in_keys("a.zip#b.csv", None), "a.zip\\#b.csv");
    }

    #[test]
    fn rows_are_chosen_by_their_numbers_within_the_file() {
        let block = RawBlock {
            first_row: 11,
            first_line: 12,
            start: 0,
            payload: Bytes::new(),
            row_ends: vec![0; 4],
        };
        let within = |rows: ChosenRows| rows.within(&block).collect::<Vec<_>>();
        assert_eq!(within(ChosenRows::All), [0, 1, 2, 3]);
        assert_eq!(within(ChosenRows::Only(vec![3, 11, 14, 15])), [0, 3]);
        assert_eq!(within(ChosenRows::Without(vec![3, 11, 14, 15])), [1, 2]);
        assert_eq!(within(ChosenRows::Without(Vec::new())), [0, 1, 2, 3]);
    }
}

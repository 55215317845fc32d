//! Owns which files a task reads as streams, one after the other, and where it stands: as it is stored in its payload.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::file::CommittedFile;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::remark::Remark;
use crate::domain::slice::SliceId;
use crate::sources::files::landing::Landed;
use crate::sources::files::places::Listed;
use crate::sources::{Position, SourceError, SourceErrorKind};

/// The most files of a task.
const MOST_FILES: usize = 64;
/// Another version may read what this one cannot.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");
/// The most bytes of several files of a task, as they are listed.
const MOST_BYTES: u64 = 8 << 20;

/// What a task reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// The files that are left, in their order.
    pub files: VecDeque<ToLand>,
    /// The mapped columns that one of the earlier files of the source lacks; `None` where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<BTreeSet<String>>,
    /// Where it is within the first of them; `None` at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Within>,
}

/// A place within a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Within {
    /// So many members of it, if it is an archive, are done with.
    pub member: usize,
    /// The slice that the first chunk of this one became.
    pub begins: SliceId,
    /// How far it was read; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<Landed>,
    /// What stands in front of its first row, encoded, where its rows are stored as they came: then they need not come
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beginning: Option<String>,
}

/// A file to be read as a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToLand {
    /// As it is listed.
    pub file: Listed,
    /// When it was.
    pub at: DateTime<Utc>,
    /// As it was listed when it was read last, if the run may build upon that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Listed>,
    /// What it was then, or each of its members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
}

impl ToLand {
    /// What it was, or this member of it.
    pub fn before_of(&self, member: Option<&str>) -> Option<&Before> {
        self.before.iter().find(|before| before.member.as_deref() == member)
    }

    /// How it is listed, as it is to be stored.
    pub fn seen(&self) -> Value {
        Seen { file: self.file.clone(), at: self.at }.to_json()
    }
}

/// What a file was, or a member of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    /// `source_files.id`.
    pub id: i64,
    /// Which member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The hash of its content, if the run may build upon that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<StoredHash>,
    /// How many rows it had.
    pub rows: i64,
    /// The mapped columns that it lacked; `None` where nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<BTreeSet<String>>,
    /// What there is to say if it is the same again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
}

/// How a listing showed a file, and when: what `source_files.listed` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// How.
    pub file: Listed,
    /// When.
    pub at: DateTime<Utc>,
}

impl Seen {
    /// Of a file that was read; `None` when another version wrote it, or it was read otherwise.
    pub fn of(committed: &CommittedFile) -> Option<Self> {
        Self::deserialize(committed.listed.as_ref()?).ok()
    }

    /// The form to be stored.
    pub fn to_json(&self) -> Value {
        json(self)
    }
}

/// How a file was listed that cannot be read as it is, and what it was read by: what `unreadable_files.seen` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Unreadable {
    /// How, and when.
    #[serde(flatten)]
    seen: Seen,
    /// The job file.
    definition: String,
    /// The version of kasparro.
    program: String,
}

impl Unreadable {
    /// A file that cannot be read by this job file.
    pub fn new(file: &ToLand, definition: ContentHash) -> Self {
        let seen = Seen { file: file.file.clone(), at: file.at };
        Self { seen, definition: definition.to_string(), program: PROGRAM.to_owned() }
    }

    /// The form to be stored.
    pub fn to_json(&self) -> Value {
        json(self)
    }

    /// How it was listed, if it would be read in the same way now.
    pub fn seen_by(stored: &Value, definition: ContentHash) -> Option<Seen> {
        let Self { seen, definition: then, program } = Self::deserialize(stored).ok()?;
        (then == definition.to_string() && program == PROGRAM).then_some(seen)
    }
}

impl Group {
    /// What is read at a position.
    ///
    /// # Errors
    /// When another version wrote it.
    pub fn of(position: &Position) -> Result<Self, SourceError> {
        let wrong = |message| SourceError::new(SourceErrorKind::InvalidState, message);
        match position {
            Position::Own(position) => Self::deserialize(position)
                .map_err(|error| wrong(format!("{position} is no position within files: {error}"))),
            Position::Chunk(_) => Err(wrong("a chunk that was planned is no stream".to_owned())),
        }
    }

    /// The form to be stored.
    pub fn to_json(&self) -> Value {
        json(self)
    }

    /// The same without the file that could not be read; `None` if there is no other.
    pub fn behind_first(mut self) -> Option<Self> {
        self.files.pop_front();
        self.at = None;
        (!self.files.is_empty()).then_some(self)
    }

    /// Whether a file goes with those that are there: small ones go together, and one whose size nobody knows alone.
    pub fn takes(&self, file: &Listed) -> bool {
        let sizes = self.files.iter().map(|of| of.file.size).chain([file.size]);
        let bytes = sizes.sum::<Option<u64>>();
        self.files.len() < MOST_FILES && bytes.is_some_and(|bytes| bytes <= MOST_BYTES)
    }
}

#[expect(clippy::expect_used, reason = "serde_json writes every number, text and object")]
fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("numbers and texts")
}

//! Owns what a task is: the six kinds, the input of each, and its key in the ledger.

use serde::{Deserialize, Serialize};

use super::file::FileStamp;
use super::hash::ChunkHash;
use super::string_enum::string_enum;

string_enum! {
    /// The kinds of work a run is split into; each has a queue of its name.
    TaskKind ("task kind") {
        /// Opens the source and decides what to read.
        PlanRun = "plan_run",
        /// One request to an API.
        FetchPage = "fetch_page",
        /// One byte range of a CSV file.
        ParseCsvChunk = "parse_csv_chunk",
        /// Several chunks that are small together.
        ParseSmallChunks = "parse_small_chunks",
        /// Raw rows of consecutive slices into records.
        NormalizeBatch = "normalize_batch",
        /// The shapes of the run against the last schema version.
        SnapshotSchema = "snapshot_schema",
    }
}

string_enum! {
    /// What a task does for its run, whatever the kind of source: what follows when it ends depends on
    /// this alone.
    TaskRole ("task role") {
        /// Decides which slices to read first.
        Plan = "plan",
        /// Reads slices.
        Read = "read",
        /// Turns slices that were read into records.
        Normalize = "normalize",
        /// Compares what was seen with what is known.
        Snapshot = "snapshot",
    }
}

impl TaskKind {
    /// What tasks of this kind do for their run.
    pub fn role(self) -> TaskRole {
        match self {
            Self::PlanRun => TaskRole::Plan,
            Self::FetchPage | Self::ParseCsvChunk | Self::ParseSmallChunks => TaskRole::Read,
            Self::NormalizeBatch => TaskRole::Normalize,
            Self::SnapshotSchema => TaskRole::Snapshot,
        }
    }
}

impl TaskKind {
    /// Whether its tasks compute: so many as there are cores at once. Others wait for somebody most of the
    /// time.
    pub fn computes(self) -> bool {
        match self {
            Self::ParseCsvChunk | Self::ParseSmallChunks | Self::NormalizeBatch => true,
            Self::PlanRun | Self::FetchPage | Self::SnapshotSchema => false,
        }
    }
}

impl TaskRole {
    /// Whether the source is not read to its end as long as such a task is open. Planning counts:
    /// nothing is read before it is planned.
    pub fn reads(self) -> bool {
        match self {
            Self::Plan | Self::Read => true,
            Self::Normalize | Self::Snapshot => false,
        }
    }
}

/// A task's input: ids, ranges and positions, never data. Stored in `run_tasks.payload`.
///
/// A **slice** is what is read and stored at a time: an API page, a chunk of a file. Slices are numbered
/// in the order in which their rows count, see [`SliceId`]: the last occurrence of a key wins.
///
/// [`SliceId`]: super::slice::SliceId
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskPayload {
    /// See [`TaskKind::PlanRun`].
    PlanRun {},
    /// See [`TaskKind::FetchPage`].
    FetchPage {
        /// The slice that the page becomes.
        slice: i64,
        /// Where the page is, in the words of the source kind.
        position: serde_json::Value,
    },
    /// See [`TaskKind::ParseCsvChunk`].
    ParseCsvChunk {
        /// The slice that the chunk becomes.
        slice: i64,
        /// `source_files.id` of the version of the file that was planned.
        file_id: i64,
        /// What the file must still be when it is read.
        stamp: FileStamp,
        /// The range of the file.
        chunk: Chunk,
    },
    /// See [`TaskKind::ParseSmallChunks`]. In the ledger each of them becomes a task of its own, a
    /// [`TaskPayload::ParseCsvChunk`]: done, if it could be read here, and else open.
    ParseSmallChunks {
        /// The slice that the first chunk becomes; the others follow it.
        first_slice: i64,
        /// The chunks, mostly a whole file each.
        chunks: Vec<PlannedChunk>,
    },
    /// See [`TaskKind::NormalizeBatch`].
    NormalizeBatch {
        /// The first slice of the batch.
        first_slice: i64,
        /// The last slice of the batch, inclusive.
        last_slice: i64,
        /// Which of their rows.
        rows: Rows,
    },
    /// See [`TaskKind::SnapshotSchema`].
    SnapshotSchema {},
}

/// A chunk of a version of a file that was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChunk {
    /// `source_files.id` of the version of the file.
    pub file_id: i64,
    /// What the file must still be when it is read.
    pub stamp: FileStamp,
    /// The range of the file.
    pub chunk: Chunk,
}

/// A record-safe byte range of a file: it starts at a row's first byte and ends behind a row's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Number of the chunk within the file, from 0.
    pub index: i32,
    /// Offset of the first byte within the file.
    pub start: u64,
    /// Offset behind the last byte within the file.
    pub end: u64,
    /// Number of the first row within the file, from 1; the header is not a row.
    pub first_row: i64,
    /// Number of the first line within the file, from 1.
    pub first_line: i64,
    /// Hash of its bytes. Tasks that an older kasparro planned may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ChunkHash>,
}

/// Which rows of its slices a batch normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// All.
    All,
    /// Those whose key occurs in no other row of the run: the order of such batches is free.
    Single,
    /// The others: such batches follow each other in the order of their slices.
    Repeated,
}

impl Rows {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Single => "single",
            Self::Repeated => "repeated",
        }
    }
}

impl TaskPayload {
    /// The kind, and with it the queue, of the task.
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::PlanRun {} => TaskKind::PlanRun,
            Self::FetchPage { .. } => TaskKind::FetchPage,
            Self::ParseCsvChunk { .. } => TaskKind::ParseCsvChunk,
            Self::ParseSmallChunks { .. } => TaskKind::ParseSmallChunks,
            Self::NormalizeBatch { .. } => TaskKind::NormalizeBatch,
            Self::SnapshotSchema {} => TaskKind::SnapshotSchema,
        }
    }

    /// The same task for the next of the slices that it reads, which begins at a position; `None` if
    /// tasks of its kind read a single slice.
    pub fn continued(&self, slice: i64, position: serde_json::Value) -> Option<Self> {
        match self {
            Self::FetchPage { .. } => Some(Self::FetchPage { slice, position }),
            _ => None,
        }
    }

    /// The task that reads one chunk.
    pub fn of_chunk(slice: i64, PlannedChunk { file_id, stamp, chunk }: PlannedChunk) -> Self {
        Self::ParseCsvChunk { slice, file_id, stamp, chunk }
    }

    /// The version of the file that the task reads.
    pub fn file_id(&self) -> Option<i64> {
        match self {
            Self::ParseCsvChunk { file_id, .. } => Some(*file_id),
            _ => None,
        }
    }

    /// The range of a file that the task reads.
    pub fn chunk(&self) -> Option<Chunk> {
        match self {
            Self::ParseCsvChunk { chunk, .. } => Some(*chunk),
            _ => None,
        }
    }

    /// The slice that the task reads, or the first it normalizes.
    pub fn slice(&self) -> Option<i64> {
        match self {
            Self::FetchPage { slice, .. } | Self::ParseCsvChunk { slice, .. } => Some(*slice),
            Self::ParseSmallChunks { first_slice, .. }
            | Self::NormalizeBatch { first_slice, .. } => Some(*first_slice),
            Self::PlanRun {} | Self::SnapshotSchema {} => None,
        }
    }

    /// The last slice that the task covers.
    pub fn last_slice(&self) -> Option<i64> {
        match self {
            Self::NormalizeBatch { last_slice, .. } => Some(*last_slice),
            Self::ParseSmallChunks { first_slice, chunks } => {
                Some(first_slice + chunks.len().saturating_sub(1) as i64)
            }
            _ => self.slice(),
        }
    }

    /// The key of the task within its run: equal keys are the same task.
    pub fn key(&self) -> String {
        match (self, self.slice()) {
            (Self::NormalizeBatch { rows: Rows::Repeated, .. }, Some(slice)) => {
                format!("{}:{slice}:repeated", self.kind())
            }
            (_, Some(slice)) => format!("{}:{slice}", self.kind()),
            (_, None) => self.kind().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_key_names_the_kind_and_the_slice() {
        assert_eq!(TaskPayload::PlanRun {}.key(), "plan_run");
        let batch = TaskPayload::NormalizeBatch { first_slice: 3, last_slice: 7, rows: Rows::All };
        assert_eq!(batch.key(), "normalize_batch:3");
    }

    #[test]
    fn a_payload_survives_its_stored_form() {
        let task = TaskPayload::ParseCsvChunk {
            slice: 2,
            file_id: 9,
            stamp: FileStamp { size: 90, modified: std::time::SystemTime::UNIX_EPOCH },
            chunk: Chunk { index: 2, start: 10, end: 90, first_row: 4, first_line: 5, hash: None },
        };
        let stored = serde_json::to_value(&task).unwrap();
        assert_eq!(stored["kind"], "parse_csv_chunk");
        assert_eq!(serde_json::from_value::<TaskPayload>(stored).unwrap(), task);
    }
}

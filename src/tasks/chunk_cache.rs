//! Owns the chunks that this process has just stored: normalizing them here need not read them back
//! from the database. It is memory only; a chunk that is not here is loaded.
//!
//! It also keeps reading from running ahead of normalizing: memory stays flat, and what is
//! normalized next is still in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::db::raw_csv_blocks::ChunkId;
use crate::domain::file::RawBlock;
use crate::domain::run::RunId;
use crate::sources::MOST_PICKED;

/// A chunk as one run has planned it. Another run may cut the same file at the same place, and find
/// more there: what this one has read counts for no other.
type Key = (RunId, ChunkId);

/// Reading never waits longer than this for normalizing.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of rows with repeated keys: they are few, and the batches that want them follow
/// closely. Else those would fetch every block of a file for a row here and there.
const MOST_REPEATED: usize = MOST_PICKED;

/// The most bytes of a chunk that is held: twice the usual size. What a job file makes larger, or has in a
/// single row, is read back piece by piece.
const MOST_OF_ONE: usize = 8 << 20;

/// Bytes of chunks that are held for each computing task: one of the usual size, and where its rows end.
pub(super) const SHARE: usize = 5 << 20;

/// The rows of a chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkRows {
    pub blocks: Vec<RawBlock>,
    /// Those whose keys are repeated.
    pub repeated: Vec<RawBlock>,
}

/// A few chunks, the oldest first.
#[derive(Debug)]
pub(super) struct ChunkCache {
    computing: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: VecDeque<(Key, Vec<RawBlock>)>,
    /// The rows of chunks whose keys are repeated, the oldest chunk first.
    repeated: VecDeque<(Key, Vec<RawBlock>)>,
    /// Bytes of them.
    bytes: usize,
    /// Bytes of chunks being read.
    reserved: usize,
    /// Batches being normalized.
    normalizing: usize,
}

/// The permit to read so many bytes of chunks, and to hold them; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<ChunkCache>, usize);

/// A batch is being normalized as long as this lives.
#[derive(Debug)]
pub(super) struct Normalizing(Arc<ChunkCache>);

impl ChunkCache {
    /// Holds at most a chunk of the usual size for each of so many tasks, or as many bytes of smaller ones, those
    /// being read among them.
    pub fn new(computing: usize) -> Arc<Self> {
        Arc::new(Self { computing, state: Mutex::default(), changed: Notify::new() })
    }

    /// Waits for a permit to read so many bytes, while batches are being normalized here.
    pub async fn permit(self: &Arc<Self>, bytes: usize) -> Permit {
        let mut patient = true;
        loop {
            // One who notifies before the wait begins is not missed.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                let most = self.computing * SHARE;
                let waits = patient && state.normalizing > 0;
                while !state.has_room(bytes, most) && !waits && state.drop_oldest() {}
                if state.has_room(bytes, most) || !waits {
                    state.reserved += bytes;
                    return Permit(self.clone(), bytes);
                }
            }
            patient = tokio::time::timeout(TIMEOUT, changed).await.is_ok();
        }
    }

    /// Says that a batch is being normalized here.
    pub fn normalizing(self: &Arc<Self>) -> Normalizing {
        self.state().normalizing += 1;
        Normalizing(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether so many bytes more can be read. Where nothing is held, there is always room.
    fn has_room(&self, bytes: usize, most: usize) -> bool {
        let taken = self.bytes + self.reserved;
        taken == 0 || taken + bytes <= most
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.held.pop_front();
        self.recount();
        oldest.is_some()
    }

    fn recount(&mut self) {
        self.bytes = self.held.iter().map(|(_, blocks)| bytes(blocks)).sum();
    }

    fn keep_repeated(&mut self, key: Key, rows: Vec<RawBlock>) {
        self.repeated.retain(|(held, _)| *held != key);
        if !rows.is_empty() {
            self.repeated.push_back((key, rows));
        }
        let mut all: usize = self.repeated.iter().map(|(_, rows)| bytes(rows)).sum();
        while all > MOST_REPEATED {
            let Some((_, oldest)) = self.repeated.pop_front() else { return };
            all -= bytes(&oldest);
        }
    }
}

fn bytes(blocks: &[RawBlock]) -> usize {
    blocks.iter().map(RawBlock::held_bytes).sum()
}

impl Permit {
    /// Keeps chunks whose rows are stored, or will be: the same bytes whichever task stores them. Those
    /// of their rows whose keys are repeated are wanted apart.
    pub fn keep(self, run: RunId, chunks: impl IntoIterator<Item = (ChunkId, ChunkRows)>) {
        let mut state = self.0.state();
        for (id, ChunkRows { blocks, repeated }) in chunks {
            let key = (run, id);
            state.held.retain(|(held, _)| *held != key);
            if bytes(&blocks) <= MOST_OF_ONE {
                state.held.push_back((key, blocks));
            }
            state.keep_repeated(key, repeated);
        }
        state.recount();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state().reserved -= self.1;
        self.0.changed.notify_waiters();
    }
}

impl Normalizing {
    /// Takes the chunk out, if it is here, and drops those well before it: chunks are
    /// normalized roughly in their order, so that others, in other processes, have those. The ones
    /// just before it are waiting for a neighbour's slot in this process.
    pub fn take(&self, run: RunId, id: ChunkId) -> Option<Vec<RawBlock>> {
        let mut state = self.0.state();
        let at = state.held.iter().position(|(held, _)| *held == (run, id));
        let taken = at.and_then(|at| state.held.remove(at)).map(|(_, blocks)| blocks);
        let waiting = id.chunk - self.0.computing as i32;
        state.held.retain(|((_, held), _)| held.file_id != id.file_id || held.chunk > waiting);
        state.recount();
        drop(state);
        self.0.changed.notify_waiters();
        taken
    }

    /// Takes out the rows of a chunk whose keys are repeated, if they are here.
    pub fn take_repeated(&self, run: RunId, id: ChunkId) -> Option<Vec<RawBlock>> {
        let mut state = self.0.state();
        let at = state.repeated.iter().position(|(held, _)| *held == (run, id))?;
        state.repeated.remove(at).map(|(_, rows)| rows)
    }
}

impl Drop for Normalizing {
    fn drop(&mut self) {
        self.0.state().normalizing -= 1;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    const RUN: RunId = RunId(1);

    fn chunk(chunk: i32) -> ChunkId {
        ChunkId { file_id: 1, chunk }
    }

    /// A chunk of the usual size.
    async fn hold(chunks: &Arc<ChunkCache>, number: i32) {
        keep(chunks, RUN, number, vec![row(4 << 20)], Vec::new()).await;
    }

    async fn keep(
        chunks: &Arc<ChunkCache>,
        run: RunId,
        number: i32,
        blocks: Vec<RawBlock>,
        repeated: Vec<RawBlock>,
    ) {
        let permit = chunks.permit(4 << 20).await;
        permit.keep(run, [(chunk(number), ChunkRows { blocks, repeated })]);
    }

    #[tokio::test]
    async fn a_chunk_is_taken_once() {
        let chunks = ChunkCache::new(2);
        hold(&chunks, 0).await;
        let batch = chunks.normalizing();
        assert!(batch.take(RUN, chunk(0)).is_some());
        assert!(batch.take(RUN, chunk(0)).is_none());
    }

    /// A run that was cancelled has read the end of a file that has grown since.
    #[tokio::test]
    async fn what_another_run_has_read_is_not_taken() {
        let chunks = ChunkCache::new(2);
        keep(&chunks, RunId(1), 0, vec![row(1)], vec![row(1)]).await;
        let batch = chunks.normalizing();
        assert_eq!(batch.take_repeated(RunId(2), chunk(0)), None);
        assert_eq!(batch.take(RunId(2), chunk(0)), None);
    }

    #[tokio::test]
    async fn the_oldest_makes_room_when_nothing_is_normalized_here() {
        let chunks = ChunkCache::new(2);
        for number in 0..3 {
            hold(&chunks, number).await;
        }
        let batch = chunks.normalizing();
        assert!(batch.take(RUN, chunk(0)).is_none());
        assert!(batch.take(RUN, chunk(1)).is_some() && batch.take(RUN, chunk(2)).is_some());
    }

    fn row(bytes: usize) -> RawBlock {
        let payload = vec![b'x'; bytes].into();
        let row_ends = vec![bytes as i32];
        RawBlock { first_row: 1, first_line: 2, start: 3, payload, row_ends }
    }

    #[tokio::test]
    async fn rows_of_repeated_keys_are_taken_apart_and_the_oldest_make_room() {
        let chunks = ChunkCache::new(2);
        for number in 0..3 {
            let rows = vec![row(MOST_REPEATED / 2 - 1000)];
            keep(&chunks, RUN, number, Vec::new(), rows).await;
        }
        let batch = chunks.normalizing();
        assert_eq!(batch.take_repeated(RUN, chunk(0)), None);
        assert_eq!(batch.take_repeated(RUN, chunk(1)), Some(vec![row(MOST_REPEATED / 2 - 1000)]));
        assert_eq!(batch.take_repeated(RUN, chunk(1)), None);
        assert!(
            batch.take(RUN, chunk(2)).is_some() && batch.take_repeated(RUN, chunk(2)).is_some()
        );
    }

    #[tokio::test]
    async fn a_chunk_that_is_large_is_not_held() {
        let chunks = ChunkCache::new(2);
        for (bytes, held) in [(MOST_OF_ONE - 1000, true), (MOST_OF_ONE, false)] {
            keep(&chunks, RUN, 0, vec![row(bytes)], Vec::new()).await;
            assert_eq!(chunks.normalizing().take(RUN, chunk(0)).is_some(), held);
        }
    }

    #[tokio::test]
    async fn as_many_bytes_of_small_chunks_are_held_as_of_large_ones() {
        let chunks = ChunkCache::new(2);
        for first in [0, 100] {
            let rows = || ChunkRows { blocks: vec![row(40_000)], repeated: Vec::new() };
            let small = (first..first + 100).map(|number| (chunk(number), rows()));
            chunks.permit(4 << 20).await.keep(RUN, small);
        }
        hold(&chunks, 200).await;
        let batch = chunks.normalizing();
        assert!(batch.take(RUN, chunk(100)).is_some() && batch.take(RUN, chunk(200)).is_some());
        assert!(batch.take(RUN, chunk(0)).is_none());
    }

    async fn waits_for_a_permit(chunks: &Arc<ChunkCache>, number: i32) -> JoinHandle<()> {
        let waiting = tokio::spawn({
            let chunks = chunks.clone();
            async move { hold(&chunks, number).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn reading_waits_for_normalizing_and_goes_on_when_a_chunk_is_taken() {
        let chunks = ChunkCache::new(1);
        let batch = chunks.normalizing();
        hold(&chunks, 0).await;
        let waiting = waits_for_a_permit(&chunks, 1).await;
        assert!(batch.take(RUN, chunk(0)).is_some());
        waiting.await.unwrap();
        assert!(batch.take(RUN, chunk(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_that_others_normalize_make_room() {
        let chunks = ChunkCache::new(2);
        let batch = chunks.normalizing();
        hold(&chunks, 0).await;
        hold(&chunks, 3).await;
        let waiting = waits_for_a_permit(&chunks, 4).await;
        assert!(batch.take(RUN, chunk(2)).is_none());
        waiting.await.unwrap();
        assert!(batch.take(RUN, chunk(0)).is_none());
        assert!(batch.take(RUN, chunk(3)).is_some() && batch.take(RUN, chunk(4)).is_some());
    }

    #[tokio::test]
    async fn a_chunk_that_is_overtaken_stays_for_its_turn() {
        let chunks = ChunkCache::new(2);
        hold(&chunks, 0).await;
        hold(&chunks, 1).await;
        let batch = chunks.normalizing();
        assert!(batch.take(RUN, chunk(1)).is_some());
        assert!(batch.take(RUN, chunk(0)).is_some());
    }
}
